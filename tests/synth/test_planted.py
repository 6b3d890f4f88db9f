"""Planted anomalies: the truth is what was done, and order anomalies leave every single frame as it was."""

from __future__ import annotations

import numpy as np
import pytest

from seriatim.synth.planted import KINDS, ORDER_KINDS, plant


def clip(count: int = 30, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size=(count, 8, 9), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(20))
def test_only_marked_frames_differ_and_all_marked_ones_do(kind: str, seed: int) -> None:
    frames = clip()
    planted = plant(frames, kind, np.random.default_rng(seed), other=clip(20, seed=9))
    assert len(planted.frames) == len(planted.abnormal) == len(planted.source)
    assert planted.frames.dtype == frames.dtype
    assert 0 < planted.abnormal.sum() < len(frames) / 2
    assert not planted.abnormal[0]
    assert not planted.abnormal[-1]
    own = planted.source >= 0
    same = (planted.frames[own] == frames[planted.source[own]]).all(axis=(1, 2))
    if kind in ORDER_KINDS:
        assert same.all()
        steps = np.diff(planted.source)
        odd = np.flatnonzero(steps != 1)
        assert len(odd)
        assert all(planted.abnormal[step] or planted.abnormal[step + 1] for step in odd)
    elif kind == "spliced":
        assert (planted.abnormal == ~own).all()
    else:
        assert (planted.abnormal == ~same).all()


def test_the_same_seed_plants_the_same() -> None:
    first, again = (plant(clip(), "swapped", np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.source, again.source)
    assert abs(np.diff(first.source[first.abnormal])[0]) >= 3


def test_what_cannot_be_planted_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="12 are needed"):
        plant(clip(8), "frozen", rng)
    with pytest.raises(ValueError, match="at most 4 channels"):
        plant(clip()[:, None], "occlusion", rng)  # channels first: what lies where would be mistaken
    with pytest.raises(ValueError, match="there are dropped"):
        plant(clip(), "melted", rng)
    with pytest.raises(ValueError, match="of the same size"):
        plant(clip(), "spliced", rng, other=clip()[:, :4])
