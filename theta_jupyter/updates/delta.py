"""Guess that nothing changed: the correction is then the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theta_jupyter.updates.base import Tensor

__all__ = ["fit", "predict"]


def fit(bases: Sequence[Tensor], new: Tensor) -> bytes | None:
    """Apply to one base of the same dtype and as many values; there is nothing to fit."""
    fits = len(bases) == 1 and bases[0].dtype == new.dtype and len(bases[0].data) == len(new.data)
    return b"" if fits else None


def predict(bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]) -> memoryview:  # noqa: ARG001 - the shape of an update
    """Return the base."""
    return bases[0].data
