"""A progress bar in a terminal, shown only when work lasts."""

from __future__ import annotations

from typing import Any

__all__ = ["Bar"]


class Bar:
    """A :data:`~theta_jupyter.storage.pool.Progress` that draws a bar for each kind of work."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Advance."""
        from tqdm import tqdm

        if self._bar is None or self._what != what:
            self.close()
            self._what = what
            self._bar = tqdm(total=total, desc=what, unit="B", unit_scale=True, leave=False, delay=0.5)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
