"""Where tensors lie in a checkpoint file.

One question is asked here: given the bytes of a file, where are the tensors? Each format answers in a plug-in of its
own, and ours come through the same door as everybody else's: the entry-point group ``theta_jupyter.checkpoints``. A
format is known by its content, never by the name of the file.

Saving a model from memory asks another one: who writes a file of this name? There the suffix decides. And a merge asks
who can build a new file of a format.

There is always an answer. A file that no plug-in knows, or that claims a format and does not keep to it, is cut into
opaque chunks, and the reason is handed on: a Git filter must not fail because of what somebody happened to commit.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from theta_jupyter.checkpoints import opaque
from theta_jupyter.checkpoints.base import Built, Derived, Layout, Span, View, check, quote
from theta_jupyter.errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from pathlib import PurePath

    from theta_jupyter.checkpoints.base import Builder, Writer

__all__ = ["Built", "Derived", "Layout", "Span", "View", "builder", "locate", "quote", "writer"]


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


def writer(path: PurePath) -> Writer:
    """Choose the format that writes a file of this name, by its suffix.

    Raises
    ------
    RequestError
        If there is none; it names the suffixes there are.
    """
    suffixes: list[str] = []
    for plugin in _plugins():
        try:
            form = plugin.load()
        except Exception:  # noqa: BLE001, S112 - somebody's broken plug-in must not be in the way of the others
            continue
        if callable(getattr(form, "write", None)):
            suffixes += getattr(form, "SUFFIXES", ())
            if path.suffix.lower() in suffixes:
                found: Writer = form
                return found
    what = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
    raise RequestError(f"cannot write {what}: {path}", hint=f"the suffix is one of {', '.join(sorted(suffixes))}")


def builder(form: str) -> Builder | None:
    """The format of this name, if it can build a new file of the tensors of several."""
    for plugin in _plugins():
        if plugin.name == form:
            try:
                found = plugin.load()
            except Exception:  # noqa: BLE001 - somebody's broken plug-in must not stop a merge
                return None
            if callable(getattr(found, "build", None)):
                able: Builder = found
                return able
    return None


@functools.cache
def _plugins() -> tuple[EntryPoint, ...]:
    return tuple(sorted(entry_points(group="theta_jupyter.checkpoints"), key=lambda plugin: plugin.name))
