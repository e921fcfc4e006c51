"""Deleting what nothing needs any more: objects of versions that Git has forgotten, and what killed processes left.

What is needed is said by :mod:`theta_jupyter.git.needed`, and how to delete while others are at work by
:mod:`theta_jupyter.storage.collect`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from theta_jupyter.errors import RequestError
from theta_jupyter.git.needed import named, roots
from theta_jupyter.storage.collect import collect, folder_size
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.upkeep import TICK, Amount, Collected

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["GRACE", "gc"]

GRACE = 14.0
"""Days, as Git's own."""
_DAY = 24 * 3600
_PARTS = "incomplete"
"""Where Git LFS keeps what it has received of an object, to go on with."""


def gc(worktree: Worktree, *, grace: float = GRACE, dry_run: bool = False, progress: Progress = silent) -> Collected:
    """Delete the objects that nothing needs; see :meth:`theta_jupyter.api.Repository.gc`."""
    if not grace >= 0:
        raise RequestError(f"a grace period of {grace} days makes no sense")
    store = worktree.store
    before = time.time() - max(grace * _DAY, TICK)
    leftovers = 0
    if not dry_run:
        # First, because it puts back what a collector that was killed had set aside.
        leftovers = store.sweep() + _sweep_parts(worktree.theta / _PARTS, before)
    begin = roots(worktree)
    keep = named(worktree, begin, progress)
    needed, recent, old = Amount(), Amount(), Amount()
    unneeded = []
    for object_id, status in store.found():
        if object_id in keep:
            needed += status.st_size
        elif status.st_mtime >= before:
            recent += status.st_size
        else:
            old += status.st_size
            unneeded.append(object_id)

    def again() -> Collection[str]:
        """Ask once more, if anything has changed meanwhile."""
        now = roots(worktree)
        return keep if now == begin else named(worktree, now, progress)

    spared = 0
    if not dry_run:
        removed = collect(store, unneeded, before, again, progress)
        old, spared = Amount(removed.deleted, removed.size), removed.spared
    return Collected(old, leftovers, needed, recent, spared, grace, folder_size(worktree.theta / "cache"), dry_run)


def _sweep_parts(folder: Path, before: float) -> int:
    """Delete parts of objects that nobody has gone on receiving."""
    swept = 0
    for path in folder.glob("*"):
        try:
            status = path.stat()
            if path.is_file() and status.st_mtime < before:
                path.unlink()
                swept += status.st_size
        except OSError:
            continue  # Not ours to remove.
    return swept
