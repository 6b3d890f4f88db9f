"""How a synthetic heart beats: onsets of contraction, and the stretch in which they are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ARRHYTHMIAS = ("ectopic", "pause", "irregular")
SYSTOLE_S = 0.30
CYCLES = 2.6
"""Beats that a clip must hold at least, so that an abnormal stretch has normal frames beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Times in s at which beats begin, their strength (1 is normal), and the abnormal stretch (start, stop) in s."""

    onsets_s: NDArray[np.float64]
    strengths: NDArray[np.float64]
    abnormal_s: tuple[float, float] | None = None

    def contraction(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S,) how contracted the chamber is, 0 to 1, at every time: fast in systole, slower back."""
        since = times_s[:, None] - self.onsets_s[None]
        squeeze = np.where(since < SYSTOLE_S / 2, since / SYSTOLE_S, 0.5 + (since - SYSTOLE_S / 2) / (2.4 * SYSTOLE_S))
        wave = np.sin(np.pi * np.clip(squeeze, 0, 1)) ** 2 * self.strengths
        return np.asarray(wave.max(axis=1))


def draw_rhythm(rng: np.random.Generator, beat_s: float, kind: str) -> Rhythm:
    """Draw a rhythm of ``beat_s`` seconds per beat; ``kind`` is one of ARRHYTHMIAS, or else the rhythm is regular."""
    first = float(rng.uniform(0.05, 0.35)) * beat_s
    beats = 1 + rng.normal(0, 0.02, size=12)  # a healthy heart varies by some percent
    onsets = first + beat_s * np.concatenate([[-1, 0], np.cumsum(beats)])
    strengths = np.ones(len(onsets))
    if kind == "ectopic":
        early = first + beat_s * rng.uniform(0.5, 0.65)
        onsets[2], strengths[2], strengths[3] = early, 0.55, 1.15
        return Rhythm(onsets_s=onsets, strengths=strengths, abnormal_s=(float(early), float(onsets[3])))
    if kind == "pause":
        missed, back = float(onsets[2]), float(onsets[3])
        return Rhythm(onsets_s=np.delete(onsets, 2), strengths=np.delete(strengths, 2), abnormal_s=(missed, back))
    if kind == "irregular":
        wrong = np.array([rng.uniform(0.5, 0.62), rng.uniform(1.3, 1.5), rng.uniform(0.5, 0.65), rng.uniform(1.2, 1.5)])
        wrong = wrong if rng.random() < 0.5 else wrong[[1, 0, 3, 2]]
        onsets = first + beat_s * np.concatenate([[-1, 0], np.cumsum(wrong), wrong.sum() + np.cumsum(beats)])
        strengths = np.concatenate([[1, 1], np.clip(wrong, 0.6, 1.1), np.ones(len(beats))])
        noticed = first + beat_s * min(1.0, float(wrong[0]))  # a late beat is wrong from when it was due
        return Rhythm(onsets_s=onsets, strengths=strengths, abnormal_s=(noticed, float("inf")))
    return Rhythm(onsets_s=onsets, strengths=strengths)
