"""How unlike normal a raw anomaly score is: a p-value among normal frames that training never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.tasks.profile import Profile

Array = NDArray[np.float64]
BODY = 257
TAIL_SHARE = 0.1
MOST_SURPRISE = 700.0
Z_LIMIT = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Normality:
    """The distribution of a raw score over normal frames, as numbers that JSON can hold.

    Its lower part is the empirical one, kept as ``quantiles`` at even shares; above the score that one frame in ten
    exceeds (``tail_start``) the excess is taken as exponential with mean ``tail_mean``, the limit law of light tails
    (Pickands 1975), so that scores beyond all that was seen still differ. ``frames`` is from how many it was made. With
    a ``profile`` it is the distribution of what the profile makes of a raw score, which depends on the frame's place.
    """

    quantiles: tuple[float, ...]
    tail_start: float
    tail_mean: float
    frames: int
    profile: Profile | None = None

    def surprise(self, raw: Array, places: Array | None = None) -> Array:
        """-log p of raw scores (S,...), p being the share of normal frames that score as high; 0 is the most normal.

        It rises with the raw score and ends at 700, which is a p of 1e-304. ``places`` (S,) from 0 to 1 are where the
        frames are along their sequence.

        Raises:
            ValueError: the law has a profile, and no places are given.
        """
        if self.profile is not None:
            if places is None:
                raise ValueError("norms by position need the positions of the frames")
            raw = self.profile.level(raw, places)
        quantiles = np.asarray(self.quantiles)
        shares = np.linspace(0, 1 - TAIL_SHARE, len(quantiles))
        # turned round, interp gives the lower share where quantiles are equal: ties with the normal are no surprise
        body = -np.log(1 - np.interp(-raw, -quantiles[::-1], shares[::-1]))
        tail = -np.log(TAIL_SHARE) + (raw - self.tail_start) / self.tail_mean
        return np.minimum(np.where(raw > self.tail_start, tail, body), MOST_SURPRISE)


def learn_normality(raw: Array) -> Normality:
    """The distribution of the raw scores (N,) of normal frames.

    Raises:
        ValueError: fewer than 20 scores, or one that is not a number.
    """
    if len(raw) < 20 or not np.isfinite(raw).all():
        raise ValueError(f"{len(raw)} normal frames with a finite score are too few; at least 20 are needed")
    quantiles = np.quantile(raw, np.linspace(0, 1 - TAIL_SHARE, BODY))
    start = float(quantiles[-1])
    excess = raw[raw > start] - start
    mean = float(excess.mean()) if len(excess) else 0.0
    floor = 1e-6 * max(1.0, float(np.abs(raw).max()))
    return Normality(
        quantiles=tuple(float(value) for value in quantiles), tail_start=start, tail_mean=max(mean, floor),
        frames=len(raw),
    )


def z_of_surprise(surprise: Array) -> Array:
    """The standard normal's quantile of 1 - p, by which a p-value reads as a number of standard deviations."""
    p_values = torch.from_numpy(np.exp(-np.asarray(surprise, dtype=np.float64)))
    return np.asarray(-torch.special.ndtri(p_values).clamp(min=-Z_LIMIT, max=Z_LIMIT).numpy())


def fuse(surprises: Array) -> Array:
    """(M,S) surprises of several parts to one raw score per frame: their mean, as Fisher (1925) combines p-values.

    NaN where a part says nothing about a frame, and then the others count; NaN where none does. The parts look at the
    same frames and are not independent, so the sum is no p-value: learn its own Normality.
    """
    known = ~np.isnan(surprises)
    total = np.where(known, surprises, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
