"""Work side by side in lanes: threads that each compute with one thread.

Libraries split a sum among the threads they may use, so the last bits of a score would change with the number of cores.
What is computed in a lane is the same to the bit on any number of them, and cores that others use hold nothing up.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes(ThreadPoolExecutor):
    """``count`` threads that each compute with one thread; how many all others may use stays as it is.

    A thread may ``use`` lanes of its own for ``on_lanes``.
    """

    def __init__(self, count: int, *, name: str = "seriatim-lane") -> None:
        super().__init__(count, thread_name_prefix=name)
        threads = torch.get_num_threads()
        self.count = count
        self._started = threading.Barrier(count + 1)
        for _ in range(count):
            self.submit(self._begin)
        self._started.wait()
        torch.set_num_threads(threads)  # a lane's setting is also that of threads which start later

    def _begin(self) -> None:
        torch.get_num_threads()  # a thread takes over the common setting when it first looks, which must be before
        torch.set_num_threads(1)
        self._started.wait()

    def use(self) -> None:
        """Let what this thread does ``on_lanes`` be done by these."""
        _of_thread.lanes = self


def on_lanes(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``work`` of each item, in their order, in as many lanes as ``torch.get_num_threads`` says; a lane does it itself.

    Raises:
        CancelledError: the lanes of this thread were shut down.
        Exception: what ``work`` raises first.
    """
    lanes: Lanes | None = getattr(_of_thread, "lanes", None)
    if lanes is None:
        count = torch.get_num_threads()
        if count == 1:
            return [work(item) for item in items]
        lanes = _shared.take(count)
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    try:
        results = lanes.map(partial(_work_in, modes, work), items)
    except RuntimeError as error:  # nothing can be given to them any more
        raise CancelledError from error
    return list(results)


def _work_in(modes: tuple[bool, bool], work: Callable[[Item], Result], item: Item) -> Result:
    """Modes of torch belong to a thread: the caller's hold in the lane too."""
    grad, inference = modes
    with torch.inference_mode(inference), torch.set_grad_enabled(grad and not inference):
        return work(item)


class _SharedLanes:
    """The lanes of this process, started when they are first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[int, Lanes] = {}

    def take(self, count: int) -> Lanes:
        with self._lock:
            if count not in self._lanes:
                self._lanes[count] = Lanes(count)
            return self._lanes[count]


_shared = _SharedLanes()
_of_thread = threading.local()


def _forget() -> None:
    """After a fork: the parent's threads are not ours."""
    global _shared  # noqa: PLW0603
    _shared = _SharedLanes()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
