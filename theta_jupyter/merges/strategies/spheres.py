"""Strategies that go along a great circle, so that turning does not make shorter, as a mean does.

Models are arrays of one shape, whatever it is, seen as one long vector each; the result has their shape. A computer's
own sine and arc cosine need not have the same last bit everywhere, so they are computed here, from the operations that
do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from theta_jupyter.merges.base import Array, Between, Models, Share, Weights, strategy
from theta_jupyter.merges.strategies.shared import mean, shares, weighted
from theta_jupyter.merges.sums import dot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["multislerp", "slerp"]

_STRAIGHT = 1e-8
"""The square of the sine below which vectors are parallel: 0.0001 radians, where arc and chord are one in float32."""


@strategy
def slerp(ours: Array, theirs: Array, *, t: Share = 0.5) -> Array:
    """Go from our version to theirs along a great circle, at constant speed.

    With the angle θ between them, ``sin((1 - t) θ) / sin(θ) ours + sin(t θ) / sin(θ) theirs``. Where there is no one
    great circle, as one is zero or they are parallel or opposite (to 0.0001 radians), it is the straight line,
    ``(1 - t) ours + t theirs``.

    Parameters
    ----------
    t
        How far to go from our version (0) to theirs (1).

    References
    ----------
    Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.
    """
    if t in {0, 1}:
        return theirs if t else ours
    lengths = math.sqrt(dot(ours, ours)) * math.sqrt(dot(theirs, theirs))
    cosine = dot(ours, theirs) / lengths if lengths else 1.0
    if 1 - cosine * cosine < _STRAIGHT:
        return mean((ours, theirs), (1 - t, t))
    angle = _angle(cosine)
    whole = _sine(angle)
    return weighted((ours, theirs), (_sine((1 - t) * angle) / whole, _sine(t * angle) / whole))


@strategy
def multislerp(models: Models, *, weight: Annotated[Weights, Between(low=0)] = 1.0) -> Array:
    """Take the weighted mean of directions on the sphere, and of lengths beside it.

    The direction is the Fréchet (or Karcher) mean of the directions of the models: the point of the unit sphere from
    which the sum of weighted squared angles is least. It is found by going, again and again, to the mean of all in the
    plane that touches the sphere at the last point found. The length is the weighted mean of their lengths. For two
    models of one length it is ``slerp``. Where there is no one such point, as a model is zero or they cancel out, and
    where all are parallel (to 0.0001 radians), it is the weighted mean.

    Parameters
    ----------
    weight
        How much each model counts, as one number for all or one for each, none below zero.

    Raises
    ------
    RequestError
        If the weights add up to zero.

    References
    ----------
    Buss and Fillmore, Spherical averages and applications to spherical splines and interpolation, ACM Transactions on
    Graphics 20(2), 2001.
    """
    parts = shares(weight, len(models))
    products = [[dot(one, two) for two in models[: index + 1]] for index, one in enumerate(models)]
    lengths = [math.sqrt(row[-1]) for row in products]
    if not all(lengths):
        return mean(models, parts)
    span = range(len(models))
    cosines = [
        [1.0 if i == j else products[max(i, j)][min(i, j)] / (lengths[i] * lengths[j]) for j in span] for i in span
    ]
    direction = _center(cosines, parts)
    if direction is None:
        return mean(models, parts)
    length = math.fsum(part * one for part, one in zip(parts, lengths, strict=True))
    return weighted(models, [length * part / one for part, one in zip(direction, lengths, strict=True)])


def _center(cosines: Sequence[Sequence[float]], parts: Sequence[float]) -> list[float] | None:
    """The Fréchet mean of unit vectors, as factors of them.

    Parameters
    ----------
    cosines
        The product of any two of them.
    parts
        Their weights, which add up to one.

    Returns
    -------
    list or None
        None if they are all parallel, or there is no one mean.
    """
    if all(cosine > 0 and 1 - cosine * cosine < _STRAIGHT for row in cosines for cosine in row):
        return None
    factors = list(parts)
    for _ in range(100):
        beside = [_sum(row, factors) for row in cosines]
        square = _sum(beside, factors)
        if square < _STRAIGHT:
            return None
        length = math.sqrt(square)
        factors = [factor / length for factor in factors]
        beside = [cosine / length for cosine in beside]
        if min(beside) < _STRAIGHT - 1:
            return None
        angles = [_angle(cosine) for cosine in beside]
        pulls = [part * (a / _sine(a) if a else 1.0) for part, a in zip(parts, angles, strict=True)]
        drift = _sum(pulls, beside)
        step = [pull - drift * factor for pull, factor in zip(pulls, factors, strict=True)]
        far = math.sqrt(max(0.0, _sum(step, [_sum(row, step) for row in cosines])))
        onward, stay = (_sine(far) / far if far else 1.0), 1 - 2 * _sine(far / 2) ** 2
        factors = [stay * factor + onward * more for factor, more in zip(factors, step, strict=True)]
        if far < 1e-12:
            break
    return factors


def _sum(one: Sequence[float], two: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(one, two, strict=True))


def _angle(cosine: float) -> float:
    """The arc cosine: the sine of half the angle is halved until sine and angle are as good as one."""
    sine = math.sqrt(max(0.0, (1 - cosine) / 2))
    halvings = 20
    for _ in range(halvings):
        sine /= math.sqrt(2 + 2 * math.sqrt(max(0.0, 1 - sine * sine)))
    return math.ldexp(sine * (1 + sine * sine / 6), halvings + 1)


def _sine(angle: float) -> float:
    """The sine of an angle from 0 to π, by its series."""
    x = min(angle, math.pi - angle)
    found = term = x
    for n in range(2, 30, 2):
        term *= -x * x / (n * (n + 1))
        found += term
    return found
