"""Peers that come from PyPI, each in a virtual environment of its own, off the clock.

What is there already is left as it is, so that a later run needs no network; what cannot be had is left out.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["WANTED", "install"]

PATIENCE = 900
WANTED: dict[str, tuple[tuple[str, ...], ...]] = {
    "dvc": (("dvc==3.67.1",),),
    # torch first and alone: what another package asks for would come with gigabytes for graphics cards.
    "git-theta": (("torch==2.13.0",), ("git-theta==0.2.0", "safetensors")),
}
"""What to install, by virtual environment, one call of pip after the other."""


def install(folder: Path, say: Callable[[str], None]) -> None:
    """Make the environments that are not there."""
    for name, calls in WANTED.items():
        venv, done = folder / name, folder / name / ".complete"
        if done.exists():
            continue
        say(f"installing {name}")
        try:
            _run(sys.executable, "-m", "venv", "--clear", venv)
            for packages in calls:
                _run(venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
            done.touch()
        except (OSError, subprocess.SubprocessError) as error:
            say(f"{name} cannot be installed, and is left out: {error}")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
