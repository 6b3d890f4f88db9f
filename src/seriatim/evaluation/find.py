"""What a folder of scores holds, and the labels that belong to a cross-validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def find_labels(given: Sequence[Path], labels: Path | None, *, patient: str | None) -> dict[str, Any]:
    """``labels``, and ``patient``, their column of patients, as settings of an evaluation.

    Without ``labels``, those are the manifest of the cross-validations in ``given``, and the column is theirs.

    Raises:
        ConfigError: something else is given too, or they have different manifests.
    """
    if labels is not None:
        return {"labels": labels} | ({} if patient is None else {"patient": patient})
    manifests = {_read_manifest(folder) for folder in given}
    if len(manifests) == 1 and (manifest := manifests.pop()) is not None:
        return {"labels": manifest[0], "patient": patient or manifest[1]}
    raise ConfigError("Give --labels: a CSV of series_uid or path, label columns and patient. It is known by itself "
                      "only for folders of `seriatim crossval` with one manifest.")


def _read_manifest(folder: Path) -> tuple[Path, str] | None:
    """The manifest and its column of patients; None where the folder holds no cross-validation."""
    path = folder / CROSSVAL
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["experiment"]["data"]
        return Path(data["manifest"]), str(data["patient"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Give --labels.") from error
