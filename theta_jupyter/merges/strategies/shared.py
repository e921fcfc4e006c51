"""What strategies share: weights, sums of several versions, and steps that leave alone what does not move.

Sums run over models, elementwise, in the order of the models; sums of Python numbers are ``math.fsum``'s, which rounds
once: both have the same bits everywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theta_jupyter.merges.base import Array, Models, Weights

__all__ = ["each", "mean", "moved", "rows", "shares", "weighted"]


def each(weight: Weights, count: int) -> tuple[float, ...]:
    """One weight for each of ``count`` models."""
    return (weight,) * count if isinstance(weight, int | float) else tuple(weight)


def shares(weight: Weights, count: int) -> tuple[float, ...]:
    """Weights that add up to one.

    Raises
    ------
    RequestError
        If they add up to zero.
    """
    weights = each(weight, count)
    total = math.fsum(weights)
    if abs(total) <= 1e-12 * math.fsum(map(abs, weights)):
        hint = "change one of them, or switch normalize off where the strategy has it"
        raise RequestError("the weights add up to zero, so there is no mean", hint=hint)
    return tuple(weight / total for weight in weights)


def weighted(arrays: Sequence[Array], weights: Sequence[float]) -> Array:
    """The sum of arrays (all of one shape), each times its weight."""
    total = np.zeros(arrays[0].shape, np.result_type(*arrays))
    for array, weight in zip(arrays, weights, strict=True):
        total += weight * array
    return total


def mean(models: Models, weight: Weights = 1.0) -> Array:
    """The weighted mean, as a step from the model with the greatest weight: equal models give just themselves.

    Raises
    ------
    RequestError
        If the weights add up to zero.
    """
    parts = shares(weight, len(models))
    heaviest = max(range(len(parts)), key=lambda index: abs(parts[index]))
    change = np.zeros(models[0].shape, np.result_type(*models))
    for index, (model, part) in enumerate(zip(models, parts, strict=True)):
        if part and index != heaviest:
            change += part * (model - models[heaviest])
    return moved(models[heaviest], change)


def moved(start: Array, change: Array) -> Array:
    """``start + change``, and the very bits of ``start`` where nothing changes: -0.0 + 0.0 would be 0.0."""
    result = np.add(start, change, out=np.empty(start.shape, np.result_type(start, change)))
    if not np.all(start):
        # Only zeros lose their sign; to leave out all that stays would take several times as long.
        still = (start == 0) & (change == 0)
        result[still] = start[still]
    return result


def rows(array: Array) -> Array:
    """A tensor as a table (first dimension, all others), a row for each output; one row if it has no two dimensions."""
    height = array.shape[0] if array.ndim > 1 else 1
    return array.reshape(height, math.prod(array.shape[1:]) if array.ndim > 1 else array.size)
