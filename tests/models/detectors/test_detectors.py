"""Detectors: against scikit-learn where it has the same, against hand and leak checks elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from seriatim.models.detectors import (
    FutureDetector,
    FutureSettings,
    GaussianDetector,
    MemoryDetector,
    MemorySettings,
    PredictionDetector,
    PredictionSettings,
)
from seriatim.models.detectors.future import ConvLSTMCell
from seriatim.models.detectors.memory import choose_coreset, make_patches


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_gaussian_is_the_mahalanobis_distance_of_ledoit_and_wolf() -> None:
    normal = draw(60, 20) @ draw(20, 20, seed=1)
    detector = GaussianDetector(20)
    detector.fit(normal)
    frames = draw(7, 20, seed=2)
    expected = np.sqrt(LedoitWolf().fit(normal.double().numpy()).mahalanobis(frames.double().numpy()))
    np.testing.assert_allclose(detector.examine(frames).parts["gaussian"].numpy(), expected, rtol=1e-4)


def test_gaussian_of_fewer_frames_than_dimensions_is_still_finite_and_ranks() -> None:
    normal = draw(10, 64)
    detector = GaussianDetector(64)
    detector.fit(normal)
    near, far = detector.examine(torch.stack([normal.mean(dim=0), normal.mean(dim=0) + 5])).parts["gaussian"]
    assert torch.isfinite(far)
    assert far > near + 1


def fitted_memory(patches: Tensor, *, size: int, neighbours: int) -> MemoryDetector:
    detector = MemoryDetector(MemorySettings(size=size, neighbours=neighbours), depth=patches.shape[1])
    detector.fit(patches, seed=0)
    return detector


def test_memory_distances_are_those_of_nearest_neighbours() -> None:
    patches = draw(50, 6)
    detector = fitted_memory(patches, size=50, neighbours=3)
    maps = draw(4, 6, 3, 2, seed=3)
    evidence = detector.examine(maps)
    oracle, _ = NearestNeighbors(n_neighbors=3).fit(patches.numpy()).kneighbors(make_patches(maps).numpy())
    expected = oracle.mean(axis=1).reshape(4, 3, 2)
    assert evidence.places is not None
    np.testing.assert_allclose(evidence.places.numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(evidence.parts["memory"].numpy(), expected.reshape(4, -1).max(axis=1), rtol=1e-4)


def test_a_coreset_reaches_every_cluster_and_keeps_no_patch_twice() -> None:
    centres = 100 * torch.eye(8)
    patches = torch.cat([centre + 0.1 * draw(200 if index == 0 else 3, 8, seed=index) for index, centre in
                         enumerate(centres)])
    chosen = choose_coreset(patches, 8, seed=1)
    assert {int(patches[index].argmax()) for index in chosen} == set(range(8))
    assert len(choose_coreset(torch.ones(30, 4), 10, seed=0)) == 1


def test_a_patch_is_the_mean_of_its_surroundings() -> None:
    maps = torch.arange(9.0).view(1, 1, 3, 3)
    patches = make_patches(maps).view(3, 3)
    assert patches[1, 1] == 4.0
    assert patches[0, 0] == (0 + 1 + 3 + 4) / 4


@pytest.mark.parametrize("kind", ["gaussian", "memory"])
def test_what_looks_at_single_frames_gives_the_same_bits_in_any_company(kind: str) -> None:
    frames = draw(9, 16, 3, 3)
    if kind == "memory":
        detector = fitted_memory(draw(40, 16, seed=5), size=20, neighbours=2)
    else:
        detector = GaussianDetector(16)
        detector.fit(draw(40, 16, seed=5))
        frames = frames.mean(dim=(2, 3))
    whole = detector.examine(frames).parts[kind]
    order = torch.tensor([4, 0, 8])
    assert torch.equal(detector.examine(frames[order]).parts[kind], whole[order])


def make_predictor(kind: str, **changes: object) -> PredictionDetector:
    torch.manual_seed(0)
    settings = PredictionSettings.model_validate({"kind": kind, "hidden": 8, "components": 4, **changes})
    detector = PredictionDetector(settings, embedding_size=12)
    normal = draw(40, 12).cumsum(dim=0)
    detector.prepare(normal, [25, 15])
    return detector.eval()


def test_components_of_normal_frames_have_unit_variance() -> None:
    detector = make_predictor("cloze")
    points = detector.project(draw(40, 12).cumsum(dim=0))
    torch.testing.assert_close(points.var(dim=0, correction=0), torch.ones(4), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["cloze", "causal"])
def test_what_is_expected_of_a_frame_never_comes_from_that_frame(kind: str) -> None:
    detector = make_predictor(kind)
    points, mask = draw(1, 9, 4), torch.ones(1, 9, dtype=torch.bool)
    points.requires_grad_(True)
    to_before, to_after = detector._steps(points, mask)
    context = detector._earlier(detector._read(detector.forwards, points, to_before))
    if detector.backwards is not None:
        behind = detector._read(detector.backwards, detector._flip(points, mask), detector._flip(to_after, mask))
        context = torch.cat([context, detector._flip(detector._earlier(behind), mask)], dim=2)
    expected = context.sum(dim=2) + detector._between(points, mask).sum(dim=2)
    for frame in range(9):
        (gradient,) = torch.autograd.grad(expected[0, frame], points, retain_graph=True)
        reach = gradient[0].abs().sum(dim=1)
        assert reach[frame] == 0
        if frame:
            assert reach[frame - 1] > 0
        if frame < 8:
            assert (reach[frame + 1] > 0) == (kind == "cloze")
        if kind == "causal":
            assert (reach[frame:] == 0).all()


@pytest.mark.parametrize("kind", ["cloze", "causal"])
def test_padding_and_neighbours_in_a_batch_change_nothing(kind: str) -> None:
    detector = make_predictor(kind)
    first, second = draw(6, 4), draw(9, 4, seed=1)
    points = torch.full((2, 9, 4), 1e3)
    points[0, :6], points[1] = first, second
    mask = torch.arange(9)[None] < torch.tensor([[6], [9]])
    errors, spread = detector(points, mask)
    alone, alone_spread = detector(first[None], torch.ones(1, 6, dtype=torch.bool))
    torch.testing.assert_close(errors[0, :6], alone[0])
    torch.testing.assert_close(spread[0, :6], alone_spread[0])
    assert (errors[0, 6:] == 0).all()
    loss = detector.loss(points, mask)
    other = detector.loss(second[None], torch.ones(1, 9, dtype=torch.bool))
    counts = [6 * 4 + (5 if kind == "causal" else 10), 9 * 4 + (8 if kind == "causal" else 16)]
    by_hand = (detector.loss(first[None], mask[:1, :6]) * counts[0] + other * counts[1]) / sum(counts)
    torch.testing.assert_close(loss, by_hand)


def test_frame_by_frame_is_what_training_saw() -> None:
    detector = make_predictor("causal")
    embeddings = draw(11, 12, seed=4).cumsum(dim=0)
    with torch.inference_mode():
        parts = detector.examine(embeddings).parts
        errors, _ = detector(detector.project(embeddings)[None], torch.ones(1, 11, dtype=torch.bool))
    torch.testing.assert_close(parts["causal"], errors[0, :, :4].mean(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts["causal_motion"][1:], errors[0, 1:, 4], rtol=1e-4, atol=1e-5)
    assert torch.isnan(parts["causal_motion"][0])
    with torch.inference_mode():
        shorter = detector.examine(embeddings[:5]).parts
    assert torch.equal(shorter["causal"], parts["causal"][:5])


def walks(count: int, frames: int, *, seed: int) -> list[Tensor]:
    """Smooth rounds in twelve dimensions, each at its own place and pace: what a probe held still on an organ gives."""
    made = []
    for index in range(count):
        generator = torch.Generator().manual_seed(seed + index)
        place, phase = torch.randn(12, generator=generator), 6.28 * torch.rand(1, generator=generator)
        angle = phase + 0.4 * torch.arange(frames)
        ways = torch.randn(2, 12, generator=generator)
        made.append(place + angle.cos()[:, None] * ways[0] + angle.sin()[:, None] * ways[1]
                    + 0.02 * torch.randn(frames, 12, generator=generator))
    return made


def train_predictor(kind: str) -> PredictionDetector:
    clips = walks(12, 24, seed=0)
    torch.manual_seed(0)
    settings = PredictionSettings.model_validate({"kind": kind, "hidden": 24, "components": 8, "dropout": 0.0})
    detector = PredictionDetector(settings, embedding_size=12)
    detector.prepare(torch.cat(clips), [24] * 12)
    points, mask = torch.stack([detector.project(one) for one in clips]), torch.ones(12, 24, dtype=torch.bool)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    detector.train()
    for _ in range(60):
        loss = detector.loss(points, mask)
        optimizer.zero_grad()
        torch.autograd.backward([loss])
        optimizer.step()
    return detector.eval()


@pytest.mark.parametrize("kind", ["cloze", "causal"])
def test_a_swapped_and_a_frozen_frame_are_told_by_the_sequence_alone(kind: str) -> None:
    detector = train_predictor(kind)
    clip = walks(1, 24, seed=99)[0]
    swapped, frozen = clip.clone(), clip.clone()
    swapped[[8, 14]] = clip[[14, 8]]
    frozen[10:14] = clip[9]
    with torch.inference_mode():
        plain, mixed, still = (detector.examine(one).parts for one in (clip, swapped, frozen))
    assert min(mixed[kind][8], mixed[kind][14]) > 2 * plain[kind][1:].max()
    motion = f"{kind}_motion"
    assert still[motion][11:13].min() > 2 * plain[motion][1:].max()
    assert still[kind][11:13].max() < 2 * plain[kind][1:].max()  # nothing is easier to predict than what stands still


def test_a_convlstm_cell_is_its_equations() -> None:
    cell = ConvLSTMCell(2, 3)
    picture, hidden, state = draw(1, 2, 5, 5), draw(1, 3, 5, 5, seed=1), draw(1, 3, 5, 5, seed=2)
    found, after = cell(picture, (hidden, state))
    both = torch.cat([picture, hidden], dim=1)
    gates = torch.nn.functional.conv2d(both, cell.gates.weight, cell.gates.bias, padding=1)
    enter, forget, show, fresh = gates.split(3, dim=1)
    by_hand = (forget + 1).sigmoid() * state + enter.sigmoid() * fresh.tanh()
    torch.testing.assert_close(after, by_hand)
    torch.testing.assert_close(found, show.sigmoid() * by_hand.tanh())


def test_the_future_is_foreseen_from_the_past_alone_and_its_error_lies_where_the_picture_changed() -> None:
    torch.manual_seed(0)
    detector = FutureDetector(FutureSettings(size=16, channels=4)).eval()
    slices = torch.zeros(6, 3, 32, 32)
    changed = slices.clone()
    changed[4, :, 20:28, 4:12] = 1.0
    with torch.inference_mode():
        before, after = detector.examine(slices), detector.examine(changed)
    assert torch.isnan(before.parts["future"][0])
    assert torch.equal(before.parts["future"][1:4], after.parts["future"][1:4])
    assert after.parts["future"][4] > before.parts["future"][4]
    assert after.places is not None
    row, column = divmod(int(after.places[4].argmax()), after.places.shape[2])
    assert (row in (5, 6, 7), column in (1, 2, 3)) == (True, True)
    mask = torch.tensor([[True] * 6])
    pictures = detector.shrink(changed)[None]
    foreseen = detector(pictures).detach()[0]
    by_hand = torch.stack([(foreseen[i] - pictures[0, i + 1]).square().mean() for i in range(5)])
    torch.testing.assert_close(detector.loss(pictures, mask), by_hand.mean())
    torch.testing.assert_close(after.parts["future"][1:], by_hand.sqrt())
