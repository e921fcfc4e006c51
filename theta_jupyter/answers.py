"""What the verbs of a repository answer: status, commits, log, lists."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from theta_jupyter.diffs.compare import overall
from theta_jupyter.diffs.miniature import LEGEND, miniature
from theta_jupyter.results import Result, Table, relative_text, size_text

if TYPE_CHECKING:
    from theta_jupyter.diffs.miniature import Miniature
    from theta_jupyter.diffs.report import Diff, FileDiff
    from theta_jupyter.merges.base import Strategy
    from theta_jupyter.results import Cell

__all__ = ["Branch", "Branches", "Commit", "Entry", "Files", "Log", "Shown", "Status", "Strategies", "TrackedFile"]


State = Literal["conflict", "staged", "changed", "new", "deleted", "manifest", "untracked"]

_LETTERS: dict[State, Literal["M", "A", "D", "U", "?", "!"]] = {
    "conflict": "U",
    "staged": "M",
    "changed": "M",
    "new": "A",
    "deleted": "D",
    "manifest": "!",
    "untracked": "?",
}


@dataclass(frozen=True)
class Entry(Result):
    """One model that is not as it is in HEAD.

    Parameters
    ----------
    path
        From the top of the repository.
    state
        ``conflict``, ``staged``, ``changed`` (in the work tree, not staged), ``new`` (tracked, never committed),
        ``deleted``, ``manifest`` (its weights are not here) or ``untracked`` (a checkpoint worth tracking).
    summary
        How it differs from HEAD, in one line.
    tensors, changed
        Number of tensors, and of those that differ from HEAD.
    relative, estimated
        The change as a whole, over the old norm, and whether that is an estimate.
    stores, size
        Bytes a commit would store for it, and bytes of the file.
    staged
        Whether all of the change is in the index.
    miniature
        The change by block.
    """

    path: str
    state: State
    summary: str = ""
    tensors: int = 0
    changed: int = 0
    relative: float | None = None
    estimated: bool = False
    stores: int = 0
    size: int = 0
    staged: bool = False
    miniature: Miniature | None = None

    @property
    def letter(self) -> Literal["M", "A", "D", "U", "?", "!"]:
        """The state as Git has it: U in conflict, ? not tracked, and ! for weights that are not here."""
        return _LETTERS[self.state]

    def headline(self) -> str:
        """The path and its state."""
        return f"{self.path}: {self.state}"


@dataclass(frozen=True)
class Status(Result):
    """Where the repository stands.

    Parameters
    ----------
    branch
        The branch, or a short commit id when HEAD is detached.
    detached
        Whether it is.
    commits
        Whether there is any commit yet.
    entries
        Models that are not as in HEAD.
    ready
        Whether Git is set up to call us here.
    pushing
        Whether a push would send the objects of models.
    """

    branch: str
    commits: bool
    entries: tuple[Entry, ...]
    ready: bool = True
    detached: bool = False
    pushing: bool = True

    def headline(self) -> str:
        """The branch, and whether anything is to be done."""
        where = f"HEAD detached at {self.branch}" if self.detached else f"On branch {self.branch}"
        where += "" if self.commits else ", no commit yet"
        return where if self.entries else f"{where}: no tracked model changed"

    def table(self) -> Table:
        """A line a model."""
        return Table(
            ("", "model", "state", ""),
            tuple((e.letter, e.path, e.state, e.summary) for e in self.entries),
        )

    def notes(self) -> tuple[str, ...]:
        """The next step."""
        states = {entry.state for entry in self.entries}
        first = next((entry.path for entry in self.entries if entry.state == "untracked"), "")
        notes = []
        if not self.ready:
            notes.append("theta is not set up in this repository: git theta init")
        elif not self.pushing:
            notes.append("no hook of ours is where Git looks, so a push sends no objects of models: git theta init")
        if "conflict" in states:
            notes.append(
                "decide what is in conflict, tensor by tensor: git theta resolve   (then: git theta merge --continue)"
            )
        if states & {"changed", "new", "deleted", "staged"}:
            stores = sum(entry.stores for entry in self.entries)
            notes.append(f'commit with: git theta commit -m "..."   (will store {size_text(stores)})')
        if "manifest" in states:
            notes.append("weights come with: git theta checkout -- PATH")
        if first:
            notes.append(f"track with: git theta track {shlex.quote(first)}")
        return tuple(notes)

    def _records(self) -> tuple[Any, ...]:
        return self.entries


@dataclass(frozen=True)
class Commit(Result):
    """One commit.

    Parameters
    ----------
    id
        The full hash.
    subject
        First line of the message.
    author
        Name of the author.
    date
        When it was written, ISO 8601 with the author's time zone.
    refs
        Branches and tags that point at it.
    models
        Checkpoints it changed.
    stored
        Bytes of the objects it brought.
    derived_from
        What its models were said to be made from: ``path@commit``.
    miniatures
        How much it changed each block of its models; none of a file that is kept whole.
    merged_by
        The rules of the plan by which it was merged.
    parents
        Ids of the commits it was made from, the first one first.
    body
        What its message says after the first line.
    """

    id: str
    subject: str
    author: str
    date: str
    refs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    stored: int = 0
    derived_from: tuple[str, ...] = ()
    miniatures: tuple[Miniature, ...] = ()
    merged_by: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    body: str = ""

    @property
    def short(self) -> str:
        """The first seven digits of the hash."""
        return self.id[:7]

    def headline(self) -> str:
        """Hash, subject and what it holds."""
        models = f": {', '.join(self.models)}" if self.models else ""
        return f"[{self.short}] {self.subject}{models}"

    def notes(self) -> tuple[str, ...]:
        """What was stored, and where it came from."""
        lines = [f"stored {size_text(self.stored)}"] if self.models else []
        rules = (f"merged by {rule}" for rule in self.merged_by)
        return (*lines, *(f"derived from {source}" for source in self.derived_from), *rules)


@dataclass(frozen=True)
class Log(Result):
    """Commits, the newest first.

    Parameters
    ----------
    commits
        Those that were asked for.
    more
        Whether there are older ones.
    """

    commits: tuple[Commit, ...]
    more: bool = False

    _PICTURED = 3

    def headline(self) -> str:
        """How many."""
        return f"{len(self.commits)} commit{'s' * (len(self.commits) != 1)}" if self.commits else "no commit yet"

    def table(self) -> Table:
        """A line a commit."""
        rows = []
        for c in self.commits:
            refs = f"({', '.join(c.refs)}) " if c.refs else ""
            stored = size_text(c.stored) if c.models else ""
            rest = len(c.miniatures) - self._PICTURED
            change: Cell = (*c.miniatures[: self._PICTURED], *([f"+{rest}"] if rest > 0 else []))
            subject = f"{refs}{c.subject}"
            rows.append((c.short, c.date[:16].replace("T", " "), subject, ", ".join(c.models), change, stored))
        return Table(("commit", "date", "subject", "models", "change by block", ">stored"), tuple(rows))

    def notes(self) -> tuple[str, ...]:
        """Whether there are more, and what the miniatures mean."""
        pictured = any(commit.miniatures for commit in self.commits)
        return (
            *(["and older ones: -n 100"] if self.more else []),
            *([f"change by block: {LEGEND}"] if pictured else []),
        )

    def _records(self) -> tuple[Any, ...]:
        return self.commits


@dataclass(frozen=True)
class Shown(Result):
    """A commit and what it changed."""

    commit: Commit
    diff: Diff

    def headline(self) -> str:
        """The commit."""
        return self.commit.headline()

    def notes(self) -> tuple[str, ...]:
        """Who and when."""
        return (f"{self.commit.author}, {self.commit.date}", *self.commit.notes())

    def text(self) -> str:
        """The commit, then the diff."""
        return f"{super().text()}\n\n{self.diff.text()}"

    def html(self) -> str:
        """The commit, then the diff."""
        return f"{super().html()}<hr>{self.diff.html()}"

    def to_dict(self) -> dict[str, Any]:
        """Both."""
        return {"commit": self.commit.to_dict(), "diff": self.diff.to_dict()}


@dataclass(frozen=True)
class TrackedFile:
    """A tracked checkpoint in the index."""

    path: str
    format: str
    tensors: int
    size: int
    stored: int


@dataclass(frozen=True)
class Files(Result):
    """Tracked checkpoints, and the patterns that track them."""

    files: tuple[TrackedFile, ...]
    patterns: tuple[str, ...]

    def headline(self) -> str:
        """How many."""
        return f"{len(self.files)} tracked checkpoint{'s' * (len(self.files) != 1)}"

    def table(self) -> Table:
        """A line a file."""
        rows = tuple((f.path, f.format, str(f.tensors), size_text(f.size), size_text(f.stored)) for f in self.files)
        return Table(("path", "format", ">tensors", ">size", ">stored"), rows)

    def notes(self) -> tuple[str, ...]:
        """The patterns."""
        return (
            (f"patterns: {'  '.join(self.patterns)}",) if self.patterns else ("track one with: git theta track PATH",)
        )

    def _records(self) -> tuple[Any, ...]:
        return self.files


@dataclass(frozen=True)
class Branch:
    """A branch."""

    name: str
    commit: str
    subject: str
    current: bool


@dataclass(frozen=True)
class Branches(Result):
    """Local branches."""

    branches: tuple[Branch, ...]

    def headline(self) -> str:
        """How many."""
        return f"{len(self.branches)} branch{'es' * (len(self.branches) != 1)}"

    def table(self) -> Table:
        """A line a branch."""
        rows = tuple(("*" if b.current else "", b.name, b.commit[:7], b.subject) for b in self.branches)
        return Table(("", "branch", "commit", "subject"), rows)

    def _records(self) -> tuple[Any, ...]:
        return self.branches


@dataclass(frozen=True)
class Strategies(Result):
    """Ways to merge tensors.

    Parameters
    ----------
    strategies
        Those installed, or one.
    name
        Of the one, if it is one; its parameters are told then.
    """

    strategies: tuple[Strategy, ...]
    name: str = ""

    def headline(self) -> str:
        """How many, or what the one does."""
        if self.name:
            return f"{self.name}: {self.strategies[0].summary}"
        return f"{len(self.strategies)} strategies"

    def table(self) -> Table:
        """A line a strategy, or a parameter."""
        if self.name:
            rows = tuple(
                (p.name, "must be given" if p.default is None else str(p.default), p.described(), p.help)
                for p in self.strategies[0].parameters
            )
            return Table(("parameter", "default", "is", ""), rows)
        return Table(
            ("strategy", "", "base", "models", "parameters"),
            tuple(
                (
                    s.name,
                    s.summary,
                    {"no": "", "use": "if there", "needs": "needed"}[s.base],
                    "two" if s.pairs else "any",
                    ", ".join(p.name for p in s.parameters),
                )
                for s in self.strategies
            ),
        )

    def notes(self) -> tuple[str, ...]:
        """How to use it."""
        example = f"git theta merge BRANCH --strategy {self.name or 'ties'}"
        return (f"use one with: {example}", *(() if self.name else ("more of one: git theta strategies NAME",)))

    def to_dict(self) -> dict[str, Any]:
        """Without their functions."""
        return {"strategies": [s.to_dict() for s in self.strategies]}

    def _records(self) -> tuple[Any, ...]:
        return tuple(s.to_dict() for s in self.strategies)


def entry_of(diff: FileDiff, state: State, *, staged: bool = False) -> Entry:
    """The status line of a file that differs from HEAD."""
    changed = [tensor for tensor in diff.tensors if tensor.status]
    relative, estimated = overall(t for t in diff.tensors if t.status in {"", "M", "R", "T"})
    if diff.opaque:
        summary = "   ".join(diff.facts())
    elif diff.status == "A":
        summary = f"{len(diff.tensors)} tensors, will store {size_text(diff.stored)} of {size_text(diff.size)}"
    elif not changed:
        summary = f"no tensor changed, the rest of the file did; will store {size_text(diff.stored)}"
    else:
        much = f", {relative_text(relative, estimated=estimated)} relative" if relative is not None else ""
        summary = f"{len(changed)} of {len(diff.tensors)} tensors{much}, will store {size_text(diff.stored)}"
    return Entry(
        diff.path,
        state,
        summary,
        len(diff.tensors),
        len(changed),
        relative,
        estimated,
        diff.stored,
        diff.size,
        staged,
        None if diff.opaque else miniature(diff.path, diff.tensors),
    )
