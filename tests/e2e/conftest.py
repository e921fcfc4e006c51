"""A fresh repository for each test, and a home that must stay empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bare_repo(tmp_path: Path) -> Iterator[Repo]:
    """An installed repository without commits."""
    home = tmp_path / "home"
    home.mkdir()
    yield Repo(tmp_path / "work", home).init()
    assert list(home.rglob("*")) == []


@pytest.fixture
def repo(bare_repo: Repo) -> Repo:
    """A repository with one model, committed on ``main``."""
    bare_repo.track(MODEL)
    bare_repo.commit(safetensors(), "first")
    return bare_repo
