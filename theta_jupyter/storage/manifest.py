"""The text that Git keeps in place of a checkpoint. docs/format.md is the contract.

One record per tensor, sorted by name: the name on a line of its own, then its JSON and its sketch, indented, then a
blank line. Git merges changes to different tensors as text, because an unchanged line always lies between them; a plain
``git diff`` shows names in its hunk headers. The first record is the header: the format, the size, and the skeleton
(everything in the file that is not a tensor).

A record names every object needed to rebuild its tensor, as a list of **nodes**. A node is an update over earlier nodes
of the list, so cycles cannot be written down; the last node is the tensor itself. A record with ``of`` has no nodes: it
is another view of a storage that the record of that name owns (tied weights).

:func:`parse` is strict, because a manifest may come from a stranger or from a text merge: whatever it returns is
complete, consistent, and small enough to be worked on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from blake3 import blake3

from theta_jupyter.checkpoints.base import CONFLICT_MARKERS, IDENTIFIER, misfit, usable_name
from theta_jupyter.dtypes import nbytes
from theta_jupyter.errors import ManifestError
from theta_jupyter.storage.sketch import MINIMUM, Sketch, Summary, fixed_arithmetic
from theta_jupyter.storage.sketch import decode as decode_sketch
from theta_jupyter.storage.sketch import encode as encode_sketch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "MAGIC",
    "MAX_BASES",
    "OPAQUE",
    "Header",
    "Manifest",
    "Node",
    "Place",
    "Record",
    "content_hash",
    "dump",
    "looks_like_manifest",
    "parse",
]

MAGIC = "theta manifest 1"
"""The first line, with the version of the format."""

MAX_NODES = 64
MAX_DEPTH = 2
"""Updates upon each other, above what is whole."""
MAX_BASES = 64
"""All nodes of a tensor, rebuilt, are together at most this many times its size: they are held in memory at once."""

OPAQUE = "opaque"
"""The format of a file that no plug-in understood."""

T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Magnitude = Annotated[float, msgspec.Meta(ge=0)]
# Not "$", which also matches before a line break at the end.
Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Identifier = Annotated[str, msgspec.Meta(pattern=rf"\A{IDENTIFIER}\Z")]


class Place(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where bytes are stored.

    Parameters
    ----------
    object
        SHA-256 of the object.
    size
        Bytes of the whole object, which is what a transfer needs to know.
    offset, length
        The part of the object; ``length`` None means up to its end.
    """

    object: Digest
    size: Count
    offset: Count = 0
    length: Count | None = None

    @property
    def stored(self) -> int:
        """Bytes of the part."""
        return self.size - self.offset if self.length is None else self.length


class Node(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A stored tensor: a guess from other nodes and an exact correction.

    Parameters
    ----------
    dtype, shape
        Of the tensor this node stands for, which may differ from its bases' (resize, cast).
    place
        Where parameters and correction lie, one after the other.
    update
        Name of the update that guesses; empty for a tensor stored whole.
    bases
        Indices of earlier nodes.
    parameters
        How many of the stored bytes are the update's parameters.
    """

    dtype: str
    shape: tuple[Count, ...]
    place: Place
    update: Identifier = ""
    bases: tuple[Count, ...] = ()
    parameters: Count = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return nbytes(self.dtype, self.shape)


class Record(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One tensor.

    Parameters
    ----------
    dtype, shape
        As in the checkpoint.
    blake3
        Of the raw bytes of the storage; empty if the record is a view ``of`` another.
    nodes
        What the storage is rebuilt from; the last is the storage. Empty for an empty storage and for views.
    offset, stride
        Where the tensor lies in its storage: bytes, and elements per dimension (None: contiguous, C order).
    storage
        Bytes of the storage, where that is not just what the tensor needs.
    of
        The record that owns the storage.
    norm, mean, largest, not_finite
        See :class:`~theta_jupyter.storage.sketch.Summary`; of the storage. ``norm`` is None when not known.
    sketch
        On a line of its own.
    """

    dtype: str
    shape: tuple[Count, ...]
    blake3: str = ""
    nodes: tuple[Node, ...] = ()
    offset: Count = 0
    stride: tuple[Count, ...] | None = None
    storage: Count | None = None
    of: str = ""
    norm: Magnitude | None = None
    mean: float = 0.0
    largest: Magnitude = 0.0
    not_finite: Count = 0
    sketch: Sketch | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the storage."""
        return nbytes(self.dtype, self.shape) if self.storage is None else self.storage

    @property
    def objects(self) -> Iterator[Place]:
        """The places of all nodes."""
        return (node.place for node in self.nodes)

    @property
    def update(self) -> str:
        """How the tensor is stored, in a word."""
        return (self.nodes[-1].update or "whole") if self.nodes else "shared" if self.of else "empty"

    def with_summary(self, summary: Summary | None) -> Record:
        """Return the record with these measurements."""
        if summary is None:
            return msgspec.structs.replace(self, norm=None, mean=0.0, largest=0.0, not_finite=0, sketch=None)
        return msgspec.structs.replace(
            self,
            norm=summary.norm,
            mean=summary.mean,
            largest=summary.largest,
            not_finite=summary.not_finite,
            sketch=summary.sketch,
        )


class Header(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is true of the file as a whole, and does not change when only the values of tensors do.

    Parameters
    ----------
    format
        The plug-in that located the tensors.
    size
        Bytes of the file.
    blake3
        Of the skeleton.
    skeleton
        Where the skeleton is stored.
    content
        Of an opaque file, :func:`content_hash`: any two changes of it collide here. Empty for others.
    """

    format: Identifier
    size: Count
    blake3: Digest
    skeleton: Place
    content: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """A checkpoint as Git sees it.

    Parameters
    ----------
    header
        The file as a whole.
    records
        Tensors by name, sorted.
    """

    header: Header
    records: Mapping[str, Record]

    def places(self) -> dict[str, int]:
        """Size by id of every object this manifest needs."""
        sizes = {self.header.skeleton.object: self.header.skeleton.size}
        for record in self.records.values():
            for place in record.objects:
                sizes[place.object] = place.size
        return sizes

    def owner(self, name: str) -> Record:
        """The record that holds the storage of a tensor: its own, or the one it is a view of."""
        record = self.records[name]
        return self.records[record.of] if record.of else record

    @property
    def opaque(self) -> bool:
        """Whether no plug-in understood the file."""
        return self.header.format == OPAQUE


_encoder = msgspec.json.Encoder()
_record_decoder = msgspec.json.Decoder(Record)
_header_decoder = msgspec.json.Decoder(Header)
_HEX = re.compile("[0-9a-f]{64}")


def looks_like_manifest(data: bytes | memoryview) -> bool:
    """Whether bytes begin as a manifest of any version does; cheap, and enough to tell it from a checkpoint."""
    return bytes(data[:15]) == MAGIC.encode()[:15]


def content_hash(records: Mapping[str, Record]) -> str:
    """Hash the hashes of all storages, in the order of the names of their records."""
    ordered = (record.blake3 for _, record in sorted(records.items(), key=_by_name))
    return blake3("".join(ordered).encode()).hexdigest()


def dump(manifest: Manifest) -> bytes:
    """Write a manifest as text; the same manifest always gives the same text."""
    parts = [f"{MAGIC}\n {_json(manifest.header)}\n"]
    with fixed_arithmetic():
        for name, record in sorted(manifest.records.items(), key=_by_name):
            body = _json(msgspec.structs.replace(record, sketch=None))
            parts.append(f"{name}\n {body}\n {encode_sketch(record.sketch)}\n")
    return "\n".join(parts).encode()


def parse(text: bytes) -> Manifest:
    """Read a manifest.

    Raises
    ------
    ManifestError
        If anything about it is wrong; the message names the tensor and the line.
    """
    lines = _lines(text)
    header = _decode(_header_decoder, lines[1], "the header", 2)
    records: dict[str, Record] = {}
    previous = b""
    with fixed_arithmetic():
        for start in range(3, len(lines), 4):
            name, body, sketch, blank = lines[start : start + 4]
            key = name.encode()
            if blank or not usable_name(name) or key <= previous:
                raise ManifestError(f"tensor {name[:80]!r} (line {start + 1}) is out of order or badly named")
            previous = key
            records[name] = _record(name, body, sketch, start + 1)
    manifest = Manifest(header, records)
    _check(manifest)
    return manifest


def _lines(text: bytes) -> list[str]:
    """Cut a text into lines, as many as a manifest can have."""
    if not looks_like_manifest(text):
        raise ManifestError("this is not a manifest")
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ManifestError(f"the manifest is not UTF-8: {error.reason} at byte {error.start}") from None
    if lines[0] == f"{MAGIC}\r":
        raise ManifestError("the manifest has Windows line endings", hint="mark its path as -text in .gitattributes")
    if lines[0] != MAGIC:
        raise ManifestError(
            f"the manifest says {lines[0][:40]!r}; this version reads {MAGIC!r}", hint="upgrade theta-jupyter"
        )
    for number, line in enumerate(lines, 1):
        if line.startswith(CONFLICT_MARKERS):
            raise ManifestError(
                f"the manifest has conflict markers (line {number})",
                hint="take a side: git theta checkout --ours (or --theirs) -- PATH",
            )
    if len(lines) < 3 or lines[2] or (len(lines) - 3) % 4:
        raise ManifestError("the manifest is cut short")
    return lines


def _by_name(item: tuple[str, Record]) -> bytes:
    return item[0].encode()


def _json(value: msgspec.Struct) -> str:
    return _encoder.encode(value).decode()


def _decode(decoder: msgspec.json.Decoder[T], line: str, what: str, number: int) -> T:
    try:
        if line[:1] != " ":
            raise msgspec.DecodeError("it is not indented")
        return decoder.decode(line[1:])
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{what} (line {number}) cannot be read: {error}") from None


def _record(name: str, body: str, sketch: str, number: int) -> Record:
    record = _decode(_record_decoder, body, f"tensor {name!r}", number + 1)
    if record.sketch is not None:
        raise ManifestError(f"tensor {name!r} (line {number + 1}) has its sketch in the wrong place")
    try:
        if sketch[:1] != " ":
            raise ValueError("it is not indented")
        return msgspec.structs.replace(record, sketch=decode_sketch(sketch[1:]))
    except ValueError as error:
        raise ManifestError(f"the sketch of tensor {name!r} (line {number + 2}) cannot be read: {error}") from None


def _check(manifest: Manifest) -> None:
    total = 0
    sizes: dict[str, int] = {}
    _check_place(manifest.header.skeleton, sizes, "the skeleton")
    for name, record in manifest.records.items():
        for place in record.objects:
            _check_place(place, sizes, f"tensor {name!r}")
        problem = _record_problem(record, manifest)
        if problem:
            raise ManifestError(f"tensor {name!r} {problem}")
        if not record.of:
            total += record.nbytes
    if total > manifest.header.size:
        raise ManifestError(f"its tensors need {total} bytes of a file of {manifest.header.size}")
    if (manifest.opaque or manifest.header.content) and manifest.header.content != content_hash(manifest.records):
        raise ManifestError(
            "its chunks are not those of one file",
            hint="it may be a merge of two: take one, git checkout COMMIT -- PATH",
        )


def _record_problem(record: Record, manifest: Manifest) -> str | None:
    if record.of:
        owner = manifest.records.get(record.of)
        if owner is None or owner.of or record.nodes or record.blake3 or record.storage is not None:
            return f"is a view of {record.of!r}, which does not own a storage"
        return misfit(record.dtype, record.shape, record.offset, record.stride, _storage(owner))
    problem = misfit(record.dtype, record.shape, record.offset, record.stride, _storage(record))
    if problem:
        return problem
    if not _HEX.fullmatch(record.blake3):
        return "has no hash"
    if record.sketch is not None and record.nbytes < MINIMUM // 2:
        return "is too small for a sketch"
    return _nodes_problem(record)


def _nodes_problem(record: Record) -> str | None:
    nodes, size = record.nodes, record.nbytes
    if len(nodes) > MAX_NODES or (not nodes) != (size == 0):
        return f"has {len(nodes)} nodes"
    deep: list[int] = []
    for index, node in enumerate(nodes):
        problem = _node_problem(node, nodes[:index])
        if problem:
            return f"(node {index}) {problem}"
        deep.append(max((deep[base] + 1 for base in node.bases), default=0))
        if deep[-1] > MAX_DEPTH:
            return f"(node {index}) is more than {MAX_DEPTH} deep"
    if nodes and nodes[-1].nbytes != size:
        return f"ends in a node of {nodes[-1].nbytes} bytes, not {size}"
    if sum(node.nbytes for node in nodes) > MAX_BASES * size:
        return "rests on tensors that are much larger than itself"
    return None


def _node_problem(node: Node, earlier: tuple[Node, ...]) -> str | None:
    if any(base >= len(earlier) for base in node.bases) or len(set(node.bases)) != len(node.bases):
        return "rests on a node that does not come before it, or twice on one"
    if bool(node.bases) != bool(node.update):
        return "must have both an update and bases, or neither"
    if node.parameters > node.place.stored or (node.parameters and not node.update):
        return "has more parameters than it can have"
    problem = misfit(node.dtype, node.shape, 0, None, 1 << 62)
    return problem or (None if node.nbytes else "has no values")


def _check_place(place: Place, sizes: dict[str, int], what: str) -> None:
    """Check a place against its object, and the object against what other places say of it."""
    if place.stored < 0 or place.offset + place.stored > place.size:
        raise ManifestError(f"{what} lies outside object {place.object[:12]} of {place.size} bytes")
    if sizes.setdefault(place.object, place.size) != place.size:
        raise ManifestError(f"{what} says another size of object {place.object[:12]} than an earlier record")


def _storage(record: Record) -> int:
    try:
        return record.nbytes
    except ValueError:
        return 0  # The caller will say what is wrong with it.
