"""Nodes to a tensor.

A tensor is stored whole, or as an update over other nodes of its record, which may themselves be updates over nodes
that are whole: a change upon a change, two deep and no deeper. Nodes are decoded in order, each once, and the result is
checked against the record's BLAKE3. What a node declares is held against what is stored before anything is allocated.

How a tensor becomes nodes is the matter of :mod:`theta_jupyter.storage.contest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3

from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import IntegrityError, MissingObjectError, ThetaError
from theta_jupyter.storage import codec
from theta_jupyter.storage.manifest import MAX_DEPTH, Node
from theta_jupyter.storage.sketch import fixed_arithmetic
from theta_jupyter.updates.base import Tensor, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theta_jupyter.storage.manifest import Record
    from theta_jupyter.storage.objects import ObjectStore

__all__ = ["Chain", "base", "chains", "decode", "depth", "predict", "rebuild", "rooted"]
_FRAME_BYTES = 6


class Chain(NamedTuple):
    """A stored tensor that another may rest on.

    Parameters
    ----------
    nodes
        All that it rests on, and its own node last; bases are indices into these.
    blake3
        Of the tensor, if that is known.
    """

    nodes: tuple[Node, ...]
    blake3: str = ""

    @property
    def node(self) -> Node:
        """The node of the tensor itself."""
        return self.nodes[-1]

    @property
    def stored(self) -> int:
        """Bytes to fetch for it."""
        return sum(node.place.stored for node in self.nodes)


def decode(record: Record, store: ObjectStore, name: str, out: memoryview | None = None) -> memoryview:
    """Rebuild the storage of a record, and check it.

    Parameters
    ----------
    name
        Of the tensor, for errors.
    out
        Where to put the bytes; a new buffer if None.

    Raises
    ------
    MissingObjectError
        If an object is not here.
    IntegrityError
        If what comes out is not what went in.
    """
    where = ", ".join(sorted({place.object[:12] for place in record.objects}))
    hint = "run git theta fetch after removing the damaged object, or restore it from a copy"
    at_hand = store.nearby.get(record.blake3, record.nbytes, out)
    if at_hand is not None:
        return at_hand
    data = memoryview(bytearray()) if out is None else out
    try:
        if record.nodes:
            data = rebuild(record.nodes, store, out).data
    except MissingObjectError as error:
        message = f"tensor {name!r} needs object {error.object_id[:12]}, which is not in this repository"
        raise MissingObjectError(error.object_id, message) from None
    except IntegrityError as error:
        raise IntegrityError(f"tensor {name!r} (object {where}) is damaged: {error.message}", hint=hint) from None
    if blake3(data).hexdigest() != record.blake3:
        raise IntegrityError(f"tensor {name!r} (object {where}) does not have its hash when rebuilt", hint=hint)
    if out is None:
        store.nearby.note(record.blake3, data)
    return data


def base(chain: Chain, store: ObjectStore) -> Tensor:
    """Decode what another tensor rests on, or read it where it lies at hand.

    Raises
    ------
    MissingObjectError, IntegrityError
        If that cannot be done.
    """
    at_hand = store.nearby.get(chain.blake3, chain.node.nbytes) if chain.blake3 else None
    return rebuild(chain.nodes, store) if at_hand is None else Tensor(at_hand, chain.node.dtype, chain.node.shape)


def rebuild(nodes: Sequence[Node], store: ObjectStore, out: memoryview | None = None) -> Tensor:
    """Decode the last of these nodes; unlike :func:`decode`, nobody knows what hash it should have.

    Raises
    ------
    MissingObjectError, IntegrityError
        If that cannot be done.
    """
    # A node is kept for as long as a later one may need it.
    last_use = {base: index for index, node in enumerate(nodes) for base in node.bases}
    needed = _needed(nodes)
    held: dict[int, Tensor] = {}
    for index in needed:
        node = nodes[index]
        bases = [held[base] for base in node.bases]
        held = {base: tensor for base, tensor in held.items() if last_use[base] > index}
        if index == len(nodes) - 1 and out is not None:
            data = _node(node, bases, store, out)
        elif not node.bases:
            data = store.nearby.base(node.place, lambda node=node: _node(node, [], store, None))  # type: ignore[misc]
        else:
            data = _node(node, bases, store, None)
        held[index] = Tensor(data, node.dtype, node.shape)
    return held[len(nodes) - 1]


def predict(
    name: str, bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]
) -> memoryview:
    """Let an update guess a tensor.

    Raises
    ------
    ThetaError
        If it is not installed.
    IntegrityError
        If it fails, or gives something of another size.
    """
    update = find(name)
    try:
        with fixed_arithmetic():
            predicted = memoryview(update.predict(bases, parameters, dtype, shape)).cast("B")
    except ThetaError:
        raise
    except Exception as error:
        message = f"update {name!r} cannot use what is stored: {type(error).__name__}: {error}"
        raise IntegrityError(message) from error
    if len(predicted) != nbytes(dtype, shape):
        raise IntegrityError(f"update {name!r} gave {len(predicted)} bytes where {nbytes(dtype, shape)} belong")
    return predicted


# Chains.


def chains(record: Record) -> list[Chain]:
    """What a new version may rest on: each node of a record that is not too deep for that, the nearest first."""
    deep = _depths(record.nodes)
    last = len(deep) - 1
    return [
        Chain(_closed(record.nodes, index), record.blake3 if index == last else "")
        for index in reversed(range(len(deep)))
        if deep[index] < MAX_DEPTH
    ]


def depth(nodes: Sequence[Node]) -> int:
    """How many updates stand upon each other in the last of these nodes."""
    return _depths(nodes)[-1] if nodes else 0


def rooted(bases: Sequence[Chain]) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    """Join chains into one list of nodes, in which nothing comes twice, and say where the last of each stands."""
    nodes: list[Node] = []
    ends = []
    for chain in bases:
        places: list[int] = []
        for node in chain.nodes:
            own = msgspec.structs.replace(node, bases=tuple(places[base] for base in node.bases))
            if own not in nodes:
                nodes.append(own)
            places.append(nodes.index(own))
        ends.append(places[-1])
    return tuple(nodes), tuple(ends)


def _depths(nodes: Sequence[Node]) -> list[int]:
    found: list[int] = []
    for node in nodes:
        found.append(max((found[base] + 1 for base in node.bases), default=0))
    return found


def _needed(nodes: Sequence[Node]) -> list[int]:
    """The last node, and those it rests on, in order."""
    needed = {len(nodes) - 1}
    for index in reversed(range(len(nodes))):
        if index in needed:
            needed.update(nodes[index].bases)
    return sorted(needed)


def _closed(nodes: Sequence[Node], index: int) -> tuple[Node, ...]:
    """A node and what it rests on, apart from the others."""
    needed = _needed(nodes[: index + 1])
    place = {old: new for new, old in enumerate(needed)}
    return tuple(
        msgspec.structs.replace(nodes[old], bases=tuple(place[base] for base in nodes[old].bases)) for old in needed
    )


def _node(node: Node, bases: Sequence[Tensor], store: ObjectStore, out: memoryview | None) -> memoryview:
    payload = store.read(node.place.object, node.place.offset, node.place.stored)
    parameters, stored = payload[: node.parameters], payload[node.parameters :]
    _check_plausible(node, len(stored))
    predicted = predict(node.update, bases, parameters, node.dtype, node.shape) if node.update else None
    if out is None:
        out = memoryview(bytearray(node.nbytes))
    if predicted is None:
        codec.unpack(stored, node.dtype, out)
    else:
        codec.unpack_residual(stored, predicted, node.dtype, out)
    return out


def _check_plausible(node: Node, stored: int) -> None:
    """Refuse a node that declares more than so few bytes could ever hold, before allocating it."""
    word = DTYPES[node.dtype].word_bytes
    chunks = -(-node.nbytes // (word * codec.CHUNK_WORDS))
    if stored < chunks * word * _FRAME_BYTES:
        raise IntegrityError(f"{stored} stored bytes cannot hold a tensor of {node.nbytes}")
