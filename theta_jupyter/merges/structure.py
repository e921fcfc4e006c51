"""The structure of a merged file: everything in it that is not the value of a tensor.

Tensors are merged one by one, as if they were all there is; here they get a file to lie in. Where only one side changed
the structure, or both did so alike, it is that side's own, as long as the tensors fit. Else the format is asked to
build a new one (:class:`~theta_jupyter.checkpoints.base.Builder`), for which the structures of all versions must be in
the object store. Else it is the preferred side's own, if the tensors fit, and undecided. No weight is read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from theta_jupyter.checkpoints import builder
from theta_jupyter.checkpoints.base import check
from theta_jupyter.errors import ManifestError, MissingObjectError
from theta_jupyter.storage.manifest import Manifest, Record
from theta_jupyter.storage.snapshot import header_of, load_skeleton, read_skeleton, skeleton_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from theta_jupyter.storage.objects import ObjectStore

__all__ = ["Assembled", "Side", "assemble", "changed", "same"]

Side = Literal["base", "ours", "theirs"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assembled:
    """Tensors in a structure they fit into.

    Parameters
    ----------
    manifest
        Of the file.
    undecided
        Both sides changed the structure differently; in the manifest is, as far as that goes, the preferred side's.
    """

    manifest: Manifest
    undecided: bool = False


def assemble(
    records: Mapping[str, Record],
    base: Manifest | None,
    ours: Manifest,
    theirs: Manifest,
    prefer: Side = "ours",
    store: ObjectStore | None = None,
) -> Assembled | None:
    """Find the file that has these tensors, and all else from a merge of these versions.

    Parameters
    ----------
    records
        The tensors by name, in any order. They may be others than any version has, of shapes that none has.
    base
        None if both sides added the file.
    prefer
        The side whose structure is taken where that cannot be decided.
    store
        Where the structures of the versions lie and a new one goes; without it none is built.

    Returns
    -------
    Assembled or None
        None if there is no such file: the tensors fit into no structure that may be taken, and no other can be built.
        There may be one with another side preferred.

    Raises
    ------
    ThetaError
        If what is in the store is damaged, or a new structure cannot be stored. One that is not here is no error.
    """
    preferred = {"base": base, "ours": ours, "theirs": theirs}[prefer] or ours
    ordered = dict(sorted(records.items(), key=lambda item: item[0].encode()))
    versions = [version for version in (preferred, ours, theirs, base) if version]
    if any(version.opaque for version in versions):
        # Who knows what belongs together in it? A mixture of its chunks may be no file of its kind.
        return next((Assembled(version) for version in versions if _equal(version.records, ordered)), None)
    own = changed(base, ours, theirs, lambda version: version.header.blake3)
    if own and _fit(ordered, own):
        return Assembled(Manifest(own.header, ordered))
    built = _build(ordered, base, ours, theirs, preferred, store)
    if built:
        return built
    return Assembled(Manifest(preferred.header, ordered), undecided=True) if _fit(ordered, preferred) else None


def changed(
    base: Manifest | None, ours: Manifest, theirs: Manifest, aspect: Callable[[Manifest], object]
) -> Manifest | None:
    """The side whose aspect the result of a merge has, or None if both changed it."""
    if aspect(ours) == aspect(theirs):
        return ours
    if base is None:
        return None
    if aspect(base) == aspect(ours):
        return theirs
    return ours if aspect(base) == aspect(theirs) else None


def same(a: Record | None, b: Record | None) -> bool:
    """Whether two records are of one tensor with one value, however they are stored."""
    if a is None or b is None:
        return a is b
    return a.blake3 == b.blake3 and _geometry(a) == _geometry(b)


def _equal(a: Mapping[str, Record], b: Mapping[str, Record]) -> bool:
    return a.keys() == b.keys() and all(same(record, b[name]) for name, record in a.items())


def _fit(records: Mapping[str, Record], structure: Manifest) -> bool:
    """Whether tensors lie just as those of a file do; only values may differ."""
    return records.keys() == structure.records.keys() and all(
        _geometry(record) == _geometry(structure.records[name]) for name, record in records.items()
    )


def _geometry(record: Record) -> tuple[object, ...]:
    r = record
    return (r.dtype, r.shape, r.offset, r.stride, r.storage, r.of)


def _plain(record: Record) -> bool:
    """Whether a tensor is all of a storage of its own, one value after another."""
    r = record
    return (r.offset, r.stride, r.storage, r.of) == (0, None, None, "")


def _build(
    records: Mapping[str, Record],
    base: Manifest | None,
    ours: Manifest,
    theirs: Manifest,
    preferred: Manifest,
    store: ObjectStore | None,
) -> Assembled | None:
    """Let the format build a structure, and check it as if a stranger had sent it."""
    versions = [version for version in (base, ours, theirs) if version]
    form = builder(ours.header.format)
    if (
        store is None
        or form is None
        or any(version.header.format != ours.header.format for version in versions)
        or not all(map(_plain, records.values()))
    ):
        return None
    try:
        literals = {version.header.blake3: read_skeleton(version.header, store).literals for version in versions}
    except MissingObjectError:
        return None  # As in a clone that has not fetched them.
    of_base = literals[base.header.blake3] if base else None
    of_ours, of_theirs, of_preferred = (literals[version.header.blake3] for version in (ours, theirs, preferred))
    wanted = {name: (record.dtype, record.shape) for name, record in records.items()}
    try:
        built = form.build(of_base, of_ours, of_theirs, of_preferred, wanted)
        if built is None or {view.name: (view.dtype, view.shape) for view in built.layout.views} != wanted:
            return None
        skeleton = skeleton_of(check(built.layout, built.layout.size), built.literals)
    except Exception as error:  # noqa: BLE001 - a bug in somebody's plug-in must not stop a merge
        _log.warning("no new structure of %s: %s: %s", ours.header.format, type(error).__name__, error)
        return None
    manifest = Manifest(header_of(skeleton, versions, store), records)
    try:
        load_skeleton(manifest, store)
    except ManifestError:
        return None
    return Assembled(manifest, built.undecided)
