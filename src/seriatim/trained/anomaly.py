"""A trained anomaly model: encoder, detectors, and the norms that make their scores comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from seriatim.errors import ModelError
from seriatim.experiment import AnomalyExperiment
from seriatim.experiment.envelope import Outside
from seriatim.io import Limits
from seriatim.models.detectors import Evidence
from seriatim.models.detectors.network import AnomalyNetwork
from seriatim.series import Series, Volume
from seriatim.tasks.anomaly import AnomalyTask, FrameScores
from seriatim.tasks.norms import Norms
from seriatim.tasks.profile import place_frames
from seriatim.trained.backends import TORCH, Compute
from seriatim.trained.backends.use import back_encoder, read_files_of
from seriatim.trained.device import choose_device
from seriatim.trained.envelope import Envelope, refuse_modality
from seriatim.trained.files import read_files
from seriatim.trained.splits import choose_split, read_splits


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyModel:
    """Detectors ready to score: in eval mode, with their experiment and the task that holds their norms.

    ``digest`` is the SHA-256 of the weights and the description together.
    """

    network: AnomalyNetwork
    experiment: AnomalyExperiment
    task: AnomalyTask
    thresholds: Mapping[str, float]
    envelope: Envelope
    digest: str
    path: Path
    limits: Limits
    thresholds_from: str = "validation"
    outside: Outside = "refuse"
    compute: Compute = TORCH

    def refuse(self, series: Series) -> str:
        """Why this model must not score a series; "" where it may."""
        if not series.usable:
            return series.reason
        least, count = self.network.fewest_frames, len(series.instances)
        if count < least:
            noun = "frame" if series.axis == "time" else "slice"
            return (f"TOO_SHORT: {count} {noun}{'' if count == 1 else 's'}, and this model judges each by those around "
                    f"it; it needs at least {least}.")
        part = self.envelope.judge_body_part(series)
        if part is not None and self.outside == "refuse":
            return part.reason
        return self.envelope.refuse(series, modalities=self.experiment.preprocessing.modalities)

    def refuse_live(self) -> str:
        """Why this model cannot score frames as they come; "" where it can.

        One method that needs later frames is enough: what is fused was calibrated with it.
        """
        blind = [one.kind for one, detector in zip(self.task.settings.methods, self.network.methods, strict=True)
                 if not detector.causal]
        if blind:
            instead = "with causal in place of it" if blind[0] == "cloze" else "without it"
            return (f"Its method {blind[0]} reads the frames after each, which are not there yet, and the other "
                    f"methods were not calibrated without it. Train {instead}.")
        assert self.task.norms is not None
        if self.task.norms.by_position:
            return ("It compares each frame with those at the same place along the whole sequence, whose length is not "
                    "known yet. Train with task.norms_by none.")
        whole = self.experiment.preprocessing.whole_series
        return f"{whole}, which is not there yet. Train without it." if whole else ""

    def refuse_frame(self, volume: Volume) -> str:
        """Why one live frame must not be scored; "" where it may."""
        preprocessing, series = self.experiment.preprocessing, volume.series
        if preprocessing.scaled_by_series(volume):
            return ("UNSUPPORTED: values that are not 8 bit are scaled by the percentiles of the whole series, which "
                    "is not there yet. Send 8-bit frames, or use preprocessing.kind ct.")
        allowed = preprocessing.modalities or self.envelope.modalities
        part = self.envelope.judge_body_part(series)
        return refuse_modality(series, allowed) or (part.reason if part and self.outside == "refuse" else "")

    def note(self, series: Series) -> tuple[str, ...]:
        """The codes of what was noticed: the series' findings, and where it lies outside of the training's ranges."""
        codes = [str(finding.code) for finding in series.findings]
        part = self.envelope.judge_body_part(series)
        return tuple(dict.fromkeys([*codes, *self.envelope.note(series), *([part.note] if part else [])]))

    def with_outside(self, outside: Outside | None) -> AnomalyModel:
        """The same model, which refuses or only notes another body part than training's; as it is where None."""
        return self if outside is None else replace(self, outside=outside)

    def with_compute(self, compute: Compute) -> AnomalyModel:
        """The same model, whose encoder is computed by what ``compute`` says: detectors always compute in torch.

        The network is changed in place. Raises as ``Model.with_compute``.
        """
        if not compute.needs_export:
            return replace(self, compute=compute)
        files, known = read_files_of(self.path, self.digest, compute)
        self.network.encoder = back_encoder(self.network, files, self.experiment.preprocessing)
        return replace(self, compute=known)

    @property
    def answer_key(self) -> str:
        """All that its scores depend on beside the series: the model, and what computes it."""
        return f"{self.digest} {self.compute.key}"

    def with_limits(self, limits: Limits) -> AnomalyModel:
        """The same model, for which series are read under other limits."""
        return replace(self, limits=limits)

    def prepare(self, volume: Volume) -> Tensor:
        """A volume as the network sees it: (S,C,H,W) in [0,1]."""
        preprocessing = self.experiment.preprocessing
        return preprocessing.finish(preprocessing.prepare(volume))

    def examine(self, slices: Tensor) -> list[Evidence]:
        """What every detector says about one series (S,C,H,W)."""
        device = self.network.device
        with torch.inference_mode():
            return self.network.examine(slices.to(device))

    def score(self, slices: Tensor, series: Series) -> FrameScores:
        """How unlike normal each frame of one series, prepared as (S,C,H,W), is, and its events."""
        return self.task.judge(self.examine(slices), place_frames(series.positions))

    def read_splits(self) -> dict[str, str]:
        """The split of each series UID of its own manifest."""
        return read_splits(self.path)

    def find_split(self, split: str) -> set[str]:
        """The series UIDs of a split, to score just the held-out part. Raises ConfigError where there are none."""
        return choose_split(self.read_splits(), split, where=str(self.path))


def load_anomaly_model(run: Path | str, *, device: str = "cpu") -> AnomalyModel:
    """Load a run folder of an anomaly task for scoring; ``device`` as for ``load_model``.

    Raises:
        ModelError: a file is missing, was changed after training, does not fit, or is of another task.
    """
    files = read_files(Path(run))
    experiment = files.experiment
    if not isinstance(experiment, AnomalyExperiment):
        raise ModelError(f"{run} is the model of a diagnosis, and an anomaly model is asked for here.")
    try:
        task = replace(experiment.task.build(), norms=Norms.from_dict(files.description["norms"]))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise files.illegal(error) from error
    network, device = build_network(experiment), choose_device(device)
    files.fill(network, device=device)
    return AnomalyModel(
        network=network, experiment=experiment, task=task, thresholds=files.thresholds, envelope=files.envelope,
        digest=files.digest, path=files.folder, limits=experiment.data.reading.limits,
        compute=Compute(device=device),
    )


def build_network(experiment: AnomalyExperiment, weights: Mapping[str, Tensor] | None = None) -> AnomalyNetwork:
    """The network of an experiment, its encoder with ``weights`` where they are given."""
    channels = experiment.preprocessing.channels
    encoder = experiment.network.encoder.build(channels, weights)
    return AnomalyNetwork(experiment.task.methods, encoder=encoder, in_channels=channels)
