"""Strategies that average, in a straight line.

Models and base are arrays of one shape, whatever it is; the result has it too.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from theta_jupyter.merges.base import Array, Models, Weights, strategy
from theta_jupyter.merges.strategies.shared import each, mean, moved, rows, weighted
from theta_jupyter.merges.sums import dots

__all__ = ["linear", "model_stock"]


@strategy(elementwise=True)
def linear(models: Models, *, weight: Weights = 1.0, normalize: bool = True) -> Array:
    """Take the weighted mean of the models.

    ``sum(wᵢ xᵢ) / sum(wᵢ)``, computed as a step from the model with the greatest weight, so that equal models give
    just themselves.

    Parameters
    ----------
    weight
        How much each model counts, as one number for all or one for each.
    normalize
        Whether weights are divided by their sum, so that the result is a mean; if not, it is a plain weighted sum.

    Raises
    ------
    RequestError
        If the weights add up to zero and should be divided by their sum.

    References
    ----------
    Wortsman et al., Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
    inference time, 2022, arXiv:2203.05482.
    """
    return mean(models, weight) if normalize else weighted(models, each(weight, len(models)))


@strategy
def model_stock(models: Models, base: Array, *, filter_wise: bool = False) -> Array:
    """Go from the base towards the mean of the models, as far as their changes agree in direction.

    With the mean cosine c of the angles between the changes of any two of N models, the result is
    ``t mean + (1 - t) base`` with ``t = N c / (1 + (N - 1) c)``. A mean cosine below zero counts as zero, so t is
    from 0 (the base) to 1 (the mean). A model without a change is at a right angle to all others.

    Parameters
    ----------
    filter_wise
        Whether each output (row of a matrix, filter of a convolution) has an angle of its own, and not the whole
        tensor one.

    References
    ----------
    Jang, Yun and Han, Model Stock: All we need is just a few fine-tuned models, 2024, arXiv:2403.19522.
    """
    count = len(models)
    table = rows(base).shape if filter_wise else (1, base.size)
    changes = [np.subtract(model, base).reshape(table) for model in models]
    squares = [dots(change, change) for change in changes]
    cosine = np.zeros(len(changes[0]))
    for one, two in itertools.combinations(range(count), 2):
        lengths = np.sqrt(squares[one] * squares[two])  # The root of a square is exact: equal changes give just 1.
        cosine += np.divide(dots(changes[one], changes[two]), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    cosine = np.clip(cosine / math.comb(count, 2), 0, 1)
    share = (count * cosine / (1 + (count - 1) * cosine))[:, None]
    middle = mean(models)
    # From the end that is nearer, so that both ends are exact.
    start = np.where(share < 0.5, base.reshape(table), middle.reshape(table))
    change = np.subtract(middle, base).reshape(table)
    change *= np.where(share < 0.5, share, share - 1).astype(change.dtype)
    return moved(start, change).reshape(base.shape)
