"""Strategies that are told what each model knows: statistics gathered on data, given as a checkpoint for each model."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from theta_jupyter.errors import RequestError
from theta_jupyter.merges.base import Array, Between, Models, Share, Statistics, Tensor, Weights, strategy
from theta_jupyter.merges.strategies.shared import each, mean, moved

__all__ = ["fisher", "regmean"]


@strategy(elementwise=True)
def fisher(
    models: Models,
    *,
    fisher: Statistics,
    weight: Annotated[Weights, Between(low=0)] = 1.0,
    eps: Annotated[float, Between(low=0)] = 1e-10,
) -> Array:
    """Take the mean, each value weighted by how much the model's predictions depend on it.

    ``sum(wᵢ Fᵢ xᵢ) / sum(wᵢ Fᵢ)``, with the diagonal Fᵢ of the Fisher information, of the shape of the tensor. Where a
    model has none for a tensor, that tensor is merged by the plain weighted mean.

    Parameters
    ----------
    fisher
        For each model a checkpoint with the diagonal of its Fisher information, under the tensors' own names.
    weight
        How much each model counts beside that, as one number for all or one for each, none below zero.
    eps
        The least Fisher information a value counts with: where no model has any, the plain weighted mean is taken.

    Raises
    ------
    RequestError
        If the weights add up to zero.

    References
    ----------
    Matena and Raffel, Merging models with Fisher-weighted averaging, 2021, arXiv:2111.09832.
    """
    plain = mean(models, weight)
    known = [np.maximum(one, np.float64(eps)) for one in fisher if one is not None]
    if len(known) < len(models):
        return plain
    total = np.zeros(plain.shape, np.result_type(plain, *known))
    change = np.zeros_like(total)
    for model, one, information in zip(models, each(weight, len(models)), known, strict=True):
        total += one * information
        change += one * information * (model - models[0])
    np.divide(change, total, out=change, where=total > 0)
    return np.where(total > 0, moved(models[0], change), plain)


@strategy
def regmean(models: Models, tensor: Tensor, *, gram: Statistics, reduce: Share = 0.9) -> Array:
    """Find the weights whose outputs are closest, by least squares, to what each model gives on its own inputs.

    For linear layers, matrices W (outputs, inputs), with Gram matrices G = XᵀX (inputs, inputs) of the inputs X
    (samples, inputs) of each: ``sum(Wᵢ Gᵢ) sum(Gᵢ)⁻¹``, where all but the diagonal of each G is multiplied by
    ``reduce`` first. Inputs of which no model knows anything, tensors without a Gram matrix for every model, and those
    which are not matrices get the plain mean.

    It is computed in float64 by LAPACK, which does not promise the same last bits on every machine: once cast to the
    tensor's type, they may in principle differ.

    Parameters
    ----------
    gram
        For each model a checkpoint with Gram matrices (inputs, inputs), under the names of the weights they are for.
    reduce
        What the Gram matrices are multiplied with off the diagonal: 1 takes them as they are, less is more robust.

    Raises
    ------
    RequestError
        If a Gram matrix does not fit its tensor.

    References
    ----------
    Jin et al., Dataless knowledge fusion by merging weights of language models, 2022, arXiv:2212.09849.
    """
    start = mean(models)
    known = [one for one in gram if one is not None]
    if start.ndim != 2 or not start.size or len(known) < len(models):
        return start
    inputs = start.shape[1]
    total = np.zeros((inputs, inputs))
    pulls = np.zeros(start.shape)
    for model, one in zip(models, known, strict=True):
        if one.shape != total.shape:
            hint = f"{tensor.name} is {start.shape}, so it must be {total.shape}: inputs by inputs"
            raise RequestError(f"a Gram matrix for {tensor.name} is {one.shape}", hint=hint)
        reduced = one * np.float64(reduce)
        np.fill_diagonal(reduced, np.diagonal(one))
        total += reduced
        pulls += np.subtract(model, start, dtype=np.float64) @ reduced
    # In units in which the diagonal is one: then `reduce` below 1 keeps the matrix well away from a singular one.
    scale = np.diagonal(total).copy()
    np.divide(1, np.sqrt(np.abs(scale)), out=scale, where=scale != 0)
    total *= scale
    total *= scale[:, None]
    pulls *= scale
    np.fill_diagonal(total, 1)
    change = np.linalg.solve(total, pulls.T).T if reduce < 1 else np.linalg.lstsq(total, pulls.T)[0].T
    return moved(start, change * scale)
