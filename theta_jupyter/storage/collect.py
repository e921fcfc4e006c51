"""Deleting objects that nothing needs, while others may be at work.

Somebody who stores a version beside us either writes an object, or finds it here and relies on it. Whoever relies on an
object freshens it first: it gets the time of now (:meth:`~theta_jupyter.storage.objects.ObjectStore.freshen`), and is
then looked for once more. So:

1. What has been written or freshened within the grace period stays, needed or not: its manifest may be on its way.
2. What is old, and not needed, is *set aside*: renamed, so that nobody finds it any more.
3. Only then is its time looked at again, and Git is asked again what it needs. Whoever freshened it before has left
   that time on the file, whatever it is called by now: the object is put back. Whoever comes after does not find it,
   and stores it anew, as any object that is not here. And whoever had already found it, but touches it only after we
   looked at its time, does not find it when looking once more.
4. What is left is deleted.

So an object that a finished command relies on is here, whenever that ran. What the grace period is for is the time
between storing an object and Git's knowing of its manifest, when nothing names it yet: a grace of nothing is for a
repository in which nothing else is being added.

Killed at any moment, all that is missing is what was set aside: old objects, which the next sweep puts back.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from theta_jupyter.storage.objects import ObjectStore

__all__ = ["Removed", "collect", "folder_size"]


class Removed(NamedTuple):
    """How many objects were deleted, their bytes, and how many were spared at the last moment."""

    deleted: int
    size: int
    spared: int


def collect(
    store: ObjectStore,
    unneeded: Iterable[str],
    before: float,
    needed: Callable[[], Collection[str]],
    progress: Progress = silent,
) -> Removed:
    """Delete objects, unless they turn out to be in use.

    Parameters
    ----------
    unneeded
        Ids of objects that nothing needs and that are older than the grace period.
    before
        The end of the grace period, in seconds since the epoch: what was touched since is in use.
    needed
        Asks again, once they are set aside, what is needed.

    Raises
    ------
    Exception
        Whatever ``needed`` raises. All is then as it was.
    """
    aside: dict[str, Path] = {}
    count = size = spared = 0
    try:
        for object_id in unneeded:
            path = store.set_aside(object_id)
            if path is not None:
                aside[object_id] = path
        in_use = needed() if aside else ()
        total = len(aside)
        for done, (object_id, path) in enumerate(list(aside.items()), 1):
            status = path.stat()
            if status.st_mtime >= before or object_id in in_use:
                spared += 1
                continue
            path.unlink()
            del aside[object_id]
            count, size = count + 1, size + status.st_size
            progress("deleting", done, total)
    finally:
        for path in aside.values():
            with contextlib.suppress(OSError):
                store.put_back(path)  # Or the next sweep does.
    return Removed(count, size, spared)


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder, such as that of the cache."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
