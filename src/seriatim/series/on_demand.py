"""A sequence that holds numbers, and makes the thing of a number when it is asked for."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

Item = TypeVar("Item")


class OnDemand(Sequence[Item]):
    """Things by their place, each taken from ``take(number)`` when it is asked for. A slice takes nothing."""

    def __init__(self, numbers: Sequence[int], take: Callable[[int], Item]) -> None:
        self._numbers, self._take = numbers, take

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Item]: ...

    def __getitem__(self, place: int | slice) -> Item | Sequence[Item]:
        if isinstance(place, slice):
            return OnDemand(self._numbers[place], self._take)
        return self._take(self._numbers[place])

    def __iter__(self) -> Iterator[Item]:  # the inherited one would take an IndexError of ``take`` for the end
        return (self._take(number) for number in self._numbers)
