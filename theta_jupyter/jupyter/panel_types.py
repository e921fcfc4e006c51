"""What a panel in JupyterLab is told about a repository: plain typed data, ready for JSON.

The TypeScript of the labextension and the OpenAPI page are written from these types (:mod:`.contract`); a test fails
where they drift apart. Names, paths and messages come from repositories that strangers made: they are shown as text.
Paths of files are from the top of the repository; the repository's own is from the server's root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Branch",
    "Branches",
    "Change",
    "ChangeState",
    "Commit",
    "Conflict",
    "Done",
    "Found",
    "InProgress",
    "Miniature",
    "Model",
    "ModelTensor",
    "Page",
    "Pulse",
    "Ref",
    "Status",
    "Upstream",
]

ChangeState = Literal["conflict", "staged", "changed", "new", "deleted", "manifest", "untracked"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The repository around a folder or a file.

    Parameters
    ----------
    repository
        Its path from the server's root, empty for the root itself; None if there is none that may be shown.
    name
        What to call it.
    ready
        Whether Theta is set up in it.
    reason
        Why there is none, for people; empty for "there is just none".
    """

    repository: str | None
    name: str
    ready: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The branch of a remote that a branch follows, and by how many commits each is ahead of the other."""

    name: str
    ahead: int
    behind: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """A model that is not as in HEAD, or a checkpoint that is not tracked.

    Parameters
    ----------
    letter
        As Git has it: M, A, D; U in conflict, ? not tracked, ! its weights are not here.
    staged
        Whether all of the change is in the index.
    summary
        The change in one line, for people.
    tensors, changed
        How many it has, and how many of them differ from HEAD.
    relative, estimated
        The change as a whole over the old norm, and whether that comes from sketches.
    stores, size
        Bytes a commit would store for it, and bytes of the file.
    miniature
        The change by block; None where there is none to be drawn.
    """

    path: str
    letter: Literal["M", "A", "D", "U", "?", "!"]
    state: ChangeState
    staged: bool
    summary: str
    tensors: int
    changed: int
    relative: float | None
    estimated: bool
    stores: int
    size: int
    miniature: Miniature | None


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """How much each block of a model changed.

    Parameters
    ----------
    values
        For each block: a relative change, 0 if there is none, None if it is not known; or ``+`` tensors came, ``-``
        went, ``±`` have another shape.
    text
        All of it in words, to be read aloud or shown when pointed at.
    """

    path: str
    blocks: tuple[str, ...]
    values: tuple[float | str | None, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A model in conflict: how many tensors did not settle, and how many of them nobody has decided yet."""

    path: str
    conflicts: int
    left: int


@dataclass(frozen=True, kw_only=True)
class InProgress:
    """The merge, rebase, cherry-pick, revert or stash that stopped.

    Parameters
    ----------
    title
        What is going on, for people.
    ours, theirs
        What the sides are called.
    others
        Files in conflict that are no models.
    revision
        Greater with every choice.
    """

    kind: Literal["merge", "rebase", "cherry-pick", "revert", "stash"]
    title: str
    ours: str
    theirs: str
    files: tuple[Conflict, ...]
    others: tuple[str, ...]
    revision: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a repository stands.

    Parameters
    ----------
    key
        Of the pulse at which this was true.
    branch, detached
        The branch; or a short commit id, if HEAD is detached.
    commits
        Whether there is any yet.
    ready
        Whether Git calls us here.
    identity
        Whether Git knows in whose name to commit.
    also_staged
        Other files in the index that a commit would take along.
    stores, size
        Bytes a commit of all changed models would store, and what their files have.
    """

    key: str
    branch: str
    detached: bool
    commits: bool
    ready: bool
    identity: bool
    upstream: Upstream | None
    remotes: tuple[str, ...]
    changes: tuple[Change, ...]
    also_staged: tuple[str, ...]
    stores: int
    size: int
    merge: InProgress | None


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """Whether anything happened: keys that change with index, refs, choices and files, and with a merge alone."""

    key: str
    merge: str


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A name of a commit."""

    name: str
    kind: Literal["branch", "remote", "tag"]
    current: bool = False


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit in the history.

    Parameters
    ----------
    date
        When it was written, ISO 8601.
    parents
        Ids, the first one first.
    models
        Checkpoints it changed.
    stored
        Bytes of the objects it brought.
    merged_by
        The rules of the plan by which it was merged.
    """

    id: str
    subject: str
    body: str
    author: str
    date: str
    parents: tuple[str, ...]
    refs: tuple[Ref, ...]
    models: tuple[str, ...]
    miniatures: tuple[Miniature, ...]
    stored: int
    derived_from: tuple[str, ...]
    merged_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Commits, children before parents, and whether there are older ones; and HEAD's, empty if there is none."""

    commits: tuple[Commit, ...]
    more: bool
    head: str


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch: here, or as a remote had it."""

    name: str
    remote: bool
    current: bool
    commit: str
    subject: str
    date: str
    upstream: Upstream | None


@dataclass(frozen=True, kw_only=True)
class Branches:
    """Branches, the ones worked on last first; and remotes."""

    branches: tuple[Branch, ...]
    remotes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ModelTensor:
    """A tensor of a tracked model; norm, mean and largest magnitude are of its finite values."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    norm: float | None
    mean: float | None
    largest: float | None
    not_finite: int
    update: str
    stored: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """A tracked model in one version.

    Parameters
    ----------
    ref
        A commit; empty for the work tree.
    opaque
        Whether no format knows it, so that it is kept whole.
    size, stored
        Bytes of the file, and of all objects it needs.
    commits
        That changed it on the way to this version, the newest first: those of other branches are not among them.
    code
        Python that loads it.
    """

    path: str
    ref: str
    format: str
    opaque: bool
    size: int
    stored: int
    tensors: tuple[ModelTensor, ...]
    commits: tuple[Commit, ...]
    code: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of something."""

    message: str
    details: tuple[str, ...] = ()
