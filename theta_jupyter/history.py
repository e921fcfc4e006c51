"""Commits and branches, read with GitPython."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import git

from theta_jupyter.answers import Branch, Branches, Commit, Log
from theta_jupyter.changes import EMPTY, read
from theta_jupyter.errors import GitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theta_jupyter.git.worktree import Worktree

__all__ = ["branches", "commit", "first_parent", "log"]

TRAILER = "Theta-From:"


def log(worktree: Worktree, ref: str, paths: Sequence[str], limit: int) -> Log:
    """Commits from a ref back, or of a range ``A..B``, the newest first."""
    try:
        start = "..".join(worktree.resolve(end or "HEAD") for end in ref.split(".."))
    except GitError:
        if ref == "HEAD":
            return Log(())
        raise
    with _repository(worktree) as repository:
        refs = _refs(worktree)
        options = [f"--max-count={limit + 1}", start, "--", *paths]
        ids = worktree.git("rev-list", *options).decode().split()
        commits = [_describe(worktree, repository.commit(hexsha), refs) for hexsha in islice(ids, limit)]
    return Log(tuple(commits), len(ids) > limit)


def commit(worktree: Worktree, ref: str) -> Commit:
    """One commit.

    Raises
    ------
    GitError
        If the ref names none.
    """
    with _repository(worktree) as repository:
        return _describe(worktree, repository.commit(worktree.resolve(ref)), _refs(worktree))


def first_parent(worktree: Worktree, ref: str) -> str:
    """The commit before, or :data:`~theta_jupyter.changes.EMPTY` if this is the first."""
    with _repository(worktree) as repository:
        parents = repository.commit(ref).parents
    return parents[0].hexsha if parents else EMPTY


def branches(worktree: Worktree) -> Branches:
    """Local branches, by name."""
    with _repository(worktree) as repository:
        current = None if repository.head.is_detached else repository.active_branch.name
        return Branches(
            tuple(
                Branch(head.name, head.commit.hexsha, str(head.commit.summary), head.name == current)
                for head in repository.branches
            )
        )


def _repository(worktree: Worktree) -> git.Repo:
    return git.Repo(worktree.top)


def _refs(worktree: Worktree) -> dict[str, list[str]]:
    """Branches and tags by what they point at; a tag may point at anything."""
    names: dict[str, list[str]] = {}
    what = "--format=%(objectname) %(*objectname) %(refname:lstrip=2)"
    for line in worktree.git("for-each-ref", what, "refs/heads", "refs/tags").decode(errors="replace").splitlines():
        own, target, name = line.split(" ", 2)
        names.setdefault(target or own, []).append(name)
    return names


def _describe(worktree: Worktree, found: git.Commit, refs: dict[str, list[str]]) -> Commit:
    parent = (
        found.parents[0].hexsha
        if found.parents
        else worktree.git("hash-object", "-t", "tree", "--stdin", data=b"").decode().strip()
    )
    raw = worktree.git("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", parent, found.hexsha)
    fields = raw.split(b"\0")[:-1]
    pairs = zip(fields[::2], fields[1::2], strict=True)
    blobs = {path.decode(errors="surrogateescape"): info.split()[2:4] for info, path in pairs}
    models = [path for path, value in worktree.filters(blobs).items() if value == "theta"]
    had = _places(worktree, [blobs[path][0].decode() for path in models])
    needed = _places(worktree, [blobs[path][1].decode() for path in models])
    message = str(found.message)
    return Commit(
        found.hexsha,
        str(found.summary),
        str(found.author.name),
        found.authored_datetime.isoformat(),
        tuple(sorted(refs.get(found.hexsha, []))),
        tuple(models),
        sum(size for name, size in needed.items() if name not in had),
        tuple(line.removeprefix(TRAILER).strip() for line in message.splitlines() if line.startswith(TRAILER)),
    )


def _places(worktree: Worktree, blobs: list[str]) -> dict[str, int]:
    """Size by id of the objects that these blobs need, as far as they are manifests."""
    sizes: dict[str, int] = {}
    for text in worktree.blobs(blob for blob in blobs if blob.strip("0")):
        manifest = read(text)
        sizes |= manifest.places() if manifest else {}
    return sizes
