"""Faithfulness of maps of pixels: where the one place that counts is known, and words that say what chose."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seriatim.explanation.attribution.reading import Reading
from seriatim.explanation.faithfulness.map_words import choose_map, tell_maps, why_map
from seriatim.explanation.faithfulness.maps import (
    GRID,
    SeriesMaps,
    make_maps,
    measure_maps,
    read_blurred,
)
from seriatim.models import NetworkSettings, SequenceNetwork
from seriatim.models.encoder import Encoder
from seriatim.tasks import DiagnosisSettings
from seriatim.trained.faithfulness import Choice, Measured

TASK = DiagnosisSettings.model_validate({"target": "binary", "labels": ["bleed"]}).build()


class CornerEncoder(Encoder):
    """The embedding is the mean of what lies above 0.5 in the first quarter of rows and columns."""

    embedding_size = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def feature_maps(self, slices):
        return (slices - 0.5).relu() * self.weight

    def pool_maps(self, maps):
        side = maps.shape[-1] // 4
        return maps[:, :, :side, :side].mean(dim=(1, 2, 3))[:, None].repeat(1, 2)


@pytest.fixture
def corner():
    """Slices of noise whose corner is bright in slice 1 alone, and how a network reads them that sees corners only."""
    torch.manual_seed(0)
    settings = NetworkSettings.model_validate({"temporal": {"kind": "none"}, "pooling": {"kind": "mean"}})
    network = SequenceNetwork(settings, encoder=CornerEncoder(), outputs=1).eval().requires_grad_(False)
    network.volume_head.weight.fill_(30.0)
    network.volume_head.bias.fill_(-2.0)
    slices = 0.4 * torch.rand(4, 1, 64, 64)
    slices[1, 0, :16, :16] = torch.rand(16, 16)
    return Reading(network=network, task=TASK, embeddings=network.encoder(slices)), slices


def test_a_map_of_what_counts_beats_random_orders_and_its_opposite_none(corner):
    reading, slices = corner
    right = torch.zeros(2, 64, 64)
    right[1, :16, :16] = 1  # slices 3 and 1 are shown: the second of them has the corner
    maps = SeriesMaps(heat={"grad_cam": right, "occlusion": 1 - right}, seconds={"grad_cam": 0.1, "occlusion": 2.0})
    found = measure_maps(reading, slices, maps, class_index=0, shown=[3, 1])
    assert found["grad_cam"]["gap"].value == pytest.approx(-found["occlusion"]["gap"].value)
    assert found["grad_cam"]["gap"].value > found["grad_cam"]["gap"].chance_high > 0
    assert found["grad_cam"]["beats_random"].value == 1.0
    assert found["occlusion"]["beats_random"].value == 0.0
    assert found["grad_cam"]["seconds"].value == 0.1
    assert found == measure_maps(reading, slices, maps, class_index=0, shown=[3, 1])


def test_what_is_clear_is_the_series_and_what_is_blurred_is_gone(corner):
    reading, slices = corner
    clear = torch.zeros(3, 2, GRID, GRID, dtype=torch.bool)
    clear[1] = True
    clear[2, 0, : GRID // 4, : GRID // 4] = True
    found = read_blurred(reading, slices, clear, shown=[1, 2])[:, 0]
    whole = reading.logits(reading.embeddings[None])[0, 0]
    assert float(found[1]) == pytest.approx(float(whole), abs=1e-6)
    assert float(found[2]) == pytest.approx(float(whole), abs=1e-6)  # the corner alone is all that the network reads
    assert float(found[0]) < float(whole) - 0.1


def test_maps_are_timed_and_those_an_encoder_has_not_are_left_out(corner):
    reading, slices = corner
    reading.network.encoder.feature_maps = lambda one: one.mean(dim=(2, 3))
    reading.network.encoder.pool_maps = lambda maps: maps.repeat(1, 2)
    maps = make_maps(reading, slices, names=("grad_cam", "occlusion"), class_index=0, shown=[0])
    assert list(maps.heat) == list(maps.seconds) == ["occlusion"]
    assert maps.seconds["occlusion"] > 0


def figures(**gaps):
    return {name: {"gap": Measured(value=gap), "seconds": Measured(value=took)} for name, (gap, took) in gaps.items()}


def test_the_best_map_is_drawn_unless_every_series_would_wait_for_it():
    quick = figures(grad_cam=(0.1, 0.05), grad_cam_plus_plus=(0.2, 0.05), occlusion=(0.3, 0.2))
    slow = {**quick, "occlusion": {"seconds": Measured(value=6.0)}}
    assert choose_map(quick) == "occlusion"
    assert choose_map(slow) == "grad_cam_plus_plus"
    assert choose_map({"occlusion": {"seconds": Measured(value=6.0)}}) == ""
    choice = Choice(split="val", count=5, methods=slow)
    of_test = figures(grad_cam_plus_plus=(0.15, 0.05))
    said = " ".join(tell_maps(of_test, best="grad_cam_plus_plus", count=4, split="test", choice=choice))
    assert "on 5 validation series" in said
    assert "Grad-CAM +0.100" in said
    assert "On 4 test series, which chose nothing, Grad-CAM++: +0.150" in said
    assert "occlusion takes 6.0 s a slice" in said
    assert "was not chosen" in tell_maps({}, best="", count=4, split="test", choice=None)[0]


def test_words_say_why_a_map_is_drawn():
    assert "asked for" in why_map("occlusion", asked=True)
    assert "on 5 validation series" in why_map("occlusion", choice=Choice(split="val", count=5, methods={}))
    assert "was not measured" in why_map("grad_cam")
