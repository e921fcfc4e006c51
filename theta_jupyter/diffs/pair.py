"""Two sides of a comparison: what is known of each at once, and how to read it when more is asked.

A side is a manifest, which the first answer comes from, and the tensors themselves, which are read only on demand: from
the object store, from a file, or from a model in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from theta_jupyter.diffs.compare import TensorDiff, compare, with_exact
from theta_jupyter.diffs.detail import Detail, look
from theta_jupyter.diffs.measure import Exact, measure
from theta_jupyter.storage.pool import Progress, each, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from concurrent.futures import Executor

    from theta_jupyter.storage.arrays import Checkpoint
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["QUICK", "SMALL", "Pair", "Side"]

SMALL = 1 << 20
"""Changed tensors of fewer bytes, on average over both versions, are measured even in a quick diff, where they are here
and have no sketch: it costs no more than looking."""

QUICK = 2000
"""So many of them, at most."""


@dataclass(frozen=True)
class Side:
    """One version of a file.

    Parameters
    ----------
    manifest
        What is known of it.
    tensors
        The tensors, read when asked for.
    """

    manifest: Manifest
    tensors: Checkpoint


class _Job(NamedTuple):
    """A tensor to be measured, here or elsewhere: how its two versions are read, and of what types they are."""

    before: Callable[[], memoryview]
    after: Callable[[], memoryview]
    dtype: str
    old_dtype: str
    size: int


def _measured(job: _Job) -> Exact:
    return measure(job.before(), job.after(), job.dtype, job.old_dtype)


@dataclass(frozen=True)
class Pair:
    """A file in two versions, either of which may be absent.

    Parameters
    ----------
    path
        What to call the file.
    old, new
        The versions.
    labels
        What was compared, also where there was nothing.
    """

    path: str
    old: Side | None
    new: Side | None
    labels: tuple[str, str]

    def compare(self, most: int = QUICK) -> tuple[TensorDiff, ...]:
        """Compare the manifests, and measure what is small and here.

        Parameters
        ----------
        most
            How many tensors at the most; what others changed by is not known yet.
        """
        diffs = compare(*(side.manifest if side else None for side in (self.old, self.new)))
        return self.measured(diffs, [diff.name for diff in islice(filter(self._is_quick, diffs), most)])

    def measured(
        self,
        diffs: Iterable[TensorDiff],
        names: Collection[str] | None = None,
        progress: Progress = silent,
        executor: Executor | None = None,
    ) -> tuple[TensorDiff, ...]:
        """Replace what is estimated, or not known, by what is measured; of the tensors named, or all.

        Parameters
        ----------
        executor
            Where to; None for threads of this process.

        Raises
        ------
        TransferError
            If a weight is neither here nor on any remote.
        """
        found = tuple(diffs)
        wanted = set(names) if names is not None else None
        chosen = [diff for diff in found if _is_comparable(diff) and (wanted is None or diff.name in wanted)]
        chosen = [diff for diff in chosen if diff.changed is None]
        if not chosen or self.old is None or self.new is None:
            return found
        self.old.tensors.prefetch(diff.old_name or diff.name for diff in chosen)
        self.new.tensors.prefetch(diff.name for diff in chosen)
        # The largest first, so that no thread is left with it at the end.
        chosen.sort(key=lambda diff: -self._size(diff))
        if not (self.old.tensors.portable and self.new.tensors.portable):
            executor = None  # A model in memory is in the memory of this process.
        jobs = map(self._job, chosen)
        exacts = each("comparing", _measured, jobs, lambda job: job.size, progress, copies=3, executor=executor)
        return with_exact(found, dict(zip((diff.name for diff in chosen), exacts, strict=True)))

    def exact(self, diff: TensorDiff) -> Exact:
        """Read both versions of a tensor, and measure the change."""
        return _measured(self._job(diff))

    def _job(self, diff: TensorDiff) -> _Job:
        if self.old is None or self.new is None:
            raise ValueError("there is only one version")
        before, after = self.old.tensors.reader(diff.old_name or diff.name), self.new.tensors.reader(diff.name)
        return _Job(before, after, diff.dtype, diff.old_dtype, self._size(diff))

    def detail(self, diff: TensorDiff) -> Detail:
        """Look at a tensor closely.

        Raises
        ------
        MissingObjectError
            If its weights are neither here nor on any remote.
        RequestError
            If it is in memory, or in a file that is not tracked, and has changed since it was compared.
        """
        old = self.old if diff.status != "A" else None
        new = self.new if diff.status != "D" else None
        before = old.tensors.raw(diff.old_name or diff.name) if old else None
        after = before if diff.status == "" else new.tensors.raw(diff.name) if new else None
        flips = None
        if before is not None and after is not None and _is_comparable(diff):
            exact = measure(before, after, diff.dtype, diff.old_dtype)
            (diff,), flips = with_exact([diff], {diff.name: exact}), exact.flips
        return look(diff, before, after, flips, (self.path, *self.labels))

    def _size(self, diff: TensorDiff) -> int:
        """Bytes that are read for it: those of its storages, of which it may be a small part."""
        old = self.old.manifest.owner(diff.old_name or diff.name).nbytes if self.old else 0
        return old + (self.new.manifest.owner(diff.name).nbytes if self.new else 0)

    def _is_quick(self, diff: TensorDiff) -> bool:
        if not _is_comparable(diff) or diff.l2 is not None or not (self.old and self.new):
            return False
        if self._size(diff) >= 2 * SMALL:
            return False
        return self.old.tensors.is_here(diff.old_name or diff.name) and self.new.tensors.is_here(diff.name)


def _is_comparable(diff: TensorDiff) -> bool:
    """Whether it has two versions whose values stand in the same places, and may differ."""
    return diff.status in {"M", "T"} or (diff.status == "R" and diff.l2 != 0)
