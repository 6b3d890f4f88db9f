"""One anomaly run from experiment to run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from seriatim.experiment import AnomalyExperiment, TrainingSettings
from seriatim.io.tables.outputs import write_csv
from seriatim.tasks.anomaly import AnomalyTask, FrameScores
from seriatim.tasks.profile import place_frames
from seriatim.trained import WEIGHTS, write_description
from seriatim.trained.anomaly import build_network
from seriatim.trained.lineage import source_run
from seriatim.training.card import write_card
from seriatim.training.checkpoint import write_tensors
from seriatim.training.dataset import PreparedSeries
from seriatim.training.detector_series import is_normal
from seriatim.training.detector_stage import AnomalySession
from seriatim.training.detectors import examine, train_detectors
from seriatim.training.encoder_source import encoder_weights, transfer_encoder
from seriatim.training.envelope import measure_envelope
from seriatim.training.examples import Example, gather_examples
from seriatim.training.leaks import hold_apart
from seriatim.training.lineage import refuse_seen
from seriatim.training.run_folder import hold_run, open_run, read_duplicates, refuse_changed_data
from seriatim.training.runtime import start_fabric
from seriatim.training.same_run import digest_start, refuse_other_start
from seriatim.training.series_traits import SeriesTraits
from seriatim.training.session import freeze

READ_AGAIN = ("memory", "future")
"""Methods that read more of the images than their embeddings."""


def train_anomaly(experiment: AnomalyExperiment, run: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train an anomaly experiment into the folder ``run`` and return its summary (validation metrics, paths).

    Each detector that learns by gradient is a stage of its own, which goes on where it was stopped; the others are
    fitted in one step, and again on a resume.

    Raises:
        ConfigError: a setting, the manifest or a label is wrong, or not that of the run which goes on.
        InputError: no series can be used.
        ModelError: encoder weights are missing or do not fit, or there is nothing to resume.
        OutputError: ``run`` exists already and ``resume`` is False.
    """
    open_run(run, experiment, resume=resume)
    with hold_run(run):
        session = _start_session(experiment, run, resume=resume)
        task, figures = train_detectors(session)
        write_tensors(run / WEIGHTS, session.network.state_dict())
        return {"run": str(run), "validation": _write_end(session, task, figures)}


def _start_session(experiment: AnomalyExperiment, run: Path, *, resume: bool) -> AnomalySession:
    fabric = start_fabric(TrainingSettings(accelerator=experiment.training.accelerator))
    torch.manual_seed(experiment.seed)
    network = build_network(experiment, encoder_weights(experiment))
    if (source := source_run(experiment)) is not None:
        transfer_encoder(network, experiment, source)
    start = digest_start(network, experiment)
    if resume:
        refuse_other_start(run, start, experiment)
    task, data = experiment.task.build(), experiment.data
    again = any(method.kind in READ_AGAIN for method in experiment.task.methods)
    prepared = PreparedSeries(experiment.preprocessing, cache=data.cache and again, limits=data.reading.limits)
    embedder = freeze(network, prepared, experiment, fabric)
    examples = gather_examples(experiment, task, embedder.embed)
    refuse_seen(examples, experiment)
    if resume:
        refuse_changed_data(run, examples)
    traits = SeriesTraits(prepared, experiment)
    examples = hold_apart(examples, traits, experiment=experiment, known=read_duplicates(run) if resume else None)
    return AnomalySession(experiment=experiment, run=run, fabric=fabric, network=network, prepared=prepared,
                          examples=examples, traits=traits, start=start, embedder=embedder, task=task)


def _write_end(session: AnomalySession, task: AnomalyTask, figures: dict[str, float]) -> dict[str, float]:
    """Judge validation as scoring will, and describe the model."""
    run, experiment, examples = session.run, session.experiment, session.examples
    judged = [
        (one, task.judge(examine(session, one), place_frames(one.series.positions))) for one in examples.of("val")
        if len(one.series.instances) >= session.network.fewest_frames
    ]
    metrics = _measure(task, judged) | figures
    labels = [name for name in experiment.task.labels if experiment.task.label is not None]
    score = f"probability_{task.class_names[0]}"
    rows = [
        {"series_uid": one.series.series_uid, "volume": one.series.volume, "patient": one.case.patient,
         **{name: one.case.row[name] for name in labels}, score: scores.level, "events": len(scores.events)}
        for one, scores in judged
    ]  # fmt: skip
    write_csv(run / "validation.csv", ["series_uid", "volume", "patient", *labels, score, "events"], rows)
    write_description(
        run, experiment=experiment, task=task, thresholds={task.class_names[0]: 0.5}, metrics=metrics,
        envelope=measure_envelope([*examples.of("train"), *examples.of("val")], session.traits),
    )
    write_card(run)
    return metrics


def _measure(task: AnomalyTask, judged: list[tuple[Example, FrameScores]]) -> dict[str, float]:
    """AUC and average precision of sequences, and of frames (``frame_...``), where validation holds both kinds; and
    what its normal sequences get: the share of ``normal_frames_above`` the threshold, and ``false_alarms_per_minute``.
    """
    assert task.norms is not None
    labels = np.array([one.labels for one, _ in judged])
    found = task.metrics(np.array([[scores.level] for _, scores in judged]), labels)
    frames = task.metrics(
        np.concatenate([scores.levels for _, scores in judged])[:, None],
        np.concatenate([one.slice_labels for one, _ in judged]),
    )
    known = [(one, scores) for one, scores in judged if is_normal(one, task.settings)]
    surprise = np.concatenate([scores.surprise for _, scores in known])
    found |= {f"frame_{name}": value for name, value in frames.items()}
    found["normal_frames_above"] = float((surprise >= task.norms.threshold).mean())
    if task.norms.seconds > 0:
        found["false_alarms_per_minute"] = 60 * sum(len(scores.events) for _, scores in known) / task.norms.seconds
    return found
