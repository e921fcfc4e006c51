"""Checking what is stored: every object against its id, every tensor of every version against its hash.

An object that is damaged or missing is not yet a loss: what counts is which tensors of which versions cannot be
rebuilt. Others in a damaged bundle may stand. A clone has only the objects it was asked for, so what a remote should
have, because its branches name it, is not lost either.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from theta_jupyter.errors import IntegrityError, ManifestError, MissingObjectError, ThetaError
from theta_jupyter.git.needed import Roots, blobs, blobs_of, indexed, manifests, objects_of, roots
from theta_jupyter.git.transfer import heads, remotes
from theta_jupyter.history import headings
from theta_jupyter.storage import snapshot, tensors
from theta_jupyter.storage.manifest import parse
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.pool import Progress, each, silent
from theta_jupyter.upkeep import Checked, Fault, Loss

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Node, Place, Record
    from theta_jupyter.upkeep import Problem

__all__ = ["fsck"]

_REST = ""
"""Stands for what is not a tensor, where the name of one could."""
_MANIFEST = re.compile(rb"theta manifest (?P<version>[0-9]+)\r?\n")
_CHANGES = ("diff-tree", "--stdin", "--root", "-r", "-m", "-z", "--raw", "--no-abbrev", "--no-renames")


class _Key(NamedTuple):
    """What makes two records the same to rebuild."""

    blake3: str
    nodes: tuple[Node, ...]


class _Reason(NamedTuple):
    """Why something cannot be rebuilt, and the objects to blame, if it is objects.

    Or, if it is ``unknown``, why that cannot be said.
    """

    text: str
    objects: frozenset[str] = frozenset()
    unknown: bool = False


@dataclass
class _Version:
    """A version of a file: its manifest, how many tensors it has, and what of it cannot be rebuilt, by name."""

    blob: str
    count: int = 0
    lost: dict[str, _Reason] = field(default_factory=dict)


@dataclass
class _Objects:
    """The objects that are here, and those that are not as they should be.

    Parameters
    ----------
    sizes
        By id, of those that are here.
    damaged
        Ids.
    """

    store: ObjectStore
    sizes: dict[str, int]
    damaged: set[str]

    def suspects(self, places: Iterable[Place]) -> frozenset[str]:
        """Objects that are damaged, missing, or of another size than a manifest says."""
        return frozenset(p.object for p in places if p.object in self.damaged or self.sizes.get(p.object) != p.size)

    def blame(self, suspects: Collection[str], otherwise: str) -> _Reason:
        """What is wrong with them; or something else, if there are none."""
        if not suspects:
            return _Reason(otherwise)
        first = min(suspects)
        what = "is damaged" if first in self.damaged else "has another size" if first in self.sizes else "is missing"
        more = f", and {len(suspects) - 1} more" if len(suspects) > 1 else ""
        return _Reason(f"object {first[:12]} {what}{more}", frozenset(suspects))


@dataclass
class _Read:
    """What manifests say.

    Parameters
    ----------
    versions
        One for each manifest.
    needed
        Ids of objects.
    records
        Those that differ in what they are rebuilt from, or to.
    users
        The versions that have them, and under what name.
    unchecked
        Remarks; a dictionary, because it keeps their order.
    """

    versions: list[_Version] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)
    records: dict[_Key, Record] = field(default_factory=dict)
    users: dict[_Key, list[tuple[_Version, str]]] = field(default_factory=dict)
    unchecked: dict[str, None] = field(default_factory=dict)


def fsck(worktree: Worktree, *, every: bool = False, quick: bool = False, progress: Progress = silent) -> Checked:
    """Check all that is stored; see :meth:`theta_jupyter.api.Repository.fsck`."""
    worktree.store.sweep()
    # One of our own: what is checked must not come from what lies at hand.
    store = ObjectStore(worktree.theta)
    stages = indexed(worktree)
    begin = roots(worktree) if every else Roots(blobs=tuple(stages))
    found = blobs(worktree, begin)
    sizes = {object_id: status.st_size for object_id, status in store.found()}
    objects = _Objects(store, sizes, _damaged(store, sizes, progress, worktree.executor))
    read = _Read()
    for blob, text in manifests(worktree, found, progress):
        _read(blob, text, objects, read, quick=quick)
    _rebuild(read, objects, progress, worktree.executor, quick=quick)
    missing = read.needed - sizes.keys()
    offered = _offered(worktree, missing | objects.damaged)
    there = {object_id for object_id in missing if offered.get(object_id)}
    lost = {}
    elsewhere = 0
    for version in read.versions:
        own = {name: why for name, why in version.lost.items() if not why.objects or not why.objects <= there}
        if own:
            lost[version.blob] = _Version(version.blob, version.count, own)
        else:
            elsewhere += bool(version.lost)
    losses, standing = _located(worktree, begin, stages, lost, [version.blob for version in read.versions])

    def fault(name: str, problem: Problem) -> Fault:
        where = os.path.relpath(store.path(name))
        return Fault(name, problem, where, name in read.needed, tuple(offered.get(name, ())))

    faults = [fault(name, "damaged") for name in sorted(objects.damaged)]
    faults += [fault(name, "missing") for name in sorted(missing)]
    return Checked(
        objects=len(sizes),
        size=sum(sizes.values()),
        unneeded=len(sizes.keys() - read.needed),
        versions=len(read.versions),
        whole=len(read.versions) - len(lost) - elsewhere,
        elsewhere=elsewhere,
        tensors=0 if quick else len(read.records),
        faults=tuple(faults),
        losses=losses,
        standing=standing,
        unchecked=tuple(read.unchecked),
    )


def _damaged(store: ObjectStore, sizes: Mapping[str, int], progress: Progress, executor: Executor | None) -> set[str]:
    """Objects whose bytes do not have their id as their hash."""
    names = sorted(sizes, key=lambda name: -sizes[name])
    sound = each("checking objects", store.sound, names, sizes.__getitem__, progress, executor=executor)
    # One that has been deleted meanwhile is not damaged.
    return {name for name, good in zip(names, sound, strict=True) if not good and store.path(name).exists()}


def _read(blob: str, text: bytes, objects: _Objects, read: _Read, *, quick: bool) -> None:
    """Read a manifest, and check the rest of the file, which is not tensors."""
    match = _MANIFEST.match(text)
    if match is None:
        return  # A text that only begins like one.
    if match["version"] != b"1":
        read.unchecked[f"a manifest is of version {match['version'].decode()}, to be read by a newer theta-jupyter"] = (
            None
        )
        return
    version = _Version(blob)
    read.versions.append(version)
    try:
        manifest = parse(text)
    except ManifestError as error:
        version.lost[_REST] = _Reason(error.message)
        return
    version.count = len(manifest.records)
    read.needed |= manifest.places().keys()
    suspects = objects.suspects([manifest.header.skeleton])
    if quick and suspects:
        version.lost[_REST] = objects.blame(suspects, "")
    elif not quick:
        try:
            snapshot.load_skeleton(manifest, objects.store)
        except ThetaError as error:
            version.lost[_REST] = objects.blame(suspects, error.message)
    for name, record in manifest.records.items():
        if record.blake3:
            key = _Key(record.blake3, record.nodes)
            read.records.setdefault(key, record)
            read.users.setdefault(key, []).append((version, name))


def _rebuild(read: _Read, objects: _Objects, progress: Progress, executor: Executor | None, *, quick: bool) -> None:
    """Rebuild each record once, and note in its versions what cannot be; quick: only look at its objects."""
    # The longest first, so that no thread is left with it at the end.
    queue = sorted(read.records.items(), key=lambda item: -_size(item))
    jobs = [_Job(record, read.users[key][0][1], _size((key, record))) for key, record in queue]
    work = partial(_rebuilt, objects.store)
    if quick:
        outcomes: Iterable[_Outcome] = repeat(_Outcome(), len(jobs))
    else:
        outcomes = each("rebuilding", work, jobs, lambda job: job.size, progress, copies=3, executor=executor)
    for (key, record), outcome in zip(queue, outcomes, strict=True):
        reason = _judged(record, outcome, objects, quick=quick)
        if reason is None:
            continue
        if reason.unknown:
            read.unchecked[reason.text] = None
            continue
        for version, name in read.users[key]:
            version.lost[name] = reason


class _Job(NamedTuple):
    """A record to be rebuilt, a name that it has, and the bytes of memory that it takes, but for copies of them."""

    record: Record
    name: str
    size: int


class _Outcome(NamedTuple):
    """What became of it: why it failed, if it did, and whether the tensor is to blame or what is installed here."""

    failure: str = ""
    unknown: bool = False


def _rebuilt(store: ObjectStore, job: _Job) -> _Outcome:
    try:
        tensors.decode(job.record, store, job.name)
    except (IntegrityError, MissingObjectError) as error:
        return _Outcome(error.message)
    except ThetaError as error:
        # An update that is not installed, for one.
        return _Outcome(error.message, unknown=True)
    return _Outcome()


def _judged(record: Record, outcome: _Outcome, objects: _Objects, *, quick: bool) -> _Reason | None:
    suspects = objects.suspects(record.objects)
    if quick:
        return objects.blame(suspects, "") if suspects else None
    if outcome.failure and outcome.unknown and not suspects:
        return _Reason(outcome.failure, unknown=True)
    if outcome.failure:
        return objects.blame(suspects, outcome.failure)
    # What only shares a damaged object with others stands; but an object of another size is nowhere taken for it.
    strange = {p.object for p in record.objects if objects.sizes.get(p.object) != p.size}
    return objects.blame(strange, "") if strange else None


def _size(item: tuple[_Key, Record]) -> int:
    """Bytes of memory that rebuilding takes, but for copies of them."""
    return sum(node.nbytes for node in item[0].nodes)


def _offered(worktree: Worktree, wanted: set[str]) -> dict[str, list[str]]:
    """Remotes by object, of those that are needed by branches and tags of theirs: then they should have it."""
    found: dict[str, list[str]] = {}
    for remote in remotes(worktree) if wanted else ():
        refs = worktree.git("for-each-ref", "--format=%(objectname)", f"refs/remotes/{remote}/").decode().split()
        have = _of(worktree, refs, wanted)
        if have < wanted:
            # Which of the tags here are also there, only the remote can say.
            have |= _of(worktree, heads(worktree, remote), wanted)
        for name in have:
            found.setdefault(name, []).append(remote)
    return found


def _of(worktree: Worktree, commits: Sequence[str], wanted: set[str]) -> set[str]:
    """Those of these objects that commits, or their ancestors, need."""
    have: set[str] = set()
    for _, text in manifests(worktree, blobs_of(worktree, commits)) if commits else ():
        have |= wanted & objects_of(text)
    return have


def _located(
    worktree: Worktree,
    begin: Roots,
    stages: Mapping[str, list[str]],
    lost: Mapping[str, _Version],
    every: Collection[str],
) -> tuple[tuple[Loss, ...], dict[str, str]]:
    """Say where versions that are lost stand, the newest first; and by path the newest commit whose version is not."""
    if not lost:
        return (), {}
    places: dict[tuple[str, str], str] = {}
    standing: dict[str, str] = {}
    good = set(every) - lost.keys()
    for commit, path, blob in _changes(worktree, begin):
        if blob in lost:
            places.setdefault((blob, path), commit)
        elif blob in good:
            standing[path] = commit
    known = {blob for blob, _ in places}
    for blob in lost.keys() - known:
        for path in stages.get(blob, [""]):
            places[blob, path] = ""
    ids = sorted(set(places.values()) - {""})
    subjects = dict(zip(ids, (heading.subject for heading in headings(worktree, ids)), strict=True))
    losses = []
    for (blob, path), commit in reversed(places.items()):
        version = lost[blob]
        whole = version.lost.get(_REST)
        names = () if whole else tuple(sorted(version.lost))
        reason = whole or version.lost[names[0]]
        losses.append(Loss(path, commit, subjects.get(commit, ""), names, version.count, reason.text))
    return tuple(losses), {path: commit for path, commit in standing.items() if path in {p for _, p in places}}


def _changes(worktree: Worktree, begin: Roots) -> Iterator[tuple[str, str, str]]:
    """Commit, path and blob of every file that a commit made, the oldest first."""
    asked = "".join(f"{name}\n" for name in (*begin.refs, *begin.words)).encode()
    options = (
        "--reverse",
        "--topo-order",
        "--all",
        *(["--reflog"] if begin.words else []),
        "--ignore-missing",
        "--stdin",
    )
    commits = worktree.git("rev-list", *options, data=asked)
    commit = ""
    fields = iter(worktree.git(*_CHANGES, data=commits).split(b"\0")[:-1])
    for field_ in fields:
        if not field_.startswith(b":"):
            commit = field_.decode().strip()
            continue
        _, mode, _, blob, _ = field_.split()
        path = os.fsdecode(next(fields))
        if mode.startswith(b"100"):
            yield commit, path, blob.decode()
