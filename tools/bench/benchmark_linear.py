"""The frozen baseline: a logistic regression on the embeddings of single slices, and a simple rule over the slices.

Slices learn from slice labels where the config has them, and else each from the label of its series. The strength of
the penalty and the decision threshold are chosen inside the training patients, by three folds of patients; the series
held out are only scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_scores import Answer, write_scores
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seriatim.experiment import Experiment
from seriatim.series.batch import IGNORE
from seriatim.tasks import DiagnosisTask
from seriatim.tasks.metrics import roc_auc, youden_threshold
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder
from seriatim.training.encoder_source import encoder_weights, source_run, transfer_encoder
from seriatim.training.examples import Example, gather_examples

Array = NDArray[Any]
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""The C of scikit-learn, on standardised embeddings: the smaller, the stronger the penalty."""
RULES: dict[str, Callable[[Array], Array]] = {
    "linear, mean": lambda scores: scores.mean(axis=0),
    "linear, max": lambda scores: scores.max(axis=0),
    "linear, top 3": lambda scores: np.sort(scores, axis=0)[-3:].mean(axis=0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """All slices of some series: ``embeddings`` (N,E), ``targets`` (N,K) of 0 and 1 or nan, ``series`` (N,) index."""

    embeddings: Array
    targets: Array
    series: Array
    examples: Sequence[Example]


def run_linear(experiment: Experiment, folders: dict[str, Path]) -> None:
    """Train on the training series of one fold, score its held-out series, and write tables for every rule."""
    if all((folder / "run.json").is_file() for folder in folders.values()):
        return
    task = experiment.task.build()
    embed = frozen_embedder(experiment, task)
    examples = gather_examples(experiment, task, check=lambda _: None)
    train = gather([*examples.of("train"), *examples.of("val")], embed, task)
    held_out = gather(examples.of("test"), embed, task)
    inner = {penalty: predict_inside(train, penalty, task) for penalty in PENALTIES}
    chosen = max(PENALTIES, key=lambda penalty: slice_auc(train, inner[penalty]))
    print(f"inside the training folds: slice AUC {slice_auc(train, inner[chosen]):.3f} at C {chosen:g}, AUC of series",
          ", ".join(f"{series_auc(train, inner[chosen], rule, task):.3f} ({name})" for name, rule in RULES.items()),
          flush=True)
    scores = fit(train, chosen, task)(held_out.embeddings)
    for name, folder in folders.items():
        rule = RULES[name]
        answers = [answer(scores[held_out.series == index], rule, task) for index in range(len(held_out.examples))]
        thresholds = choose_thresholds(train, inner[chosen], rule, task)
        write_scores(folder, experiment, list(zip((one.series for one in held_out.examples), answers, strict=True)),
                     thresholds=thresholds)


def frozen_embedder(experiment: Experiment, task: DiagnosisTask) -> Embedder:
    """What gives the embeddings of the config's encoder, from the store that the trained models share."""
    network = experiment.network.build(
        experiment.preprocessing.channels, task.outputs, weights=encoder_weights(experiment)
    ).eval()
    if (source := source_run(experiment)) is not None:
        transfer_encoder(network, experiment, source)
    prepared = PreparedSeries(experiment.preprocessing, cache=False, limits=experiment.data.reading.limits)
    return Embedder(network, prepared, experiment, augment=None)


def gather(examples: Sequence[Example], embed: Embedder, task: DiagnosisTask) -> Slices:
    """The slices of some examples, each with what is known of it."""
    embeddings = [embed.embed(one.series).numpy() for one in examples]
    targets = [_targets(one, len(rows), task) for one, rows in zip(examples, embeddings, strict=True)]
    return Slices(
        embeddings=np.concatenate(embeddings), targets=np.concatenate(targets),
        series=np.repeat(np.arange(len(examples)), [len(rows) for rows in embeddings]), examples=examples,
    )


def _targets(example: Example, count: int, task: DiagnosisTask) -> Array:
    if task.settings.slice_loss_weight > 0:
        return np.where(example.slice_labels == IGNORE, np.nan, example.slice_labels)
    return np.tile(series_labels(example, task), (count, 1))


def series_labels(example: Example, task: DiagnosisTask) -> Array:
    """(K,) of 0 and 1, nan where not known; one-hot for classes that exclude each other."""
    labels = np.array(example.labels)
    if task.settings.target == "multiclass":
        labels = (np.arange(task.outputs) == labels[0]).astype(float) if labels[0] != IGNORE else IGNORE * np.ones(1)
    return np.where(labels == IGNORE, np.nan, labels)


def fit(slices: Slices, penalty: float, task: DiagnosisTask) -> Callable[[Array], Array]:
    """Logistic regressions on slices, as a function from embeddings (N,E) to probabilities (N,K)."""
    if task.settings.target == "multiclass":
        model = _regression(penalty).fit(slices.embeddings, slices.targets.argmax(axis=1))
        return lambda embeddings: np.asarray(model.predict_proba(embeddings))
    models = []
    for column in slices.targets.T:
        known = ~np.isnan(column)
        varies = len(np.unique(column[known])) > 1  # a rare finding may be in none of a few patients
        fitted = _regression(penalty).fit(slices.embeddings[known], column[known].astype(int)) if varies else None
        models.append(fitted)
    return lambda embeddings: np.stack([
        np.zeros(len(embeddings)) if model is None else model.predict_proba(embeddings)[:, 1] for model in models
    ], axis=1)


def _regression(penalty: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced", max_iter=300))


def predict_inside(slices: Slices, penalty: float, task: DiagnosisTask) -> Array:
    """(N,K) probabilities of the training slices, each by a model that never saw its patient."""
    patients = np.array([slices.examples[index].case.patient for index in slices.series])
    found = np.empty_like(slices.targets)
    for seen, unseen in GroupKFold(3).split(slices.embeddings, groups=patients):
        part = Slices(embeddings=slices.embeddings[seen], targets=slices.targets[seen], series=slices.series[seen],
                      examples=slices.examples)
        found[unseen] = fit(part, penalty, task)(slices.embeddings[unseen])
    return found


def slice_auc(slices: Slices, scores: Array) -> float:
    """The mean AUC over the classes, of slices."""
    known = ~np.isnan(slices.targets).any(axis=1)
    columns = zip(slices.targets[known].T, scores[known].T, strict=True)
    return float(np.nanmean([roc_auc(labels, score) for labels, score in columns]))


def series_auc(slices: Slices, scores: Array, rule: Callable[[Array], Array], task: DiagnosisTask) -> float:
    """The mean AUC over the classes, of series."""
    pooled, labels = pool(slices, scores, rule, task)
    return float(np.mean([roc_auc(*both) for both in zip(labels.T, pooled.T, strict=True)]))


def pool(slices: Slices, scores: Array, rule: Callable[[Array], Array], task: DiagnosisTask) -> tuple[Array, Array]:
    """Probabilities and labels (N,K) of the series."""
    pooled = np.stack([rule(scores[slices.series == index]) for index in range(len(slices.examples))])
    return pooled, np.stack([series_labels(one, task) for one in slices.examples])


def choose_thresholds(slices: Slices, scores: Array, rule: Callable[[Array], Array], task: DiagnosisTask
                      ) -> dict[str, float]:
    """Youden's threshold of each class on the training series, scored by models that never saw them."""
    if task.settings.target == "multiclass":
        return {}
    pooled, labels = pool(slices, scores, rule, task)
    return {name: youden_threshold(labels[:, k], pooled[:, k]) for k, name in enumerate(task.class_names)}


def answer(scores: Array, rule: Callable[[Array], Array], task: DiagnosisTask) -> Answer:
    """What the slice probabilities (S,K) of one series say of the series."""
    pooled = rule(scores)
    return Answer(
        probabilities=pooled / pooled.sum() if task.settings.target == "multiclass" else pooled,
        attention=np.full(len(scores), 1 / len(scores)), slice_scores=scores,
    )
