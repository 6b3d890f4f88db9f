"""A trained model on disk: weights as safetensors, everything else as JSON. Written by training, read by the rest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seriatim import __version__
from seriatim.errors import ConfigError, ModelError
from seriatim.experiment import AnomalyExperiment, BaseExperiment, Experiment, ReadingSettings, kind_of
from seriatim.experiment.envelope import Outside
from seriatim.io import Limits
from seriatim.io.tables.manifest import read_table
from seriatim.models.network import SequenceNetwork
from seriatim.series import Series, Volume
from seriatim.tasks import AnomalyTask, AnyTask, DiagnosisTask
from seriatim.tasks.calibration import Calibration
from seriatim.tasks.conformal import ALL, Conformal
from seriatim.tasks.predict import SeriesScores, embed_views, score_embeddings
from seriatim.trained.envelope import Envelope, Verdict, judge_distance
from seriatim.trained.familiarity import Familiarity, load_familiarity
from seriatim.trained.intensity import measure_intensity

WEIGHTS, DESCRIPTION, FAMILIARITY = "model.safetensors", "model.json", "familiarity.safetensors"
ENSEMBLE = "ensemble.json"
"""Makes a folder of runs one model: see ``seriatim.trained.ensemble``."""
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network ready to score: in eval mode, with its experiment, task and decision thresholds.

    ``digest`` is the SHA-256 of the weights and the description together.
    """

    network: SequenceNetwork
    experiment: Experiment
    task: DiagnosisTask
    thresholds: Mapping[str, float]
    envelope: Envelope
    digest: str
    path: Path
    familiarity: Familiarity | None = None

    def refuse(self, series: Series) -> str:
        """Why this model must not score a series, by its headers; "" where it may."""
        if not series.usable:
            return series.reason
        refused = self.envelope.refuse(series, modalities=self.experiment.preprocessing.modalities)
        part = self.envelope.judge_body_part(series)
        return refused or (part.reason if part and self.experiment.envelope.body_part == "refuse" else "")

    def note(self, series: Series) -> tuple[str, ...]:
        """The codes of what was noticed: the series' findings, and where it lies outside of the training's ranges."""
        codes = [str(finding.code) for finding in series.findings]
        part = self.envelope.judge_body_part(series)
        return tuple(dict.fromkeys([*codes, *self.envelope.note(series), *([part.note] if part else [])]))

    def judge(self, intensity: Sequence[float], embeddings: Tensor) -> Verdict:
        """What its images say of a series: of the ``measure_intensity`` of what was prepared, and embeddings (S,E)."""
        asked = self.experiment.envelope
        values = self.envelope.judge_intensity(intensity)
        distance, foreign = None, None
        if self.familiarity is not None and asked.distance != "ignore":
            distance = self.familiarity.measure(embeddings)
            foreign = judge_distance(distance)
        found = [(values, asked.intensity), (foreign, asked.distance)]
        reasons = [one.reason for one, action in found if one is not None and one.grave and action == "refuse"]
        return Verdict(reason=next(iter(reasons), ""), notes=tuple(one.note for one, _ in found if one is not None),
                       distance=distance)

    def with_outside(self, outside: Outside | None) -> Model:
        """The same model, which refuses or only notes what lies outside of its training; as it is where None."""
        if outside is None:
            return self
        envelope = self.experiment.envelope.with_outside(outside)
        return replace(self, experiment=self.experiment.model_copy(update={"envelope": envelope}))

    @property
    def limits(self) -> Limits:
        """Under which series are read for it."""
        return self.experiment.data.reading.limits

    def with_limits(self, limits: Limits | None) -> Model:
        """The same model, for which series are read under other limits; as it is where there are none."""
        if limits is None:
            return self
        data = self.experiment.data.model_copy(update={"reading": ReadingSettings(**asdict(limits))})
        return replace(self, experiment=self.experiment.model_copy(update={"data": data}))

    def prepare(self, volume: Volume) -> Tensor:
        """A volume as the network sees it: (S,C,H,W) in [0,1]."""
        return self.prepare_measured(volume)[0]

    def prepare_measured(self, volume: Volume) -> tuple[Tensor, tuple[float, ...]]:
        """A volume as the network sees it, and the ``measure_intensity`` of what it was made of."""
        preprocessing = self.experiment.preprocessing
        prepared = preprocessing.prepare(volume)
        return preprocessing.finish(prepared), measure_intensity(prepared)

    def embed(self, slices: Tensor) -> tuple[Tensor, ...]:
        """The embeddings (S,E) of one series (S,C,H,W), in each view of pictures that its ``test_time`` asks for."""
        return embed_views(self.network, slices, self.experiment.test_time)

    def read(self, views: Sequence[Tensor]) -> SeriesScores:
        """What it says of one series, from its embeddings in all views."""
        reverse = self.experiment.test_time.reverse_order
        return score_embeddings(self.network, self.task, *views, reverse_order=reverse)

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Model:
        """The same model, which decides by other thresholds."""
        return replace(self, thresholds=thresholds)


def write_description(
    run: Path,
    *,
    experiment: BaseExperiment,
    task: AnyTask,
    thresholds: Mapping[str, float],
    envelope: Envelope,
    metrics: Mapping[str, Any],
    familiarity: Familiarity | None = None,
) -> None:
    """Write ``model.json`` beside the weights: all that scoring needs beyond them, and the familiarity it names."""
    if familiarity is not None:
        familiarity.save(run / FAMILIARITY)
    content = {
        "format": FORMAT,
        "seriatim": __version__,
        "weights_sha256": _sha256(run / WEIGHTS),
        "experiment": experiment.model_dump(mode="json"),
        "thresholds": dict(thresholds),
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


def load_model(run: Path | str, *, device: str = "cpu") -> Model:
    """Load a run folder for scoring.

    Args:
        run: the folder that ``seriatim train`` wrote (``model.safetensors`` and ``model.json``).
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` (CUDA where there is one).

    Raises:
        ModelError: a file is missing, was changed after training, or does not fit.
    """
    files = read_files(Path(run))
    experiment = files.experiment
    if not isinstance(experiment, Experiment):
        raise ModelError(f"{run} is an anomaly model, and one of a diagnosis is asked for here.")
    try:
        task = _read_fitted(experiment.task.build(), files.description)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise files.illegal(error) from error
    network = experiment.network.build(experiment.preprocessing.channels, task.outputs)
    files.fill(network, device=device)
    return Model(
        network=network,
        experiment=experiment,
        task=task,
        thresholds=files.thresholds,
        envelope=files.envelope,
        digest=files.digest,
        path=files.folder,
        familiarity=_read_familiarity(files.folder, files.description.get("familiarity_sha256")),
    )


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
        network.to(choose_device(device)).eval().requires_grad_(False)


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


def _read_familiarity(folder: Path, digest: str | None) -> Familiarity | None:
    if digest is None:
        return None
    path = folder / FAMILIARITY
    if not path.is_file() or _sha256(path) != digest:
        raise ModelError(f"{path} is missing, or not the file that was written with the model. Copy the run again.")
    return load_familiarity(path)


def read_splits(run: Path) -> dict[str, str]:
    """The split of each series UID in a run's manifest; empty where the run folder was copied without it."""
    if not (run / "manifest.csv").is_file():
        return {}
    rows = read_table(run / "manifest.csv")
    seen = [row for row in rows if row["series_uid"] and (row["split"] == "test" or row["status"] == "used")]
    return {row["series_uid"]: row["split"] for row in seen}


def split_of_run(run: Path, split: str) -> set[str]:
    """The series UIDs that a run's manifest put in ``split``: to score just the held-out part."""
    return choose_split(read_splits(run), split, where=str(run))


def choose_split(splits: Mapping[str, str], split: str, *, where: str) -> set[str]:
    """The series UIDs of one split. Raises ConfigError where there are none."""
    chosen = {uid for uid, own in splits.items() if own == split}
    if not chosen:
        raise ConfigError(f"{where} has no series in the split {split!r}. Give train, val or test.")
    return chosen


def choose_device(name: str) -> str:
    """The torch device for a name; ``auto`` takes CUDA where there is one, an explicit choice is never changed.

    Raises:
        ConfigError: the device is unknown or not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and number and (not number.isdigit() or int(number) >= torch.cuda.device_count()):
        raise ConfigError(f"The device {name!r} is not there; there are {torch.cuda.device_count()} CUDA devices.")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        have = ", ".join(device for device, present in there.items() if present)
        raise ConfigError(f"The device {name!r} is not there; this machine has {have}. Choose one, or auto.")
    return name


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


def _read_fitted(task: DiagnosisTask, description: Mapping[str, Any]) -> DiagnosisTask:
    """The task with what validation fitted."""
    calibration, conformal = description.get("calibration"), description.get("conformal")
    unbounded = math.inf if task.settings.target == "regression" else ALL
    return replace(
        task, calibration=Calibration.from_dict(calibration) if calibration else None,
        conformal=Conformal.from_dict(conformal, unbounded=unbounded) if conformal else None,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
