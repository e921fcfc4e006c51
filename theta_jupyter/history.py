"""Commits and branches; what commits changed, read with as many runs of Git for many as for one."""

from __future__ import annotations

import functools
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from theta_jupyter.answers import Branch, Branches, Commit, Log
from theta_jupyter.changes import EMPTY, read
from theta_jupyter.diffs.compare import compare
from theta_jupyter.diffs.miniature import Miniature, miniature
from theta_jupyter.diffs.pair import Pair
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.merges import plan as plans
from theta_jupyter.sides import stored_side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from theta_jupyter.diffs.compare import TensorDiff
    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merges.plan import Plan
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["Change", "Heading", "branches", "commit", "first_parent", "headings", "log", "pairs", "plan", "touched"]

FROM, PLAN = "Theta-From:", f"{plans.TRAILER}:"
FEW = 64
"""Small tensors of a model that are read for a commit's miniature, at most."""


class Heading(NamedTuple):
    """A commit as a list names it; the date is when it was written, ISO 8601 with the author's time zone."""

    id: str
    subject: str
    author: str
    date: str
    message: str


class Change(NamedTuple):
    """A file that a commit changed: its blobs before and after, empty where there is none."""

    path: str
    old: str
    new: str


def log(worktree: Worktree, ref: str, paths: Sequence[str], limit: int) -> Log:
    """Commits from a ref back, or of a range ``A..B``, the newest first."""
    try:
        start = "..".join(worktree.resolve(end or "HEAD") for end in ref.split(".."))
    except GitError:
        if ref == "HEAD":
            return Log(())
        raise
    ids = worktree.git("rev-list", f"--max-count={limit + 1}", start, "--", *paths).decode().split()
    return Log(_described(worktree, ids[:limit]), len(ids) > limit)


def page(worktree: Worktree, skip: int, limit: int, paths: Sequence[str]) -> Log:
    """Commits of HEAD and all branches and tags, children before their parents; those that touched ``paths``, if any.

    Parameters
    ----------
    skip, limit
        How many are left out first, and how many there are then.
    """
    options = ("--topo-order", f"--skip={skip}", f"--max-count={limit + 1}", "--branches", "--tags", "--remotes")
    try:
        starts = [worktree.resolve("HEAD")]
    except GitError:
        starts = []  # No commit yet, here.
    ids = worktree.git("rev-list", *options, *starts, "--", *paths).decode().split()
    return Log(_described(worktree, ids[:limit]), len(ids) > limit)


def commit(worktree: Worktree, ref: str) -> Commit:
    """One commit.

    Raises
    ------
    GitError
        If the ref names none.
    """
    return _described(worktree, [worktree.resolve(ref)])[0]


def plan(worktree: Worktree, source: str | Path) -> Plan:
    """A merge plan: of a file, or the one a merge commit was made by.

    Raises
    ------
    RequestError
        If there is neither, or it is no plan.
    """
    if Path(source).is_file():
        return plans.read(Path(source))
    try:
        message = headings(worktree, [worktree.resolve(str(source))])[0].message
    except GitError:
        hint = "give a file, or a merge commit whose plan is to be repeated"
        raise RequestError(f"there is no plan {source}", hint=hint) from None
    found = _trailers(message, PLAN)
    if not found:
        raise RequestError(f"{source} was not made by a plan", hint="git theta show tells the plan of a merge")
    return plans.read(found[-1])


def first_parent(worktree: Worktree, ref: str) -> str:
    """The commit before, or :data:`~theta_jupyter.changes.EMPTY` if this is the first."""
    (parents,) = _parents(worktree, [worktree.resolve(ref)]).values()
    return parents[0] if parents else EMPTY


def branches(worktree: Worktree) -> Branches:
    """Local branches, by name."""
    import git  # Here, because it takes as long to start as most commands do to end.

    with git.Repo(worktree.top) as repository:
        current = None if repository.head.is_detached else repository.active_branch.name
        return Branches(
            tuple(
                Branch(head.name, head.commit.hexsha, str(head.commit.summary), head.name == current)
                for head in repository.branches
            )
        )


def touched(worktree: Worktree, commits: Sequence[str], paths: Sequence[str] = ()) -> dict[str, list[Change]]:
    """What each of these commits changed against its first parent; of these paths, or at all."""
    found: dict[str, list[Change]] = {commit: [] for commit in commits}
    parents = _parents(worktree, commits).items()
    lines = "".join(f"{' '.join([child, *of[:1]])}\n" for child, of in parents)
    options = ["-r", "-z", "--raw", "--root", "--no-abbrev", "--no-renames", "--stdin"]
    fields = iter(worktree.git("diff-tree", *options, "--", *paths, data=lines.encode()).split(b"\0")[:-1])
    current: list[Change] = []
    for field in fields:
        if field.startswith(b":"):
            modes, blobs = field[1:].split()[:2], field.split()[2:4]
            # Neither a link nor another repository is a file of ours.
            sides = (blob.decode() if mode.startswith(b"100") else "" for mode, blob in zip(modes, blobs, strict=True))
            current.append(Change(os.fsdecode(next(fields)), *sides))
        else:
            current = found[field.decode()]
    return found


def pairs(worktree: Worktree, changes: Sequence[Change]) -> Iterator[tuple[Manifest | None, Manifest | None]]:
    """Manifests before and after each change, None where there is none.

    Each is parsed once, and held no longer than it takes: versions of a large model are many.
    """
    left = Counter(blob for change in changes for blob in (change.old, change.new) if blob)
    # In the order of first use, so that what is wanted next is what comes next, or no manifest.
    texts = worktree.manifests(left)
    coming = next(texts, None)
    held: dict[str, Manifest | None] = {"": None}
    for change in changes:
        for blob in (change.old, change.new):
            if blob in held:
                continue
            held[blob] = None
            if coming and coming[0] == blob:
                held[blob] = read(coming[1])
                coming = next(texts, None)
        yield held[change.old], held[change.new]
        for blob in (change.old, change.new):
            left[blob] -= 1
            if blob and not left[blob]:
                del held[blob]


def headings(worktree: Worktree, ids: Iterable[str]) -> list[Heading]:
    """What stands at the head of each of these commits."""
    wanted = "".join(f"{commit}\n" for commit in ids)
    if not wanted:
        return []  # Git would tell of HEAD.
    options = ["--no-walk=unsorted", "--stdin", "-z", "--no-show-signature", "--encoding=UTF-8", "--no-color"]
    out = worktree.git("log", *options, "--format=tformat:%H%n%an%n%aI%n%B", data=wanted.encode())
    found = (one.split("\n", 3) for one in out.decode(errors="replace").split("\0")[:-1])
    return [
        Heading(id_, message.partition("\n")[0], author, datetime.fromisoformat(date).isoformat(), message)
        for id_, author, date, message in found
    ]


def _parents(worktree: Worktree, commits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The parents of each commit, none if it has none here: a shallow clone ends somewhere."""
    if not commits:
        return {}
    data = "".join(f"{commit}\n" for commit in commits).encode()
    lines = worktree.git("rev-list", "--no-walk=unsorted", "--parents", "--stdin", data=data).decode().splitlines()
    return {commit: tuple(parents) for commit, *parents in map(str.split, lines)}


def _described(worktree: Worktree, ids: Sequence[str]) -> tuple[Commit, ...]:
    """Commits with what they changed, with as many runs of git for many as for one."""
    changes = touched(worktree, ids)
    filters = worktree.filters({change.path for found in changes.values() for change in found})
    models = {name: tuple(c for c in found if filters[c.path] == "theta") for name, found in changes.items()}
    looks = _looks(worktree, models.values())
    refs, parents = _refs(worktree), _parents(worktree, ids)
    return tuple(
        Commit(
            heading.id,
            heading.subject,
            heading.author,
            heading.date,
            tuple(sorted(refs.get(heading.id, []))),
            tuple(change.path for change in models[heading.id]),
            look.stored,
            _trailers(heading.message, FROM),
            look.miniatures,
            _rules(heading.message),
            parents[heading.id],
            heading.message.partition("\n")[2].strip(),
        )
        for heading, look in zip(headings(worktree, ids), looks, strict=True)
    )


def _trailers(message: str, name: str) -> tuple[str, ...]:
    return tuple(line.removeprefix(name).strip() for line in message.splitlines() if line.startswith(name))


def _rules(message: str) -> tuple[str, ...]:
    """The rules of the plan that a merge was made by, to be read."""
    try:
        found = [plans.read(text) for text in _trailers(message, PLAN)]
    except RequestError:
        return ()  # Anybody may write anything into a message.
    every = "every tensor: " if any(one.all for one in found) else ""
    return tuple(f"{every}{rule.described()}" for one in found for rule in one.rules)


class _Look(NamedTuple):
    """What changes of models amount to: bytes of the objects they brought, and a miniature each."""

    stored: int
    miniatures: tuple[Miniature, ...]


@functools.lru_cache(maxsize=1024)
def _seen(changes: tuple[Change, ...]) -> list[_Look]:  # noqa: ARG001 - the key
    """A place for what these changes look like, empty at first: blobs never change, so it is worked out once."""
    return []


def _looks(worktree: Worktree, models: Iterable[tuple[Change, ...]]) -> list[_Look]:
    places = [(changes, _seen(changes)) for changes in models]
    wanted = [(changes, place) for changes, place in places if not place]
    sides = pairs(worktree, [change for changes, _ in wanted for change in changes])
    for changes, place in wanted:
        # In this order: where its changes end, zip leaves the next pair to the next commit.
        place.append(_look(worktree, zip(changes, sides, strict=False)))
    return [place[0] for _, place in places]


def _look(worktree: Worktree, changes: Iterable[tuple[Change, tuple[Manifest | None, Manifest | None]]]) -> _Look:
    had: dict[str, int] = {}
    needed: dict[str, int] = {}
    drawn = []
    for change, (old, new) in changes:
        had |= old.places() if old else {}
        needed |= new.places() if new else {}
        # Of a file that is kept whole nobody knows the tensors.
        if (old or new) and not any(side.opaque for side in (old, new) if side):
            drawn.append(miniature(change.path, _compared(worktree, change.path, old, new)))
    return _Look(sum(size for name, size in needed.items() if name not in had), tuple(drawn))


def _compared(worktree: Worktree, path: str, old: Manifest | None, new: Manifest | None) -> tuple[TensorDiff, ...]:
    """Compare the manifests; a few tensors too small for a sketch are read, where they are here."""
    before, after = (stored_side(worktree, path, side, path) if side else None for side in (old, new))
    try:
        return Pair(path, before, after, ("", "")).compare(most=FEW)
    except ThetaError:
        return compare(old, new)  # An object is damaged: that is no reason to hide the history.


def _refs(worktree: Worktree) -> dict[str, list[str]]:
    """Branches and tags by what they point at; a tag may point at anything."""
    names: dict[str, list[str]] = {}
    what = "--format=%(objectname) %(*objectname) %(refname:lstrip=2)"
    # Not by splitlines(): a name may hold what that takes for the end of a line.
    lines = worktree.git("for-each-ref", what, "refs/heads", "refs/tags").decode(errors="replace").split("\n")
    for line in lines[:-1]:
        own, target, name = line.split(" ", 2)
        names.setdefault(target or own, []).append(name)
    return names
