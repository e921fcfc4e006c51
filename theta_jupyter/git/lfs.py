"""Running ``git lfs``, which carries our objects: the user's own credentials, hosts, retries and parallelism.

LFS is given our folder as its storage, so our objects travel without lying among its own. It is named from Git's
folder, because the setting reaches the LFS that serves a remote on the same disk, too: given an absolute path, that one
would look for what it should receive where it comes from, and find it. To push, LFS takes object ids. To fetch many at
once it wants a commit whose files are pointers: one is written, on no branch, and named by its id.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from theta_jupyter.errors import GitError, TransferError
from theta_jupyter.git.worktree import AS_TYPED
from theta_jupyter.storage.pool import silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.pool import Progress

__all__ = ["fetch_pointers", "pointer_commit", "push_objects", "push_pointers", "require"]

_HINT = "install git-lfs (Debian: apt-get install git-lfs) and try again"
_OURS = (
    *("-c", "lfs.storage=theta"),
    # What is missing is to be said; and locks are for files.
    *("-c", "lfs.allowincompletepush=false", "-c", "lfs.locksverify=false"),
)


def push_objects(worktree: Worktree, remote: str, objects: Mapping[str, int]) -> None:
    """Send objects that are here, by their ids.

    Parameters
    ----------
    remote
        As LFS names it.

    Raises
    ------
    TransferError
        If git-lfs is not there, or fails.
    """
    data = "".join(f"{name}\n" for name in objects)
    _run(worktree, ["push", "--object-id", remote, "--stdin"], _Told("sending", objects, worktree.progress), data)


def push_pointers(worktree: Worktree, remote: str, commit: str) -> None:
    """Have LFS offer the objects of a pointer commit, which it asks the remote for before it misses them here."""
    _run(worktree, ["push", remote, commit], _Told("sending", {}, silent))


def fetch_pointers(worktree: Worktree, remote: str, objects: Mapping[str, int], *, ours: bool = True) -> None:
    """Fetch objects in one batch.

    Parameters
    ----------
    ours
        Whether they go where ours lie; else, where those of LFS itself do.

    Raises
    ------
    TransferError
        If git-lfs is not there or fails, or the remote lacks some of them.
    """
    # Whatever the user has told LFS to leave out is about files of LFS.
    args = ["fetch", "--include=*", "--exclude=", remote, pointer_commit(worktree, objects)]
    _run(worktree, args, _Told("fetching", objects, worktree.progress), ours=ours)


def pointer_commit(
    worktree: Worktree, objects: Mapping[str, int], more: Iterable[str] = (), parents: Iterable[str] = ()
) -> str:
    """Write a commit, on no branch, whose files are LFS pointers to objects, by their names.

    Parameters
    ----------
    more
        Lines of ``git ls-tree`` that go into its tree as well.
    """
    names = sorted(objects)
    # Files, not a folder of them: what a killed process leaves is swept away by the next.
    pointers = [worktree.store.temporary() for _ in names]
    try:
        for name, path in zip(names, pointers, strict=True):
            path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {objects[name]}\n")
        listed = "".join(f"{path}\n" for path in pointers)
        blobs = worktree.git("hash-object", "-w", "--no-filters", "--stdin-paths", data=os.fsencode(listed)).split()
    finally:
        for path in pointers:
            path.unlink(missing_ok=True)
    lines = {f"100644 blob {blob.decode()}\t{name}" for blob, name in zip(blobs, names, strict=True)} | set(more)
    tree = worktree.git("mktree", data="".join(f"{line}\n" for line in sorted(lines)).encode()).decode().strip()
    who = {f"GIT_{role}_{field}": "theta" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    when = {"GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"}
    before = [word for parent in parents for word in ("-p", parent)]
    return worktree.git("commit-tree", tree, *before, "-m", "theta objects", env={**who, **when}).decode().strip()


class _Told:
    """Who is told how far LFS has come, which it writes into a file, a line at a time.

    Each line is ``DIRECTION FILE/FILES BYTES/BYTES NAME``; the bytes are those of the one file.
    """

    def __init__(self, what: str, objects: Mapping[str, int], progress: Progress) -> None:
        self.what, self.progress = what, progress
        self.total = sum(objects.values())
        self.path: Path | None = None
        self._read = 0
        self._come: dict[str, int] = {}

    def look(self) -> None:
        """Read on, and tell."""
        if self.path is None:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read += len(whole + end)
        for line in whole.decode(errors="replace").split("\n"):
            words = line.split(" ", 3)
            done = words[2].partition("/")[0] if len(words) == 4 else ""
            if done.isdecimal():
                self._come[words[3]] = int(done)
        self.progress(self.what, min(sum(self._come.values()), self.total), self.total)


def require() -> None:
    """Check that there is a git-lfs.

    Raises
    ------
    TransferError
        If there is none.
    """
    if shutil.which("git-lfs") is None:
        raise TransferError("git-lfs is not installed, and objects travel with it", hint=_HINT)


def _run(worktree: Worktree, args: list[str], told: _Told, data: str = "", *, ours: bool = True) -> None:
    require()
    # In a filter or a hook nobody can answer in the terminal. A program that asks may do so.
    quiet = {"GIT_TERMINAL_PROMPT": "0"} if not os.isatty(2) else {}
    # Literal path specs are ours; LFS has its own ideas.
    env = {**AS_TYPED, **quiet}
    if told.progress is not silent:
        told.path = worktree.store.temporary()
        told.path.touch()
        env["GIT_LFS_PROGRESS"] = str(told.path)
    try:
        worktree.git(
            *(_OURS if ours else ()),
            "lfs",
            *args,
            data=data.encode(),
            env=env,
            meanwhile=told.look if told.path else None,
        )
    except GitError as error:
        raise TransferError(f"git lfs {args[0]} failed: {error.message}") from None
    finally:
        if told.path:
            told.path.unlink(missing_ok=True)
    told.progress(told.what, told.total, told.total)
