"""What a folder of scores holds, and the labels that belong to a cross-validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from seriatim.errors import ConfigError

CROSSVAL = "crossval.json"
"""What ``seriatim crossval`` was asked, in the folder that holds its folds."""


def find_scores(given: Path) -> list[Path]:
    """The scores.csv that is given, that lies in a folder, or all below the folder (the folds of one model).

    Raises:
        ConfigError: the folder holds none.
    """
    if given.is_file() or given.suffix == ".csv":
        return [given]
    own = given / "scores.csv"
    found = [own] if own.is_file() else sorted(given.rglob("scores.csv"))
    if not found:
        raise ConfigError(f"{given} holds no scores.csv. Score with the model first: `seriatim score`.")
    return found


def find_labels(given: Sequence[Path]) -> Path:
    """The manifest of the cross-validations in ``given``, which holds their labels.

    Raises:
        ConfigError: something else is given too, or they have different manifests.
    """
    manifests = {_read_manifest(folder) for folder in given}
    if len(manifests) == 1 and (manifest := manifests.pop()) is not None:
        return manifest
    raise ConfigError("Give --labels: a CSV of series_uid or path, label columns and patient. It is known by itself "
                      "only for folders of `seriatim crossval` with one manifest.")


def _read_manifest(folder: Path) -> Path | None:
    path = folder / CROSSVAL
    if not path.is_file():
        return None
    try:
        return Path(json.loads(path.read_text(encoding="utf-8"))["experiment"]["data"]["manifest"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Give --labels.") from error
