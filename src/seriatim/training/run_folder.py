"""The run folder: opened, started, and held to the data that it was started with."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning_fabric import Fabric
from lightning_fabric.utilities.rank_zero import rank_zero_only

from seriatim.errors import ConfigError, OutputError
from seriatim.experiment import AnomalyExperiment, BaseExperiment, Experiment, read_experiment
from seriatim.io.tables.outputs import make_folder, read_json, write_csv, write_json, write_text
from seriatim.trained.lineage import CONFIG
from seriatim.training.examples import Example, Examples
from seriatim.training.runtime import describe_environment
from seriatim.training.same_run import refuse_changed_settings

DUPLICATES = "duplicates"
GRACE_S, STEP_S = 6.0, 0.1
"""How long, and how often, another process is waited for."""
logger = logging.getLogger(__name__)


def read_run_config(run: Path, overrides: Sequence[str] = ()) -> Experiment | AnomalyExperiment:
    """The experiment of a run folder, for ``--resume``; ``overrides`` are KEY=VALUE, for example more epochs.

    Raises:
        ConfigError: there is no run, a setting is wrong, or one would change that the weights so far rest on.
    """
    if not (run / CONFIG).is_file():
        raise ConfigError(f"{run} has no {CONFIG}: it is not a run to resume. Give the folder that train wrote.")
    experiment = read_experiment(run / CONFIG, overrides)
    refuse_changed_settings(run, experiment)
    return experiment


def open_run(run: Path, experiment: BaseExperiment, *, resume: bool) -> None:
    """Make the folder of a run, which must be empty, or where the run goes on begun with these settings."""
    # a run killed as it wrote its first file holds nothing to go on with
    if not resume and run.is_dir() and any(path.suffix != ".partial" for path in run.iterdir()):
        raise OutputError(f"{run} is not empty. Choose another --output, or go on with --resume {run}.")
    make_folder(run)
    refuse_changed_settings(run, experiment)


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """While it lasts no other process trains into the folder; of the processes of one run the first holds it.

    The lock is on the folder itself, so it leaves nothing there, and ends with the process. Some network file systems
    have none; then nothing is held.

    Raises:
        OutputError: another process trains into it.
    """
    folder = os.open(run, os.O_RDONLY)
    try:
        if rank_zero_only.rank == 0:
            _lock(folder)
    except BlockingIOError as error:
        os.close(folder)
        raise OutputError(f"Another process is training into {run}. Wait for it or end it, then go on with --resume, "
                          "or choose another --output.") from error
    except OSError:
        logger.info("%s cannot be locked, so nothing keeps another process from training into it.", run)
    try:
        yield
    finally:
        os.close(folder)


def _lock(folder: int) -> None:
    """Lock an open folder. A process that was killed may leave helpers behind, which hold it for a moment more."""
    for _ in range(round(GRACE_S / STEP_S)):
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(STEP_S)
    return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def refuse_changed_data(run: Path, examples: Examples) -> None:
    """Raise ConfigError where series, splits or labels are not those that the run was started with."""
    known = _read_proof(run)
    known.pop(DUPLICATES, None)
    if known and known != examples.proof:
        raise ConfigError(f"Series, labels or splits changed since {run} was started. Put them back, or train anew.")


def read_duplicates(run: Path) -> dict[str, Any] | None:
    """What a run that goes on found when it compared the images of its splits; None where it never did."""
    return _read_proof(run).get(DUPLICATES)


def _read_proof(run: Path) -> dict[str, Any]:
    path = run / "split.json"
    return read_json(path) if path.is_file() else {}


def write_start(run: Path, *, experiment: BaseExperiment, examples: Examples, fabric: Fabric) -> None:
    """Write what is run: resolved settings, versions, the proof of the split, every manifest row."""
    write_text(run / CONFIG, yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    write_json(run / "environment.json", describe_environment(fabric))
    write_json(run / "split.json", examples.proof)
    columns = ["path", "patient", "series_uid", "volume", "modality", "slices", "split", "status", "reason",
               "study_uid"]
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
        "study_uid": series.study_uid,
        **{name: example.case.row.get(name, "") for name in labels if example.split != "unlabelled"},
    }
