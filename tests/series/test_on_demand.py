"""A sequence whose things are taken when they are asked for."""

import pytest

from seriatim.series.on_demand import OnDemand


class Shelf:
    """Gives a thing for a number, and remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def take(self, number: int) -> str:
        self.asked.append(number)
        return f"thing {number}"


def test_it_takes_what_is_asked_for_and_nothing_else() -> None:
    shelf = Shelf()
    things = OnDemand([7, 3, 5, 9], shelf.take)
    assert (len(things), len(things[1:3]), shelf.asked) == (4, 2, [])
    assert (things[1], things[-1], things[1:3][1]) == ("thing 3", "thing 9", "thing 5")
    assert shelf.asked == [3, 9, 5]
    assert list(things[::-2]) == ["thing 9", "thing 3"]


def test_a_place_beyond_the_end_is_refused() -> None:
    with pytest.raises(IndexError):
        OnDemand([7], Shelf().take)[1]


def test_an_error_of_taking_is_no_end_of_the_sequence() -> None:
    things = ["only"]
    with pytest.raises(IndexError):
        list(OnDemand([0, 1], things.__getitem__))
