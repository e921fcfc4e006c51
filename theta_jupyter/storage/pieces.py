"""Parts of a stored tensor, without the rest of it.

Chunks of a payload are coded apart, so some rows of a base can be decoded for a small part of what all of it would
cost: enough to see whether an update suits. Only chains of whole nodes and deltas can be read so; a guess that looks at
all of its base needs all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from theta_jupyter.dtypes import DTYPES
from theta_jupyter.storage import codec
from theta_jupyter.storage.tensors import base
from theta_jupyter.updates.base import Tensor

if TYPE_CHECKING:
    from theta_jupyter.storage.manifest import Node
    from theta_jupyter.storage.objects import ObjectStore
    from theta_jupyter.storage.tensors import Chain

__all__ = ["PIECE_WORDS", "Piece", "Pieces", "middle"]

PIECE_WORDS = 1 << 20
"""Words of a piece, at most; a smaller tensor is its own piece."""
_ROWS = 128
"""Rows of a piece, if so many fit."""


class Piece(NamedTuple):
    """Some rows of a tensor.

    Parameters
    ----------
    start, stop
        First byte, and the one after the last.
    shape
        Of the rows.
    """

    start: int
    stop: int
    shape: tuple[int, ...]

    def of(self, tensor: Tensor) -> Tensor:
        """Cut the piece from a tensor."""
        return Tensor(tensor.data[self.start : self.stop], tensor.dtype, self.shape)


def middle(new: Tensor) -> Piece:
    """The piece to look at: all of a small tensor, rows from the middle of a large one."""
    width = DTYPES[new.dtype].word_bytes
    words = len(new.data) // width
    if words <= PIECE_WORDS or DTYPES[new.dtype].bits < 8:
        return Piece(0, len(new.data), new.shape)
    rows = new.shape[0] if len(new.shape) > 1 else 1
    row = words // rows
    if rows < 2 or row > PIECE_WORDS:
        # Cut through rows: a vector, or rows too long.
        count = PIECE_WORDS // 4
        start = words // 2 // count * count
        return Piece(start * width, (start + count) * width, (count // DTYPES[new.dtype].words,))
    count = min(rows, max(codec.CHUNK_WORDS // row, min(_ROWS, PIECE_WORDS // row)))
    first = (rows - count) // 2
    return Piece(first * row * width, (first + count) * row * width, (count, *new.shape[1:]))


class Pieces:
    """Reads chains, whole or in parts, and remembers what it read last."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._last: tuple[Chain, Tensor] | None = None
        self._parts: dict[Chain, Tensor] = {}
        self._payloads: dict[tuple[str, int], memoryview] = {}

    def whole(self, chain: Chain) -> Tensor:
        """Decode a chain."""
        part = self._parts.get(chain)
        if part and len(part.data) == chain.node.nbytes:
            return part
        if self._last is None or self._last[0] != chain:
            self._last = None  # Not two at once.
            self._payloads.clear()
            self._last = chain, base(chain, self._store)
        return self._last[1]

    def part(self, chain: Chain, piece: Piece) -> Tensor:
        """Decode a piece of a chain, the same each time, and no more where that can be done."""
        if chain not in self._parts:
            self._parts[chain] = self._part(chain, piece)
        return self._parts[chain]

    def _part(self, chain: Chain, piece: Piece) -> Tensor:
        node = chain.node
        width = DTYPES[node.dtype].word_bytes * codec.CHUNK_WORDS
        if piece.stop - piece.start == node.nbytes or not _is_flat(chain):
            return piece.of(self.whole(chain))
        first, last = piece.start // width, -(-piece.stop // width)
        data = memoryview(bytearray(min(node.nbytes, last * width) - first * width))
        for index in range(first, last):
            at = (index - first) * width
            self._chunk(chain, index, data[at : min(len(data), at + width)])
        return Tensor(data[piece.start - first * width :][: piece.stop - piece.start], node.dtype, piece.shape)

    def _chunk(self, chain: Chain, index: int, out: memoryview) -> None:
        for number, node in enumerate(chain.nodes):
            stored = codec.chunk(self._payload(node), node.dtype, index)
            if number:
                codec.unpack_residual(stored, memoryview(bytes(out)), node.dtype, out)
            else:
                codec.unpack(stored, node.dtype, out)

    def _payload(self, node: Node) -> memoryview:
        key = node.place.object, node.place.offset
        if key not in self._payloads:
            self._payloads[key] = self._store.read(node.place.object, node.place.offset, node.place.stored)
        return self._payloads[key]


def _is_flat(chain: Chain) -> bool:
    """Whether each chunk of a chain follows from the same chunk of its nodes."""
    first, *others = chain.nodes
    return not first.update and all(
        node.update == "delta" and node.bases == (index,) and (node.dtype, node.nbytes) == (first.dtype, first.nbytes)
        for index, node in enumerate(others)
    )
