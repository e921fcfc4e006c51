"""A repository to work in: the current folder, with an account of its own.

The repositories are made once, and copied for each test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.numpy import save_file

from tests.e2e.repo import MODEL, Repo, safetensors, weights
from theta_jupyter import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bare", "conflict", "empty", "forked", "repo", "templates", "write"]


def write(path: Path | str = MODEL, seed: int = 0, **changed: int) -> bytes:
    """Write a model in the current folder; see :func:`tests.e2e.repo.weights`."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(weights(seed, **changed), path)
    return Path(path).read_bytes()


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``one``, a repository with one commit, and ``forked`` and ``conflict``, made from it."""
    top = tmp_path_factory.mktemp("templates")
    one = _place(top / "one")
    with one.environment(), contextlib.chdir(one.top):
        repository, _ = Repository.init()
        write()
        repository.track(MODEL)
        repository.commit("first")
    shutil.copytree(top / "one", top / "conflict")
    two = Repo(top / "conflict/work", top / "conflict/home")
    with two.environment(), contextlib.chdir(two.top):
        repository = Repository()
        repository.switch("theirs", create=True)
        write(b=2, wide=2)
        repository.commit("theirs")
        repository.switch("main")
        write(b=1, a=1)
        repository.commit("ours")
        shutil.copytree(top / "conflict", top / "forked")
        assert "CONFLICT" in two.fails("merge", "theirs")
    three = Repo(top / "forked/work", top / "forked/home")
    with three.environment():
        three.git("switch", "--quiet", "theirs")
        three.commit(safetensors(b=3, c=3, wide=2), "theirs again")
        three.git("switch", "--quiet", "main")
    return top


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Repo]:
    """A folder that is no repository, and is the current one."""
    yield from _work_in(_place(tmp_path))


@pytest.fixture
def repo(tmp_path: Path, templates: Path) -> Iterator[Repo]:
    """A repository with one model, committed on ``main``."""
    yield from _work_in(_copy(templates / "one", tmp_path))


@pytest.fixture
def conflict(tmp_path: Path, templates: Path) -> Iterator[Repo]:
    """A merge of ``theirs`` into ``main`` that both changed ``b`` in; ours changed ``a`` too, theirs ``wide``."""
    yield from _work_in(_copy(templates / "conflict", tmp_path))


@pytest.fixture
def forked(tmp_path: Path, templates: Path) -> Iterator[Repo]:
    """On ``main``, which changed ``a`` and ``b`` (seed 1).

    ``theirs`` changed ``b`` and ``wide`` (seed 2), and in a second commit ``b`` and ``c`` (seed 3).
    """
    yield from _work_in(_copy(templates / "forked", tmp_path))


@pytest.fixture
def bare(repo: Repo) -> Repo:
    """A bare repository by path, that ``repo`` was pushed to."""
    top = repo.top.parent / "bare"
    repo.git("init", "--quiet", "--bare", str(top))
    repo.git("remote", "add", "origin", str(top))
    Repository().push("--set-upstream", "origin", "main")
    return Repo(top, repo.home)


def _place(folder: Path) -> Repo:
    (folder / "home").mkdir(parents=True)
    (folder / "work").mkdir()
    found = Repo(folder / "work", folder / "home")
    found.git("config", "--global", "init.defaultBranch", "main")
    return found


def _copy(template: Path, folder: Path) -> Repo:
    shutil.copytree(template, folder, dirs_exist_ok=True)
    found = Repo(folder / "work", folder / "home")
    found.settle()
    return found


def _work_in(repo: Repo) -> Iterator[Repo]:
    settings = os.environ.copy()
    with repo.environment(), contextlib.chdir(repo.top):
        # What pytest goes by.
        os.environ.update({name: value for name, value in settings.items() if name.startswith(("PYTEST", "PYTHON"))})
        yield repo
