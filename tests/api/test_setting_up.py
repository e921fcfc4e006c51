"""init, install, uninstall, track, untrack, ls-files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, NotARepositoryError, RequestError

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


def test_init_makes_a_repository(empty: Repo) -> None:
    with pytest.raises(NotARepositoryError, match="not in the work tree") as caught:
        Repository()
    assert "git theta init" in caught.value.hint
    repository, message = Repository.init()
    assert "is a new Git repository" in message.message
    assert repository.worktree.top == empty.top
    assert empty.git("config", "filter.theta.required") == "true\n"
    assert os.access(empty.top / ".git/hooks/pre-push", os.X_OK)


def test_init_in_a_repository_and_twice(empty: Repo) -> None:
    empty.git("init", "--quiet")
    (empty.top / "sub").mkdir()
    _, first = Repository.init("sub")
    assert first.message == f"{empty.top} is ready for models"
    before = (empty.top / ".git/config").read_bytes()
    _, second = Repository.init()
    assert second.message == f"{empty.top} is already ready for models"
    assert (empty.top / ".git/config").read_bytes() == before


def test_init_mends_a_clone(repo: Repo, bare: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = bare.clone("clone")
    assert clone.read().startswith(b"theta manifest 1\n")
    monkeypatch.chdir(clone.top)
    _, message = Repository.init()
    assert message.details[-1] == f"checked out: {MODEL}"
    clone.check(repo.read())
    assert Repository.init()[1].details == ()


def test_init_says_what_it_could_not_mend(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sets up all the same."""
    clone = repo.clone("clone")
    clone.git("remote", "remove", "origin")
    monkeypatch.chdir(clone.top)
    repository, message = Repository.init()
    assert f"{MODEL} stays a manifest" in message.details[-1]
    assert [entry.state for entry in repository.status().entries] == ["manifest"]
    assert "weights come with: git theta checkout -- PATH" in repository.status().text()


def test_install_and_uninstall(empty: Repo) -> None:
    assert "ready" in Repository.install().message
    assert Repository.install().message == "was ready already"
    assert empty.git("config", "--global", "filter.theta.required") == "true\n"
    Repository.uninstall_account()
    assert empty.run("config", "--global", "filter.theta.required").returncode == 1
    assert Repository.uninstall_account().message == "there was nothing to remove"
    repository, _ = Repository.init()
    assert "2 hooks" in repository.uninstall().message
    assert not repository.status().ready
    assert "git theta init" in repository.status().text()
    assert repository.uninstall().message == "there was nothing to remove here"


@pytest.mark.parametrize("name", ["my model.pt", "a*b.pt", "m[1].pt", '"quoted".pt', "-f", "#x", "ü.pt"])
def test_track_a_file_whatever_its_name(empty: Repo, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    repository, _ = Repository.init()
    (empty.top / "sub").mkdir()
    monkeypatch.chdir("sub")
    for path in (name, "axb.pt", "m1.pt"):
        write(path)
    assert repository.track(name).message == f"tracking {name}"
    assert repository.track(name).message == f"{name} was tracked already"
    commit = repository.commit("one")
    assert commit.models == (f"sub/{name}",)
    assert [file.path for file in repository.files().files] == [f"sub/{name}"]
    assert empty.text(f"HEAD:sub/{name}").startswith(b"theta manifest 1\n")
    repository.untrack(name)
    assert repository.files().files == ()
    with pytest.raises(RequestError, match="is not tracked"):
        repository.untrack(name)


@pytest.mark.usefixtures("empty")
def test_track_a_pattern_from_a_subfolder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the top, a pattern without a slash means files at any depth, and it is untracked by the same words."""
    repository, _ = Repository.init()
    for path in ("top.pt", "a[1]/one.pt", "a[1]/deep/two.pt", "a1/three.pt"):
        write(path)
    monkeypatch.chdir("a[1]")
    repository.track("*.pt")
    assert repository.commit("one").models == ("a[1]/deep/two.pt", "a[1]/one.pt")
    assert repository.track("*.pt").message == "*.pt was tracked already"
    repository.untrack("*.pt")
    assert repository.files().patterns == ()
    monkeypatch.chdir("..")
    repository.track("a1/*.pt", "*.bin")
    assert repository.files().patterns == ("a1/*.pt", "*.bin")
    assert repository.commit("two").models == ("a1/three.pt",)
    repository.untrack("*.bin", "a1/*.pt")
    assert repository.files().patterns == ()


def test_track_refuses(empty: Repo) -> None:
    repository, _ = Repository.init()
    (empty.top / "sub").mkdir()
    with pytest.raises(RequestError, match="sub/ is a folder") as caught:
        repository.track("sub/")
    assert caught.value.hint.endswith("'sub/*.safetensors'")
    with pytest.raises(GitError, match="outside the repository"):
        repository.track("../other.pt")
    (empty.top / ".gitattributes").write_text("*.pt filter=lfs\n")
    with pytest.raises(RequestError, match="already has the filter 'lfs'"):
        repository.track("m.pt")


def test_tracking_a_file_that_git_has_as_it_is(empty: Repo) -> None:
    """Git would not look at it again by itself, and keep the whole file."""
    repository, _ = Repository.init()
    data = write()
    empty.commit(data)
    assert empty.text() == data
    repository.track(MODEL)
    assert [entry.state for entry in repository.status().entries] == ["new"]
    repository.commit("tracked")
    assert empty.text().startswith(b"theta manifest 1\n")
    empty.check(data)


def test_track_says_that_a_file_is_ignored(empty: Repo) -> None:
    repository, _ = Repository.init()
    (empty.top / ".gitignore").write_text("*.safetensors\n")
    write()
    assert "ignored by Git" in repository.track(MODEL).text()


def test_files(repo: Repo) -> None:
    (repo.top / "opaque.bin").write_bytes(b"no checkpoint" * 1000)
    repository = Repository()
    repository.track("opaque.bin")
    repository.commit("opaque")
    found = {file.path: file for file in repository.files().files}
    assert (found[MODEL].format, found[MODEL].tensors, found[MODEL].size) == ("safetensors", 5, len(safetensors()))
    assert (found["opaque.bin"].format, found["opaque.bin"].size) == ("opaque", 13_000)
    assert Path(MODEL).stat().st_size > found[MODEL].stored > 50_000
