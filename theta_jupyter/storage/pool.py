"""Work on many tensors at once, with the bytes in flight bounded, progress told, and a clean end when interrupted."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor, Future

__all__ = ["Progress", "each", "silent"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, and how many bytes of how many are done."""

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT = 768 << 20
"""Bytes of tensors being worked on at once, unless a single one is larger."""

SMALL = 1 << 16
"""Bytes of an item, on average, below which threads would mostly wait for each other."""

WAITING = 256
"""Results that may wait for an earlier one."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def each(
    what: str,
    function: Callable[[T], R],
    items: Iterable[T],
    size: Callable[[T], int],
    progress: Progress = silent,
    *,
    copies: int = 0,
    waiting: int = 0,
    executor: Executor | None = None,
) -> Iterator[R]:
    """Apply a function to every item in threads, or wherever an executor does, and yield the results in order.

    Parameters
    ----------
    what
        The work, in a word, for the progress.
    size
        Bytes an item stands for, for the progress.
    copies
        How many times that an item needs in memory while it is worked on; this decides how many are at once. Results
        should be small: up to :data:`WAITING` wait for their turn. Large items are best given first.
    waiting
        Threads beyond one for each processor, because so many wait for a disk at any time.
    executor
        Where to work instead; it is left running. Its memory is its own affair. If it works in other processes, they
        must be able to read the repository, and function, items and results are pickled.

    Raises
    ------
    Exception
        What the function raised for the first item, in order, for which it raised. Items not yet begun are then
        dropped, and those begun are waited for. The same when the caller is interrupted, or stops early.
    """
    queue = list(items)
    total, done = sum(map(size, queue)), 0
    if len(queue) < 2 or (executor is None and total < SMALL * len(queue)):
        for item in queue:
            result = function(item)
            done += size(item)
            progress(what, done, total)
            yield result
        return

    # Imported here: a filter that answers from its cache has no use for threads.
    from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

    # For all we know, there is a cluster behind it.
    workers = _workers() + waiting if executor is None else WAITING
    most = IN_FLIGHT if executor is None else sys.maxsize
    pool = executor or ThreadPoolExecutor(workers)
    running: dict[Future[R], int] = {}
    ordered: deque[Future[R]] = deque()

    def settle() -> Iterator[R]:
        """Wait for some work to end, and give the results that are next in order."""
        nonlocal done
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            done += running.pop(future)
            progress(what, done, total)
        while ordered and ordered[0].done():
            yield ordered.popleft().result()

    try:
        for item in queue:
            own = size(item)
            while running and (
                len(running) > workers or len(ordered) >= WAITING or copies * (sum(running.values()) + own) > most
            ):
                yield from settle()
            future = pool.submit(function, item)
            running[future] = own
            ordered.append(future)
        while running:
            yield from settle()
    finally:
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)
        else:
            wait([future for future in running if not future.cancel()])


def _workers() -> int:
    """How many threads there is a processor for: in a container, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
