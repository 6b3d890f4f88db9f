"""Anomalies planted into a sequence of frames, of measured kinds, with the truth of which frames they are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[Any]
Flags = NDArray[np.bool_]
FEWEST_FRAMES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """``frames`` (S,H,W) or (S,H,W,C) of the input's type, ``abnormal`` (S,) True where the anomaly shows.

    ``source`` (S,) is the index of the input's frame that stands at each place; -1 where it is another sequence's.
    """

    frames: Frames
    abnormal: Flags
    source: NDArray[np.int64]


def plant(frames: Frames, kind: str, rng: np.random.Generator, *, other: Frames | None = None) -> Planted:
    """A copy of a sequence with one anomaly of a kind of ``KINDS``, at a random place away from the ends.

    Kinds of ``ORDER_KINDS`` change nothing but which frame stands where: each of their frames is normal by itself.

    Args:
        frames: (S,H,W) or (S,H,W,C), at least 12 frames.
        kind: ``dropped`` (some frames are missing; the two around the cut are marked), ``repeated``, ``swapped`` (two
            frames at least three apart), ``reversed`` (a stretch backwards), ``speed`` (a stretch at double speed),
            ``frozen`` (a stretch of one frame), ``noise``, ``occlusion``, ``intensity`` or ``spliced`` (frames of
            ``other``).
        rng: where the anomaly is and how large.
        other: frames of another patient, for ``spliced``; cut or repeated in size to fit is the caller's.

    Raises:
        ValueError: the kind is unknown, channels do not stand last, there are fewer than 12 frames, or ``spliced`` has
            no fitting ``other``.
    """
    if kind not in KINDS:
        raise ValueError(f"no anomaly is called {kind!r}; there are {', '.join(KINDS)}")
    if frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[3] > 4):
        raise ValueError(f"frames must be (S,H,W) or (S,H,W,C) with at most 4 channels, not {frames.shape}")
    if len(frames) < FEWEST_FRAMES:
        raise ValueError(f"{len(frames)} frames are too few to plant an anomaly; {FEWEST_FRAMES} are needed")
    if kind == "spliced":
        return _splice(frames, other, rng)
    if kind in ORDER_KINDS:
        order, abnormal = ORDER_KINDS[kind](len(frames), rng)
        return Planted(frames=frames[order], abnormal=abnormal, source=order)
    start, stop = _stretch(len(frames), rng)
    changed = frames.copy()
    changed[start:stop] = PIXEL_KINDS[kind](frames[start:stop], rng)
    return Planted(frames=changed, abnormal=_flags(len(frames), start, stop), source=np.arange(len(frames)))


def _stretch(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """Five frames, or up to a quarter of the sequence, with at least two others before and after."""
    length = int(rng.integers(5, max(6, count // 4 + 1)))
    start = int(rng.integers(2, count - length - 1))
    return start, start + length


def _flags(count: int, start: int, stop: int) -> Flags:
    flags = np.zeros(count, dtype=bool)
    flags[start:stop] = True
    return flags


def _drop(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Flags]:
    start, stop = _stretch(count, rng)
    order = np.delete(np.arange(count), slice(start, stop))
    return order, _flags(len(order), start - 1, start + 1)


def _repeat(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Flags]:
    place = int(rng.integers(2, count - 2))
    order = np.insert(np.arange(count), place, place - 1)
    return order, _flags(len(order), place, place + 1)


def _swap(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Flags]:
    first = int(rng.integers(2, count - 6))
    second = int(rng.integers(first + 3, count - 2))
    order = np.arange(count)
    order[[first, second]] = order[[second, first]]
    return order, order != np.arange(count)


def _reverse(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Flags]:
    start, stop = _stretch(count, rng)
    order = np.arange(count)
    order[start:stop] = order[start:stop][::-1]
    return order, _flags(count, start, stop)


def _hurry(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Flags]:
    start, stop = _stretch(count, rng)
    kept = np.arange(start, stop, 2)
    order = np.concatenate([np.arange(start), kept, np.arange(stop, count)])
    return order, _flags(len(order), start, start + len(kept))


def _freeze(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Flags]:
    start, stop = _stretch(count, rng)
    order = np.arange(count)
    order[start:stop] = start
    return order, _flags(count, start + 1, stop)


def _add_noise(frames: Frames, rng: np.random.Generator) -> Frames:
    spread = 0.15 * _range_of(frames)
    return _as_input(frames + rng.normal(0, spread, size=frames.shape), frames)


def _occlude(frames: Frames, rng: np.random.Generator) -> Frames:
    rows, columns = frames.shape[1:3]
    height, width = (int(side * rng.uniform(0.3, 0.5)) for side in (rows, columns))
    top, left = int(rng.integers(0, rows - height)), int(rng.integers(0, columns - width))
    covered = frames.copy()
    covered[:, top : top + height, left : left + width] = frames.min()
    return covered


def _jump(frames: Frames, rng: np.random.Generator) -> Frames:
    low, factor = float(frames.min()), float(rng.choice([0.6, 1.5]))
    return _as_input(low + (frames - low) * factor, frames)


def _splice(frames: Frames, other: Frames | None, rng: np.random.Generator) -> Planted:
    if other is None or other.shape[1:] != frames.shape[1:] or not len(other):
        raise ValueError("spliced needs frames of another sequence, of the same size")
    start, stop = _stretch(len(frames), rng)
    first = int(rng.integers(0, max(1, len(other) - (stop - start))))
    changed, source = frames.copy(), np.arange(len(frames))
    changed[start:stop] = other[(first + np.arange(stop - start)) % len(other)]
    source[start:stop] = -1
    return Planted(frames=changed, abnormal=_flags(len(frames), start, stop), source=source)


def _range_of(frames: Frames) -> float:
    return float(np.ptp(frames)) or 1.0


def _as_input(values: NDArray[Any], like: Frames) -> Frames:
    """Back to the input's type, cut off at its own range of values."""
    if like.dtype.kind == "f":
        return np.asarray(values, dtype=like.dtype)
    limits = np.iinfo(like.dtype)
    return np.asarray(np.clip(np.rint(values), limits.min, limits.max), dtype=like.dtype)


Reorder = Callable[[int, np.random.Generator], tuple[NDArray[np.int64], Flags]]
Change = Callable[[Frames, np.random.Generator], Frames]
ORDER_KINDS: Mapping[str, Reorder] = {
    "dropped": _drop, "repeated": _repeat, "swapped": _swap, "reversed": _reverse, "speed": _hurry, "frozen": _freeze,
}
PIXEL_KINDS: Mapping[str, Change] = {"noise": _add_noise, "occlusion": _occlude, "intensity": _jump}
KINDS = (*ORDER_KINDS, *PIXEL_KINDS, "spliced")
