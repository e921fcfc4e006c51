"""What can stand on a side of a comparison: a stored version, a file that nobody tracks, a model in memory.

A model in memory names its tensors as it likes: a file that holds ``{"model": ..., "optimizer": ...}`` has them under
``model/``. The part of the file that the model is compared with is found here, by its names.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from theta_jupyter.checkpoints.leaves import is_array, is_tensor
from theta_jupyter.diffs.pair import Pair, Side
from theta_jupyter.diffs.report import FileDiff
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import RequestError
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.states import bare, is_checkpoint, state, tensors
from theta_jupyter.storage.arrays import Checkpoint, FileCheckpoint, StoredCheckpoint
from theta_jupyter.storage.manifest import Manifest, Record, looks_like_manifest, parse
from theta_jupyter.storage.mapped import mapped
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.storage.survey import LiveCheckpoint, survey_file, survey_live

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["checkpoint_side", "file_diff", "file_side", "in_memory", "live_pair", "live_side", "place", "stored_side"]


def stored_side(worktree: Worktree, path: str, manifest: Manifest, label: str) -> Side:
    """A version in the repository; weights that are not here are fetched when they are asked for."""
    fetch = partial(fetch_objects, worktree)
    return Side(manifest, StoredCheckpoint(f"{path} at {label}", manifest, worktree.store, None, fetch))


def file_side(
    path: Path, like: Manifest | None = None, worktree: Worktree | None = None, progress: Progress = silent
) -> Side:
    """A file as it is now, tracked or not; nothing is stored.

    Parameters
    ----------
    like
        What it will be compared with: equal tensors are not measured twice.
    worktree
        Where a manifest that lies in place of its file has its weights.

    Raises
    ------
    RequestError
        If there is no such file, or only a manifest of it.
    """
    if not path.is_file():
        raise RequestError(f"there is no file {path}")
    with mapped(path) as data:
        if looks_like_manifest(data):
            if worktree is None:
                raise RequestError(f"{path} is a manifest; its weights are in the repository it came from")
            return stored_side(worktree, str(path), parse(bytes(data)), str(path))
        # First, so that it notices what is written to the file while that is surveyed.
        tensors = FileCheckpoint(str(path), path.absolute(), data)
        return Side(survey_file(data, _by_hash(like), progress), tensors)


def live_pair(
    path: str, old: Side, obj: Any, labels: tuple[str, str], progress: Progress = silent
) -> tuple[Pair, tuple[str, ...]]:
    """Lay a model in memory beside a version of its file.

    Parameters
    ----------
    labels
        What to call the version, and the model.

    Returns
    -------
    pair, remarks
        Of the tensors that the model can be compared with, and what was left out.

    Raises
    ------
    RequestError
        If it holds no tensors, or none that the file has.
    """
    if isinstance(obj, Checkpoint):
        return Pair(path, old, checkpoint_side(obj, old.manifest, progress), labels), ()
    name, records = labels[1], old.manifest.records
    found = in_memory(obj, name, records)
    renamed, prefix = _aligned(found, records, name, path)
    under = {renamed.get(own, prefix + own): tensor for own, tensor in found.items()}
    within = _roots(under) if not prefix else ()
    kept = {own for own in records if own.startswith(prefix) and (not within or own.partition("/")[0] in within)}
    left = len(records) - len(kept)
    part = f"{prefix}..." if prefix else ", ".join(f"{root}/..." for root in sorted(within))
    remarks = (f"compared with {part} of the file; the rest of it was left out",) if left else ()
    # Tied weights are one tensor under several names in memory, and in some formats one name in the file.
    seen = {_identity(tensor) for own, tensor in under.items() if own in kept}
    under = {own: tensor for own, tensor in under.items() if own in kept or _identity(tensor) not in seen}
    manifest = replace(old.manifest, records={own: _owning(old.manifest, own, kept) for own in records if own in kept})
    return Pair(path, Side(manifest, old.tensors), live_side(under, name, manifest, progress), labels), remarks


def live_side(found: Mapping[str, Any], name: str, like: Manifest | None = None, progress: Progress = silent) -> Side:
    """Tensors in memory, as they are now.

    Parameters
    ----------
    like
        What they will be compared with: equal tensors are not measured twice.
    """
    live = LiveCheckpoint(name, found, like.records if like else None)
    return Side(survey_live(live, _by_hash(like), progress), live)


def checkpoint_side(found: Checkpoint, like: Manifest | None = None, progress: Progress = silent) -> Side:
    """A version that was loaded: nothing of it need be read for a first answer that was not read before."""
    if isinstance(found, StoredCheckpoint):
        manifest = found.manifest
    elif isinstance(found, FileCheckpoint):
        with mapped(found.path) as data:
            manifest = survey_file(data, _by_hash(like), progress)
    else:
        return live_side(dict(found), "checkpoint", like, progress)
    if len(found) < len(manifest.records):  # Only some of its tensors were asked for.
        manifest = replace(manifest, records={name: _owning(manifest, name, found) for name in found})
    return Side(manifest, found)


def file_diff(pair: Pair, *, remarks: tuple[str, ...] = (), stores: bool = True) -> FileDiff:
    """Compare two versions of a file: from the manifests, and what is small and here exactly.

    Parameters
    ----------
    stores
        Whether the new version is stored, or about to be.
    """
    old, new = (side.manifest if side else None for side in (pair.old, pair.new))
    needs = new.places() if new and stores else {}
    has = old.places() if old else {}
    status = "M" if old and new else "A" if new else "D"
    return FileDiff(
        pair.path,
        "" if old == new else status,
        *pair.labels,
        pair.compare(),
        sum(size for name, size in needs.items() if name not in has),
        new.header.size if new and stores else 0,
        bool(new and new.opaque),
        remarks,
    )


def in_memory(obj: Any, name: str, records: Container[str] = ()) -> dict[str, Any]:
    """The tensors of a live object by name.

    Parameters
    ----------
    records
        Names in the file it is laid beside: the keys of a dict may be such names already, as those of a version that
        was loaded are.

    Raises
    ------
    RequestError
        If it holds none.
    """
    if isinstance(obj, dict) and any(key in records for key in obj) and all(map(_is_leaf, obj.values())):
        return dict(obj)
    found = dict(obj) if is_checkpoint(obj) else tensors(state(obj))
    if not found:
        kind = type(obj).__name__
        raise RequestError(f"{name}, of type {kind}, holds no tensors", hint="give a module, or a state dict")
    return found


def place(names: AbstractSet[str], records: Iterable[str]) -> tuple[list[str], int]:
    """Where in a file these names begin: the places where most of them are found; and how many are."""
    found: Counter[str] = Counter()
    for record in records:
        at = 0
        while True:
            if record[at:] in names:
                found[record[:at]] += 1
            at = record.find("/", at) + 1
            if not at:
                break
    most = max(found.values(), default=0)
    return [prefix for prefix, count in found.items() if count == most], most


def _aligned(
    found: Mapping[str, Any], records: Mapping[str, Record], name: str, path: str
) -> tuple[dict[str, str], str]:
    """Which tensor of the file each in memory is, where their names differ by more than a beginning; and that."""
    prefixes, count = place(found.keys(), records)
    renamed: dict[str, str] = {}
    own = {bare(record): record for record in records}
    inside = {bare(key): key for key in found}
    # On either side something may have been wrapped around the model, which then stands in every name.
    if len(own) == len(records) and len(inside) == len(found):
        wider, more = place(inside.keys(), own)
        if more > count:
            prefixes, count = wider, more
            renamed = {key: own[wider[0] + short] for short, key in inside.items() if wider[0] + short in own}
    if not count:
        some, others = (", ".join(list(names)[:2]) for names in (found, records))
        raise RequestError(
            f"no tensor of {name} is in {path}: it has {some}, the file {others}",
            hint="compare it with the file it was saved to",
        )
    if len(prefixes) > 1 and "" not in prefixes:
        # As load does: which one is meant, the user knows.
        parts = " and ".join(prefix.rstrip("/") for prefix in prefixes)
        raise RequestError(
            f"{name} could be {parts} of {path}", hint=f'say which, as {{"{prefixes[0].rstrip("/")}": {name}}}'
        )
    prefix = "" if "" in prefixes else prefixes[0]
    return renamed, prefix


def _roots(names: Iterable[str]) -> frozenset[str]:
    """The parts of a file that names are of, if all are of some part."""
    roots = [name.partition("/") for name in names]
    return frozenset(root for root, _, _ in roots) if all(slash for _, slash, _ in roots) else frozenset()


def _is_leaf(value: Any) -> bool:
    return is_tensor(value) or is_array(value)


def _owning(manifest: Manifest, name: str, kept: Container[str]) -> Record:
    """The record of a tensor; one that tells of its storage itself, if the owner is not kept."""
    record, owner = manifest.records[name], manifest.owner(name)
    if not record.of or record.of in kept:
        return record
    whole = record.stride is None and nbytes(record.dtype, record.shape) == owner.nbytes
    return replace(
        owner,
        dtype=record.dtype,
        shape=record.shape,
        offset=record.offset,
        stride=record.stride,
        storage=None if whole else owner.nbytes,
    )


def _identity(tensor: Any) -> Any:
    if not hasattr(tensor, "data_ptr"):
        return id(tensor)
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())


def _by_hash(manifest: Manifest | None) -> dict[str, Record]:
    return {record.blake3: record for record in manifest.records.values() if record.blake3} if manifest else {}
