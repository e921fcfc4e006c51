"""Settle a merge conflict by taking a side.

Git's index keeps the three versions of a file in conflict. They are merged once more, now with the side that was
chosen for what is undecided, so that what settled by itself stays settled; the outcome is staged and checked out. Where
only the file as a whole can be taken, the message says what that leaves out.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from theta_jupyter import staging
from theta_jupyter.choices import Choices
from theta_jupyter.conflicts import OURS, THEIRS, conflicts
from theta_jupyter.errors import ManifestError, RequestError
from theta_jupyter.git.roads import stat_of
from theta_jupyter.merges.threeway import STRUCTURE, Merged, Side, merge
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from theta_jupyter.git.worktree import Worktree

__all__ = ["settle"]


def settle(worktree: Worktree, path: str, side: Side, progress: Progress = silent) -> str:
    """Take ``"ours"`` or ``"theirs"`` for what is in conflict in a file, and stage it; return what was done, in words.

    Raises
    ------
    RequestError
        If the file is not in conflict, or was deleted on one side.
    ManifestError
        If a side has something else there.
    """
    there = {path: stat_of(worktree.top / path)}
    found = conflicts(worktree).get(path)
    if found is None:
        raise RequestError(f"{path} is not in conflict", hint="what is: git theta status")
    if not {OURS, THEIRS} <= found.stages.keys():
        hint = f"keep it with: git add {shlex.quote(path)}; or delete it with: git rm {shlex.quote(path)}"
        raise RequestError(f"{path} was deleted on one side and changed on the other", hint=hint)
    if found.ours is None or found.theirs is None:
        raise ManifestError(f"{path} is not a manifest on both sides", hint=f"git checkout --{side} -- {path}")
    merged = merge(found.base, found.ours, found.theirs, side, worktree.store)
    mode, _ = found.stages[OURS if side == "ours" else THEIRS]
    staging.put(worktree, {path: (mode, merged.manifest)}, there, progress)
    if not conflicts(worktree):
        Choices(worktree).clear()  # This stands in place of what was chosen.
    return f"{path}: {_taken(merged, side)}; staged"


def _taken(merged: Merged, side: Side) -> str:
    if merged.whole:
        return f"taken from {side} as a whole; {merged.without('theirs' if side == 'ours' else 'ours')}"
    count = len(merged.undecided)
    what = [STRUCTURE] if STRUCTURE in merged.conflicts else []
    what += [str(count)] if count or not what else []
    settled = len(merged.classes) - count
    return f"{' and '.join(what)} in conflict taken from {side}, {settled} settled by themselves"
