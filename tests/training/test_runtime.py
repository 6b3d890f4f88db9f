"""Figures of validation come back from the device on which processes add them up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seriatim.training.runtime import gather_rows


class OnCard:
    """What a collective gives on an accelerator: a tensor that numpy cannot read before it is on the CPU."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def numpy(self) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __int__(self) -> int:
        return int(self._values)

    def cpu(self) -> torch.Tensor:
        return self._values


class CardFabric:
    def __init__(self, world_size: int) -> None:
        self.world_size = world_size

    def all_reduce(self, data: torch.Tensor, reduce_op: str) -> OnCard:
        assert reduce_op in ("sum", "max")
        return OnCard(data)


@pytest.mark.parametrize("world_size", [1, 2])
def test_rows_are_gathered_on_a_card_too(world_size: int) -> None:
    mine = {0: np.array([0.25, 0.75]), 2: np.array([1.0, 0.0])}
    found = gather_rows(CardFabric(world_size), mine, 3)  # type: ignore[arg-type]
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, [[0.25, 0.75], [0, 0], [1, 0]])
