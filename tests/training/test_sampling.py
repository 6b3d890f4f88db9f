"""Training samples: which slices, in which order, and the labels that go with them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seriatim.experiment import TrainingSettings
from seriatim.series.batch import IGNORE
from seriatim.training.sampling import choose_slices, draw_mixing, sample_slices

UNKNOWN = np.full((30, 1), IGNORE, dtype=np.float32)
CELLS = st.sampled_from([0.0, 0.4, 0.6, 1.0, IGNORE])


def settings(**more) -> TrainingSettings:
    return TrainingSettings(**more)


def test_plain_settings_choose_as_ever():
    """What a run of these settings draws must not change by what it does not use."""
    for seed in range(5):
        assert torch.equal(choose_slices(UNKNOWN, settings(max_slices=7), seed), sample_slices(30, 7, seed))


@given(
    labels=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12),
    share=st.sampled_from([0.1, 0.5, 0.9]),
    seed=st.integers(0, 2**31 - 1),
)
def test_slices_are_left_out_in_order_but_never_all_of_a_finding(labels, share, seed):
    table = np.array(labels, dtype=np.float32)
    chosen = choose_slices(table, settings(slice_dropout=share), seed)
    assert len(chosen) >= 1
    assert bool((chosen.diff() > 0).all())
    assert torch.equal(chosen, choose_slices(table, settings(slice_dropout=share), seed))
    for finding in (table >= 0.5).T:
        assert finding[chosen.numpy()].any() == finding.any()


def test_the_share_left_out_is_that_of_the_setting_at_every_place():
    drawn = [choose_slices(np.zeros((10, 1)), settings(slice_dropout=0.3), seed) for seed in range(1000)]
    counts = np.bincount(np.concatenate(drawn), minlength=10) / 1000
    assert counts == pytest.approx(np.full(10, 0.7), abs=0.06)


def test_a_share_of_samples_is_reversed_and_nothing_else_changes():
    plain, turned = settings(max_slices=6), settings(max_slices=6, reverse_order=0.4)
    flips = 0
    for seed in range(500):
        one, other = choose_slices(UNKNOWN, plain, seed), choose_slices(UNKNOWN, turned, seed)
        flips += not torch.equal(one, other)
        assert torch.equal(one, other) or torch.equal(one.flip(0), other)
    assert 150 < flips < 250
    assert torch.equal(choose_slices(UNKNOWN, settings(reverse_order=1.0), 3), torch.arange(30).flip(0))


def test_the_share_of_mixup_follows_the_beta_distribution():
    assert draw_mixing(settings(), 1) == 1.0
    drawn = np.array([draw_mixing(settings(mixup=0.5), seed) for seed in range(3000)])
    assert drawn[:9].tolist() == [draw_mixing(settings(mixup=0.5), seed) for seed in range(9)]
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.var() == pytest.approx(0.125, abs=0.01)  # 1 / (4 (2 a + 1))
