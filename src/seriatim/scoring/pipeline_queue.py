"""What stands between the stages of scoring: queues and room for bytes. When they close, all waiting ends."""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ClosedError(Exception):
    """There is nothing to wait for any more."""


class BoundedQueue(Generic[Item]):
    """A queue of at most ``most`` items. ``waited_s`` is how long it kept its takers waiting, all of them together."""

    def __init__(self, most: int) -> None:
        self._most, self._items, self._closed = most, deque[Item](), False
        self._changed = threading.Condition()
        self.waited_s = 0.0

    def put(self, item: Item) -> None:
        """Add an item when there is room. Raises ClosedError where the queue was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._most)
            if self._closed:
                raise ClosedError
            self._items.append(item)
            self._changed.notify_all()

    def take(self) -> Item:
        """The item that came first. Raises ClosedError where the queue was closed."""
        with self._changed:
            started = perf_counter()
            self._changed.wait_for(lambda: self._closed or self._items)
            self.waited_s += perf_counter() - started
            if self._closed:
                raise ClosedError
            self._changed.notify_all()
            return self._items.popleft()

    def close(self) -> None:
        """Drop what is in the queue, and let nobody wait."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()


class Room:
    """So many bytes, given out in the order in which they are asked for; more than all of them when all are free."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._used, self._closed = most_bytes, 0, False
        self._changed, self._turn = threading.Condition(), threading.Lock()
        self.waited_s = 0.0
        self.peak_bytes = 0

    def take(self, count: int) -> None:
        """Wait for ``count`` bytes. Raises ClosedError where the room was closed."""
        started = perf_counter()
        with self._turn, self._changed:  # one waits at a time, so that a large one is not passed by small ones for ever
            self._changed.wait_for(lambda: self._closed or not self._used or self._used + count <= self._most)
            self.waited_s += perf_counter() - started
            if self._closed:
                raise ClosedError
            self._used += count
            self.peak_bytes = max(self.peak_bytes, self._used)

    def give_back(self, count: int) -> None:
        with self._changed:
            self._used -= count
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
