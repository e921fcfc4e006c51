"""Putting models into the index, as ``add`` and ``commit`` do.

Files are stored outside Git's lock, in parallel and with progress; the filter that ``git add`` then runs finds them in
the cache.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from theta_jupyter import changes
from theta_jupyter.errors import RequestError
from theta_jupyter.git import attributes
from theta_jupyter.git.known import FROM
from theta_jupyter.git.roads import lay
from theta_jupyter.git.worktree import shown
from theta_jupyter.storage.manifest import dump
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["chosen", "commit", "origin", "put", "refuse_conflicts", "stage"]


def chosen(worktree: Worktree, paths: Sequence[str | Path]) -> list[str]:
    """Models to stage: those named, and what changed in the folders named; all that changed, if nothing is."""
    names = [worktree.relative(path) for path in paths]
    folders = [name for name in names if (worktree.top / name).is_dir()]
    found = [] if names and not folders else [p for p in changes.changed(worktree) if changes.among(p, folders)]
    return [*(name for name in names if name not in folders), *found]


def stage(worktree: Worktree, names: Sequence[str], origin_blob: str, progress: Progress = silent) -> None:
    """Store the files outside Git's lock, in parallel and with progress; `git add` then finds them in the cache."""
    filters = worktree.filters(names)
    for name in names:
        path = worktree.top / name
        if filters[name] != "theta":
            if name == attributes.FILE or (filters[name] == "" and not path.exists()):
                continue
            raise RequestError(f"{name} is not tracked", hint=f"first: git theta track {name}")
        if path.is_file() and not path.is_symlink():
            changes.stored(worktree, name, progress, origin_blob)
    if names:
        env = {FROM: origin_blob} if origin_blob else {}
        worktree.git("add", "--all", "--", *names, env=env)


def put(worktree: Worktree, files: Mapping[str, tuple[str, Manifest]], progress: Progress = silent) -> None:
    """Stage manifests with their modes, and write the files they stand for into the work tree.

    Raises
    ------
    ThetaError
        If the weights of one are neither here nor on any remote. Nothing is staged then.
    """
    lines = []
    for path, (mode, manifest) in files.items():
        text = dump(manifest)
        blob = worktree.git("hash-object", "-w", "--no-filters", "--stdin", data=text).decode().strip()
        lines.append(os.fsencode(f"{mode} {blob}\t{path}\0"))
        # Files first: whoever is interrupted between has the conflict still, and can do it again.
        lay(worktree, path, text, progress)
        file = worktree.top / path
        bits = file.stat().st_mode & 0o777
        file.chmod(bits | (bits & 0o444) >> 2 if mode == "100755" else bits & ~0o111)
    if lines:
        worktree.git("update-index", "-z", "--index-info", data=b"".join(lines))
        worktree.git("add", "--refresh", "--", *files)


def commit(
    worktree: Worktree,
    message: str,
    names: Sequence[str],
    derived_from: str = "",
    progress: Progress = silent,
    *,
    only: bool = False,
) -> None:
    """Stage models and commit.

    Parameters
    ----------
    only
        Whether what else is staged stays out of the commit, and staged; it goes along all the same while a merge or a
        cherry-pick is in progress, because Git makes no partial commit then.

    Raises
    ------
    RequestError
        If there is nothing to commit, or something is in conflict.
    """
    refuse_conflicts(worktree)
    blob, trailer = origin(worktree, derived_from)
    stage(worktree, names, blob, progress)
    files = list(names)
    if (worktree.top / attributes.FILE).exists():
        worktree.git("add", "--", attributes.FILE)
        files.append(attributes.FILE)
    merging, picking = ((worktree.git_dir / f"{what}_HEAD").exists() for what in ("MERGE", "CHERRY_PICK"))
    part = ["--", *files] if only and not merging and not picking else []
    if not merging and not worktree.git("diff", "--cached", "--name-only", *part):
        what = f"{', '.join(map(shown, names))} did not change" if only else "no tracked model changed"
        raise RequestError(f"nothing to commit: {what}", hint="what is tracked: git theta ls-files")
    extra = [f"--trailer=Theta-From: {trailer}"] if trailer else []
    if part:
        extra.append("--only")
    # For a partial commit Git runs the filter once more.
    env = {FROM: blob} if blob else {}
    worktree.git("commit", "--quiet", "--no-edit", f"--message={message}", *extra, *part, env=env)


def origin(worktree: Worktree, given: str) -> tuple[str, str]:
    """The blob of the manifest a model is derived from, and how the trailer names it."""
    if not given:
        return "", ""
    ref, colon, path = given.partition(":")
    if not colon or os.path.lexists(given):
        ref, path = "HEAD", worktree.relative(given)
    commit = worktree.resolve(ref)
    blob = worktree.tree(commit, [path]).get(path)
    if blob is None:
        raise RequestError(
            f"{given} is not committed", hint="commit it first, or name a version: --from REF:PATH, from the top"
        )
    return blob, f"{shown(path)}@{commit}"


def refuse_conflicts(worktree: Worktree) -> None:
    """Refuse to go on while anything is in conflict, and say what to do."""
    undecided = [path for path, stages in worktree.index().items() if 0 not in stages]
    if undecided:
        name, count = undecided[0], len(undecided) - 1
        step = "decide with: git theta resolve, then finish with: git theta merge --continue"
        if worktree.filters([name])[name] != "theta":
            step = f"edit it, then: git add {shlex.quote(name)}"
        raise RequestError(f"{name} is in conflict" + (f", and {count} more" if count else ""), hint=step)
