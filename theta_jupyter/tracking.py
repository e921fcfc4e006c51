"""Choosing which files are models, from wherever in the work tree the user stands; and which ones are."""

from __future__ import annotations

import contextlib
import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from theta_jupyter import changes
from theta_jupyter.answers import Files, TrackedFile
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.git import attributes
from theta_jupyter.git.worktree import AS_TYPED
from theta_jupyter.results import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from theta_jupyter.git.worktree import Worktree

__all__ = ["files", "track", "untrack"]


def track(worktree: Worktree, names: Sequence[str]) -> Message:
    """Track files or patterns; see :meth:`theta_jupyter.api.Repository.track`."""
    new: list[str] = []
    before = set(changes.tracked(worktree))
    for name in names:
        if Path(name).exists() or not any(char in name for char in "*?["):
            if Path(name).is_dir():
                folder = name.rstrip("/")
                raise RequestError(
                    f"{name} is a folder", hint=f"track what is in it: git theta track '{folder}/*.safetensors'"
                )
            fresh = attributes.track(worktree, path=worktree.relative(name))
        else:
            fresh = attributes.track(worktree, pattern=_pattern(worktree, name))
        new += [name] if fresh else []
    if not new:
        return Message(f"{', '.join(names)} was tracked already")
    _renew(worktree, before)
    ignored = _ignored(worktree, [name for name in new if Path(name).is_file()])
    hints = [f"{name} is ignored by Git: remove it from .gitignore, or it will not be committed" for name in ignored]
    return Message(f"tracking {', '.join(new)}", (*hints, 'next: git theta commit -m "..."'))


def untrack(worktree: Worktree, names: Sequence[str]) -> Message:
    """Stop tracking files or patterns."""
    for name in names:
        written = [name, _pattern(worktree, name)]
        with contextlib.suppress(GitError):  # A pattern may be anything; it need not be a path in here.
            written.insert(0, worktree.relative(name))
        if not any(attributes.untrack(worktree, one) for one in written):
            raise RequestError(f"{name} is not tracked", hint="what is: git theta ls-files")
    if attributes.FILE in worktree.index():
        # Were the file gone, Git would go by the one in the index.
        (worktree.top / attributes.FILE).touch()
    return Message(f"no longer tracking {', '.join(names)}")


def files(worktree: Worktree) -> Files:
    """Tracked checkpoints in the index."""
    found = []
    index = worktree.index()
    paths = [path for path in changes.tracked(worktree) if 0 in index.get(path, {})]
    for path, text in zip(paths, worktree.blobs(index[path][0] for path in paths), strict=True):
        manifest = changes.read(text)
        if manifest:
            header, stored = manifest.header, sum(manifest.places().values())
            found.append(TrackedFile(path, header.format, len(manifest.records), header.size, stored))
    return Files(tuple(found), tuple(attributes.patterns(worktree)))


def _pattern(worktree: Worktree, name: str) -> str:
    """A pattern written in the current folder, as it is written at the top."""
    below = worktree.relative(".")
    if below == ".":
        return name
    # Without a slash, a pattern means files at any depth.
    depth = "" if "/" in name else "**/"
    return f"/{glob.escape(below)}/{depth}{name.removeprefix('./')}"


def _renew(worktree: Worktree, before: Iterable[str]) -> None:
    """Have Git look again at files it had before they were tracked: it would not by itself."""
    index = worktree.index()
    for path in set(changes.tracked(worktree)).difference(before):
        if path in index and (worktree.top / path).is_file():
            (worktree.top / path).touch()


def _ignored(worktree: Worktree, names: Sequence[str]) -> list[str]:
    listed = b"".join(os.fsencode(worktree.relative(name)) + b"\0" for name in names)
    try:
        out = worktree.git("check-ignore", "-z", "--stdin", data=listed, env=AS_TYPED)
    except GitError:
        return []  # None of them is.
    return [os.fsdecode(name) for name in out.split(b"\0") if name]
