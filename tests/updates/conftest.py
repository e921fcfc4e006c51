"""What the tests of updates share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from theta_jupyter.storage.objects import ObjectStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "theta")
