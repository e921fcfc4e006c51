"""A file to its manifest, and a manifest to its file.

:func:`take` cuts a file into skeleton and tensors and stores what is not stored yet. It goes out of its way to give
content the manifest it already has, or ``git status`` would report changes that are none: first the known manifests as
a whole, then tensor by tensor, by hash, before anything is encoded.

:func:`restore` fills a buffer with the file. Everything is checked before the caller sees success; a manifest cannot
make it write outside the buffer.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from blake3 import blake3

from theta_jupyter.checkpoints import locate
from theta_jupyter.checkpoints.base import Derived, Layout, Span, View, check, derive
from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import CheckpointError, IntegrityError, ManifestError, MissingObjectError
from theta_jupyter.storage import codec, tensors
from theta_jupyter.storage.contest import encode
from theta_jupyter.storage.manifest import OPAQUE, Header, Manifest, Place, Record, content_hash
from theta_jupyter.storage.pool import Progress, each, silent
from theta_jupyter.storage.sketch import summarize
from theta_jupyter.updates.base import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from theta_jupyter.storage.contest import Said
    from theta_jupyter.storage.objects import ObjectStore
    from theta_jupyter.storage.tensors import Chain

__all__ = [
    "Bundler",
    "Known",
    "Skeleton",
    "bases_of",
    "crcs_of",
    "header_of",
    "load_skeleton",
    "owners_of",
    "put",
    "read_skeleton",
    "record_of",
    "restore",
    "skeleton_of",
    "storage_type",
    "take",
]

OBJECT_BYTES = 64 << 10
"""Encoded tensors of at least this size are objects of their own; smaller ones share bundles."""
BUNDLE_BYTES = 1 << 20


_local = threading.local()
_UNPLACED = Place("0" * 64, 0)
"""Stands for the place of a payload that is still to be bundled."""


class Skeleton(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in a file that is not the value of a tensor.

    Parameters
    ----------
    format, size
        As in the header.
    storages
        Owner's name and place of each storage, in file order.
    views
        Names of the other tensors, sorted.
    derived
        In the order in which they can be computed.
    literals
        The bytes of :meth:`Layout.literals`, joined.
    """

    format: str
    size: int
    storages: tuple[tuple[str, Span], ...]
    views: tuple[str, ...]
    derived: tuple[Derived, ...]
    literals: bytes


class Known(Protocol):
    """What may be reused, and rested on."""

    @property
    def manifests(self) -> Sequence[Manifest]:
        """Manifests this file already has, the likeliest first: they are reused verbatim, and are bases."""

    def record(self, blake3_hex: str, /) -> Record | None:
        """Recall a record of a storage with this hash."""

    @property
    def said(self) -> Mapping[str, Said]:
        """What the user says was done to tensors."""

    def kin(self, name: str, record: Record, /) -> Iterable[Record]:
        """Find what else a tensor may rest on: what it was called before, or its like in another file."""


def take(data: memoryview, known: Known, store: ObjectStore, progress: Progress = silent) -> Manifest:
    """Store a file, and return its manifest.

    Parameters
    ----------
    data
        The whole file. If it changes meanwhile, the manifest is of some mixture, but consistent in itself.

    Raises
    ------
    ThetaError
        If objects cannot be written.
    """
    layout, _ = locate(data)
    layout = _without_false_derived(layout, data, progress)
    owners = owners_of(layout)
    skeleton = skeleton_of(layout, b"".join(data[span.start : span.stop] for span in layout.literals()))
    skeleton_hash = blake3(msgspec.msgpack.encode(skeleton)).hexdigest()
    hashes = list(each("reading", lambda span: _hash(data[span.start : span.stop]), layout.storages, _size, progress))
    for manifest in known.manifests:
        if _same(manifest, skeleton, skeleton_hash, hashes, owners) and _reusable(manifest.places(), store):
            return manifest

    named = [item for manifest in reversed(known.manifests) for item in manifest.records.items() if item[1].blake3]
    by_hash = {record.blake3: record for _, record in named}
    by_name = {(name, record.blake3): record for name, record in named}
    works = [_Work(*parts) for parts in zip(owners, layout.storages, hashes, strict=True)]
    works.sort(key=lambda work: -work.span.size)  # The longest first, so that no thread is left with it at the end.

    def one(work: _Work) -> _Stored:
        # Equal tensors may be stored apart, so what has the same name comes first.
        record = by_name.get((work.view.name, work.hash)) or by_hash.get(work.hash) or known.record(work.hash)
        raw = data[work.span.start : work.span.stop]
        if record and record.nbytes == len(raw) and _reusable({p.object: p.size for p in record.objects}, store):
            return _Stored(_adapted(record, work.view, raw))
        # A private copy, so that what is hashed is what is encoded, whoever writes to the file meanwhile.
        raw = _private(raw)
        described = record_of(work.view, raw, {})
        namesakes = (manifest.records.get(work.view.name) for manifest in known.manifests)
        bases = bases_of([*namesakes, *known.kin(work.view.name, described)])
        said = known.said.get(work.view.name)
        return stored(described, work.view, raw, bases, store, [said] if said else [])

    records: dict[str, Record] = {}
    bundler = Bundler(store)
    results = each("storing", one, works, lambda work: work.span.size, progress, copies=3)
    for work, (record, payload) in zip(works, results, strict=True):
        records[work.view.name] = record
        if payload:
            bundler.add(work.view.name, payload)
    for name, place in bundler.finish().items():
        *bases, last = records[name].nodes
        nodes = (*bases, msgspec.structs.replace(last, place=place))
        records[name] = msgspec.structs.replace(records[name], nodes=nodes)
    for view in layout.views:
        if view.name not in records:
            of = owners[view.storage].name
            records[view.name] = Record(view.dtype, view.shape, offset=view.offset, stride=view.stride, of=of)
    header = header_of(skeleton, known.manifests, store)
    header = msgspec.structs.replace(header, content=content_hash(records) if layout.format == OPAQUE else "")
    return Manifest(header, dict(sorted(records.items(), key=lambda item: item[0].encode())))


def load_skeleton(manifest: Manifest, store: ObjectStore) -> tuple[Skeleton, Layout]:
    """Read the skeleton of a manifest and hold the two against each other.

    Raises
    ------
    MissingObjectError, IntegrityError
        If it is not here, or damaged.
    ManifestError
        If skeleton and records do not describe one file, as after a careless text merge.
    """
    skeleton = read_skeleton(manifest.header, store)
    records = manifest.records
    index = {name: number for number, (name, _) in enumerate(skeleton.storages)}
    if (
        (skeleton.format, skeleton.size) != (manifest.header.format, manifest.header.size)
        or {*index, *skeleton.views} != set(records)
        or any(records[name].of or records[name].nbytes != span.size for name, span in skeleton.storages)
        or any(not records[name].of for name in skeleton.views)
    ):
        raise ManifestError(
            "the manifest's tensors are not those of its file", hint="it may be a merge of two structures"
        )
    views = [
        View(name, record.dtype, record.shape, index[record.of or name], record.offset, record.stride)
        for name, record in records.items()
    ]
    layout = Layout(
        skeleton.format, skeleton.size, tuple(span for _, span in skeleton.storages), tuple(views), skeleton.derived
    )
    try:
        check(layout, skeleton.size)
    except CheckpointError as error:
        raise ManifestError(f"the manifest does not describe a file: {error.message}") from None
    if len(skeleton.literals) != sum(span.size for span in layout.literals()):
        raise ManifestError("the skeleton does not fill the file")
    return skeleton, layout


def restore(manifest: Manifest, store: ObjectStore, out: memoryview, progress: Progress = silent) -> None:
    """Fill a buffer of ``manifest.header.size`` bytes with the file, and check every part of it.

    Raises
    ------
    MissingObjectError, IntegrityError, ManifestError
        If that cannot be done; the buffer then holds rubbish.
    """
    skeleton, layout = load_skeleton(manifest, store)
    if len(out) != layout.size:
        raise ValueError(f"a buffer of {len(out)} bytes for a file of {layout.size}")
    position = 0
    for span in layout.literals():
        out[span.start : span.stop] = skeleton.literals[position : position + span.size]
        position += span.size

    def one(storage: tuple[str, Span]) -> None:
        name, span = storage
        tensors.decode(manifest.records[name], store, name, out[span.start : span.stop])

    longest_first = sorted(skeleton.storages, key=lambda storage: -storage[1].size)
    for _ in each("restoring", one, longest_first, lambda storage: storage[1].size, progress, copies=3):
        pass
    crcs = crcs_of(layout, out, progress)
    for derived in layout.derived:
        out[derived.at.start : derived.at.stop] = derive(derived.rule, out, derived.over, crcs)


class _Work(NamedTuple):
    view: View
    span: Span
    hash: str


class _Stored(NamedTuple):
    """A record, and the payload if its last node is still to be placed."""

    record: Record
    payload: bytes = b""


class Bundler:
    """Joins small payloads into objects of about a mebibyte, in the order in which they come."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.places: dict[str, Place] = {}
        self.pending: dict[str, bytes] = {}
        self.size = 0

    def add(self, name: str, payload: bytes) -> None:
        """Take a payload in."""
        self.pending[name] = payload
        self.size += len(payload)
        if self.size >= BUNDLE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.pending:
            object_id, offset = self.store.write(b"".join(self.pending.values())), 0
            for name, payload in self.pending.items():
                self.places[name] = Place(object_id, self.size, offset, len(payload))
                offset += len(payload)
            self.pending, self.size = {}, 0

    def finish(self) -> dict[str, Place]:
        """Write the rest, and say where each payload lies."""
        self.flush()
        return self.places


def _size(span: Span) -> int:
    return span.size


def _hash(data: memoryview) -> str:
    return blake3(data).hexdigest()


def skeleton_of(layout: Layout, literals: bytes) -> Skeleton:
    """The skeleton of a file that lies so, and has these bytes in :meth:`Layout.literals`."""
    ordered = owners_of(layout)
    others = sorted({view.name for view in layout.views} - {view.name for view in ordered})
    storages = tuple((view.name, span) for view, span in zip(ordered, layout.storages, strict=True))
    return Skeleton(layout.format, layout.size, storages, tuple(others), layout.derived, literals)


def header_of(skeleton: Skeleton, known: Iterable[Manifest], store: ObjectStore) -> Header:
    """Store a skeleton, and give the header of its files: that of a known manifest where it is the same.

    Raises
    ------
    ThetaError
        If it cannot be stored.
    """
    body = msgspec.msgpack.encode(skeleton)
    digest = blake3(body).hexdigest()
    for manifest in known:
        place = manifest.header.skeleton
        if manifest.header.blake3 == digest and _reusable({place.object: place.size}, store):
            return manifest.header
    return Header(skeleton.format, skeleton.size, digest, _store_skeleton(body, store))


def owners_of(layout: Layout) -> list[View]:
    """The view that owns each storage: the one that covers most of it, the first by name."""
    owners: dict[int, View] = {}
    for view in sorted(layout.views, key=lambda view: (-nbytes(view.dtype, view.shape), view.name)):
        owners.setdefault(view.storage, view)
    return [owners[index] for index in range(len(layout.storages))]


def record_of(view: View, raw: memoryview, known: Mapping[str, Record]) -> Record:
    """What a manifest says of the storage that a view owns, but for where it is stored.

    Parameters
    ----------
    raw
        The bytes of the storage.
    known
        Records by hash: one of the same bytes has been measured already.
    """
    digest = _hash(raw)
    dtype, _ = storage_type(view, len(raw))
    like = known.get(digest)
    if like is None or like.dtype != view.dtype or like.nbytes != len(raw):
        return _as(Record(view.dtype, view.shape, digest).with_summary(summarize(raw, dtype)), view, len(raw))
    return _as(msgspec.structs.replace(like, nodes=()), view, len(raw))


def storage_type(view: View, size: int) -> tuple[str, tuple[int, ...]]:
    """How the engine reads a storage: as its owner does where that fits, else flat, else as bytes."""
    if view.stride is None and not view.offset and nbytes(view.dtype, view.shape) == size:
        return view.dtype, view.shape
    kind = DTYPES[view.dtype]
    return (view.dtype, (size * 8 // kind.bits,)) if size * 8 % kind.bits == 0 else ("U8", (size,))


def _without_false_derived(layout: Layout, data: memoryview, progress: Progress) -> Layout:
    """Keep only the derived bytes that are what their rule says; the others are literal, whatever the plug-in hoped."""
    crcs = crcs_of(layout, data, progress)
    true = tuple(
        derived
        for derived in layout.derived
        if derive(derived.rule, data, derived.over, crcs) == data[derived.at.start : derived.at.stop]
    )
    return msgspec.structs.replace(layout, derived=true)


def crcs_of(layout: Layout, data: memoryview, progress: Progress = silent) -> dict[Span, int]:
    """CRC-32s of the storages that derived bytes are over, computed side by side."""
    import zlib

    storages = set(layout.storages)
    needed = sorted({span for derived in layout.derived for span in derived.over if span in storages})
    values = each("checking", lambda span: zlib.crc32(data[span.start : span.stop]), needed, _size, progress)
    return dict(zip(needed, values, strict=True))


def _same(
    manifest: Manifest, skeleton: Skeleton, skeleton_hash: str, hashes: Sequence[str], owners: Sequence[View]
) -> bool:
    if manifest.header.blake3 != skeleton_hash or len(manifest.records) != len(hashes) + len(skeleton.views):
        return False
    return all(
        owner.name in manifest.records and manifest.records[owner.name].blake3 == digest
        for owner, digest in zip(owners, hashes, strict=True)
    )


def bases_of(records: Iterable[Record | None]) -> list[Chain]:
    """What a tensor made from these may rest on: they, and what they rest on."""
    return list(dict.fromkeys(chain for record in records if record for chain in tensors.chains(record)))


def _private(raw: memoryview) -> memoryview:
    """Copy bytes into memory of this thread's own, which the next copy is put into, too.

    New memory for each would cost more to get, page by page, than to fill.
    """
    buffer = getattr(_local, "buffer", None)
    if buffer is None or len(buffer) < len(raw):
        _local.buffer = buffer = None  # Not two at once.
        _local.buffer = buffer = bytearray(len(raw))
    own = memoryview(buffer)[: len(raw)]
    own[:] = raw
    return own


def _reusable(objects: Mapping[str, int], store: ObjectStore) -> bool:
    """Whether all these objects are here; they are in use then."""
    if store.missing(objects):
        return False
    try:
        store.freshen(objects)
    except MissingObjectError:
        return False  # Collected in between: it is encoded anew.
    return True


def _adapted(record: Record, view: View, raw: memoryview) -> Record:
    """Let a record of the same bytes be that of another view."""
    if record.dtype != view.dtype:
        dtype, _ = storage_type(view, len(raw))
        record = record.with_summary(summarize(raw, dtype))
    return _as(record, view, len(raw))


def put(view: View, raw: memoryview, bases: Sequence[Chain], store: ObjectStore) -> _Stored:
    """Describe and encode a storage, and write it down if it is not to be bundled."""
    return stored(record_of(view, raw, {}), view, raw, bases, store)


def stored(
    record: Record,
    view: View,
    raw: memoryview,
    bases: Sequence[Chain],
    store: ObjectStore,
    said: Sequence[Said] = (),
) -> _Stored:
    """Encode a storage that is described already; see :func:`put`."""
    dtype, shape = storage_type(view, len(raw))
    if not raw:
        return _Stored(record)
    draft = encode(Tensor(raw, dtype, shape), bases, store, said)
    alone = len(draft.payload) >= OBJECT_BYTES
    place = Place(store.write(draft.payload), len(draft.payload)) if alone else _UNPLACED
    record = msgspec.structs.replace(record, nodes=draft.nodes(dtype, shape, place))
    return _Stored(record, b"" if alone else draft.payload)


def _as(record: Record, view: View, size: int) -> Record:
    """Give a record the type of a view, and its place in a storage of so many bytes."""
    covers = view.stride is None and not view.offset and nbytes(view.dtype, view.shape) == size
    return msgspec.structs.replace(
        record,
        dtype=view.dtype,
        shape=view.shape,
        offset=view.offset,
        stride=view.stride,
        storage=None if covers else size,
    )


def _store_skeleton(body: bytes, store: ObjectStore) -> Place:
    """An object of its own, so that adding one structure twice, with other values, gives one header."""
    packed = codec.compress(body)
    return Place(store.write(packed), len(packed))


def read_skeleton(header: Header, store: ObjectStore) -> Skeleton:
    """Read a skeleton, and check it against its hash.

    Raises
    ------
    MissingObjectError, IntegrityError
        If it is not here, or damaged.
    """
    place = header.skeleton
    packed = store.read(place.object, place.offset, place.stored)
    try:
        body = codec.decompress(packed, None)
        if blake3(body).hexdigest() != header.blake3:
            raise IntegrityError("it does not have its hash")
        return msgspec.msgpack.decode(body, type=Skeleton)
    except (IntegrityError, msgspec.DecodeError) as error:
        raise IntegrityError(
            f"the skeleton (object {place.object[:12]}) is damaged: {error}",
            hint="run git theta fetch after removing the damaged object, or restore it from a copy",
        ) from None
