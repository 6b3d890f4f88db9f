"""A run that goes on is the run that was begun: what changes its weights may not change on the way."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from seriatim.errors import ConfigError
from seriatim.experiment import BaseExperiment, Experiment, read_experiment
from seriatim.io.tables.outputs import read_json
from seriatim.models.encoder import digest_weights
from seriatim.trained.lineage import CONFIG

START = "start.json"
logger = logging.getLogger(__name__)

FREE = frozenset({
    "name", "tune",  # no stage reads them
    "data.manifest", "data.slice_labels", "pretraining.unlabelled",  # held to what they said by digests
    "network.weights", "network.encoder.weights",
    "data.reading", "data.cache", "data.near_duplicates", "data.compare_test", "data.source_patients",
    "training.embedding_store", "training.workers", "training.accelerator", "training.compile",
    "network.checkpoint_chunk", "network.channels_last",
    "envelope", "task.calibration", "task.coverage", "task.target_sensitivity",  # learnt when all weights are
    "task.false_alarm_rate", "task.false_alarms_per_minute", "task.norms_by", "task.release", "task.least_frames",
    "task.most_gap",
})  # fmt: skip
"""What may change: where things lie, what they are computed with, and what is learnt from the finished weights."""
GROWING = frozenset({"training.epochs", "training.patience", "joint_stage.epochs", "joint_stage.patience"})
"""What may be raised: a run goes on longer than it was begun to."""
LAST_STAGE = "joint_stage"
"""May be added to a run that had none: all that was learnt before is what it would have been."""


def refuse_changed_settings(run: Path, experiment: BaseExperiment) -> None:
    """Hold a run that goes on to the settings in its folder, but for those that change no weights.

    Raises:
        ConfigError: a setting is another one, or a number of epochs became less.
    """
    if not (run / CONFIG).is_file():  # killed before anything was learnt
        return
    begun = read_experiment(run / CONFIG).model_dump(mode="json")
    for key, old, new in _differences(begun, experiment.model_dump(mode="json")):
        if key in GROWING and old < new:
            logger.warning("%s is raised from %s to %s: a schedule that falls to the end of training falls anew, so "
                           "the run is not the one that %s=%s had begun.", key, old, new, key, new)
        elif not (key == LAST_STAGE and old is None):
            less = ", and can only be raised" if key in GROWING else ""
            raise ConfigError(
                f"{run} was begun with {key}: {_show(old)}, which its weights so far rest on{less}; now it is "
                f"{_show(new)}. Leave it as it was, or train anew, into another --output."
            )


def digest_start(network: nn.Module, experiment: BaseExperiment) -> str:
    """SHA-256 of what a new network took from a file or another run; "" where it took nothing."""
    whole = isinstance(experiment, Experiment) and experiment.network.weights is not None
    if not whole and experiment.network.encoder.weights is None:
        return ""
    parts = [network.get_submodule(name) for name in (("encoder", "temporal") if whole else ("encoder",))]
    return hashlib.sha256(b"".join(digest_weights(part) for part in parts)).hexdigest()


def refuse_other_start(run: Path, digest: str, experiment: BaseExperiment) -> None:
    """Raise ConfigError where a run that goes on would start from other weights than it did."""
    path = run / START
    if path.is_file() and read_json(path, "weights_sha256")["weights_sha256"] != digest:
        encoder = experiment.network.encoder.weights
        whole = getattr(experiment.network, "weights", None)
        name, given = ("encoder.weights", encoder) if encoder else ("weights", whole)
        raise ConfigError(f"{run} did not start from the weights that network.{name}: {given} holds now. Put "
                          "back the file or run that it started from, or train anew, into another --output.")


def _differences(
    begun: Mapping[str, Any], wanted: Mapping[str, Any], inside: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The settings that differ, by dotted name, with both values; None stands for one that is not there."""
    for name in {**begun, **wanted}:
        key, old, new = f"{inside}{name}", begun.get(name), wanted.get(name)
        if key in FREE or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{key}.")
        else:
            yield key, old, new


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
