"""Clones, with weights and without; weights that come when they are asked for, and no others."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.api.place import write
from tests.e2e.repo import LAYERS, MODEL, Repo, safetensors, weights
from theta_jupyter import Repository, load
from theta_jupyter.cli import main
from theta_jupyter.errors import GitError, RequestError, TransferError

if TYPE_CHECKING:
    from pathlib import Path

    from theta_jupyter.storage.manifest import Manifest

MANIFEST = b"theta manifest 1\n"


@pytest.fixture
def origin(bare: Repo, repo: Repo) -> Repo:
    """A bare repository with two versions on ``main``; an empty folder is the current one."""
    write(b=1, wide=2)
    Repository().commit("second")
    Repository().push()
    (repo.top.parent / "desk").mkdir()
    os.chdir(repo.top.parent / "desk")
    return bare


@pytest.fixture
def lazy(origin: Repo) -> Repo:
    """A lazy clone; the current folder."""
    repository, _ = Repository.clone(str(origin.top), "lazy", lazy=True)
    os.chdir(repository.worktree.top)
    return Repo(repository.worktree.top, origin.home)


def objects_of(manifest: Manifest, *names: str) -> set[str]:
    return {place.object for name in names for place in manifest.records[name].objects}


def test_clone(origin: Repo, repo: Repo) -> None:
    repository, message = Repository.clone(str(origin.top), progress=(told := Told()))
    assert repository.worktree.top.name == "bare"
    assert message.message == "cloned into bare"
    assert message.details == ("hooks: pre-push, pre-commit", f"checked out: {MODEL}")
    clone = Repo(repository.worktree.top, origin.home)
    clone.check(safetensors(b=1, wide=2))
    # Just what this version needs, in one go, and somebody is told.
    assert clone.objects == set(repo.manifest().places())
    total = sum(repo.manifest().places().values())
    assert [far for far in told if far[0] == "fetching"][-1] == ("fetching", total, total)
    with pytest.raises(GitError, match="already exists"):
        Repository.clone(str(origin.top))


class Told(list[tuple[str, int, int]]):
    """A progress that keeps what it is told."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Keep it."""
        self.append((what, done, total))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/team/model.git", "model"),
        ("git@host:team/model", "model"),
        ("host:model.git/", "model"),
        ("host:/srv/model/.git", "model"),
        ("file:///srv/models.bundle", "models"),
    ],
)
def test_a_clone_is_named_as_git_names_it(url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / name / "full").touch()
    with pytest.raises(GitError, match=f"'{name}' already exists"):
        Repository.clone(url)


def test_clone_from_nowhere(empty: Repo) -> None:
    with pytest.raises(GitError, match="does not exist"):
        Repository.clone(str(empty.top / "nothing"), "here")
    with pytest.raises(GitError):
        Repository.clone("--upload-pack=touch pwned", "here")
    assert list(empty.top.iterdir()) == []


def test_a_clone_whose_weights_are_gone_says_so(origin: Repo) -> None:
    shutil.rmtree(origin.theta / "objects")
    repository, message = Repository.clone(str(origin.top), "clone")
    assert f"{MODEL} stays a manifest, its weights are not here" in message.details[-1]
    assert (repository.worktree.top / MODEL).read_bytes().startswith(MANIFEST)


def test_a_lazy_clone(lazy: Repo, repo: Repo) -> None:
    """History, manifests and diffs need no weight."""
    assert lazy.read().startswith(MANIFEST)
    repository = Repository()
    assert [commit.subject for commit in repository.log().commits] == ["second", "first"]
    assert {t.name for file in repository.diff("HEAD~1", "HEAD").files for t in file.tensors if t.status} == {
        "b",
        "wide",
    }
    assert repository.status().entries[0].state == "manifest"
    assert lazy.objects <= objects_of(repo.manifest(), *LAYERS)  # A few small ones, of which there is no sketch.
    lazy.check()
    # Going elsewhere brings no weights either, by whichever way.
    repository.checkout("HEAD~1")
    assert lazy.read() == repo.text(f"HEAD~1:{MODEL}")
    lazy.git("checkout", "--quiet", "main")
    assert lazy.read() == repo.text()
    Repository.init()
    assert lazy.read() == repo.text()
    # What is asked for comes; and what has once been asked for goes on being there.
    repository.checkout(paths=[MODEL])
    lazy.check(safetensors(b=1, wide=2))
    repository.checkout("HEAD~1")
    lazy.check(safetensors())


def test_skip_smudge_is_lazy_for_once(origin: Repo, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_THETA_SKIP_SMUDGE", "1")
    clone = origin.clone("clone")
    monkeypatch.chdir(clone.top)
    Repository.init()
    assert clone.read() == repo.text()
    assert clone.objects == set()
    monkeypatch.delenv("GIT_THETA_SKIP_SMUDGE")
    _, message = Repository.init()
    assert message.details == (f"checked out: {MODEL}",)
    clone.check(safetensors(b=1, wide=2))


def test_parts_of_a_version(lazy: Repo, repo: Repo) -> None:
    repository, manifest = Repository(), repo.manifest()
    total = sum(place.size for place in {place.object: place for place in manifest.records["wide"].objects}.values())
    assert repository.prefetch(include=["w*"]).message.startswith("fetched ")
    assert lazy.objects == objects_of(manifest, "wide")
    assert sum(lazy.worktree.store.path(name).stat().st_size for name in lazy.objects) == total
    assert repository.prefetch(include=["wide"]).message == "all objects are here"
    assert lazy.read() == repo.text()
    shutil.move(repo.top.parent / "bare", repo.top.parent / "gone")
    found = load(MODEL, names=["wide"])
    np.testing.assert_array_equal(found["wide"], weights(wide=2)["wide"])
    with pytest.raises(TransferError):
        repository.prefetch()
    with pytest.raises(RequestError, match="no tensor is called 'v"):
        repository.prefetch(include=["wide", "v*"])
    with pytest.raises(RequestError, match=r"other.pt is no model in HEAD"):
        repository.prefetch(paths=["other.pt"])


def test_prefetch_of_another_version(lazy: Repo, repo: Repo) -> None:
    Repository().prefetch("HEAD~1", paths=[MODEL])
    assert lazy.objects == set(repo.manifest(f"HEAD~1:{MODEL}").places())
    shutil.move(repo.top.parent / "bare", repo.top.parent / "gone")
    np.testing.assert_array_equal(load(MODEL, "HEAD~1")["b"], weights()["b"])


def test_tensors_that_were_named_come_in_one_go(lazy: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = lazy.top.parent / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    found = load(MODEL, "HEAD", names=["a", "wide"])
    np.testing.assert_array_equal(found["a"], weights()["a"])
    np.testing.assert_array_equal(found["wide"], weights(wide=2)["wide"])
    assert trace.read_text().count("exec: git-lfs fetch") == 1
    # A state dict is all there is.
    load(MODEL, "HEAD~1").to_torch()
    assert trace.read_text().count("exec: git-lfs fetch") == 2


def test_pull_of_some_tensors(lazy: Repo, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.top)
    write(b=4, wide=3)
    Repository().commit("third")
    Repository().push()
    monkeypatch.chdir(lazy.top)
    message = Repository().pull("--quiet", include=["wide"])
    assert message.details[-1].startswith("fetched ")
    assert lazy.head() == repo.head()
    assert lazy.read() == repo.text()
    assert lazy.objects == objects_of(repo.manifest(), "wide")
    np.testing.assert_array_equal(load(MODEL, names=["wide"])["wide"], weights(wide=3)["wide"])


def test_by_commands(origin: Repo, repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clone", str(origin.top), "there", "--lazy", "--depth", "1", "--branch", "main"]) == 0
    assert f"git theta checkout -- {MODEL}" in capsys.readouterr().out
    os.chdir("there")
    clone = Repo(repo.top.parent / "desk/there", repo.home)
    assert clone.read() == repo.text()
    assert main(["prefetch", "--include", "wide"]) == 0
    assert capsys.readouterr().out.startswith("fetched ")
    assert clone.objects == objects_of(repo.manifest(), "wide")
    assert main(["prefetch", "main", "--", MODEL]) == 0
    assert clone.objects == set(repo.manifest().places())
    assert main(["pull", "--ff-only", "--include", "wide"]) == 0
    assert clone.read() == repo.text()


def test_a_branch_that_only_the_remote_has(origin: Repo, repo: Repo) -> None:
    repo.git("push", "--quiet", "origin", "main~1:refs/heads/side")
    Repository.clone(str(origin.top), "clone")
    os.chdir("clone")
    assert main(["checkout", "side"]) == 0
    clone = Repo(repo.top.parent / "desk/clone", repo.home)
    clone.check(safetensors())
    assert clone.git("branch", "--show-current") == "side\n"
