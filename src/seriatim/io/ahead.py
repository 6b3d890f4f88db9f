"""Work that waits for storage, done in threads ahead of its turn; work that does not wait is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from statistics import median
from time import perf_counter, thread_time
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

TIMED, BLOCK, THREADS = 8, 512, 8
SLOW_SECONDS = 3e-4
"""A file in the cache of the system waits for no more than some microseconds, one in a network folder for longer."""


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``work`` of each item, in order, as ``map`` gives it.

    Before each block of items a few are done one by one and timed: where most of them wait, the block is done in
    threads. On a warm cache threads cost more than they save. Items are taken block by block.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="seriatim-ahead") as pool:
        while timed := list(islice(waiting, TIMED)):
            waits = []
            for item in timed:
                before = perf_counter() - thread_time()
                result = work(item)
                waits.append(perf_counter() - thread_time() - before)
                yield result
            slow = median(waits) > SLOW_SECONDS
            yield from (pool.map if slow else map)(work, list(islice(waiting, BLOCK)))
