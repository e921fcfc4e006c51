"""Decided tensors of a merge, computed and stored: as many at once as memory allows, never the whole model.

The merge in progress, a merge of many branches and a candidate that is only tried all come here. What they hand over
is a :class:`Task` for each tensor: its versions, and what to do with them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theta_jupyter import changes
from theta_jupyter.checkpoints import locate
from theta_jupyter.checkpoints.base import View
from theta_jupyter.errors import RequestError
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.merges.base import Strategy, find
from theta_jupyter.merges.blend import Part, Version, blend, room
from theta_jupyter.storage.arrays import Checkpoint, FileCheckpoint, StoredCheckpoint, contiguous
from theta_jupyter.storage.compose import Made, compose
from theta_jupyter.storage.manifest import OPAQUE
from theta_jupyter.storage.mapped import mapped
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.storage.snapshot import bases_of, storage_type
from theta_jupyter.storage.tensors import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merges.blend import Blended
    from theta_jupyter.storage.manifest import Record

__all__ = ["Part", "Statistics", "Task", "as_version", "blended", "fetch", "merged", "refusal", "version", "view_of"]


@dataclass(frozen=True, slots=True)
class Task:
    """A tensor to merge.

    Parameters
    ----------
    name
        In the result.
    models
        Its versions, ours first.
    base
        Their common ancestor.
    strategy, values
        What to do, every parameter filled in.
    """

    name: str
    models: tuple[Part, ...]
    base: Part | None
    strategy: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the largest version."""
        return max(part.record.nbytes for part in (*self.models, *([self.base] if self.base else [])))


class Statistics:
    """Checkpoints that parameters name, such as Fisher information; each is opened once."""

    def __init__(self, worktree: Worktree) -> None:
        self._worktree = worktree
        self._open: dict[str, Checkpoint] = {}

    def __reduce__(self) -> tuple[type[Statistics], tuple[Worktree]]:
        """Elsewhere they are opened anew."""
        return Statistics, (self._worktree,)

    def of(self, task: Task) -> dict[str, list[Version | None]]:
        """What they have for a tensor, by parameter."""
        strategy = find(task.strategy)
        found = {}
        for parameter in strategy.parameters:
            if parameter.kind == "checkpoints":
                found[parameter.name] = [self._version(path, task.name) for path in task.values[parameter.name]]
        return found

    def check(self, values: Mapping[str, Any], strategy: Strategy) -> None:
        """Open all that are named, to find out early that one is not there.

        Raises
        ------
        RequestError
            If one is no checkpoint.
        """
        for parameter in strategy.parameters:
            if parameter.kind == "checkpoints":
                for path in values[parameter.name]:
                    self._checkpoint(path)

    def require(self, tasks: Iterable[Task]) -> None:
        """Refuse checkpoints that say nothing of any tensor that is merged.

        Raises
        ------
        RequestError
            If there is one.
        """
        names: dict[str, list[str]] = {}
        for task in tasks:
            for parameter in find(task.strategy).parameters:
                if parameter.kind == "checkpoints":
                    for path in task.values[parameter.name]:
                        names.setdefault(path, []).append(task.name)
        for path, wanted in names.items():
            found = self._checkpoint(path)
            if not any(name in found for name in wanted):
                some = next(iter(found), "no tensor")
                raise RequestError(f"{path} has nothing of {wanted[0]!r}", hint=f"its names are such as {some!r}")

    def _version(self, path: str, name: str) -> Version | None:
        checkpoint = self._checkpoint(path)
        if name not in checkpoint:
            return None
        array = checkpoint[name]
        kinds = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
        dtype = kinds.get(array.dtype.name)
        if dtype is None:
            raise RequestError(f"{path} has {name!r} as {array.dtype.name}, not as a float")
        return Version(checkpoint.raw(name), dtype, tuple(array.shape), path)

    def _checkpoint(self, path: str) -> Checkpoint:
        if path not in self._open:
            self._open[path] = _opened(self._worktree, path)
        return self._open[path]


def blended(
    worktree: Worktree, tasks: Sequence[Task], progress: Progress = silent, remarks: list[str] | None = None
) -> dict[str, Record]:
    """Merge tensors, and store them; return their records by name.

    Parameters
    ----------
    remarks
        What was done to versions of different sizes is added to these.

    Raises
    ------
    RequestError
        If a strategy cannot merge a tensor. What others gave is stored, and found again the next time.
    """
    if not tasks:
        return {}
    fetch(worktree, tasks)
    statistics = Statistics(worktree)
    statistics.require(tasks)
    copies = max(room(find(task.strategy), len(task.models)) for task in tasks)

    make, store = partial(_made, worktree, statistics), worktree.store
    executor = worktree.executor
    found = compose("merging", make, tasks, _size, store, progress, copies=copies, executor=executor)
    if remarks is not None:
        remarks += [f"{name}: {remark}" for name, (_, remark) in sorted(found.items()) if remark]
    return {name: record for name, (record, _) in found.items()}


def _size(task: Task) -> int:
    return task.size


def _made(worktree: Worktree, statistics: Statistics, task: Task) -> Made:
    found = merged(worktree, task, statistics)
    parts = [*task.models, *([task.base] if task.base else [])]
    return Made(view_of(task, found), found.data, bases_of(part.owner or part.record for part in parts), found.remark)


def merged(worktree: Worktree, task: Task, statistics: Statistics) -> Blended:
    """Read the versions of a tensor, and merge them; nothing is stored."""
    models = [version(worktree, part) for part in task.models]
    base = version(worktree, task.base) if task.base else None
    strategy = find(task.strategy)
    return blend(strategy, task.values, models, base, task.name, statistics.of(task))


def version(worktree: Worktree, part: Part) -> Version:
    """Read a tensor: its storage, as the engine sees it."""
    record = part.record
    if part.owner is not None:
        data = contiguous(decode(part.owner, worktree.store, record.of), record)
        return Version(data, record.dtype, record.shape, part.label)
    dtype, shape = storage_type(_as_view(part.name, record), record.nbytes)
    return Version(decode(record, worktree.store, part.name), dtype, shape, part.label)


def as_version(found: Blended) -> Version:
    """See a result as one more version."""
    return Version(found.data, found.dtype, found.shape, "result")


def fetch(worktree: Worktree, tasks: Iterable[Task]) -> None:
    """Fetch at once whatever these tensors need and is not here."""
    parts = [part for task in tasks for part in (*task.models, *([task.base] if task.base else []))]
    needed = {place.object: place.size for part in parts for place in (part.owner or part.record).objects}
    if worktree.store.missing(needed):
        fetch_objects(worktree, needed)


def refusal(strategy: Strategy, records: Sequence[Record | None], base: Record | None) -> str:
    """Say, from manifests alone, why a strategy cannot merge a tensor; empty if it can.

    Parameters
    ----------
    records
        Of each model; None where it has no such tensor.
    """
    reason = strategy.refusal(len(records), base=base is not None)
    if reason or strategy.takes:
        return reason
    present = [record for record in records if record]
    if len(present) < len(records):
        return "one side has no such tensor: take a side"
    tied = next((record.of for record in present if record.of), "")
    if tied:
        return f"it shares its values with {tied}: take a side"
    damaged = sum(record.not_finite for record in (*present, *([base] if base and strategy.base != "no" else [])))
    if damaged:
        return f"{damaged} of its values {'is' if damaged == 1 else 'are'} NaN or infinite: take a side"
    shapes = [record.shape for record in present]
    if len({len(shape) for shape in shapes}) > 1:
        return "its versions have different numbers of dimensions: take a side"
    plain = all(record.stride is None and record.storage is None for record in present)
    if len(set(shapes)) > 1 and not plain:
        return "its versions have different shapes, and share their storage: take a side"
    return ""


def view_of(task: Task, found: Blended) -> View:
    """Where the result lies: as a version of its type and shape does."""
    for part in task.models:
        record = part.record
        dtype, shape = storage_type(_as_view(part.name, record), record.nbytes)
        if (dtype, shape) == (found.dtype, found.shape):
            return _as_view(task.name, record)
    return View(task.name, found.dtype, found.shape, 0)


def _as_view(name: str, record: Record) -> View:
    return View(name, record.dtype, record.shape, 0, record.offset, record.stride)


def _opened(worktree: Worktree, text: str) -> Checkpoint:
    """A checkpoint by its path, from the current folder, or as ``REF:PATH``, from the top."""
    if os.path.isfile(text):  # noqa: PTH113 - as the user wrote it
        path = Path(text)
        with mapped(path) as data:
            layout, reason = locate(data)
            if layout.format == OPAQUE:
                raise RequestError(f"{text} is no checkpoint", hint=reason)
            return FileCheckpoint(text, path.absolute(), data)
    ref, colon, inside = text.partition(":")
    if colon:
        manifests = changes.manifests(worktree, ref, [inside])
        if inside in manifests:
            return StoredCheckpoint(text, manifests[inside], worktree.store, None, partial(fetch_objects, worktree))
    raise RequestError(f"there is no checkpoint {text}", hint="give a file, or REF:PATH from the top")
