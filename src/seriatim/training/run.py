"""One training run from experiment to run folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning_fabric import Fabric
from safetensors.torch import load_file

from seriatim.errors import ConfigError, ModelError, OutputError
from seriatim.experiment import Experiment
from seriatim.io.tables.outputs import make_folder, write_csv, write_json
from seriatim.io.weights import load_weights
from seriatim.models.network import SequenceNetwork
from seriatim.series.geometry import plane_of
from seriatim.trained import WEIGHTS, Envelope, load_model, write_description
from seriatim.training.card import write_card
from seriatim.training.checkpoint import Progress
from seriatim.training.curves import draw_curves
from seriatim.training.dataset import EmbeddingDataset, PreparedSeries, SequenceDataset
from seriatim.training.embeddings import Embedder
from seriatim.training.encoder_stage import EncoderStage, train_encoder
from seriatim.training.examples import Example, Examples, gather_examples
from seriatim.training.loop import AfterEpoch, Learner, LossModule, fit, go_on, score_example
from seriatim.training.records import read_metrics
from seriatim.training.runtime import build_optimizer, describe_environment, start_fabric

CONFIG = "config.yaml"
logger = logging.getLogger(__name__)


def train(
    experiment: Experiment, run: Path, *, resume: bool = False, after_epoch: AfterEpoch | None = None
) -> dict[str, Any]:
    """Train an experiment into the folder ``run`` and return its summary (validation metrics, best epoch, paths).

    ``after_epoch`` is told the validation metrics after each epoch of ``training``.

    Raises:
        ConfigError: a setting, the manifest or a label is wrong.
        InputError: no series can be used.
        ModelError: encoder weights are missing or do not fit, or there is nothing to resume.
        OutputError: ``run`` exists already and ``resume`` is False.
    """
    _open_run(run, resume=resume)
    fabric = start_fabric(experiment.training)
    learner, examples = _assemble(experiment, fabric, run)
    progress = Progress()
    if resume:  # all that can refuse it comes before anything of the run is written anew
        _refuse_changed_data(run, examples)
        progress = go_on(learner, run)
    if fabric.is_global_zero:
        _write_start(run, experiment=experiment, examples=examples, fabric=fabric)
    progress = fit(learner, run, progress=progress, after_epoch=after_epoch)
    learner.network.load_state_dict(load_file(run / WEIGHTS))
    summary: dict[str, Any] = {"run": str(run), "best_epoch": progress.best_epoch, "epochs": progress.epoch}
    if fabric.is_global_zero:
        summary["validation"] = _write_end(run, learner=learner, examples=examples, best_epoch=progress.best_epoch)
    fabric.barrier()
    return summary


def read_run_config(run: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a run folder, for ``--resume``; ``overrides`` are KEY=VALUE, for example more epochs."""
    if not (run / CONFIG).is_file():
        raise ConfigError(f"{run} has no {CONFIG}: it is not a run to resume. Give the folder that train wrote.")
    return Experiment.read(run / CONFIG, overrides)


def _open_run(run: Path, *, resume: bool) -> None:
    if not resume and run.is_dir() and any(run.iterdir()):
        raise OutputError(f"{run} is not empty. Choose another --output, or go on with --resume {run}.")
    make_folder(run)


def _refuse_changed_data(run: Path, examples: Examples) -> None:
    path = run / "split.json"
    if path.is_file() and json.loads(path.read_text()) != examples.proof:
        raise ConfigError(f"Series, labels or splits changed since {run} was started. Put them back, or train anew.")


def _assemble(experiment: Experiment, fabric: Fabric, run: Path) -> tuple[Learner, Examples]:
    training, task = experiment.training, experiment.task.build()
    data = experiment.data
    # else each image is needed just once
    again = training.mode == "end-to-end" or training.embedding_views > 0 or experiment.encoder_stage is not None
    prepared = PreparedSeries(experiment.preprocessing, cache=data.cache and again, limits=data.reading.limits)
    torch.manual_seed(experiment.seed)
    network = experiment.network.build(
        experiment.preprocessing.channels, task.outputs, weights=encoder_weights(experiment)
    )
    if (source := _source_run(experiment)) is not None:
        _transfer_encoder(network, experiment, source)
    two_stage, learns_first = training.mode == "two-stage", experiment.encoder_stage is not None
    embedder = _freeze(network, prepared, experiment, fabric) if two_stage and not learns_first else None
    examples = gather_examples(experiment, task, embedder.embed if embedder else prepared.prepare)
    if learns_first:
        head = torch.nn.Linear(network.encoder.embedding_size, task.outputs)
        train_encoder(
            EncoderStage(experiment=experiment, task=task, encoder=network.encoder, head=head, prepared=prepared,
                         fabric=fabric, examples=examples), run,
        )
        embedder = _freeze(network, prepared, experiment, fabric) if two_stage else None
    used = examples.of("train")
    task = task.with_class_weights(np.array([example.labels for example in used]))
    if task.center is not None and task.scale is not None:
        network.set_output_scale(task.center, task.scale)
    optimizer = build_optimizer(network, training)
    model, optimizer = fabric.setup(LossModule(network, task), optimizer)
    if embedder is not None:
        views = training.embedding_views
        for example, view in product(used, range(1, views + 1)):
            embedder.embed(example.series, view)
        dataset: Any = EmbeddingDataset(used, embedder.embed, views=views, max_slices=training.max_slices)
    else:
        augment = experiment.augmentation.build(experiment.preprocessing.size)
        dataset = SequenceDataset(
            used, prepared, finish=experiment.preprocessing, augment=augment, max_slices=training.max_slices
        )
    learner = Learner(
        experiment=experiment,
        task=task,
        network=network,
        model=model,
        optimizer=optimizer,
        fabric=fabric,
        train=dataset,
        train_count=len(used),
        validation=examples.of("val"),
        prepared=prepared,
        embedder=embedder,
    )
    return learner, examples


def _freeze(
    network: SequenceNetwork, prepared: PreparedSeries, experiment: Experiment, fabric: Fabric
) -> Embedder:
    """The frozen encoder, on its device, as what embeds series."""
    network.encoder.requires_grad_(False)
    fabric.to_device(network)
    network.eval()
    augment = experiment.augmentation.build(experiment.preprocessing.size) if experiment.augmentation.active else None
    return Embedder(network, prepared, experiment, augment=augment)


def encoder_weights(experiment: Experiment) -> dict[str, torch.Tensor] | None:
    """The pretrained weights the encoder's settings ask for, or None."""
    encoder = experiment.network.encoder
    if encoder.weights is None or _source_run(experiment) is not None:
        return None
    return load_weights(encoder.weights, name=encoder.name if encoder.kind == "torchvision" else encoder.kind)


def _source_run(experiment: Experiment) -> Path | None:
    """The run folder whose encoder the settings ask for; None where they ask for a file or nothing."""
    weights = experiment.network.encoder.weights
    return Path(weights) if weights is not None and Path(weights).is_dir() else None


def _transfer_encoder(network: SequenceNetwork, experiment: Experiment, source: Path) -> None:
    """Start the encoder where that of another run ended.

    Raises:
        ModelError: the folder is no finished run, or its encoder is another network or sees other channels.
    """
    given = load_model(source)
    told = [
        (one.network.encoder.model_dump(mode="json", exclude={"weights", "freeze"}), one.preprocessing.channels)
        for one in (experiment, given.experiment)
    ]
    if told[0] != told[1]:
        raise ModelError(f"The encoder of {source} is {told[1][0]} with {told[1][1]} channels, and this run asks for "
                         f"{told[0][0]} with {told[0][1]}. Ask for the same, or give other weights.")
    network.encoder.load_state_dict(given.network.encoder.state_dict())


def _write_start(run: Path, *, experiment: Experiment, examples: Examples, fabric: Fabric) -> None:
    (run / CONFIG).write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    write_json(run / "environment.json", describe_environment(fabric))
    write_json(run / "split.json", examples.proof)
    columns = ["path", "patient", "series_uid", "volume", "modality", "slices", "split", "status", "reason"]
    labels = list(experiment.task.labels)
    rows: list[Mapping[str, Any]] = [_manifest_row(example, labels) for example in examples.used]
    for left in examples.left_out:
        known = {"path": left.case.path, "patient": left.case.patient, "series_uid": left.case.series_uid}
        rows.append({**known, "split": left.split, "status": "left out", "reason": left.reason})
    write_csv(run / "manifest.csv", [*columns, *labels], rows)


def _manifest_row(example: Example, labels: Sequence[str]) -> dict[str, Any]:
    series = example.series
    return {
        "path": example.case.path,
        "patient": example.case.patient,
        "series_uid": series.series_uid,
        "volume": series.volume,
        "modality": series.modality,
        "slices": len(series.instances),
        "split": example.split,
        "status": "used",
        **{name: example.case.row[name] for name in labels if example.split != "unlabelled"},
    }


def _write_end(run: Path, *, learner: Learner, examples: Examples, best_epoch: int) -> dict[str, float]:
    """Score validation with the kept weights as scoring will, calibrate and choose thresholds, describe the model."""
    validation = learner.validation
    given = torch.stack([score_example(learner, example).uncalibrated for example in validation])
    labels = np.array([example.labels for example in validation])
    task = learner.task.with_calibration(given.numpy(), labels)
    probabilities = task.calibrate(given).numpy()
    task = task.with_conformal(probabilities, labels)
    metrics, thresholds = task.metrics(probabilities, labels), task.thresholds(probabilities, labels)
    prefix = "value" if learner.experiment.task.target == "regression" else "probability"
    columns = [f"{prefix}_{name}" for name in task.class_names]
    names = list(learner.experiment.task.labels)
    rows = [
        {"series_uid": example.series.series_uid, "volume": example.series.volume, "patient": example.case.patient,
         **{name: example.case.row[name] for name in names}, **dict(zip(columns, row, strict=True)),
         "prediction": task.decide(row, thresholds)}
        for example, row in zip(validation, probabilities, strict=True)
    ]  # fmt: skip
    write_csv(run / "validation.csv", ["series_uid", "volume", "patient", *names, *columns, "prediction"], rows)
    lines = read_metrics(run / "metrics.jsonl")
    draw_curves(lines, run / "curves.png", title=learner.experiment.name, best_epoch=best_epoch)
    envelope = measure_envelope([*examples.of("train"), *examples.of("val")])
    write_description(
        run, experiment=learner.experiment, task=task, thresholds=thresholds, envelope=envelope, metrics=metrics
    )
    one_sided = task.one_sided(labels)
    if one_sided:
        logger.warning("validation holds one class of %s only: 0.5 stands in for a threshold", ", ".join(one_sided))
    results = {"metrics": metrics, "thresholds": thresholds, "one_sided": dict.fromkeys(one_sided, 0.5)}
    write_card(run, experiment=learner.experiment, examples=examples, envelope=envelope, results=results)
    return metrics


def measure_envelope(examples: Sequence[Example]) -> Envelope:
    """What the used examples cover: modalities, axis, number of slices, slice spacing."""
    series = [example.series for example in examples]
    counts = [len(one.instances) for one in series]
    spacings = [one.spacing_mm[2] for one in series if one.spacing_mm is not None]
    return Envelope(
        modalities=tuple(sorted({one.modality for one in series})),
        planes=tuple(sorted({plane_of(one.affine) for one in series if one.affine is not None})),
        axis=series[0].axis,
        slices=(min(counts), max(counts)),
        slice_spacing_mm=(min(spacings), max(spacings)) if spacings else None,
    )
