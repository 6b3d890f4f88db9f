"""Attributions of slices and pixels: against captum and MONAI, against reading again by hand, and their sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seriatim.errors import ConfigError
from seriatim.explanation.attribution.gather import AttributionOptions, attribute_slices
from seriatim.explanation.attribution.pixels import common_scale, grad_cam, grad_cam_plus_plus, measure_falls, occlude
from seriatim.explanation.attribution.reading import Reading, average, read_subsets, read_ways
from seriatim.explanation.attribution.slices import (
    baseline_of,
    integrate_gradients,
    leave_out,
    weigh_gradient,
    window_of_series,
)
from seriatim.models import NetworkSettings, SequenceNetwork
from seriatim.models.encoder import Encoder
from seriatim.tasks import DiagnosisSettings

PARTS = [
    ({"kind": "lstm", "hidden": 6}, {"kind": "attention", "hidden": 4}),
    ({"kind": "gru", "hidden": 5, "layers": 2}, {"kind": "attention", "hidden": 4, "per_class": True}),
    ({"kind": "transformer", "size": 8, "heads": 2, "feedforward": 12}, {"kind": "mean"}),
    ({"kind": "lstm", "hidden": 4, "project": 7}, {"kind": "slice_scores", "how": "log_sum_exp"}),
]


def network_of(temporal=PARTS[0][0], pooling=PARTS[0][1], *, outputs=2):
    torch.manual_seed(0)
    content = {"encoder": {"kind": "small_cnn", "widths": [4, 8]}, "temporal": temporal, "pooling": pooling}
    return NetworkSettings.model_validate(content).build(1, outputs).eval().requires_grad_(False)


def task_of(labels=("a", "b"), *, slice_loss_weight=0.0):
    content = {"target": "multilabel" if len(labels) > 1 else "binary", "labels": labels}
    return DiagnosisSettings.model_validate({**content, "slice_loss_weight": slice_loss_weight}).build()


def reading_of(network, *, count=7, **more):
    return Reading(network=network, task=task_of(), embeddings=2 * torch.randn(count, 8), **more)


@pytest.mark.parametrize("parts", PARTS, ids=["lstm", "gru", "transformer", "projected"])
def test_gradients_are_those_of_captum(parts):
    attr = pytest.importorskip("captum.attr", reason="captum is the oracle")
    reading = reading_of(network_of(*parts))
    given, baseline = reading.embeddings[None], baseline_of(reading.embeddings, "series")[None]
    found = integrate_gradients(reading, steps=32)
    weighed = weigh_gradient(reading)
    for index in range(2):
        path = attr.IntegratedGradients(reading.logits).attribute(given, baseline, target=index, n_steps=found.steps)
        torch.testing.assert_close(found.values[:, index].float(), path[0].sum(dim=1), rtol=1e-3, atol=1e-5)
        plain = attr.InputXGradient(reading.logits).attribute(given.clone().requires_grad_(), target=index)
        torch.testing.assert_close(weighed[:, index].float(), plain[0].sum(dim=1).detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("parts", PARTS, ids=["lstm", "gru", "transformer", "projected"])
@pytest.mark.parametrize("baseline", ["series", "zero"])
def test_integrated_gradients_are_complete(parts, baseline):
    reading = reading_of(network_of(*parts))
    found = integrate_gradients(reading, baseline=baseline)
    with torch.no_grad():
        ends = torch.stack([baseline_of(reading.embeddings, baseline), reading.embeddings])
        low, high = reading.logits(ends).double()
    torch.testing.assert_close(found.difference, high - low, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.values.sum(dim=0), high - low, rtol=0.02, atol=2e-3)
    assert float(found.error.max()) <= 0.02


def test_too_few_steps_are_noticed_and_doubled():
    reading = reading_of(network_of())
    reading.embeddings.mul_(20)  # saturated gates: a path with bends
    found = integrate_gradients(reading, steps=1)
    assert found.steps > 1
    assert float(found.error.max()) <= 0.01 or found.steps == 256


@pytest.mark.parametrize("parts", PARTS, ids=["lstm", "gru", "transformer", "projected"])
@pytest.mark.parametrize("turned", [False, True])
def test_leaving_a_slice_out_is_reading_the_series_without_it(parts, turned):
    reading = reading_of(network_of(*parts), turned=turned)
    found = leave_out(reading)
    for index in range(7):
        left = torch.cat([reading.embeddings[:index], reading.embeddings[index + 1 :]])
        with torch.no_grad():
            fall = reading.logits(reading.embeddings[None])[0] - reading.logits(left[None])[0]
        torch.testing.assert_close(found[index], fall.double(), rtol=1e-3, atol=1e-5)


def test_a_window_is_cut_off_at_the_ends_and_counts_per_slice():
    reading = reading_of(network_of())
    found = leave_out(reading, window=3)
    with torch.no_grad():
        whole = reading.logits(reading.embeddings[None])[0]
        first = (whole - reading.logits(reading.embeddings[None, 2:])[0]) / 2
        second = (whole - reading.logits(reading.embeddings[None, 3:])[0]) / 3
    torch.testing.assert_close(found[0], first.double(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[1], second.double(), rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="odd"):
        leave_out(reading, window=2)
    assert [window_of_series(count) for count in (1, 30, 100, 300)] == [3, 3, 5, 15]


def test_a_single_slice_is_compared_with_an_empty_one():
    reading = reading_of(network_of(), count=1)
    with torch.no_grad():
        fall = reading.logits(reading.embeddings[None])[0] - reading.logits(torch.zeros(1, 1, 8))[0]
    torch.testing.assert_close(leave_out(reading)[0], fall.double(), rtol=1e-3, atol=1e-5)
    assert attribute_slices([reading]).values["leave_out"].shape == (1, 2)


def test_several_readings_are_averaged_and_each_finds_its_slices_again():
    network, views = network_of(), [torch.randn(5, 8), torch.randn(5, 8)]
    readings = read_ways(network, task_of(), views, reverse_order=True)
    assert [one.weight for one in readings] == [0.25] * 4
    for name, way in {"leave_out": leave_out, "gradient_input": weigh_gradient}.items():
        by_hand = torch.stack([
            *(way(Reading(network=network, task=task_of(), embeddings=view)) for view in views),
            *(way(Reading(network=network, task=task_of(), embeddings=view.flip(0))).flip(0) for view in views),
        ]).mean(dim=0)
        found = attribute_slices(readings, AttributionOptions(names=(name,))).values[name]
        torch.testing.assert_close(found, by_hand, rtol=1e-3, atol=1e-5)


def test_the_whole_series_is_scored_as_scoring_does_it():
    from seriatim.tasks.predict import score_embeddings

    network, task, views = network_of(), task_of(), [torch.randn(5, 8), torch.randn(5, 8)]
    readings = read_ways(network, task, views, reverse_order=True)
    scores = score_embeddings(network, task, *views, reverse_order=True)
    found = read_subsets(readings, torch.ones(1, 5, dtype=torch.bool))[0]
    torch.testing.assert_close(found, scores.uncalibrated, rtol=1e-6, atol=1e-6)
    values = attribute_slices(readings).values
    torch.testing.assert_close(values["attention"], scores.attention, rtol=1e-6, atol=1e-6)
    assert "slice_scores" not in values  # it was not trained
    scored = read_ways(network, task_of(slice_loss_weight=1.0), views, reverse_order=True)
    values = attribute_slices(scored).values
    torch.testing.assert_close(values["slice_scores"], scores.slice_probabilities, rtol=1e-6, atol=1e-6)


def test_shapes_by_class_and_names():
    one = [Reading(network=network_of(outputs=1), task=task_of(("a",)), embeddings=torch.randn(4, 8))]
    assert {values.shape for values in attribute_slices(one).values.values()} == {(4,)}
    by_class = attribute_slices([reading_of(network_of(*PARTS[1]), count=4)])
    assert {values.shape for values in by_class.values.values()} == {(4, 2)}
    shared = attribute_slices([reading_of(network_of(), count=4)])
    assert shared.values["attention"].shape == (4,)
    assert shared.of_class(1)["leave_out"].tolist() == shared.values["leave_out"][:, 1].tolist()
    assert shared.completeness is not None
    with pytest.raises(ConfigError, match="no attribution 'saliency'"):
        AttributionOptions(names=("saliency",))


def test_subsets_in_one_call_are_those_one_at_a_time():
    reading = reading_of(network_of())
    keep = torch.rand(40, 7) > 0.4
    keep[:, 0] |= ~keep.any(dim=1)
    together = reading.logits_of_subsets(keep)
    for row, kept in zip(together, keep, strict=True):
        torch.testing.assert_close(row, reading.logits_of_subsets(kept[None])[0], rtol=1e-4, atol=1e-5)
    assert torch.equal(average([reading], lambda one: one.logits_of_subsets(keep)), together)


class FlatEncoder(Encoder):
    """3x3 convolutions that keep the size: its maps lie on the input's pixels."""

    embedding_size = 5

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU())

    def feature_maps(self, slices):
        return self.convs(slices)

    def pool_maps(self, maps):
        return maps.mean(dim=(2, 3))


class OneSlice(nn.Module):
    """A network of single slices (N,1,H,W): each is the slice 2 of a series whose others are as they were."""

    def __init__(self, reading):
        super().__init__()
        self.network, self.reading = reading.network, reading

    def forward(self, images):
        series, place = self.reading.embeddings, torch.tensor([2])
        own = self.network.encoder(images)
        return self.reading.logits(torch.stack([series.index_copy(0, place, one[None]) for one in own]))


@pytest.fixture
def flat():
    """A network whose maps are not resized, a series, its reading, and the network of slice 2."""
    torch.manual_seed(3)
    settings = NetworkSettings.model_validate({"temporal": {"kind": "lstm", "hidden": 6}})
    network, slices = SequenceNetwork(settings, encoder=FlatEncoder(), outputs=2).eval(), torch.rand(4, 1, 16, 16)
    with torch.no_grad():
        network.volume_head.weight *= 300  # MONAI adds 1e-7 to what it divides by, which should not matter
        embeddings = network.encoder(slices)
    reading = Reading(network=network, task=task_of(), embeddings=embeddings)
    return slices, reading, OneSlice(reading)


@pytest.mark.parametrize(("way", "oracle"), [(grad_cam, "GradCAM"), (grad_cam_plus_plus, "GradCAMpp")])
def test_class_activation_maps_are_those_of_monai(flat, way, oracle):
    from monai import visualize

    slices, reading, wrapped = flat
    cam = getattr(visualize, oracle)(wrapped, target_layers="network.encoder.convs")
    for index in range(2):
        expected = cam.compute_map(slices[2:3], class_idx=index)[0, 0]
        found = way(reading, slices, class_index=index, slice_indices=[2])[0]
        assert bool(expected.any()) == bool(found.any())
        torch.testing.assert_close(common_scale(found), common_scale(expected), rtol=1e-3, atol=1e-4)


def test_occlusion_is_that_of_monai(flat):
    from monai.visualize import OcclusionSensitivity

    slices, reading, wrapped = flat
    oracle = OcclusionSensitivity(wrapped, mask_size=4, overlap=0.0, mode="mean_img", activate=False, verbose=False)
    covered, _ = oracle(slices[2:3])
    with torch.no_grad():
        whole = wrapped(slices[2:3])[0]
    falls = measure_falls(reading, slices, class_index=1, slice_indices=[2], cells=4, span=1)[0]
    torch.testing.assert_close(falls, whole[1] - covered[0, 1, 2::4, 2::4], rtol=1e-3, atol=1e-3)


def test_occlusion_explains_an_encoder_without_maps_and_spreads_patches_evenly(flat):
    slices, reading, _ = flat
    reading.network.encoder.feature_maps = lambda one: one.mean(dim=(2, 3)).repeat(1, 5)
    reading.network.encoder.pool_maps = lambda maps: maps
    heat = occlude(reading, slices, class_index=0, slice_indices=[0, 3])
    assert heat.shape == (2, 16, 16)
    assert bool((heat >= 0).all())
    tiny = occlude(reading, slices[:, :, :3, :3], class_index=0, slice_indices=[0])
    assert tiny.shape == (1, 3, 3)
