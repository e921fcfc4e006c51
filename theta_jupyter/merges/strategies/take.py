"""Strategies that choose: the result is one of the versions, as it is."""

from __future__ import annotations

from theta_jupyter.merges.base import Array, Models, strategy

__all__ = ["base", "ours", "theirs"]


@strategy(elementwise=True, takes="ours")
def ours(models: Models) -> Array:
    """Take our version: that of the branch you are on."""
    return models[0]


@strategy(elementwise=True, takes="theirs")
def theirs(ours: Array, theirs: Array) -> Array:  # noqa: ARG001 - the signature says that there are two
    """Take their version: that of the branch being merged."""
    return theirs


@strategy(elementwise=True, takes="base")
def base(models: Models, base: Array) -> Array:  # noqa: ARG001 - every strategy is given the models
    """Take the version both sides started from, and so drop the changes of both."""
    return base
