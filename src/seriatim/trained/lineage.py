"""The runs that a run started from, and which series and patients each of them used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.experiment import BaseExperiment, Experiment, read_experiment
from seriatim.io.tables.manifest import read_table

logger = logging.getLogger(__name__)
CONFIG, MANIFEST, PRETRAINING = "config.yaml", "manifest.csv", "pretraining.csv"


def source_run(experiment: BaseExperiment) -> Path | None:
    """The run folder whose encoder the settings ask for; None where they ask for a file or nothing."""
    weights = experiment.network.encoder.weights
    return Path(weights) if weights is not None and Path(weights).is_dir() else None


def network_source(experiment: Experiment) -> Path | None:
    """The run folder that the whole network starts from, if any."""
    return None if experiment.network.weights is None else Path(experiment.network.weights)


def source_of(experiment: BaseExperiment) -> Path | None:
    """The run folder that the encoder, or the whole network, starts from, if any."""
    whole = network_source(experiment) if isinstance(experiment, Experiment) else None
    return whole or source_run(experiment)


def walk_lineage(run: Path | None) -> Iterator[Path]:
    """A run, the one that it started from, and so on, as far as their folders are there."""
    passed: set[Path] = set()
    while run is not None and run not in passed:
        yield run
        passed.add(run)
        config = run / CONFIG
        try:
            run = source_of(read_experiment(config)) if config.is_file() else None
        except ConfigError:
            logger.warning("%s cannot be read, so which series the run started from is not known.", config)
            return


def read_uses(run: Path) -> Iterator[tuple[str, str, str]]:
    """(series UID, patient, train or val) of every series that a run used, as its tables tell."""
    owners: dict[str, str] = {}
    for row in read_table(run / MANIFEST) if (run / MANIFEST).is_file() else ():
        owners[row["series_uid"]] = row["patient"]
        if row["status"] == "used" and row["split"] in ("train", "val"):
            yield row["series_uid"], row["patient"], row["split"]
    uses = {"train": "train", "validation": "val"}
    for row in read_table(run / PRETRAINING) if (run / PRETRAINING).is_file() else ():
        if row["use"] in uses:
            patient = row.get("patient") or owners.get(row["series_uid"], "")
            yield row["series_uid"], patient, uses[row["use"]]
