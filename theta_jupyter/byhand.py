"""The way out of a merge by hand: all versions as files, and a file for the result."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from theta_jupyter import staging
from theta_jupyter.checkpoints import locate
from theta_jupyter.errors import RequestError
from theta_jupyter.git.roads import rebuild
from theta_jupyter.storage.beside import replacing
from theta_jupyter.storage.manifest import OPAQUE, dump
from theta_jupyter.storage.mapped import mapped
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theta_jupyter.conflicts import Conflict
    from theta_jupyter.git.worktree import Worktree

__all__ = ["export", "take"]


def export(worktree: Worktree, conflicts: Sequence[Conflict], folder: Path, progress: Progress = silent) -> list[Path]:
    """Write base, ours and theirs of files in conflict into a folder, which is made if need be; return their paths.

    Raises
    ------
    RequestError
        If one is there already. Nothing is written then.
    """
    wanted = []
    for conflict in conflicts:
        name = PurePosixPath(conflict.path)
        for side, manifest in (("base", conflict.base), ("ours", conflict.ours), ("theirs", conflict.theirs)):
            if manifest is not None:
                target = folder.joinpath(*name.parent.parts, f"{name.stem}.{side}{name.suffix}")
                wanted.append((target, manifest))
    for target, _ in wanted:
        if os.path.lexists(target):
            raise RequestError(f"{target} is there already", hint="name another folder, or remove it")
    for target, manifest in wanted:
        target.parent.mkdir(parents=True, exist_ok=True)
        rebuilt = rebuild(worktree, dump(manifest), progress)
        try:
            shutil.move(rebuilt, target)
        finally:
            rebuilt.unlink(missing_ok=True)
    return [target for target, _ in wanted]


def take(worktree: Worktree, conflict: Conflict, source: Path, progress: Progress = silent) -> None:
    """Put a file in the place of one in conflict, and stage it.

    Raises
    ------
    RequestError
        If there is no such file, or it is no checkpoint where all versions are.
    """
    if not source.is_file():
        raise RequestError(f"there is no file {source}")
    with mapped(source) as data:
        layout, reason = locate(data)
    if layout.format == OPAQUE and not any(side.opaque for side in (conflict.ours, conflict.theirs) if side):
        raise RequestError(f"{source} is no checkpoint: {reason}", hint="give one of the format that the others have")
    target = worktree.top / conflict.path
    if not (target.exists() and source.samefile(target)):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    staging.stage(worktree, [conflict.path], "", progress)
