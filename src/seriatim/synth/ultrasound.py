"""Synthetic ultrasound clips of a beating chamber, about half of them with an abnormal stretch of known frames."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.io.write import Clip, Identity, make_uid, video_available, write_ultrasound, write_video
from seriatim.synth.rhythm import ARRHYTHMIAS, CYCLES, draw_rhythm
from seriatim.synth.sector import View, beam_angles_deg, compress, draw_view, render_frame, sector_mask
from seriatim.synth.truth import Row, is_positive, make_generator, patient_of, split_of

KIND = "ultrasound"
ARTEFACTS = ("frozen", "noise", "dropout")
MIN_FRAMES, MAX_FRAMES = 32, 64
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundClip:
    """One clip, which frames (S,) are abnormal, and the kind of abnormality ("normal" where there is none)."""

    clip: Clip
    abnormal: NDArray[np.bool_]
    kind: str


def make_ultrasound(seed: int, index: int, *, size: int = 128) -> UltrasoundClip:
    """Make clip ``index`` of a seed: ``size`` x ``size`` pixels, 32 to 64 frames at 20 to 40 per second."""
    patient = patient_of(index)
    kind = draw_kind(seed, patient)
    view = draw_view(make_generator(seed, KIND, "view", index), size)
    rng = make_generator(seed, KIND, "beat", index)
    beat_s = 60 / rng.uniform(50, 110)
    frames_per_second = int(rng.integers(20, min(40, int(MAX_FRAMES / (CYCLES * beat_s))) + 1))
    count = int(np.clip(np.ceil((CYCLES + rng.uniform(0, 0.6)) * beat_s * frames_per_second), MIN_FRAMES, MAX_FRAMES))
    times_s = np.arange(count) / frames_per_second
    rhythm = draw_rhythm(rng, beat_s, kind)
    amplitudes = _render(view, rhythm.contraction(times_s), rng)
    start_s, stop_s = rhythm.abnormal_s or (0.0, 0.0)
    abnormal = (times_s >= start_s) & (times_s < stop_s)
    if kind in ARTEFACTS:
        abnormal = _spoil(amplitudes, view, kind, make_generator(seed, KIND, "artefact", index))
    frames = np.stack([compress(amplitude) for amplitude in amplitudes])
    return UltrasoundClip(clip=Clip(frames=frames, frames_per_second=frames_per_second), abnormal=abnormal, kind=kind)


def draw_kind(seed: int, patient: int) -> str:
    """What is abnormal in a patient's clips: an arrhythmia, an artefact, or nothing ("normal")."""
    if not is_positive(seed, KIND, patient):
        return "normal"
    kinds = ARRHYTHMIAS + ARTEFACTS
    block, place = divmod(patient // 2, len(kinds))
    return kinds[make_generator(seed, KIND, "kinds", block).permutation(len(kinds))[place]]


def is_video(seed: int, patient: int) -> bool:
    """Whether a patient's clips are video files, not DICOM.

    Both patients of a pair, of whom one is positive, have the same container, and of each two pairs one has video: so
    the container says nothing about the label.
    """
    block, place = divmod(patient // 2, 2)
    return bool(make_generator(seed, KIND, "container", block).integers(2)) == (place == 0)


def write_clip(folder: Path, index: int, *, seed: int, size: int = 128) -> tuple[Row, list[Row]]:
    """Write clip ``index`` below ``folder``, as DICOM or video; returns its rows of labels.csv and slices.csv.

    A video has no UIDs of its own, so its ``series_uid`` is empty and ``path`` names it.
    """
    made = make_ultrasound(seed, index, size=size)
    patient = patient_of(index)
    as_video = is_video(seed, patient) and _can_write_video()
    identity = Identity(
        patient=f"SYN-{patient + 1:04d}",
        study_uid=make_uid("seriatim", KIND, seed, "study", index),
        series_uid=make_uid("seriatim", KIND, seed, "series", index),
        description="synthetic ultrasound",
    )
    path = f"series/{index:04d}.mp4" if as_video else f"series/{index:04d}"
    if as_video:
        write_video(folder / path, made.clip)
    else:
        uid = make_uid("seriatim", KIND, seed, "clip", index)
        write_ultrasound(folder / path / "clip.dcm", made.clip, identity=identity, sop_instance_uid=uid)
    series_uid = "" if as_video else identity.series_uid
    label: Row = {
        "path": path, "patient": identity.patient, "series_uid": series_uid, "arrhythmia": bool(made.abnormal.any()),
        "kind": made.kind, "split": split_of(patient),
    }
    rows: list[Row] = [
        {
            "path": path, "series_uid": series_uid, "index": number,
            "time_s": f"{number / made.clip.frames_per_second:.6f}", "abnormal": bool(value),
        }
        for number, value in enumerate(made.abnormal)
    ]
    return label, rows


@functools.cache
def _can_write_video() -> bool:
    available = video_available()
    if not available:
        logger.warning("PyAV is not installed, so all clips become DICOM. For video: pip install 'seriatim[video]'.")
    return available


def _render(view: View, contraction: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Echo amplitudes (S,H,W), with the slow drift of a breathing patient under a hand-held probe."""
    phase, sway = rng.uniform(0, 2 * np.pi, size=2), rng.uniform(0.002, 0.010, size=2)
    drift = sway * np.sin(rng.uniform(0.03, 0.07) * np.arange(len(contraction))[:, None] + phase)
    frames = [
        render_frame(view, float(value), drift=(float(drift[i, 0]), float(drift[i, 1])), shift=i)
        for i, value in enumerate(contraction)
    ]
    return np.stack(frames).astype(np.float32)


def _spoil(amplitudes: NDArray[np.float32], view: View, kind: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Put an artefact on a stretch of frames, in place; returns which (S,)."""
    count = len(amplitudes)
    length = int(rng.integers(6, 14))
    start = int(rng.integers(4, count - length - 3))
    stretch = slice(start, start + length)
    if kind == "frozen":
        amplitudes[stretch] = amplitudes[start - 1]
    elif kind == "noise":
        strength = 0.08 * rng.uniform(0.6, 1.4, size=(length, 1, 1))
        snow = rng.standard_exponential((length, *amplitudes.shape[1:])) * strength * sector_mask(view)
        amplitudes[stretch] += snow.astype(np.float32)
    else:
        middle, half_width = rng.uniform(-15, 15), rng.uniform(9, 16)
        shadow = np.clip((half_width - np.abs(beam_angles_deg(view) - middle)) / 3 + 0.5, 0, 1)
        amplitudes[stretch] *= (1 - 0.97 * shadow).astype(np.float32)
    abnormal = np.zeros(count, dtype=bool)
    abnormal[stretch] = True
    return abnormal
