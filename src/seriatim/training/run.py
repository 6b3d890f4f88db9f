"""One training run from experiment to run folder: its stages, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seriatim.experiment import AnomalyExperiment, Experiment
from seriatim.trained import WEIGHTS
from seriatim.training.anomaly_run import train_anomaly
from seriatim.training.checkpoint import write_tensors
from seriatim.training.encoder_stage import train_encoder
from seriatim.training.epochs import AfterEpoch
from seriatim.training.joint_stage import train_jointly
from seriatim.training.outcome import write_end
from seriatim.training.run_folder import open_run
from seriatim.training.sequence_stage import train_sequence
from seriatim.training.session import start_session


def train(
    experiment: Experiment | AnomalyExperiment, run: Path, *, resume: bool = False,
    after_epoch: AfterEpoch | None = None,
) -> dict[str, Any]:
    """Train an experiment into the folder ``run`` and return its summary (validation metrics, best epoch, paths).

    Every stage but that of ``training`` is left out where the experiment has no block for it. Each goes on where it was
    stopped, changes the session's network, and leaves it at its best on validation.
    ``after_epoch`` is told the validation metrics after each epoch of ``training``.

    Raises:
        ConfigError: a setting, the manifest or a label is wrong.
        InputError: no series can be used.
        ModelError: encoder weights are missing or do not fit, or there is nothing to resume.
        OutputError: ``run`` exists already and ``resume`` is False.
    """
    if isinstance(experiment, AnomalyExperiment):
        return train_anomaly(experiment, run, resume=resume)
    open_run(run, resume=resume)
    session = start_session(experiment, run, resume=resume)
    train_encoder(session)
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
