"""A fresh repository for each test, and a home that must stay empty. They are made once, and copied."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``empty``, a repository that is installed and has no commits, and ``one``, with a model."""
    top = tmp_path_factory.mktemp("made")
    for name in ("empty", "one"):
        (top / name / "home").mkdir(parents=True)
        repo = Repo(top / name / "work", top / name / "home").init()
    repo.track(MODEL)
    repo.commit(safetensors(), "first")
    return top


def _copy(made: Path, folder: Path) -> Iterator[Repo]:
    shutil.copytree(made, folder, dirs_exist_ok=True, symlinks=True)
    repo = Repo(folder / "work", folder / "home")
    repo.settle()
    yield repo
    assert list(repo.home.rglob("*")) == []


@pytest.fixture
def bare_repo(made: Path, tmp_path: Path) -> Iterator[Repo]:
    """An installed repository without commits."""
    yield from _copy(made / "empty", tmp_path)


@pytest.fixture
def repo(made: Path, tmp_path: Path) -> Iterator[Repo]:
    """A repository with one model, committed on ``main``."""
    yield from _copy(made / "one", tmp_path)
