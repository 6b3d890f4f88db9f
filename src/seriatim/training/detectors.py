"""Fit the detectors of an anomaly run on normal series, and let validation's normal frames set the scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seriatim.errors import ConfigError
from seriatim.models.detectors import (
    Detector,
    Evidence,
    FutureDetector,
    GaussianDetector,
    MemoryDetector,
    PredictionDetector,
    SupervisedDetector,
)
from seriatim.models.detectors.memory import make_patches
from seriatim.models.detectors.network import DetectorSettings
from seriatim.models.exact import in_full
from seriatim.tasks.anomaly import AnomalySettings, AnomalyTask
from seriatim.training.detector_series import choose_labelled, choose_normal, label_frames, place_all
from seriatim.training.detector_stage import AnomalySession, DetectorStage, Sequences
from seriatim.training.epochs import run_epochs
from seriatim.training.examples import Example
from seriatim.training.new_normal import judge_by_others, warn_of_few

Parts = tuple[Sequence[Example], Sequence[Example]]
"""Series to learn from, and held-out ones to be judged by."""


def train_detectors(session: AnomalySession) -> tuple[AnomalyTask, dict[str, float]]:
    """Fit the detectors on the series of train, and return the task with the norms of the normal ones of val, and what
    normal frames of new patients will get by them.

    Raises:
        ConfigError: training diverged, or the threshold cannot be chosen as asked.
        InputError: train or val has no normal series that is long enough, or supervised no labelled frames.
    """
    settings, network = session.task.settings, session.network
    least = network.fewest_frames
    normal: Parts = (choose_normal(session.examples.of("train"), settings, least=least, split="train"),
                     choose_normal(session.examples.of("val"), settings, least=least, split="val"))
    labelled: Parts = ((), ())
    if any(method.kind == "supervised" for method in settings.methods):
        labelled = (choose_labelled(session.examples.of("train"), settings, split="train"),
                    choose_labelled(session.examples.of("val"), settings, split="val"))
    session.begin()
    session.freeze_encoder()
    network.eval()
    for method, detector in zip(settings.methods, network.methods, strict=True):
        _fit(session, method, detector, parts=labelled if method.kind == "supervised" else normal)
    return _learn_norms(session, normal[1])


def _learn_norms(session: AnomalySession, held_out: Sequence[Example]) -> tuple[AnomalyTask, dict[str, float]]:
    evidence = [examine(session, example) for example in held_out]
    seconds = [example.series.duration_s for example in held_out]
    try:
        places = place_all(held_out, session.task.settings)
        task = session.task.learn_norms(evidence, seconds, places=places)
    except ValueError as error:
        raise ConfigError(f"The threshold of the anomaly task cannot be chosen: {error}.") from error
    patients = [example.case.patient for example in held_out]
    figures = judge_by_others(session.task, evidence, seconds, places=places, patients=patients)
    warn_of_few(task, figures, patients=len(set(patients)))
    return task, figures


def examine(session: AnomalySession, example: Example) -> list[Evidence]:
    """The evidence of every detector about one series, as scoring will have it."""
    with torch.inference_mode(), in_full(session.fabric.device):
        return [one.examine(_look(session, example, one.reads)) for one in session.network.methods]


def _look(session: AnomalySession, example: Example, reads: str) -> Tensor:
    if reads == "embeddings":
        return session.freeze_encoder().embed(example.series).to(session.fabric.device)
    with torch.inference_mode():
        return session.network.look(session.prepared.slices(example.series).to(session.fabric.device), reads).clone()


def _fit(session: AnomalySession, method: DetectorSettings, detector: Detector, *, parts: Parts) -> None:
    normal = parts[0]
    if isinstance(detector, GaussianDetector):
        detector.fit(torch.cat([_look(session, one, detector.reads) for one in normal]))
    elif isinstance(detector, MemoryDetector):
        assert method.kind == "memory"
        detector.fit(_gather_patches(session, normal, most=method.patches), seed=session.experiment.seed)
    else:
        seen = [[_look(session, one, detector.reads) for one in part] for part in parts]
        learn, judge = _make_ready(detector, seen, parts, settings=session.task.settings)
        run_epochs(DetectorStage(session, method, detector, learn, judge))
        detector.eval()


def _make_ready(
    detector: Detector, seen: Sequence[Sequence[Tensor]], parts: Parts, *, settings: AnomalySettings
) -> list[Sequences]:
    """What the detector's ``loss`` reads of every sequence to learn from, and of every held-out one."""
    if isinstance(detector, PredictionDetector):
        detector.prepare(torch.cat(list(seen[0])), [len(one) for one in seen[0]])
        return [[(detector.project(one),) for one in part] for part in seen]
    if isinstance(detector, FutureDetector):
        return [[(detector.shrink(one),) for one in part] for part in seen]
    assert isinstance(detector, SupervisedDetector)
    detector.prepare(torch.cat(list(seen[0])))
    return [
        [(inputs, torch.from_numpy(label_frames(one, settings)).to(inputs)) for inputs, one in zip(*pair, strict=True)]
        for pair in zip(seen, parts, strict=True)
    ]


def _gather_patches(session: AnomalySession, examples: Sequence[Example], *, most: int) -> Tensor:
    """At most ``most`` patches, as many of each series, evenly spread over its frames."""
    quota, parts = max(1, most // len(examples)), []
    for example in examples:
        patches = make_patches(_look(session, example, "maps"))
        chosen = torch.linspace(0, len(patches) - 1, min(quota, len(patches))).round().long()
        parts.append(patches[chosen.to(patches.device)].cpu())
    return torch.cat(parts)
