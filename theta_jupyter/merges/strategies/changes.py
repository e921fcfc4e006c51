"""Strategies that add to the base what the models changed, when what stands in each other's way is gone.

All of them take the change of each model (model - base), most of them drop some of its values, and then either add up
what is left or let the models vote on each sign first. Models and base are arrays of one shape, whatever it is; the
result has it too. A share of n values is a count, n times the share as it is written, rounded down: 0.29 of 100 is 29.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from theta_jupyter.merges.base import Array, Factor, Models, Parts, Seed, Share, Tensor, Weights, strategy
from theta_jupyter.merges.strategies.shared import each, moved, rows, weighted
from theta_jupyter.merges.sums import dot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["breadcrumbs", "dare_linear", "dare_ties", "della", "sce", "task_arithmetic", "ties"]

_BLOCK = 1 << 20
_COUNTED = 1 << 17
_MARGIN = 0.01
"""How far the bounds of a bracket are from where they should be, as shares of all."""


@strategy(elementwise=True)
def task_arithmetic(models: Models, base: Array, *, weight: Weights = 1.0, lambda_: Factor = 1.0) -> Array:
    """Add to the base what every model changed.

    ``base + λ sum(wᵢ (xᵢ - base))``.

    Parameters
    ----------
    weight
        How much each model's change counts, as one number for all or one for each.
    lambda_
        What the sum of changes is multiplied with before it is added to the base; 0 gives the base.

    References
    ----------
    Ilharco et al., Editing models with task arithmetic, 2022, arXiv:2212.04089.
    """
    return _added(base, _changes(models, base), weight, lambda_)


def _top(parts: Parts, density: float, **_: object) -> list[_Cut]:
    """What to keep of each model: its largest changes."""
    return [cut for (cut,) in _cuts(parts, [density])]


@strategy(elementwise=True, look=_top)
def ties(
    models: Models,
    base: Array,
    seen: Any = None,
    *,
    density: Share = 0.2,
    weight: Weights = 1.0,
    lambda_: Factor = 1.0,
) -> Array:
    """Keep only the largest changes of each model, vote on each sign, and take the mean of those that agree.

    Trim, elect, merge: of n values, the floor(density n) changes of largest magnitude stay (of equal ones the first).
    The sign of each value is that of the weighted sum of what stays; where it cancels out, the base stays.

    Parameters
    ----------
    density
        The share of each model's changes that is kept, the largest.
    weight
        How much each model's change counts, as one number for all or one for each.
    lambda_
        What the mean change is multiplied with before it is added to the base; 0 gives the base.

    References
    ----------
    Yadav et al., TIES-Merging: resolving interference when merging models, 2023, arXiv:2306.01708.
    """
    changes = _changes(models, base)
    for change, cut in zip(changes, seen or _top(_whole(models, base), density), strict=True):
        _keep(change, cut.keeps(np.abs(change)))
    return _agreed(base, changes, weight, lambda_)


@strategy(elementwise=True)
def dare_linear(
    models: Models,
    base: Array,
    tensor: Tensor,
    *,
    density: Share = 0.5,
    weight: Weights = 1.0,
    lambda_: Factor = 1.0,
    seed: Seed = 0,
) -> Array:
    """Drop changes at random, scale the others up to make good for it, and add them to the base.

    Drop and rescale: each change stays with probability ``density``, divided by it.

    Parameters
    ----------
    density
        The probability with which each change is kept.
    weight
        How much each model's change counts, as one number for all or one for each.
    lambda_
        What the sum of changes is multiplied with before it is added to the base; 0 gives the base.
    seed
        Chooses which changes are dropped; the same number drops the same ones.

    References
    ----------
    Yu et al., Language models are super Mario: absorbing abilities from homologous models as a free lunch, 2023,
    arXiv:2311.03099.
    """
    return _added(base, _thinned(_changes(models, base), tensor, density, seed), weight, lambda_)


@strategy(elementwise=True)
def dare_ties(
    models: Models,
    base: Array,
    tensor: Tensor,
    *,
    density: Share = 0.5,
    weight: Weights = 1.0,
    lambda_: Factor = 1.0,
    seed: Seed = 0,
) -> Array:
    """Drop changes at random, scale the others up, vote on each sign, and take the mean of those that agree.

    Drops as ``dare_linear`` does, and merges what is left as ``ties`` does.

    Parameters
    ----------
    density
        The probability with which each change is kept.
    weight
        How much each model's change counts, as one number for all or one for each.
    lambda_
        What the mean change is multiplied with before it is added to the base; 0 gives the base.
    seed
        Chooses which changes are dropped; the same number drops the same ones.

    References
    ----------
    Yu et al., Language models are super Mario: absorbing abilities from homologous models as a free lunch, 2023,
    arXiv:2311.03099.
    """
    return _agreed(base, _thinned(_changes(models, base), tensor, density, seed), weight, lambda_)


@strategy
def della(
    models: Models,
    base: Array,
    tensor: Tensor,
    *,
    density: Share = 0.5,
    epsilon: Share = 0.1,
    weight: Weights = 1.0,
    lambda_: Factor = 1.0,
    seed: Seed = 0,
) -> Array:
    """Drop changes at random, small ones more often, scale the others up, vote on signs, and average.

    MAGPRUNE: within each row (output) of n values, the r-th largest change, from 0, is dropped with probability
    ``1 - density - ε/2 + ε r/n`` and else divided by the probability to stay. ε is made smaller where that would leave
    [0, 1]: a density of 1 drops nothing, one of 0 everything. What is left is merged as ``ties`` does.

    Parameters
    ----------
    density
        The mean probability with which a change is kept.
    epsilon
        How far the probabilities of the largest and the smallest change of a row lie apart.
    weight
        How much each model's change counts, as one number for all or one for each.
    lambda_
        What the mean change is multiplied with before it is added to the base; 0 gives the base.
    seed
        Chooses which changes are dropped; the same number drops the same ones.

    References
    ----------
    Deep, Bhardwaj and Poria, DELLA-Merging: reducing interference in model merging through magnitude-based sampling,
    2024, arXiv:2406.11617.
    """
    changes = _changes(models, base)
    spread = min(epsilon, 2 * density, 2 * (1 - density))
    for which, change in enumerate(changes):
        table = rows(change)
        columns = table.shape[1]
        height = max(1, _BLOCK // max(1, columns))
        for start in range(0, len(table), height):
            part = table[start : start + height]
            here = replace(tensor, start=tensor.start + start * columns)
            stays = density + spread / 2 - spread * _ranks(part) / columns if spread else np.full(part.shape, density)
            kept = here.uniform(part.shape, seed, which) < stays
            np.divide(part, stays, out=part, where=kept)
            _keep(part, kept)
    return _agreed(base, changes, weight, lambda_)


def _crumbs(parts: Parts, density: float, gamma: float, **_: object) -> list[tuple[_Cut, ...]]:
    """Which of each model's changes are too large, and which of them, or next to them, in size."""
    return _cuts(parts, [gamma], [gamma, density])


@strategy(elementwise=True, look=_crumbs)
def breadcrumbs(
    models: Models,
    base: Array,
    seen: Any = None,
    *,
    density: Share = 0.15,
    gamma: Share = 0.01,
    weight: Weights = 1.0,
    lambda_: Factor = 1.0,
) -> Array:
    """Drop the very largest and all the small changes of each model, and add the others to the base.

    Of n values, the floor(gamma n) changes of largest magnitude go, the floor(density n) next to them stay, all below
    go; of equal ones the first are taken for larger.

    Parameters
    ----------
    density
        The share of each model's changes that is kept.
    gamma
        The share of each model's changes that is dropped as too large.
    weight
        How much each model's change counts, as one number for all or one for each.
    lambda_
        What the sum of changes is multiplied with before it is added to the base; 0 gives the base.

    References
    ----------
    Davari and Belilovsky, Model Breadcrumbs: scaling multi-task model merging with sparse masks, 2023,
    arXiv:2312.06795.
    """
    changes = _changes(models, base)
    found = seen or _crumbs(_whole(models, base), density, gamma)
    for change, (largest, large) in zip(changes, found, strict=True):
        sizes = np.abs(change)
        _keep(change, large.keeps(sizes) & ~largest.keeps(sizes))
    return _added(base, changes, weight, lambda_)


@strategy
def sce(models: Models, base: Array, *, select_topk: Share = 1.0) -> Array:
    """Keep the values on which the models differ most, weigh models by what they changed there, drop minority signs.

    Select: of n values, those floor(select_topk n) stay whose changes have the largest variance across models (of
    equal ones the first). Calculate: a model's weight is its share in the sum of all squared changes that stay. Erase:
    a change goes if its sign is not that of the sum of the models' changes in its place. The weighted sum of what is
    left is added to the base.

    Parameters
    ----------
    select_topk
        The share of values that may change, those on which the models differ most.

    References
    ----------
    Wan et al., FuseChat: knowledge fusion of chat models, 2024, arXiv:2408.07990.
    """
    changes = _changes(models, base)
    variance = np.zeros_like(changes[0])  # Times the square of the number of models.
    for one, two in itertools.combinations(changes, 2):
        variance += np.square(one - two)
    kept = _largest(variance, select_topk)
    for change in changes:
        _keep(change, kept)
    squares = [dot(change, change) for change in changes]
    total = math.fsum(squares)
    signs = np.sign(weighted(changes, each(1.0, len(changes))))
    for change in changes:
        _keep(change, np.sign(change) == signs)
    return moved(base, weighted(changes, [square / total if total else 0.0 for square in squares]))


def _changes(models: Models, base: Array) -> list[Array]:
    """What each model changed: new arrays, in C order, to be written to."""
    return [np.subtract(model, base, out=np.empty(base.shape, np.result_type(model, base))) for model in models]


def _whole(models: Models, base: Array) -> Parts:
    return lambda: [([model.reshape(-1) for model in models], base.reshape(-1))]


class _Bracket:
    """A guess at a value, and bounds that it should lie between; told all values, it knows which one it is.

    In bfloat16 changes are few different numbers, and the guess itself is likely to be right.
    """

    def __init__(self, low: float = -1.0, guess: float = -1.0, high: float = np.inf) -> None:
        self._low, self._guess, self._high = low, guess, high
        self._beyond = self._above = self._equal = 0
        self._between: list[Array] = []

    @classmethod
    def around(cls, share: float, sizes: Array) -> _Bracket:
        """For the value which so large a share of all is above, if these are like all."""
        some = np.sort(sizes[:: max(1, sizes.size >> 15)])
        places = (int(some.size * (1 - share + step)) for step in (-_MARGIN, 0.0, _MARGIN))
        low, guess, high = (
            float(some[place]) if 0 <= place < some.size else -1.0 if place < 0 else np.inf for place in places
        )
        return cls(low, guess, high)

    def take(self, sizes: Array) -> None:
        """Count values, and keep those between the bounds that are not as was guessed."""
        between = sizes > self._low
        if self._high < np.inf:
            beyond = sizes > self._high
            self._beyond += int(np.count_nonzero(beyond))
            between ^= beyond
        equal = sizes == self._guess
        self._above += int(np.count_nonzero(sizes > self._guess))
        self._equal += int(np.count_nonzero(equal))
        between &= ~equal
        self._between.append(sizes[between])

    def cut(self, count: int, total: int) -> _Cut | None:
        """The cut that leaves so many of all; None if it is not between the bounds."""
        if not 0 < count < total:
            return _Cut(-1.0 if count else np.inf)
        if self._above < count <= self._above + self._equal:
            return _Cut(self._guess, count - self._above)
        between = np.concatenate(self._between)
        if count <= self._above:
            between, place = between[between > self._guess], count - self._beyond
        else:
            between, place = between[between < self._guess], count - self._above - self._equal
        return _Cut(*_nth_largest(between, place)) if 0 < place <= between.size else None


def _cuts(parts: Parts, *shares: Sequence[float]) -> list[tuple[_Cut, ...]]:
    """For each model, the cuts that leave the largest of its changes, such shares of them together.

    In one pass over the tensor, with guesses that go by its first part. If the others are not like it, in two.
    """
    found: list[tuple[_Cut, ...]] = []
    for attempt in range(2):
        brackets: list[list[_Bracket]] = []
        total = 0
        for models, base in parts():
            assert base is not None  # noqa: S101 - these strategies need one
            total += base.size
            changes = _changes(models, base)
            sizes = [np.abs(change, out=change) for change in changes]
            if not brackets:
                brackets = [[_Bracket() if attempt else _Bracket.around(sum(s), one) for s in shares] for one in sizes]
            for of, one in zip(brackets, sizes, strict=True):
                for bracket in of:
                    bracket.take(one)
        counts = [sum(_count(share, total) for share in of) for of in shares]
        cuts = [[b.cut(count, total) for b, count in zip(of, counts, strict=True)] for of in brackets]
        found = [tuple(cut for cut in of if cut is not None) for of in cuts]
        if all(len(of) == len(shares) for of in found):
            break
    return found


def _count(share: float, total: int) -> int:
    return int(Fraction(str(share)) * total)


class _Cut:
    """Tells which of many values are the largest, and of equal ones the first.

    Parameters
    ----------
    least
        Those above it are, and ...
    equal
        ... so many of those that equal it.
    """

    def __init__(self, least: float, equal: int = 0) -> None:
        self._least, self._equal = least, equal

    def keeps(self, sizes: Array) -> npt.NDArray[np.bool_]:
        """Whether each value is one of them; parts of a tensor are asked for in their order."""
        kept: npt.NDArray[np.bool_] = sizes > self._least
        if self._equal:
            equal = np.flatnonzero(sizes == self._least)[: self._equal]
            kept.reshape(-1)[equal] = True
            self._equal -= equal.size
        return kept


def _largest(sizes: Array, share: float) -> npt.NDArray[np.bool_]:
    """The largest of values that are all at hand."""
    bracket = _Bracket()
    bracket.take(sizes.reshape(-1))
    cut = bracket.cut(_count(share, sizes.size), sizes.size)
    assert cut is not None  # noqa: S101 - everything is between no bounds
    return cut.keeps(sizes)


def _nth_largest(sizes: Array, count: int) -> tuple[float, int]:
    """The ``count``-th largest of numbers none of which is below zero; and how many of its equals are among those.

    Their bits, as integers, are in the same order, so they are counted by their highest 16 bits, then those in the
    same drawer by the next 16: many times quicker than to partition them where many are equal, as in bfloat16.
    """
    words = sizes.view(f"u{sizes.itemsize}")
    found = 0
    for shift in range(8 * sizes.itemsize - 16, -1, -16):
        counts = np.zeros(1 << 16, np.int64)
        for start in range(0, words.size, _COUNTED):
            drawer = (words[start : start + _COUNTED] >> shift) & 0xFFFF
            counts += np.bincount(drawer.astype(np.intp), minlength=1 << 16)
        above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(above, count))
        count -= int(above[place] - counts[::-1][place])
        place = 0xFFFF - place
        found = (found << 16) | place
        words = words[(words >> shift) & 0xFFFF == place]
    return float(np.array(found, words.dtype).view(sizes.dtype)), count


def _ranks(table: Array) -> npt.NDArray[np.intp]:
    """The rank of each value's magnitude in its row: 0 is the largest; of equal ones the first."""
    order = np.argsort(-np.abs(table), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(table.shape[1])[None, :], axis=1)
    return ranks


def _thinned(changes: list[Array], tensor: Tensor, density: float, seed: int) -> list[Array]:
    """Drop and rescale, in place."""
    for which, change in enumerate(changes):
        kept = tensor.uniform(change.shape, seed, which) < density
        np.divide(change, density, out=change, where=kept)
        _keep(change, kept)
    return changes


def _keep(change: Array, kept: npt.NDArray[np.bool_]) -> None:
    change *= kept


def _added(base: Array, changes: Sequence[Array], weight: Weights, factor: float) -> Array:
    """The base and the weighted sum of changes."""
    total = weighted(changes, each(weight, len(changes)))
    total *= factor
    return moved(base, total)


def _agreed(base: Array, changes: Sequence[Array], weight: Weights, factor: float) -> Array:
    """The base and, in each place, the weighted mean of the changes that have the sign of their weighted sum."""
    weights = each(weight, len(changes))
    signs = np.sign(weighted(changes, weights))
    total, shares = np.zeros_like(signs), np.zeros_like(signs)
    for change, one in zip(changes, weights, strict=True):
        np.multiply(change, one, out=change)
        agrees = np.sign(change) == signs
        np.multiply(change, agrees, out=change)
        total += change
        shares += np.asarray(abs(one), shares.dtype) * agrees
    shares[shares == 0] = 1  # Nothing is there to be divided.
    total /= shares
    total *= factor
    return moved(base, total)
