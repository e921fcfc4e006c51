"""What an update is: a guess at a tensor from other stored tensors.

The engine stores the guess's parameters and the exact correction, so an update is never responsible for being right,
only for being close. Delta, the one every repository needs, guesses that nothing changed. An update is an entry point
in the group ``theta_jupyter.updates``; its name there is what manifests say, and it fixes for ever what is predicted.

A large tensor is first looked at in pieces: some rows of it, with the same rows of a base, are given to :meth:`fit` as
if they were a tensor, and only an update that does well on them is tried on the whole. So an update needs no estimate
of its own; it must only be quick to say None.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple, Protocol

from theta_jupyter.errors import ThetaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Several", "Tensor", "Update", "find", "installed"]


class Tensor(NamedTuple):
    """The bytes of a contiguous tensor, and how to read them."""

    data: memoryview
    dtype: str
    shape: tuple[int, ...]


class Update(Protocol):
    """A way to guess from one base.

    ``RESHAPES`` may be set to True: the tensor may then have another shape or dtype than the base, and the update is
    tried on whole tensors only, where the two differ or nothing else comes close.
    """

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
            As many bytes as ``dtype`` and ``shape`` say. It may be the memory of a base, which is not written to.
        """


class Several(Update, Protocol):
    """A way to guess from several bases at once, which it first chooses."""

    def choose(self, bases: Sequence[Tensor], new: Tensor) -> Sequence[int] | None:
        """Which of these bases, all of the tensor's shape and dtype, to :meth:`fit`; None if it does not apply.

        The tensors are pieces, as they are for :meth:`fit`.
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
