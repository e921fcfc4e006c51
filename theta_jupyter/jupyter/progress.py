"""A progress bar in a notebook, shown only when work lasts, and gone when it is done.

It is an ordinary output that is updated in place and emptied at the end, so that a saved notebook keeps no half-full
bar, which is what a widget, or a bar of text, would leave there.
"""

from __future__ import annotations

import html
import time
from typing import Any

from theta_jupyter.results import size_text

__all__ = ["Bar"]

PATIENCE = 0.5
"""Seconds before a bar is shown."""
PACE = 0.1
"""Seconds between two updates."""


class Bar:
    """A :data:`~theta_jupyter.storage.pool.Progress` that draws in the cell's output."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._drawn = 0.0
        self._handle: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Advance."""
        now = time.monotonic()
        if now - self._began < PATIENCE or (now - self._drawn < PACE and done < total):
            return
        self._drawn = now
        label = html.escape(what) + (f" {size_text(done)} of {size_text(total)}" if total else "")
        self._show(f'<progress value="{done}" max="{max(1, total)}" aria-label="{label}"></progress> {label}')

    def close(self) -> None:
        """Take the bar away."""
        if self._handle is not None:
            self._show("")

    def _show(self, markup: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(markup), display_id=True)
        else:
            self._handle.update(HTML(markup))
