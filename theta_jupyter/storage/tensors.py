"""A tensor to nodes, and nodes to a tensor.

Storing: every installed update may guess the tensor from every base that is offered; the smallest of the corrections,
and of the tensor stored whole, wins. For a large tensor a few samples decide which, so that only the winner is encoded
in full. A base is always a node that rests on nothing (the nearest whole version), so two nodes are the most a tensor
ever needs; and all its nodes together are at most 1.6 times its raw size, or it is stored whole. No version then costs
much more to fetch than it weighs.

Rebuilding: nodes are decoded in order and the result is checked against the record's BLAKE3. What a node declares is
held against what is stored before anything is allocated.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import IntegrityError, MissingObjectError, ThetaError
from theta_jupyter.storage import codec
from theta_jupyter.storage.manifest import MAX_BASES
from theta_jupyter.storage.sketch import fixed_arithmetic
from theta_jupyter.updates.base import Tensor, find, installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from theta_jupyter.storage.manifest import Node, Record
    from theta_jupyter.storage.objects import ObjectStore

__all__ = ["BUDGET", "Draft", "decode", "encode", "root"]

BUDGET = 1.6
"""All nodes of a tensor together are at most this many times its raw size."""

_SAMPLES = 16
_SAMPLE_WORDS = 1 << 11
_CLEARLY = 0.9
"""A correction is taken without a look at the tensor stored whole only if it is below this share of what the samples
said of that ..."""
_SURPRISE, _NOTHING = 2, 1 / 50
"""... and not more than so many times what they said of itself, give or take this share of the raw size."""
_FRAME_BYTES = 6
_log = logging.getLogger(__name__)


class Draft(NamedTuple):
    """A tensor encoded and not yet stored.

    Parameters
    ----------
    payload
        Parameters and correction.
    update
        Empty for a tensor stored whole.
    bases
        The nodes it rests on.
    parameters
        How much of the payload is parameters.
    """

    payload: bytes
    update: str = ""
    bases: tuple[Node, ...] = ()
    parameters: int = 0

    @property
    def stored(self) -> int:
        """Bytes to fetch for the tensor: its own and those of its bases."""
        return len(self.payload) + sum(node.place.stored for node in self.bases)


def encode(new: Tensor, bases: Iterable[Node], store: ObjectStore) -> Draft:
    """Find the smallest way to store a tensor.

    Parameters
    ----------
    bases
        Nodes without bases of their own that may be rested on. Those whose objects are not here, or damaged, are passed
        over: what rests on a damaged base cannot be rebuilt from a good one.
    """
    budget = BUDGET * len(new.data)
    if len(new.data) <= _SAMPLES * _sample_bytes(new):
        drafts = (guess.encode(new) for guess in _guesses(new, bases, store))
        affordable = (draft for draft in drafts if draft.stored <= budget)
        return min([_WHOLE.encode(new), *affordable], key=lambda draft: len(draft.payload))
    best, cost = _WHOLE, _estimate(_WHOLE, new)
    whole_cost = cost
    for guess in _guesses(new, bases, store):
        estimate = _estimate(guess, new)
        if estimate < cost:
            best, cost = guess, estimate
    draft = best.encode(new)
    enough = min(_CLEARLY * whole_cost, _SURPRISE * cost + _NOTHING * len(new.data))
    if best is _WHOLE or (len(draft.payload) < enough and draft.stored <= budget):
        return draft
    whole = _WHOLE.encode(new)
    return draft if len(draft.payload) < len(whole.payload) and draft.stored <= budget else whole


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
        last = len(record.nodes) - 1
        if record.nodes:
            data = _base(record.nodes, last, store).data if out is None else _node(record.nodes, last, store, out)
    except MissingObjectError as error:
        message = f"tensor {name!r} needs object {error.object_id[:12]}, which is not in this repository"
        raise MissingObjectError(error.object_id, message) from None
    except IntegrityError as error:
        raise IntegrityError(f"tensor {name!r} (object {where}) is damaged: {error.message}", hint=hint) from None
    if blake3(data).hexdigest() != record.blake3:
        raise IntegrityError(f"tensor {name!r} (object {where}) does not have its hash when rebuilt", hint=hint)
    return data


def root(record: Record) -> Node | None:
    """The node of a record that a new version may rest on: its whole one, if there is just one."""
    if not record.nodes:
        return None
    last = record.nodes[-1]
    if not last.bases:
        return last
    return record.nodes[last.bases[0]] if len(last.bases) == 1 else None


class _Guess(NamedTuple):
    """A way to store a tensor."""

    predicted: memoryview | None = None
    update: str = ""
    bases: tuple[Node, ...] = ()
    parameters: bytes = b""

    def encode(self, new: Tensor) -> Draft:
        """Encode a tensor in full."""
        correction = self.correction(new, 0, len(new.data))
        return Draft(self.parameters + correction, self.update, self.bases, len(self.parameters))

    def correction(self, new: Tensor, start: int, stop: int) -> bytes:
        """Encode a part."""
        if self.predicted is None:
            return codec.pack(new.data[start:stop], new.dtype)
        return codec.pack_residual(new.data[start:stop], self.predicted[start:stop], new.dtype)


_WHOLE = _Guess()


def _guesses(new: Tensor, bases: Iterable[Node], store: ObjectStore) -> Iterator[_Guess]:
    """Let every update guess from every base. One that fails costs bytes, never a commit."""
    for node in bases:
        if node.nbytes > (MAX_BASES - 1) * len(new.data) or not store.sound(node.place.object):
            continue
        try:
            base = _base([node], 0, store)
        except ThetaError:
            continue
        for name, update in installed().items():
            try:
                parameters = update.fit([base], new)
                if parameters is not None:
                    predicted = _predict(name, [base], memoryview(parameters), new.dtype, new.shape)
                    yield _Guess(predicted, name, (node,), parameters)
            except Exception as error:  # noqa: BLE001 - somebody's plug-in
                _log.warning("the update %s failed: %s: %s", name, type(error).__name__, error)


def _sample_bytes(tensor: Tensor) -> int:
    return _SAMPLE_WORDS * DTYPES[tensor.dtype].word_bytes


def _estimate(guess: _Guess, new: Tensor) -> float:
    """Estimate the encoded size of a large tensor from evenly spread samples."""
    size, step = len(new.data), _sample_bytes(new)
    # Samples begin at multiples of their length, so that they are of whole words.
    last = size // step - 1
    starts = [index * last // (_SAMPLES - 1) * step for index in range(_SAMPLES)]
    sampled = sum(len(guess.correction(new, start, start + step)) for start in starts)
    return len(guess.parameters) + sampled * size / (_SAMPLES * step)


def _predict(
    name: str, bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]
) -> memoryview:
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


def _node(nodes: Sequence[Node], index: int, store: ObjectStore, out: memoryview | None = None) -> memoryview:
    node = nodes[index]
    payload = store.read(node.place.object, node.place.offset, node.place.stored)
    parameters, stored = payload[: node.parameters], payload[node.parameters :]
    _check_plausible(node, len(stored))
    predicted = None
    if node.update:
        bases = [_base(nodes, base, store) for base in node.bases]
        predicted = _predict(node.update, bases, parameters, node.dtype, node.shape)
    if out is None:
        out = memoryview(bytearray(node.nbytes))
    if predicted is None:
        codec.unpack(stored, node.dtype, out)
    else:
        codec.unpack_residual(stored, predicted, node.dtype, out)
    return out


def _base(nodes: Sequence[Node], index: int, store: ObjectStore) -> Tensor:
    """The tensor of a node that another rests on."""
    node = nodes[index]
    if node.bases:
        return Tensor(_node(nodes, index, store), node.dtype, node.shape)
    return Tensor(store.nearby.base(node.place, lambda: _node(nodes, index, store)), node.dtype, node.shape)


def _check_plausible(node: Node, stored: int) -> None:
    """Refuse a node that declares more than so few bytes could ever hold, before allocating it."""
    word = DTYPES[node.dtype].word_bytes
    chunks = -(-node.nbytes // (word * codec.CHUNK_WORDS))
    if stored < chunks * word * _FRAME_BYTES:
        raise IntegrityError(f"{stored} stored bytes cannot hold a tensor of {node.nbytes}")
