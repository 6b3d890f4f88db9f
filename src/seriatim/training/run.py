"""One training run from experiment to run folder: its stages, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seriatim.errors import ConfigError
from seriatim.experiment import AnomalyExperiment, Experiment
from seriatim.trained import WEIGHTS
from seriatim.training.anomaly_run import train_anomaly
from seriatim.training.checkpoint import write_tensors
from seriatim.training.determinism import deterministic_algorithms
from seriatim.training.encoder_stage import train_encoder
from seriatim.training.epochs import AfterEpoch
from seriatim.training.joint_stage import train_jointly
from seriatim.training.outcome import write_end
from seriatim.training.pretraining import pretrain
from seriatim.training.records import read_metrics
from seriatim.training.run_folder import hold_run, open_run
from seriatim.training.sequence_stage import train_sequence
from seriatim.training.session import Session, start_session


def train(
    experiment: Experiment | AnomalyExperiment, run: Path, *, resume: bool = False,
    after_epoch: AfterEpoch | None = None,
) -> dict[str, Any]:
    """Train an experiment into the folder ``run`` and return its summary (validation metrics, best epoch, paths).

    Every stage but that of ``training`` is left out where the experiment has no block for it. Each goes on where it was
    stopped, changes the session's network, and leaves it at its best on validation.
    ``after_epoch`` is told the validation metrics after each epoch of ``training``.

    Raises:
        ConfigError: a setting, the manifest or a label is wrong, or not that of the run which goes on.
        InputError: no series can be used.
        ModelError: encoder weights are missing or do not fit, or there is nothing to resume.
        OutputError: ``run`` exists already and ``resume`` is False, or another process trains into it.
    """
    if isinstance(experiment, AnomalyExperiment):
        return train_anomaly(experiment, run, resume=resume)
    open_run(run, experiment, resume=resume)
    with hold_run(run), deterministic_algorithms(experiment.training.deterministic):
        return _train_stages(experiment, run, resume=resume, after_epoch=after_epoch)


def _train_stages(
    experiment: Experiment, run: Path, *, resume: bool, after_epoch: AfterEpoch | None
) -> dict[str, Any]:
    session = start_session(experiment, run, resume=resume)
    for stage in _first_stages(experiment):
        stage(session)
    trained = train_sequence(session, after_epoch=after_epoch)
    joint = train_jointly(session)
    summary: dict[str, Any] = {"run": str(run), "best_epoch": trained.best_epoch, "epochs": trained.epoch}
    if joint is not None:
        summary["joint_best_epoch"] = joint.best_epoch
    if session.fabric.is_global_zero:
        write_tensors(run / WEIGHTS, session.network.state_dict())
        summary["validation"] = write_end(session, best_epoch=trained.best_epoch)
    session.fabric.barrier()
    return summary


def _first_stages(experiment: Experiment) -> Sequence[Callable[[Session], None]]:
    """An encoder that learns without labels does so before it is shown any; else the sequence model is pretrained on
    the embeddings that it will read.
    """
    pretraining = experiment.pretraining
    learns = pretraining is not None and pretraining.encoder
    return (pretrain, train_encoder) if learns else (train_encoder, pretrain)


def pretrain_only(
    experiment: Experiment | AnomalyExperiment, run: Path, *, resume: bool = False
) -> dict[str, float]:
    """Run the stage ``pretraining`` alone, without labels, and return the metrics of its best epoch.

    The folder ``run`` is then what ``network.weights`` of another run may name.

    Raises:
        ConfigError: a setting or the manifest is wrong, or there is no block ``pretraining``.
        InputError: no series can be used.
        ModelError: encoder weights are missing or do not fit.
        OutputError: ``run`` exists already and ``resume`` is False.
    """
    if isinstance(experiment, AnomalyExperiment) or experiment.pretraining is None:
        raise ConfigError("The config has no block pretraining. Add it: pretraining: {}")
    open_run(run, experiment, resume=resume)
    with hold_run(run):
        pretrain(start_session(experiment, run, resume=resume, labelled=False))
    return min(read_metrics(run / "pretraining_metrics.jsonl"), key=lambda line: float(line["val_loss"]))
