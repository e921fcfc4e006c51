"""What a checkpoint is to the rest of the house: a sequence of segments.

A format plug-in only *locates*. It looks at the bytes of a file and says where tensors lie, as a :class:`Layout`:

* a **storage** is a run of tensor bytes, such as ``data/0`` in a torch zip;
* a **view** is a named tensor inside a storage (two views may share one: tied weights);
* **derived** bytes can be computed from the rest of the file, such as a zip's CRC-32s; they are recomputed, not
  stored, so that two independent changes to one checkpoint do not collide in them;
* everything else is **literal**.

The engine stores storages and literals apart and puts them back in place: the same file, byte for byte, for every
format, through one writer. A plug-in is never needed to write a version, and never runs code from a file. What it
returns is checked here: the engine does not trust it. Two other matters are optional: to save a model from memory as a
new file (:class:`Writer`), and to make one structure of the two that a merge has (:class:`Builder`).
"""

from __future__ import annotations

import bisect
import json
import math
import re
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "CONFLICT_MARKERS",
    "IDENTIFIER",
    "RULES",
    "Builder",
    "Built",
    "Derived",
    "Format",
    "Layout",
    "Span",
    "View",
    "Writer",
    "canonical_stride",
    "check",
    "derive",
    "misfit",
    "quote",
    "usable_name",
]

MAX_LITERAL = 256 << 20
"""Literals are held in memory; a file with more of them than this is kept opaque."""
MAX_DIMENSIONS = 64
MAX_NAME = 4096
MAX_REREADING = 4
"""Derived bytes are over at most so many times the bytes of the file, a span that several are over counted once."""
IDENTIFIER = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What a plug-in may be called, as a regular expression."""
CONFLICT_MARKERS = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")
"""How lines begin that Git writes into a text it could not merge; the name of a tensor is a line of a manifest."""


class Span(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Bytes ``start`` (included) to ``stop`` (not included) of a file."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.stop - self.start


class View(msgspec.Struct, frozen=True):
    """A named tensor inside a storage.

    Parameters
    ----------
    name
        Unique in the file; see :func:`quote`.
    dtype
        A key of :data:`theta_jupyter.dtypes.DTYPES`.
    shape
        Dimensions; ``()`` for a scalar.
    storage
        Index into :attr:`Layout.storages`.
    offset
        Where the first element lies, in bytes from the start of the storage.
    stride
        Elements to step along each dimension, or None for contiguous in C order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: int
    offset: int = 0
    stride: tuple[int, ...] | None = None


class Derived(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that a rule computes from the rest of the file.

    Parameters
    ----------
    at
        Where the bytes lie.
    rule
        A key of :data:`RULES`.
    over
        The spans the rule reads. They may hold derived bytes that stand earlier in :attr:`Layout.derived`, but neither
        these bytes themselves nor later ones, which are not computed yet.
    """

    at: Span
    rule: str
    over: tuple[Span, ...]


class Layout(msgspec.Struct, frozen=True):
    """Where everything lies in one file.

    Parameters
    ----------
    format
        The plug-in's name.
    size
        Bytes of the whole file.
    storages
        Runs of tensor bytes, in file order, disjoint. Each has at least one view.
    views
        Named tensors.
    derived
        In the order in which they can be computed.
    """

    format: str
    size: int
    storages: tuple[Span, ...]
    views: tuple[View, ...]
    derived: tuple[Derived, ...] = ()

    def literals(self) -> list[Span]:
        """Give the spans that are neither storage nor derived, in file order, empty ones left out."""
        spans, position = [], 0
        for span in sorted([*self.storages, *(derived.at for derived in self.derived)]):
            if span.start > position:
                spans.append(Span(position, span.start))
            position = max(position, span.stop)
        if position < self.size:
            spans.append(Span(position, self.size))
        return spans


class Built(msgspec.Struct, frozen=True):
    """A file that a format made up, but for the values of its tensors.

    Parameters
    ----------
    layout
        Just what :meth:`Format.locate` says of the finished file.
    literals
        The bytes of :meth:`Layout.literals`, joined.
    undecided
        Whether both sides changed something differently in what is not a tensor.
    """

    layout: Layout
    literals: bytes
    undecided: bool = False


class Format(Protocol):
    """What an entry point in the group ``theta_jupyter.checkpoints`` names: an object with a ``locate``."""

    def locate(self, data: memoryview) -> Layout | None:
        """Say where tensors lie.

        Parameters
        ----------
        data
            The whole file, usually memory-mapped: read only what is needed. Do not keep a reference.

        Returns
        -------
        Layout or None
            None if the content is not of this format. The name of the file is never seen.

        Raises
        ------
        CheckpointError
            If the content claims the format and does not keep to it; the file is then opaque, and `status` says why.
        """


class Writer(Format, Protocol):
    """What a format may have besides, to write new files of what lives in memory."""

    SUFFIXES: tuple[str, ...]
    """Names of files end so that this format is meant; in lower case, with the dot."""

    def write(self, state: Any, path: Path) -> None:
        """Write a new file.

        The same state must make the same bytes, whatever the path.

        Parameters
        ----------
        state
            A tree: dicts, lists and tuples of torch tensors, arrays and plain values.
        path
            A temporary file, there and empty, with the suffix of the one it will become.

        Raises
        ------
        RequestError
            If the format cannot hold it; say which can.
        """


class Builder(Format, Protocol):
    """What a format may have besides, to make one file of two that were changed in different ways."""

    def build(
        self,
        base: bytes | None,
        ours: bytes,
        theirs: bytes,
        preferred: bytes,
        tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    ) -> Built | None:
        """Make a new file of these tensors, with all else merged.

        The same arguments must make the same bytes everywhere; better still if nobody can tell which side was ours.

        Parameters
        ----------
        base, ours, theirs
            The literals of the three versions, as :attr:`Built.literals`; base is None if both sides added the file.
        preferred
            The one of them that what both changed differently is taken from.
        tensors
            Type and shape by name: each fills a storage of its own. None of the versions need have it so.

        Returns
        -------
        Built or None
            None if the format cannot hold that.
        """


def derive(rule: str, data: memoryview, over: Sequence[Span], crcs: dict[Span, int]) -> bytes:
    """Compute derived bytes.

    Parameters
    ----------
    crcs
        CRC-32s of spans already known; new ones are added.
    """
    for span in over:
        if span not in crcs:
            crcs[span] = zlib.crc32(data[span.start : span.stop])
    return RULES[rule]([(span.size, crcs[span]) for span in over])


def _crc32(parts: Iterable[tuple[int, int]]) -> bytes:
    [(_, crc)] = parts
    return crc.to_bytes(4, "little")


def _torch_serialization_id(parts: Iterable[tuple[int, int]]) -> bytes:
    """Twenty digits: torch's ``hash_combine`` over the CRC-32s of the records that are not empty, as they stand."""
    seed = 0
    for size, crc in parts:
        if size:
            seed ^= crc + 0x9E3779B9 + (seed << 6) + (seed >> 2) & 0xFFFF_FFFF_FFFF_FFFF
    return b"%020d" % seed


RULES = {"crc32": _crc32, "torch-serialization-id": _torch_serialization_id}
"""How derived bytes come from the (size, CRC-32) of the spans they are over. Part of the on-disk contract."""
RULE_BYTES = {"crc32": 4, "torch-serialization-id": 20}


def quote(*path: Any) -> str:
    """Flatten the path of a tensor in a tree into one name, so that different trees never flatten alike.

    A key is written as it is when it is a plain string; otherwise (a slash, a control character, the look of a number
    or of a mark) as a JSON string. Integers (list indices, integer keys) are bare, other keys stand in round brackets.

    Examples
    --------
    >>> quote("model", "encoder.layer.0.weight")
    'model/encoder.layer.0.weight'
    >>> quote("state", 0, "exp_avg"), quote("state", "0", "exp_avg")
    ('state/0/exp_avg', 'state/"0"/exp_avg')
    """
    return "/".join(_quote_key(key) for key in path)


def _quote_key(key: Any) -> str:
    if isinstance(key, str):
        plain = (
            key.isprintable()
            and key.strip() == key != ""
            and "/" not in key
            and key[0] not in '"(<=>|-'
            and not key.isdecimal()
        )
        return key if plain else json.dumps(key)
    if isinstance(key, int) and not isinstance(key, bool) and key >= 0:
        return str(key)
    return _quote_bracketed(repr(key))


def _quote_bracketed(text: str) -> str:
    # The JSON string stands inside the brackets: outside, it would look like that of a key that is a string.
    return f"({text})" if text.isprintable() and "/" not in text else f"({json.dumps(text)})"


def canonical_stride(shape: Sequence[int], stride: Sequence[int]) -> tuple[int, ...] | None:
    """Bring a stride to the form of :attr:`View.stride`: None if elements lie one after another in C order."""
    if len(stride) != len(shape):
        return tuple(stride)
    if 0 in shape:
        return None
    step = 1
    for extent, given in zip(reversed(shape), reversed(stride), strict=True):
        # Along a dimension of one element nobody steps.
        if extent != 1 and given != step:
            return tuple(stride)
        step *= extent
    return None


def check(layout: Layout, size: int) -> Layout:
    """Check what a plug-in returned against the file, and pass it on.

    Raises
    ------
    CheckpointError
        If spans leave the file or overlap, derived bytes are over bytes that are not there yet, a view leaves its
        storage, a name comes twice, or a size is absurd.
    """
    if not re.fullmatch(IDENTIFIER, layout.format):
        raise CheckpointError(f"unusable name of a format {layout.format[:80]!r}")
    if layout.size != size:
        raise CheckpointError(f"the layout is for {layout.size} bytes, the file has {size}")
    _check_spans(layout, size)
    seen: set[str] = set()
    viewed: set[int] = set()
    for view in layout.views:
        if view.name in seen:
            raise CheckpointError(f"two tensors are named {view.name!r}")
        if not usable_name(view.name):
            raise CheckpointError(f"unusable tensor name {view.name[:80]!r}")
        seen.add(view.name)
        viewed.add(view.storage)
        if not 0 <= view.storage < len(layout.storages):
            raise CheckpointError(f"tensor {view.name!r} lies in storage {view.storage}, which there is not")
        problem = misfit(view.dtype, view.shape, view.offset, view.stride, layout.storages[view.storage].size)
        if problem:
            raise CheckpointError(f"tensor {view.name!r} {problem}")
    if len(viewed) != len(layout.storages):
        raise CheckpointError("a storage has no tensor")
    return layout


def usable_name(name: str) -> bool:
    """Whether a tensor can have this name: one line of a manifest that is not taken for anything else."""
    return 0 < len(name) <= MAX_NAME and name.isprintable() and not name.startswith(CONFLICT_MARKERS)


def _check_spans(layout: Layout, size: int) -> None:
    for derived in layout.derived:
        if derived.rule not in RULES or derived.at.size != RULE_BYTES[derived.rule]:
            raise CheckpointError(f"derived bytes at {derived.at.start} follow no known rule")
        if derived.rule == "crc32" and len(derived.over) != 1:
            raise CheckpointError("a CRC-32 is over one span")
        if any(not 0 <= span.start <= span.stop <= size for span in derived.over):
            raise CheckpointError(f"derived bytes at {derived.at.start} are over bytes outside the file")
    position = 0
    for span in sorted([*layout.storages, *(derived.at for derived in layout.derived)]):
        if not position <= span.start <= span.stop <= size:
            raise CheckpointError(f"bytes {span.start} to {span.stop} overlap others or leave the file of {size} bytes")
        position = span.stop
    if list(layout.storages) != sorted(layout.storages):
        raise CheckpointError("storages are not in file order")
    _check_order(layout, size)
    if sum(span.size for span in layout.literals()) > MAX_LITERAL:
        raise CheckpointError(f"more than {MAX_LITERAL >> 20} MiB of the file are not tensors")


def _check_order(layout: Layout, size: int) -> None:
    """Check that derived bytes can be computed in the order in which they stand, and in reasonable time."""
    # From the last to the first. What is not computed yet is disjoint, so of all that begin before the end of a span
    # only the last can reach into it.
    pending: list[Span] = []
    for derived in reversed(layout.derived):
        bisect.insort(pending, derived.at)
        for span in derived.over:
            before = bisect.bisect_left(pending, span.stop, key=lambda at: at.start)
            if span.size and before and pending[before - 1].stop > span.start:
                raise CheckpointError(f"derived bytes at {derived.at.start} are over bytes that are not computed yet")
    if sum(span.size for span in {span for derived in layout.derived for span in derived.over}) > MAX_REREADING * size:
        raise CheckpointError("derived bytes are over the same bytes again and again")


def misfit(dtype: str, shape: Sequence[int], offset: int, stride: Sequence[int] | None, storage: int) -> str | None:
    """Say why a view does not fit a storage of so many bytes, or None if it does."""
    problem = _absurdity(dtype, shape, offset, stride)
    if problem:
        return problem
    if stride is None:
        extent = nbytes(dtype, shape)
    elif 0 in shape:
        extent = 0
    else:
        last = sum((extent - 1) * step for extent, step in zip(shape, stride, strict=True))
        extent = (last + 1) * DTYPES[dtype].bits // 8
    return f"needs {offset + extent} bytes of a storage of {storage}" if offset + extent > storage else None


def _absurdity(dtype: str, shape: Sequence[int], offset: int, stride: Sequence[int] | None) -> str | None:
    """Say why there cannot be such a view, whatever its storage."""
    if dtype not in DTYPES:
        return f"has unknown dtype {dtype!r}"
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= extent < 1 << 62 for extent in shape):
        return f"has absurd shape {list(shape)[:8]}"
    bits = DTYPES[dtype].bits
    if stride is None and math.prod(shape) * bits % 8:
        return f"has {math.prod(shape)} elements of {bits} bits, which do not fill whole bytes"
    if stride is not None and (len(stride) != len(shape) or any(step < 0 for step in stride) or bits < 8):
        return f"has stride {list(stride)[:8]} for shape {list(shape)[:8]}"
    return "begins before its storage" if offset < 0 else None
