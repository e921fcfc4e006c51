"""What can stand on a side of a comparison: a stored version, a file that nobody tracks, a model in memory.

A model in memory names its tensors as it likes: a file that holds ``{"model": ..., "optimizer": ...}`` has them under
``model/``. The part of the file that the model is compared with is found here, by its names.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from theta_jupyter.diffs.pair import Pair, Side
from theta_jupyter.diffs.report import FileDiff
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import RequestError
from theta_jupyter.git.roads import mapped
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.states import is_checkpoint, state, tensors
from theta_jupyter.storage.arrays import Checkpoint, FileCheckpoint, StoredCheckpoint
from theta_jupyter.storage.manifest import Manifest, Record, looks_like_manifest, parse
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.storage.survey import LiveCheckpoint, survey_file, survey_live

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

__all__ = ["checkpoint_side", "file_diff", "file_side", "in_memory", "live_pair", "live_side", "place", "stored_side"]


def stored_side(worktree: Worktree, path: str, manifest: Manifest, label: str) -> Side:
    """A version in the repository; weights that are not here are fetched when they are asked for."""

    def fetch(objects: dict[str, int]) -> None:
        fetch_objects(worktree, objects)

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
    name = labels[1]
    found = in_memory(obj, name)
    prefix, count = place(found.keys(), old.manifest.records)
    bare = {_bare(own): tensor for own, tensor in found.items()}
    if len(bare) == len(found) and place(bare.keys(), old.manifest.records)[1] > count:
        found, (prefix, _) = bare, place(bare.keys(), old.manifest.records)
    under = {prefix + own: tensor for own, tensor in found.items()}
    if not under.keys() & old.manifest.records.keys():
        some = ", ".join(list(found)[:2])
        raise RequestError(
            f"no tensor of {name} is in {path}: it has {some}, the file {', '.join(list(old.manifest.records)[:2])}",
            hint="compare it with the file it was saved to",
        )
    records = {own: record for own, record in old.manifest.records.items() if own.startswith(prefix)}
    remarks = (f"compared with {prefix}... of the file; the rest of it was left out",) if prefix else ()
    # Tied weights are one tensor under several names in memory, and in some formats one name in the file.
    seen = {_identity(tensor) for own, tensor in under.items() if own in records}
    under = {own: tensor for own, tensor in under.items() if own in records or _identity(tensor) not in seen}
    kept = replace(old.manifest, records={own: _owning(old.manifest, own, records) for own in records})
    new = live_side(under, name, kept, progress)
    return Pair(path, Side(kept, old.tensors), new, labels), remarks


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


def in_memory(obj: Any, name: str) -> dict[str, Any]:
    """The tensors of a live object by name.

    Raises
    ------
    RequestError
        If it holds none.
    """
    found = dict(obj) if is_checkpoint(obj) else tensors(state(obj))
    if not found:
        raise RequestError(
            f"{name} holds no tensors: it is a {type(obj).__name__}", hint="give a module, or a state dict"
        )
    return found


def place(names: AbstractSet[str], records: Mapping[str, Record]) -> tuple[str, int]:
    """Where in a file these names begin: where most of them are found; and how many are."""
    found = Counter({"": len(names & records.keys())})
    for record in records:
        parts = record.split("/")
        for cut in range(1, len(parts)):
            if "/".join(parts[cut:]) in names:
                found["/".join(parts[:cut]) + "/"] += 1
    # Of equally good places, the outermost.
    prefix = max(found, key=lambda prefix: (found[prefix], -len(prefix)))
    return prefix, found[prefix]


def _bare(name: str) -> str:
    """A name without what compiling a model, or training it on several devices, puts before it."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


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
