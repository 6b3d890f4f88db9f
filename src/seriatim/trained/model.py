"""A trained model, ready to score: its network, experiment, task, thresholds and the envelope of what it may score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from seriatim.errors import ModelError
from seriatim.experiment import Experiment, ReadingSettings
from seriatim.experiment.envelope import Outside
from seriatim.io import Limits
from seriatim.models.chunks import Slices
from seriatim.models.network import SequenceNetwork
from seriatim.series import Series, Volume
from seriatim.tasks import DiagnosisTask
from seriatim.tasks.calibration import Calibration
from seriatim.tasks.conformal import ALL, Conformal
from seriatim.tasks.predict import ScoringNetwork, SeriesScores, embed_views, score_embeddings
from seriatim.trained.backends import TORCH, Compute
from seriatim.trained.backends.captured import CapturedEncoder
from seriatim.trained.backends.network import BackedNetwork
from seriatim.trained.backends.use import back_network, read_files_of
from seriatim.trained.device import choose_device
from seriatim.trained.envelope import Envelope, Verdict, judge_distance
from seriatim.trained.familiarity import Familiarity
from seriatim.trained.files import read_familiarity, read_files


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
    compute: Compute = TORCH
    stand_ins: tuple[str, ...] = ()
    """The classes whose threshold validation could not choose, since it holds one answer of them only."""
    backed: ScoringNetwork | None = None
    """What computes scores in place of ``network``, which explanations always look into."""

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
        preprocessing = self.experiment.preprocessing
        return preprocessing.finish(preprocessing.prepare(volume))

    def embed(self, slices: Slices) -> tuple[Tensor, ...]:
        """The embeddings (S,E) of one series (S,C,H,W), in each view of pictures that its ``test_time`` asks for."""
        return embed_views(self.backed or self.network, slices, self.experiment.test_time)

    def read(self, views: Sequence[Tensor]) -> SeriesScores:
        """What it says of one series, from its embeddings in all views."""
        reverse = self.experiment.test_time.reverse_order
        return score_embeddings(self.backed or self.network, self.task, *views, reverse_order=reverse)

    def with_compute(self, compute: Compute) -> Model:
        """The same model, computed by what ``compute`` says; the network is on its device already.

        Raises:
            ConfigError: the library is not installed, or the processor lacks the precision.
            ModelError: the run is not exported for it, or what was exported is stale or changed.
        """
        backed = None
        if compute.needs_export:
            files, compute = read_files_of(self.path, self.digest, compute)
            backed = back_network(self.network, files, self.experiment.preprocessing)
        if compute.graphs:
            encoder = self.network.encoder if backed is None else backed.encoder
            backed = BackedNetwork(self.network, encoder=CapturedEncoder(encoder))
        return replace(self, compute=compute, backed=backed)

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Model:
        """The same model, which decides by other thresholds."""
        return replace(self, thresholds=thresholds, stand_ins=())


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
    device = choose_device(device)
    files.fill(network, device=device)
    return Model(
        network=network,
        experiment=experiment,
        task=task,
        thresholds=files.thresholds,
        envelope=files.envelope,
        digest=files.digest,
        path=files.folder,
        familiarity=read_familiarity(files.folder, files.description.get("familiarity_sha256")),
        compute=Compute(device=device),
        stand_ins=tuple(str(name) for name in files.description.get("thresholds_stand_in", ())),
    )


def _read_fitted(task: DiagnosisTask, description: Mapping[str, Any]) -> DiagnosisTask:
    """The task with what validation fitted."""
    calibration, conformal = description.get("calibration"), description.get("conformal")
    unbounded = math.inf if task.settings.target == "regression" else ALL
    return replace(
        task, calibration=Calibration.from_dict(calibration) if calibration else None,
        conformal=Conformal.from_dict(conformal, unbounded=unbounded) if conformal else None,
    )
