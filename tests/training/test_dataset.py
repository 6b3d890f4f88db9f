"""Batches: sampling, padding, and plans that are functions of seed and epoch alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from seriatim.training.dataset import Item, collate, plan_epoch
from seriatim.training.runtime import share
from seriatim.training.sampling import sample_slices


def make_item(count: int, key: str) -> Item:
    return Item(
        inputs=torch.rand(count, 4) + 1, positions=torch.arange(count, dtype=torch.float64), labels=torch.tensor([1.0]),
        slice_labels=torch.ones(count, 1), key=key,
    )  # fmt: skip


def test_collate_pads_and_masks() -> None:
    batch = collate([make_item(3, "a"), make_item(5, "b")])
    assert batch.slices is None
    assert batch.embeddings is not None
    assert batch.embeddings.shape == (2, 5, 4)
    assert batch.mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert float(batch.embeddings[~batch.mask].abs().max()) == 0.0


@given(st.integers(1, 700), st.integers(1, 64), st.integers(0, 2**31 - 1))
def test_sampled_slices_ascend_and_cover_the_whole_series(count: int, most: int, seed: int) -> None:
    chosen = sample_slices(count, most, seed)
    assert len(chosen) == min(count, most)
    assert bool((chosen.diff() > 0).all())
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < count
    if count > most:  # one from each equal stretch, so no stretch of the series is ever left out
        edges = torch.arange(most + 1) * count // most
        assert bool(((edges[:-1] <= chosen) & (chosen < edges[1:])).all())


def test_an_epoch_plan_is_a_function_of_seed_and_epoch() -> None:
    plan = plan_epoch(23, epoch=4, seed=9, batch_size=4)
    assert plan == plan_epoch(23, epoch=4, seed=9, batch_size=4)
    assert plan != plan_epoch(23, epoch=5, seed=9, batch_size=4)
    assert sorted(index for batch in plan for index, _ in batch) == list(range(23))


def test_processes_share_an_epoch_and_make_equally_many_steps() -> None:
    plan = plan_epoch(22, epoch=1, seed=0, batch_size=4)
    shares = [share(plan, rank=rank, world=4) for rank in range(4)]
    assert {len(one) for one in shares} == {2}
    assert {draw for one in shares for batch in one for draw in batch} == {draw for batch in plan for draw in batch}
