"""What an update is: a guess at a tensor from other stored tensors.

The engine stores the guess's parameters and the exact correction, so an update is never responsible for being right,
only for being close. Delta, the one every repository needs, guesses that nothing changed. An update is an entry point
in the group ``theta_jupyter.updates``; its name there is what manifests say.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple, Protocol

from theta_jupyter.errors import ThetaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Tensor", "Update", "find", "installed"]


class Tensor(NamedTuple):
    """The bytes of a contiguous tensor, and how to read them."""

    data: memoryview
    dtype: str
    shape: tuple[int, ...]


class Update(Protocol):
    """A way to guess."""

    def fit(self, bases: Sequence[Tensor], new: Tensor) -> bytes | None:
        """Find parameters with which :meth:`predict` comes close to ``new``; None where this update does not apply."""

    def predict(
        self, bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]
    ) -> memoryview:
        """Guess a tensor.

        Must give the same bits on every machine: integer arithmetic, or elementwise IEEE operations in a fixed order.
        The engine sees to it that subnormal numbers count and that sums round to nearest.

        Returns
        -------
        memoryview
            As many bytes as ``dtype`` and ``shape`` say.
        """


_log = logging.getLogger(__name__)


@cache
def installed() -> Mapping[str, Update]:
    """Every update, ours and others', by name. One that cannot be loaded is left out: that must not stop a filter."""
    updates: dict[str, Update] = {}
    for entry in sorted(entry_points(group="theta_jupyter.updates")):
        try:
            updates[entry.name] = entry.load()
        except Exception as error:  # noqa: BLE001 - somebody's plug-in
            _log.warning("the update %s (%s) cannot be loaded: %s", entry.name, entry.value, error)
    return updates


def find(name: str) -> Update:
    """Look up an update.

    Raises
    ------
    ThetaError
        If no installed package provides it.
    """
    if name not in installed():
        raise ThetaError(f"no installed package provides the update {name!r}", hint="install the plug-in that wrote it")
    return installed()[name]
