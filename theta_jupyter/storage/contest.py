"""A tensor to nodes: every way to store it competes, and the smallest wins.

The candidates are the tensor stored whole, and every installed update from every base that is offered. A large tensor
is first looked at in a piece of some rows, where each update is fitted and its correction sampled; only the best few
are carried out in full, so what does not suit costs almost nothing.

What is fetched counts too, a little: of two that store as much, the one that rests on less wins, so that versions stand
on a whole one rather than on each other, unless that pays. All nodes of a tensor are at most 1.6 times its raw size, or
it is stored whole.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import MissingObjectError, ThetaError
from theta_jupyter.storage import codec
from theta_jupyter.storage.manifest import MAX_BASES, Node
from theta_jupyter.storage.pieces import Pieces, middle
from theta_jupyter.storage.sketch import fixed_arithmetic
from theta_jupyter.storage.tensors import predict, rooted
from theta_jupyter.updates.base import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from theta_jupyter.storage.manifest import Place
    from theta_jupyter.storage.objects import ObjectStore
    from theta_jupyter.storage.tensors import Chain
    from theta_jupyter.updates.base import Tensor, Update

__all__ = ["BUDGET", "Draft", "Said", "encode"]

BUDGET = 1.6
"""All nodes of a tensor together are at most this many times its raw size."""

_FETCHED = 0.1
"""What a byte to be fetched counts, beside one to be stored."""
_SAMPLES = 16
_SAMPLE_WORDS = 1 << 11
_LITTLE = 0.005
"""A delta below this share of the raw size is left as it is: nothing else could save what looking would cost."""
_UNLIKE = 0.9
"""A base is unlike the tensor if a delta costs more than this share of the tensor stored whole."""
_NEARLY = 1.1
"""Updates are tried from the base from which a delta is smallest, and from those that are nearly as near."""
_SURPRISE, _NOTHING = 1.25, 1 / 50
"""A result is taken without a look at others if it is at most so many times what the samples said, give or take this
share of the raw size ..."""
_CLEARLY = 0.9
"""... and below this share of what they said of the tensor stored whole."""
_TRIES = 3
"""Candidates carried out in full, at most."""
_log = logging.getLogger(__name__)


class Draft(NamedTuple):
    """A tensor encoded and not yet stored.

    Parameters
    ----------
    payload
        Parameters and correction.
    update
        Empty for a tensor stored whole.
    under
        The nodes it rests on, with all that these rest on.
    bases
        Which of them are its bases.
    parameters
        How much of the payload is parameters.
    """

    payload: bytes
    update: str = ""
    under: tuple[Node, ...] = ()
    bases: tuple[int, ...] = ()
    parameters: int = 0

    @property
    def stored(self) -> int:
        """Bytes to fetch for the tensor: its own and those of what it rests on."""
        return len(self.payload) + sum(node.place.stored for node in self.under)

    @property
    def cost(self) -> float:
        """What it costs to store and to fetch; the smaller, the better."""
        return len(self.payload) + _FETCHED * self.stored

    def nodes(self, dtype: str, shape: tuple[int, ...], place: Place) -> tuple[Node, ...]:
        """The nodes of a record whose payload lies there."""
        return (*self.under, Node(dtype, shape, place, self.update, self.bases, self.parameters))


class Said(NamedTuple):
    """An update that the user named, with parameters for it."""

    update: str
    parameters: bytes


def encode(new: Tensor, bases: Sequence[Chain], store: ObjectStore, said: Sequence[Said] = ()) -> Draft:
    """Find the smallest way to store a tensor.

    Parameters
    ----------
    bases
        What may be rested on. Those whose objects are not here, or damaged, are passed over: what rests on a damaged
        base cannot be rebuilt from a good one.
    said
        Updates that are known to have been made to one of them.
    """
    # One that stands for itself, and is therefore known by its hash, comes before the same one beneath another.
    by_nodes = {chain.nodes: chain for chain in sorted(bases, key=lambda chain: bool(chain.blake3))}
    usable = [by_nodes[nodes] for nodes in dict.fromkeys(chain.nodes for chain in bases)]
    while True:
        draft = _Contest(new, usable, store, said).winner()
        # Only what is used is looked at: a hash costs as much as decoding.
        unsound = {node.place for node in draft.under if not _is_kept(node.place.object, store)}
        if not unsound:
            return draft
        usable = [chain for chain in usable if unsound.isdisjoint(node.place for node in chain.nodes)]


def _is_kept(object_id: str, store: ObjectStore) -> bool:
    """Whether an object is sound; a collector at work spares it from now on."""
    try:
        store.freshen([object_id])
    except MissingObjectError:
        return False
    return store.sound(object_id)


class _Guess(NamedTuple):
    """A way to store a tensor."""

    predicted: memoryview | None = None
    update: str = ""
    chains: tuple[Chain, ...] = ()
    parameters: bytes = b""

    def encode(self, new: Tensor) -> Draft:
        """Encode a tensor in full."""
        under, bases = rooted(self.chains)
        correction = self.correction(new, 0, len(new.data))
        return Draft(self.parameters + correction, self.update, under, bases, len(self.parameters))

    def correction(self, new: Tensor, start: int, stop: int) -> bytes:
        """Encode a part."""
        if self.predicted is None:
            return codec.pack(new.data[start:stop], new.dtype)
        return codec.pack_residual(new.data[start:stop], self.predicted[start:stop], new.dtype)

    def estimate(self, new: Tensor) -> float:
        """The encoded size of the correction, from evenly spread samples."""
        size, step = len(new.data), _sample_bytes(new)
        if size <= _SAMPLES * step:
            return len(self.correction(new, 0, size))
        # Samples begin at multiples of their length, so that they are of whole words.
        last = size // step - 1
        starts = [index * last // (_SAMPLES - 1) * step for index in range(_SAMPLES)]
        return sum(len(self.correction(new, start, start + step)) for start in starts) * size / (_SAMPLES * step)


_WHOLE = _Guess()


class _Candidate(NamedTuple):
    """A guess that is not made yet, and what it is expected to cost."""

    cost: float
    make: Callable[[], _Guess | None]


class _Contest:
    """One tensor, and what may be said of it."""

    def __init__(self, new: Tensor, bases: Sequence[Chain], store: ObjectStore, said: Sequence[Said]) -> None:
        self.new, self.said = new, said
        self.budget = BUDGET * len(new.data)
        self.pieces = Pieces(store)
        self.piece = middle(new)
        self.bases = [chain for chain in bases if self._is_affordable(chain)]
        self.whole = (1 + _FETCHED) * _WHOLE.estimate(new)
        self.nearest = self.whole
        self.apart: dict[Chain, float] = {}

    def winner(self) -> Draft:
        """Carry out the best candidates, and take the smallest."""
        candidates = [*self._deltas(), *self._said()]
        self.nearest = min([self.whole, *(candidate.cost for candidate in candidates)])
        if self.nearest > _LITTLE * len(self.new.data):
            candidates += [*self._updates(), *self._several()]
            self.nearest = min([self.nearest, *(candidate.cost for candidate in candidates)])
            candidates += self._reshaping()
        best: Draft | None = None
        expected = False
        for cost, make in sorted(candidates, key=lambda candidate: candidate.cost)[:_TRIES]:
            if cost >= self.whole or (best and cost >= best.cost):
                break
            guess = make()
            draft = guess and guess.encode(self.new)
            if draft and draft.stored <= self.budget and (best is None or draft.cost < best.cost):
                best = draft
                expected = draft.cost <= _SURPRISE * cost + _NOTHING * len(self.new.data)
                if expected:
                    break
        if best and expected and best.cost < _CLEARLY * self.whole:
            return best
        whole = _WHOLE.encode(self.new)
        return best if best and best.cost < whole.cost and len(best.payload) <= len(whole.payload) else whole

    def _is_affordable(self, chain: Chain) -> bool:
        rebuilt = sum(node.nbytes for node in chain.nodes)
        return chain.stored < self.budget and rebuilt <= (MAX_BASES - 1) * len(self.new.data)

    def _alike(self) -> Iterator[Chain]:
        """Chains of the dtype and size of the tensor."""
        for chain in self.bases:
            if (chain.node.dtype, chain.node.nbytes) == (self.new.dtype, len(self.new.data)):
                yield chain

    def _deltas(self) -> Iterator[_Candidate]:
        """What every base offers as it is."""
        if "delta" in installed():
            yield from self._tried("delta", installed()["delta"])

    def _updates(self) -> Iterator[_Candidate]:
        """What updates make of single bases of the tensor's kind."""
        for name, update in installed().items():
            if name != "delta" and not hasattr(update, "choose") and not getattr(update, "RESHAPES", False):
                yield from self._tried(name, update)

    def _tried(self, name: str, update: Update) -> Iterator[_Candidate]:
        new = self.piece.of(self.new)
        deltas: dict[Chain, float] = {}
        nearest = min(self.apart.values(), default=0.0)
        for chain in self._alike():
            if self.apart.get(chain, nearest) > _NEARLY * nearest:
                continue  # Another base is nearer, and what was made from this one was made from that.
            with _Attempt(name) as attempt:
                base = self._part(chain)
                sizes = self._trial(name, update, [base], new)
                attempt.cost = self._cost([chain], sizes)
                if name == "delta" and sizes:
                    deltas[chain] = sum(sizes)
            if attempt.cost is not None:
                yield _Candidate(attempt.cost, partial(self._made, name, update, [chain]))
        if name == "delta":
            self.apart = deltas

    def _several(self) -> Iterator[_Candidate]:
        """What updates make of several bases at once."""
        alike = list(self._alike())
        if len(alike) < 2:
            return
        new = self.piece.of(self.new)
        for name, update in installed().items():
            if not hasattr(update, "choose"):
                continue
            chosen: list[Chain] = []
            with _Attempt(name) as attempt:
                parts = [self._part(chain) for chain in alike]
                picked = update.choose(parts, new)
                if picked is not None:
                    chosen = [alike[index] for index in picked]
                    trial = self._trial(name, update, [parts[index] for index in picked], new)
                    attempt.cost = self._cost(chosen, trial)
            if attempt.cost is not None:
                make = partial(self._made, name, update, chosen)
                yield _Candidate(attempt.cost, make)

    def _reshaping(self) -> Iterator[_Candidate]:
        """What updates make of bases of another shape or dtype; of any, where nothing comes close."""
        lost = self.nearest > _UNLIKE * self.whole
        for chain in self.bases:
            node = chain.node
            same = (node.dtype, node.shape) == (self.new.dtype, self.new.shape)
            if same and not lost:
                continue
            for name, update in installed().items():
                if getattr(update, "RESHAPES", False):
                    guess = self._made(name, update, [chain])
                    if guess is not None:
                        cost = self._cost([chain], (len(guess.parameters), guess.estimate(self.new)))
                        if cost is not None:
                            yield _Candidate(cost, lambda guess=guess: guess)  # type: ignore[misc]

    def _said(self) -> Iterator[_Candidate]:
        for update, parameters in self.said:
            for chain in self._alike():
                guess = self._made(update, installed().get(update), [chain], parameters)
                if guess is not None:
                    cost = self._cost([chain], (len(parameters), guess.estimate(self.new)))
                    if cost is not None:
                        yield _Candidate(cost, lambda guess=guess: guess)  # type: ignore[misc]

    def _trial(self, name: str, update: Update, bases: Sequence[Tensor], new: Tensor) -> tuple[float, float] | None:
        """Bytes of parameters and of correction that a trial on a piece says the whole would need."""
        parameters = update.fit(bases, new)
        if parameters is None:
            return None
        guess = _Guess(predict(name, bases, memoryview(parameters), new.dtype, new.shape), name, (), parameters)
        grown = len(self.new.data) / len(new.data)
        # Parameters grow with the values, with the rows, or not at all.
        return len(parameters) * grown**0.5, guess.estimate(new) * grown

    def _cost(self, chains: Sequence[Chain], sizes: tuple[float, float] | None) -> float | None:
        if sizes is None:
            return None
        under = sum(node.place.stored for node in rooted(chains)[0])
        own = sum(sizes)
        return own + _FETCHED * (own + under) if own + under <= self.budget else None

    def _part(self, chain: Chain) -> Tensor:
        """The same rows of a base; all of one that is looked at as a whole, whatever its shape."""
        whole = self.piece.stop - self.piece.start == len(self.new.data)
        piece = self.piece._replace(shape=chain.node.shape) if whole else self.piece
        try:
            return self.pieces.part(chain, piece)
        except ThetaError as error:
            raise _UnreadableError from error

    def _base(self, chain: Chain) -> Tensor:
        """All of a base."""
        try:
            return self.pieces.whole(chain)
        except ThetaError as error:
            raise _UnreadableError from error

    def _made(
        self, name: str, update: Update | None, chains: Sequence[Chain], parameters: bytes | None = None
    ) -> _Guess | None:
        """Let an update guess the tensor from all of its bases."""
        guess: _Guess | None = None
        with _Attempt(name):
            bases = [self._base(chain) for chain in chains]
            if parameters is None and update is not None:
                parameters = update.fit(bases, self.new)
            if parameters is not None:
                predicted = predict(name, bases, memoryview(parameters), self.new.dtype, self.new.shape)
                guess = _Guess(predicted, name, tuple(chains), parameters)
        return guess


class _UnreadableError(Exception):
    """A base is not here, or damaged."""


class _Attempt:
    """What an update tries: one that fails costs bytes, never a commit."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cost: float | None = None
        self._arithmetic = fixed_arithmetic()

    def __enter__(self) -> Self:
        self._arithmetic.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._arithmetic.__exit__(None, None, None)
        if isinstance(error, Exception) and not isinstance(error, _UnreadableError):
            _log.warning("the update %s failed: %s: %s", self.name, type(error).__name__, error)
        return isinstance(error, Exception)


def _sample_bytes(tensor: Tensor) -> int:
    return _SAMPLE_WORDS * DTYPES[tensor.dtype].word_bytes
