"""The sets and models of the benchmark: what a set asks, and what a row of its table changes in the config."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

LINEAR = ("linear, mean", "linear, max", "linear, top 3")
"""The frozen baselines: a logistic regression per slice, and the mean, the largest or the mean of the three largest."""

FOREST = "forest on areas"
"""The bar of a set of shapes (benchmark_forest.py)."""

BILSTM = "BiLSTM + attention"
CONTROL = "random labels"

HEADS: dict[str, tuple[str, ...]] = {
    "mean": ("network.temporal={kind: none}", "network.pooling={kind: mean}"),
    "max": ("network.temporal={kind: none}", "network.pooling={kind: max}"),
    "attention": ("network.temporal={kind: none}", "network.pooling={kind: attention}"),
    "GRU + attention": ("network.temporal={kind: gru, hidden: 64}", "network.pooling={kind: attention}"),
    BILSTM: ("network.temporal={kind: lstm, hidden: 64}", "network.pooling={kind: attention}"),
    "Transformer + attention": (
        "network.temporal={kind: transformer, size: 64, heads: 4, feedforward: 128}",
        "network.pooling={kind: attention}",
    ),
}
"""The same for every set: sequence model and pooling; encoder, budget, loss and all else stay those of the config."""

SLICE_SCORES = "network.pooling={kind: slice_scores, how: top_k, top: 3}"
ON_SLICES: dict[str, tuple[str, ...]] = {
    "slice scores": ("network.temporal={kind: none}", SLICE_SCORES),
    "BiLSTM + slice scores": ("network.temporal={kind: lstm, hidden: 64}", SLICE_SCORES),
}
RECURRENT = "hidden: 64, project: 64, dropout: 0.5}"
FINE: dict[str, tuple[str, ...]] = {
    **HEADS,
    "GRU + attention": (f"network.temporal={{kind: gru, {RECURRENT}", "network.pooling={kind: attention}"),
    BILSTM: (f"network.temporal={{kind: lstm, {RECURRENT}", "network.pooling={kind: attention}"),
    "slice scores": ON_SLICES["slice scores"],
    "BiLSTM + slice scores": (f"network.temporal={{kind: lstm, {RECURRENT}", SLICE_SCORES),
}
"""The same where the recurrent models read a projection, as the Transformer always does."""

TURNED = "augmentation={rotate_degrees: 15, scale: 0.1, translate: 0.05, flip_left_right: true}"
FROZEN = ("training.mode=two-stage", "augmentation={}", "training.reverse_order=0")
WHOLE = ("training.mode=end-to-end", "training.embedding_store=null", "network.encoder.weights=null", TURNED,
         "training.epochs=12", "training.reverse_order=0.5")
"""Encoder and sequence model learn together from the start."""
WHOLE_MEAN = "mean, end to end"
WHOLE_BILSTM = "BiLSTM + attention, end to end"
WHOLES = {WHOLE_MEAN: (*HEADS["mean"], *WHOLE), WHOLE_BILSTM: (*HEADS[BILSTM], *WHOLE)}

LEARNT = "encoder stage, BiLSTM + attention"
STAGE = (
    "encoder_stage={epochs: 3, learning_rate: 1.0e-4}",
    TURNED,
)
"""The one model whose encoder is not frozen from the start: it learns from labelled slices first."""
STAGE_OF_CLIPS = (
    "encoder_stage={epochs: 2, learning_rate: 1.0e-4, labels: series, slices_per_epoch: 800}",
    TURNED,
)
"""The same where frames have no labels of their own: each has that of its clip; two epochs of 800 are enough
to know those of training by heart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One set: its config, what is held out, and which figures its table shows.

    ``folds`` empty means every fold of the manifest. ``encoder`` is what the config is changed by to train, once and
    without the series held out, the encoder that all models then share frozen; empty: the config's own. ``linear`` is
    the baseline that all models are compared with; ``figures`` are names of evaluation.json, those of slices with the
    prefix ``slice:``. ``baselines`` are the rows that stand before the models. ``draw`` so many folds by patient, in
    place of those of the manifest.
    """

    config: Path
    figures: tuple[str, ...]
    linear: str
    overrides: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    encoder: tuple[str, ...] = ()
    models: dict[str, tuple[str, ...]] = field(default_factory=lambda: HEADS)
    control: tuple[str, ...] = ()
    baselines: tuple[str, ...] = LINEAR
    draw: int = 0

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Every trained model of the table with what it changes, the control last."""
        return {**self.models, CONTROL: (*self.models[self.reference], *self.control)}

    @property
    def reference(self) -> str:
        """The model of the package, with which the others are compared."""
        return BILSTM if BILSTM in self.models else WHOLE_BILSTM


SUBTYPES = "[intraventricular, intraparenchymal, subarachnoid, epidural, subdural]"
NO_SLICE_LABELS = ("data.slice_labels=null", "task.slice_loss_weight=0")
SETS: dict[str, Benchmark] = {
    "ct_ich": Benchmark(
        config=Path("configs/ct_ich.yaml"),
        figures=("auc", "accuracy", "slice:slice_auc_of_score"),
        linear="linear, top 3",
        models={**HEADS, **ON_SLICES, LEARNT: (*HEADS[BILSTM], *STAGE)},
        control=NO_SLICE_LABELS,
    ),
    "ct_ich_fine": Benchmark(
        config=Path("configs/ct_ich_fine.yaml"),
        figures=("auc", "accuracy", "slice:slice_auc_of_score"),
        linear="linear, top 3",
        models=FINE,
        control=NO_SLICE_LABELS,
    ),
    "ct_ich_subtypes": Benchmark(
        config=Path("configs/ct_ich_fine.yaml"),
        figures=("auc_macro", "average_precision_macro"),
        linear="linear, top 3",
        overrides=("task.target=multilabel", f"task.labels={SUBTYPES}"),
        models=FINE,
        control=NO_SLICE_LABELS,
    ),
    "pocus": Benchmark(
        config=Path("configs/pocus.yaml"),
        figures=("accuracy", "balanced_accuracy", "auc_macro"),
        linear="linear, mean",
        models={**HEADS, LEARNT: (*HEADS[BILSTM], *STAGE_OF_CLIPS)},
    ),
    "pocus_standardised": Benchmark(
        config=Path("configs/pocus_standardised.yaml"),
        figures=("accuracy", "balanced_accuracy", "auc_macro"),
        linear="linear, mean",
        models={name: changes for name, changes in FINE.items() if name not in ON_SLICES},
    ),
    "adrenal": Benchmark(
        config=Path("configs/adrenal.yaml"),
        figures=("auc", "accuracy", "balanced_accuracy"),
        linear=FOREST,
        overrides=(*FROZEN, "training.epochs=15"),
        folds=("val",),
        encoder=("network.temporal={kind: none}", "network.pooling={kind: mean}"),
        models={**HEADS, **WHOLES},
        control=WHOLE,  # the encoder of the others learnt from true labels
        baselines=(FOREST, *LINEAR),
    ),
    "adrenal_folds": Benchmark(
        config=Path("configs/adrenal.yaml"),
        figures=("auc", "accuracy", "balanced_accuracy"),
        linear=FOREST,
        overrides=FROZEN,
        models=WHOLES,
        baselines=(FOREST,),
        draw=4,
    ),
}
