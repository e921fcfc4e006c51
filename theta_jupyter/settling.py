"""Settle a merge conflict by taking a side.

Git's index keeps the three versions of a file in conflict. They are merged once more, now with the side that was
chosen for what is undecided, so that what settled by itself stays settled; the outcome is staged and checked out. Where
only the file as a whole can be taken, the message says what that leaves out.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from theta_jupyter import changes
from theta_jupyter.errors import ManifestError, RequestError
from theta_jupyter.merges.threeway import STRUCTURE, Merged, Side, merge
from theta_jupyter.storage.manifest import dump

if TYPE_CHECKING:
    from theta_jupyter.git.worktree import Worktree

__all__ = ["settle"]


def settle(worktree: Worktree, path: str, side: Side) -> str:
    """Take ``"ours"`` or ``"theirs"`` for what is in conflict in a file, and stage it; return what was done, in words.

    Raises
    ------
    RequestError
        If the file is not in conflict, or was deleted on one side.
    ManifestError
        If a side has something else there.
    """
    stages = worktree.stages(path)
    if 2 not in stages or 3 not in stages:
        if stages.keys() & {2, 3}:
            hint = f"keep it with: git add {shlex.quote(path)}; or delete it with: git rm {shlex.quote(path)}"
            raise RequestError(f"{path} was deleted on one side and changed on the other", hint=hint)
        raise RequestError(f"{path} is not in conflict", hint="what is: git theta status")
    texts = dict(zip(stages, worktree.blobs(stages.values()), strict=True))
    base = changes.read(texts.get(1, b""))
    ours, theirs = changes.read(texts[2]), changes.read(texts[3])
    if ours is None or theirs is None:
        raise ManifestError(f"{path} is not a manifest on both sides", hint=f"git checkout --{side} -- {path}")
    merged = merge(base, ours, theirs, side)
    written = worktree.git("hash-object", "-w", "--no-filters", "--stdin", data=dump(merged.manifest)).decode().strip()
    mode = _mode(worktree, path, 2 if side == "ours" else 3)
    worktree.git("update-index", "-z", "--index-info", data=os.fsencode(f"{mode} {written}\t{path}\0"))
    worktree.git("checkout", "--quiet", "--", path)
    return f"{path}: {_taken(merged, side)}; staged"


def _mode(worktree: Worktree, path: str, stage: int) -> str:
    """The mode of a side in the index: whether the file is executable."""
    for line in worktree.git("ls-files", "--unmerged", "-z", "--", path).split(b"\0"):
        info, _, name = line.partition(b"\t")
        if name == os.fsencode(path) and info.endswith(b" %d" % stage):
            return info.split()[0].decode()
    return "100644"  # Settled by another meanwhile.


def _taken(merged: Merged, side: Side) -> str:
    if merged.whole:
        return f"taken from {side} as a whole; {merged.without('theirs' if side == 'ours' else 'ours')}"
    count = len(merged.undecided)
    what = [STRUCTURE] if STRUCTURE in merged.conflicts else []
    what += [str(count)] if count or not what else []
    settled = len(merged.classes) - count
    return f"{' and '.join(what)} in conflict taken from {side}, {settled} settled by themselves"
