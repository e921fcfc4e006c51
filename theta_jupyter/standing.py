"""What a repository has beside its models: branches, remotes, an index, somebody in whose name one commits.

And whether anything has happened in it since somebody last looked.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from theta_jupyter import changes
from theta_jupyter.errors import GitError
from theta_jupyter.git.worktree import CHOICES

if TYPE_CHECKING:
    from theta_jupyter.git.worktree import Worktree

__all__ = ["Head", "Name", "has_identity", "heads", "merge_pulse", "names", "pulse", "remotes", "staged"]

_TRACK = re.compile(r"(?:ahead (?P<ahead>\d+))?(?:, )?(?:behind (?P<behind>\d+))?")
_KINDS: dict[str, Literal["branch", "remote", "tag"]] = {"heads": "branch", "remotes": "remote", "tags": "tag"}


class Name(NamedTuple):
    """A name of a commit."""

    name: str
    kind: Literal["branch", "remote", "tag"]
    current: bool


class Head(NamedTuple):
    """A branch, here or as a remote had it.

    Parameters
    ----------
    date
        When its commit was made, ISO 8601.
    upstream, ahead, behind
        The branch it follows, empty if it follows none that is there; and by how many commits each is ahead.
    """

    name: str
    kind: Literal["branch", "remote"]
    current: bool
    commit: str
    subject: str
    date: str
    upstream: str
    ahead: int
    behind: int


def heads(worktree: Worktree) -> list[Head]:
    """Branches, the one worked on last first."""
    fields = (
        "refname",
        "HEAD",
        "objectname",
        "committerdate:iso-strict",
        "upstream:lstrip=2",
        "upstream:track,nobracket",
    )
    form = "%00".join(f"%({field})" for field in (*fields, "symref", "contents:subject"))
    where = ("--sort=-committerdate", "refs/heads", "refs/remotes")
    found = []
    for line in worktree.git("for-each-ref", f"--format={form}", *where).decode(errors="replace").split("\n")[:-1]:
        ref, here, commit, date, upstream, track, symref, subject = line.split("\0")
        _, kind, name = ref.split("/", 2)
        if symref:
            continue  # A remote's HEAD is one of its branches.
        ahead = _TRACK.fullmatch(track)
        counts = [int(count or 0) for count in ahead.groups()] if ahead else [0, 0]
        there = upstream if ahead else ""  # "gone" otherwise.
        found.append(
            Head(name, "branch" if kind == "heads" else "remote", here == "*", commit, subject, date, there, *counts)
        )
    return found


def names(worktree: Worktree) -> dict[str, list[Name]]:
    """Branches and tags, also of remotes, by what they point at."""
    found: dict[str, list[Name]] = {}
    fields = ("objectname", "*objectname", "HEAD", "symref", "refname")
    form = "%00".join(f"%({field})" for field in fields)
    out = worktree.git("for-each-ref", f"--format={form}", *(f"refs/{kind}" for kind in _KINDS))
    # Not by splitlines(): a name may hold what that takes for the end of a line.
    for line in out.decode(errors="replace").split("\n")[:-1]:
        own, target, here, symref, ref = line.split("\0")
        _, kind, name = ref.split("/", 2)
        if not symref:
            found.setdefault(target or own, []).append(Name(name, _KINDS[kind], here == "*"))
    return found


def remotes(worktree: Worktree) -> list[str]:
    """What remotes are called, ``origin`` first."""
    found = worktree.git("remote").decode(errors="replace").split("\n")[:-1]
    return sorted(found, key=lambda name: (name != "origin", name))


def staged(worktree: Worktree) -> list[str]:
    """Paths that are not in the index as in HEAD, none of them in conflict."""
    found = worktree.git("diff", "--cached", "--name-only", "--diff-filter=u", "--no-renames", "-z")
    return [os.fsdecode(path) for path in found.split(b"\0") if path]


def has_identity(worktree: Worktree) -> bool:
    """Whether Git knows in whose name to commit, without guessing."""
    try:
        for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            worktree.git("-c", "user.useConfigOnly=true", "var", who)
    except GitError:
        return False
    return True


def pulse(worktree: Worktree) -> str:
    """A key that changes whenever HEAD, the index, a ref, a choice in a merge, or the file of a model may have.

    No file is read: what tells is when files were written, and how large they are.
    """
    state = hashlib.blake2b(digest_size=12)
    for name in ("HEAD", "index", "MERGE_HEAD", "rebase-merge", "CHERRY_PICK_HEAD", "REVERT_HEAD", "config", CHOICES):
        state.update(_stamp(worktree.git_dir / name))
    state.update(_stamp(worktree.common_dir / "config"))
    state.update(worktree.git("for-each-ref", "--format=%(refname) %(objectname)"))
    state.update(_stamp(worktree.top / ".gitattributes"))
    for path in sorted({*changes.tracked(worktree), *changes.offered(worktree)}):
        state.update(os.fsencode(path) + _stamp(worktree.top / path))
    return state.hexdigest()


def merge_pulse(worktree: Worktree) -> str:
    """A key that changes whenever what is in conflict, or what was chosen for it, may have."""
    state = hashlib.blake2b(digest_size=12)
    for name in ("MERGE_HEAD", "rebase-merge", "CHERRY_PICK_HEAD", "REVERT_HEAD", CHOICES):
        state.update(_stamp(worktree.git_dir / name))
    state.update(worktree.git("ls-files", "--unmerged", "-z"))
    return state.hexdigest()


def _stamp(path: os.PathLike[str]) -> bytes:
    try:
        found = os.lstat(path)
    except OSError:
        return b"-"
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino};".encode()
