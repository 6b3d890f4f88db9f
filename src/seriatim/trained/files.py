"""The files of a trained model: safetensors and JSON, which training writes and everything else reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from seriatim import __version__
from seriatim.errors import ConfigError, ModelError
from seriatim.experiment import AnomalyExperiment, BaseExperiment, Experiment, kind_of
from seriatim.tasks import AnomalyTask, AnyTask
from seriatim.trained.device import choose_device, compute_exactly
from seriatim.trained.envelope import Envelope
from seriatim.trained.familiarity import Familiarity, load_familiarity

WEIGHTS, DESCRIPTION, FAMILIARITY = "model.safetensors", "model.json", "familiarity.safetensors"
ENSEMBLE = "ensemble.json"
"""Makes a folder of runs one model: see ``seriatim.trained.ensemble``."""
FORMAT = 1


def write_description(
    run: Path,
    *,
    experiment: BaseExperiment,
    task: AnyTask,
    thresholds: Mapping[str, float],
    envelope: Envelope,
    metrics: Mapping[str, Any],
    familiarity: Familiarity | None = None,
    stand_ins: Sequence[str] = (),
) -> None:
    """Write ``model.json`` beside the weights: all that scoring needs beyond them, and the familiarity it names.

    ``stand_ins`` are the classes whose threshold validation could not choose, where 0.5 stands in.
    """
    if familiarity is not None:
        familiarity.save(run / FAMILIARITY)
    content = {
        "format": FORMAT,
        "seriatim": __version__,
        "weights_sha256": _sha256(run / WEIGHTS),
        "experiment": experiment.model_dump(mode="json"),
        "thresholds": dict(thresholds),
        "thresholds_stand_in": list(stand_ins),
        "calibration": task.calibration.as_dict() if task.calibration else None,
        "conformal": task.conformal.as_dict() if task.conformal else None,
        "norms": task.norms.as_dict() if isinstance(task, AnomalyTask) and task.norms else None,
        "envelope": asdict(envelope),
        "familiarity_sha256": None if familiarity is None else _sha256(run / FAMILIARITY),
        "validation": dict(metrics),
    }
    partial = run / "model.json.partial"
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(run / DESCRIPTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What stands in a run folder, read and checked: whatever kind of model it is."""

    folder: Path
    description: Mapping[str, Any]
    experiment: Experiment | AnomalyExperiment
    envelope: Envelope
    thresholds: Mapping[str, float]
    digest: str

    def illegal(self, error: Exception) -> ModelError:
        """What to raise where the description does not hold what it should."""
        return _illegal(self.folder, error)

    def fill(self, network: nn.Module, *, device: str) -> None:
        """Load the weights into a network and make it ready to score.

        Raises:
            ModelError: they do not fit, or are not all numbers.
        """
        try:
            weights = load_file(self.folder / WEIGHTS)
            network.load_state_dict(weights)
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ModelError(f"{self.folder / WEIGHTS} does not fit its description: {error}") from error
        broken = [name for name, values in weights.items() if not bool(values.isfinite().all())]
        if broken:
            raise ModelError(f"{self.folder / WEIGHTS} holds what is not a number, first in {broken[0]}. Train anew.")
        device = choose_device(device)
        compute_exactly(device)
        network.to(device).eval().requires_grad_(False)


def read_files(folder: Path) -> ModelFiles:
    """Read and check a run folder.

    Raises:
        ModelError: a file is missing, was changed after training, or is not of this version.
    """
    description = _read_description(folder)
    found = _sha256(folder / WEIGHTS)
    if found != description["weights_sha256"]:
        raise ModelError(
            f"{folder / WEIGHTS} is not the file that was trained (SHA-256 {found[:12]}..). Copy the run again."
        )
    try:
        content = description["experiment"]
        return ModelFiles(
            folder=folder,
            description=description,
            experiment=kind_of(content).from_content(content, where=str(folder / DESCRIPTION)),
            envelope=Envelope.from_dict(description["envelope"]),
            thresholds={str(name): float(value) for name, value in description["thresholds"].items()},
            digest=hashlib.sha256((found + _sha256(folder / DESCRIPTION)).encode()).hexdigest(),
        )
    except (ConfigError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _illegal(folder, error) from error


def is_anomaly_model(run: Path) -> bool:
    """Whether a folder holds a run of an anomaly task; False for all else, also where there is no run."""
    return (run / DESCRIPTION).is_file() and kind_of(_read_description(run).get("experiment", {})) is AnomalyExperiment


def _illegal(folder: Path, error: Exception) -> ModelError:
    return ModelError(f"{folder / DESCRIPTION} is not a description this version reads: {error}")


def read_familiarity(folder: Path, digest: str | None) -> Familiarity | None:
    """What training embeddings look like, of a run whose description gives the file's SHA-256; None where it has none.

    Raises:
        ModelError: the file is missing or was changed.
    """
    if digest is None:
        return None
    path = folder / FAMILIARITY
    if not path.is_file() or _sha256(path) != digest:
        raise ModelError(f"{path} is missing, or not the file that was written with the model. Copy the run again.")
    return load_familiarity(path)


def _read_description(folder: Path) -> dict[str, Any]:
    missing = [name for name in (WEIGHTS, DESCRIPTION) if not (folder / name).is_file()]
    if missing and (folder / ENSEMBLE).is_file():
        raise ModelError(f"{folder} holds the models of several folds, and one is asked for. Name the run of one fold.")
    if missing:
        raise ModelError(
            f"{folder} has no {' and no '.join(missing)}: it is not a finished run. Train it, or go on with --resume."
        )
    try:
        content = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / DESCRIPTION} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "weights_sha256" not in content:
        raise ModelError(f"{folder / DESCRIPTION} is not of format {FORMAT}, the one this version reads.")
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
