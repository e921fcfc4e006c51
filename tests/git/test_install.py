"""Configuration comes and goes without a trace."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

import theta_jupyter
from tests.e2e.repo import Repo
from theta_jupyter.git import install
from theta_jupyter.git.worktree import Worktree


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    home = tmp_path / "home"
    home.mkdir()
    repo = Repo(tmp_path / "work", home)
    repo.top.mkdir()
    repo.git("init", "--quiet")
    return repo


@pytest.mark.parametrize("mine", ["", "[alias]\n\tst = status\n# a comment\n[merge]\n\tconflictstyle = diff3\n"])
def test_install_twice_and_take_it_back(repo: Repo, mine: str) -> None:
    config = repo.top / ".git/config"
    config.write_text(config.read_text() + mine)
    before = config.read_bytes()
    with repo.environment():
        worktree = repo.worktree
        assert not install.is_installed(worktree)
        assert set(install.install(worktree)) == set(install.settings())
        assert install.is_installed(worktree)
        there = config.read_bytes()
        assert install.install(worktree) == []
        assert config.read_bytes() == there
        assert set(install.uninstall(worktree)) == set(install.settings())
        assert install.uninstall(worktree) == []
    assert config.read_bytes() == before


def test_account(repo: Repo) -> None:
    with repo.environment():
        install.install(None)
        assert install.is_installed(repo.worktree)
        assert "theta" not in (repo.top / ".git/config").read_text()
        install.uninstall(None)
    assert (repo.home / ".gitconfig").read_text() == ""


def test_an_alias_of_the_users_stays(repo: Repo) -> None:
    repo.git("config", "alias.theta", "log --oneline")
    with repo.environment():
        install.install(repo.worktree)
        install.uninstall(repo.worktree)
    assert repo.git("config", "alias.theta") == "log --oneline\n"


def test_commands_are_isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert shlex.split(install.command("x")) == [sys.executable, "-P", "-E", "-m", "x"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(tmp_path)]))
    assert "-E" in shlex.split(install.command("x"))
    # Found through PYTHONPATH, as environment modules of clusters have it, it would not be found without.
    monkeypatch.setenv("PYTHONPATH", str(Path(theta_jupyter.__file__).resolve().parents[1]))
    assert "-E" not in shlex.split(install.command("x"))


def test_a_hook_that_is_a_broken_link(repo: Repo) -> None:
    hooks = repo.top / ".git/hooks"
    elsewhere = repo.top.parent / "elsewhere"
    (hooks / "pre-push").symlink_to(elsewhere)
    with repo.environment():
        install.install_hooks(repo.worktree)
        assert not elsewhere.exists()
        assert not (hooks / "pre-push").is_symlink()
        install.uninstall_hooks(repo.worktree)
    assert (hooks / "pre-push").readlink() == elsewhere


def test_an_old_script_of_ours_is_renewed(repo: Repo) -> None:
    hooks = repo.top / ".git/hooks"
    with repo.environment():
        install.install_hooks(repo.worktree)
        text = (hooks / "pre-push").read_text()
        (hooks / "pre-push").write_text(text.replace("drivers.hooks", "drivers.old"))
        assert install.install_hooks(repo.worktree) == ["pre-push"]
    assert (hooks / "pre-push").read_text() == text
    assert not (hooks / "pre-push.before-theta").exists()


def test_find(repo: Repo, tmp_path: Path) -> None:
    (repo.top / "sub").mkdir()
    with repo.environment():
        for start in (repo.top, repo.top / "sub", repo.top / "sub" / "file"):
            assert Worktree.find(start).top == repo.top
        with pytest.raises(Exception, match="not in the work tree"):
            Worktree.find(tmp_path)
        with pytest.raises(Exception, match="not in the work tree"):
            Worktree.find(repo.top / ".git")
        assert Worktree.find(repo.top / ".git", bare=True).git_dir == repo.top / ".git"
        with pytest.raises(Exception, match="not in the work tree"):
            Worktree.find(tmp_path, bare=True)
