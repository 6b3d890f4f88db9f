"""A few threads that decode slices, with a bounded number in flight."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

MAX_THREADS = 4
IN_FLIGHT_PER_THREAD = 2


class DecodePool:
    """Runs work in threads, and what finishes it in the calling thread, in the order of submission.

    At most two pieces of work per thread are in flight, so memory does not grow with the length of a series.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = default_threads() if threads is None else max(1, threads)
        self._executor: ThreadPoolExecutor | None = None
        self._pending: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()

    def submit(self, work: Callable[[], Any], finish: Callable[[Any], None]) -> None:
        """Run ``finish(work())``; with one thread at once, else when its turn comes."""
        if self._threads == 1:
            finish(work())
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="seriatim-decode")
        self._pending.append((self._executor.submit(work), finish))
        while len(self._pending) > IN_FLIGHT_PER_THREAD * self._threads:
            self._finish_first()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            while self._pending and error is None:
                self._finish_first()
        finally:
            self._pending.clear()
            if self._executor is not None:
                self._executor.shutdown(wait=True, cancel_futures=True)

    def _finish_first(self) -> None:
        future, finish = self._pending.popleft()
        finish(future.result())


def default_threads() -> int:
    """The cores this process may use, at most four; no more than OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, MAX_THREADS, int(limit) if limit.isdigit() else MAX_THREADS))
