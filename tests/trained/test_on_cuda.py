"""Scoring on a real card. Run it there with TORCH_CUDA_SANITIZER=1 too, which watches what streams do to memory."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seriatim.io import Limits, find_series
from seriatim.models.chunks import CHUNK, encode_in_chunks
from seriatim.models.small_cnn import SmallCNN
from seriatim.scoring.engine import score_one
from seriatim.scoring.pipeline import Resources, predict_all
from seriatim.series import Series
from seriatim.trained import Ensemble, load_ensemble, load_scorer
from seriatim.trained.intensity import MOST_PIXELS
from seriatim.trained.prepared import prepare_series
from seriatim.trained.stored import StoredSeries
from seriatim.transforms import CTSettings
from volumes import draw_settings, draw_volume

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def on_card(tiny_run: Path) -> Ensemble:
    return replace(load_ensemble(tiny_run, device="cuda"), limits=Limits(isolated=False))


@pytest.fixture(scope="module")
def series(head_ct: Path) -> tuple[Series, ...]:
    return find_series(head_ct).series


@pytest.mark.parametrize("cases", [16, pytest.param(240, marks=pytest.mark.slow)])
def test_slices_made_on_the_card_are_those_made_here_but_for_rounding(cases: int) -> None:
    for case in range(cases):
        settings, volume = draw_settings(case), draw_volume(case)
        here, there = prepare_series(volume, settings), StoredSeries(volume, settings, device="cuda")
        parts = [there[start : start + CHUNK] for start in range(0, len(there), CHUNK)]
        assert {part.device.type for part in parts} == {"cuda"}
        torch.testing.assert_close(torch.cat(parts).cpu(), here[:], atol=1e-4, rtol=0)
        np.testing.assert_allclose(there.intensity, here.intensity, atol=0.01)


def test_no_bit_of_a_score_depends_on_what_is_scored_beside_it(series: tuple[Series, ...], on_card: Ensemble) -> None:
    alone = [score_one(one, on_card) for one in series]
    for case in range(10):
        order = random.Random(case).sample(range(len(series)), len(series))
        resources = Resources(workers=1 + case % 4)
        for place, found in predict_all([series[index] for index in order], on_card, resources=resources):
            expected = alone[order[place]]
            assert found.probabilities == expected.probabilities
            assert found.distance == expected.distance
            assert np.array_equal(found.attention, expected.attention)


def test_scores_are_those_of_the_cpu_but_for_rounding(
    series: tuple[Series, ...], on_card: Ensemble, tiny_run: Path
) -> None:
    here = replace(load_ensemble(tiny_run), limits=on_card.limits)
    assert on_card.card == "cuda"
    for one in series:
        expected, found = score_one(one, here), score_one(one, on_card)
        for name, value in expected.probabilities.items():
            assert found.probabilities[name] == pytest.approx(value, abs=1e-4)


def test_graphs_change_no_bit(series: tuple[Series, ...], on_card: Ensemble, tiny_run: Path) -> None:
    graphed = load_scorer(tiny_run, device="cuda", cuda_graphs=True)
    assert isinstance(graphed, Ensemble)
    expected = [score_one(one, on_card) for one in series]
    for place, found in predict_all(series, replace(graphed, limits=on_card.limits)):
        assert found.probabilities == expected[place].probabilities


def test_memory_of_the_card_does_not_grow_with_the_series() -> None:
    settings = CTSettings(size=64, neighbours=1)
    encoder = SmallCNN(settings.channels, widths=(8, 16)).eval().requires_grad_(False).cuda()
    peaks = []
    for slices in (40, 40, 2000):  # the first is to warm up
        there = StoredSeries(draw_volume(1, slices=slices), settings, device="cuda")
        torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            encode_in_chunks(encoder, there, device=torch.device("cuda"))
        peaks.append(torch.cuda.max_memory_allocated())
    embeddings, looked_at = 2 * 2000 * 16 * 4, 2 * MOST_PIXELS * 4
    assert peaks[2] <= peaks[1] + embeddings + looked_at, "7 MB as stored, and 33 MB prepared"
