"""Queues and room between stages: order, bounds, and an end to all waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from seriatim.scoring.pipeline_queue import BoundedQueue, ClosedError, Room


def start(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Work in a thread; what it gave, or the error it ended with."""
    told: list[object] = []

    def run() -> None:
        try:
            told.append(work())
        except ClosedError as error:
            told.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, told


def still_waits(thread: threading.Thread) -> bool:
    thread.join(0.1)
    return thread.is_alive()


def test_items_come_in_order_and_a_full_queue_waits() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2)
    queue.put(1)
    queue.put(2)
    thread, _ = start(lambda: queue.put(3))
    assert still_waits(thread)
    assert [queue.take(), queue.take(), queue.take()] == [1, 2, 3]
    thread.join(5)


def test_closing_ends_all_waiting() -> None:
    full: BoundedQueue[int] = BoundedQueue(1)
    full.put(1)
    empty: BoundedQueue[int] = BoundedQueue(1)
    room = Room(10)
    room.take(10)
    waiting = [start(lambda: full.put(2)), start(empty.take), start(lambda: room.take(1)), start(lambda: room.take(2))]
    assert all(still_waits(thread) for thread, _ in waiting)
    for one in (full, empty, room):
        one.close()
    for thread, told in waiting:
        thread.join(5)
        assert isinstance(told[0], ClosedError)
    with pytest.raises(ClosedError):
        full.take()  # what was in it is dropped


def test_room_is_given_in_turn_and_to_what_is_too_large_when_all_is_free() -> None:
    room = Room(10)
    room.take(6)
    large, _ = start(lambda: room.take(50))
    assert still_waits(large)
    small, _ = start(lambda: room.take(1))
    assert still_waits(small)  # it would fit, but the large one came first
    room.give_back(6)
    large.join(5)
    assert still_waits(small)
    room.give_back(50)
    small.join(5)
    assert not small.is_alive()
    assert room.peak_bytes == 50
