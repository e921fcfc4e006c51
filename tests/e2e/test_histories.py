"""Histories made at random, against a model of what must be there: nothing lost, nothing altered.

A few by default; ``make soak`` sets ``THETA_HISTORIES`` for many more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.world import World

if TYPE_CHECKING:
    from pathlib import Path

HISTORIES = int(os.environ.get("THETA_HISTORIES", "4"))
FIRST = int(os.environ.get("THETA_FIRST_HISTORY", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + HISTORIES))
def test_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "world", seed)
    try:
        world.live(20)
        world.check()
    except BaseException as error:  # Also an interrupt, or a timeout: told what has happened, and raised again.
        error.add_note("\n".join([f"history {seed}:", *world.told]))
        raise
