"""Where tensors lie in a checkpoint file.

One question is asked here: given the bytes of a file, where are the tensors? Each format answers in a plug-in of its
own, and ours come through the same door as everybody else's: the entry-point group ``theta_jupyter.checkpoints``. A
format is known by its content, never by the name of the file.

There is always an answer. A file that no plug-in knows, or that claims a format and does not keep to it, is cut into
opaque chunks, and the reason is handed on: a Git filter must not fail because of what somebody happened to commit.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points

from theta_jupyter.checkpoints import opaque
from theta_jupyter.checkpoints.base import Derived, Layout, Span, View, check, quote
from theta_jupyter.errors import CheckpointError

__all__ = ["Derived", "Layout", "Span", "View", "locate", "quote"]


def locate(data: memoryview) -> tuple[Layout, str]:
    """Say where the tensors of a file lie.

    Parameters
    ----------
    data
        The whole file as bytes, usually memory-mapped. No reference to it is kept.

    Returns
    -------
    layout
        Checked by :func:`theta_jupyter.checkpoints.base.check`; of format ``"opaque"`` if no tensors could be located.
    reason
        Why not, in one line; empty if they were.
    """
    reasons = []
    for plugin in _plugins():
        try:
            layout = plugin.load().locate(data)
            if layout is not None:
                return check(layout, len(data)), ""
        except CheckpointError as error:
            reasons.append(error.message)
        except Exception as error:  # noqa: BLE001 - a bug in somebody's plug-in must not stop a Git filter
            reasons.append(f"plug-in {plugin.name} failed: {type(error).__name__}: {error}")
    reason = reasons[0] if reasons else "not a format any plug-in knows"
    return check(opaque.locate(data), len(data)), " ".join(reason.split())


@functools.cache
def _plugins() -> tuple[EntryPoint, ...]:
    return tuple(sorted(entry_points(group="theta_jupyter.checkpoints"), key=lambda plugin: plugin.name))
