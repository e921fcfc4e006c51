"""push, pull, fetch, by way of a bare repository."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors
from theta_jupyter import Repository, load
from theta_jupyter.errors import GitError, MissingObjectError, RequestError

if TYPE_CHECKING:
    from tests.e2e.repo import Repo


@pytest.fixture
def clone(bare: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A second clone, set up; the current folder."""
    found = bare.clone("clone")
    monkeypatch.chdir(found.top)
    Repository.init()
    return found


def test_push_and_pull(repo: Repo, clone: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.check(safetensors())
    data = write(b=1, wide=2)
    repository = Repository()
    repository.commit("second")
    assert repository.push().message == "pushed"
    monkeypatch.chdir(repo.top)
    assert Repository().pull("--quiet").message == "pulled"
    repo.check(data)
    with pytest.raises(GitError):
        repository.push("nowhere")


def test_fetch_brings_what_a_checkout_needs(repo: Repo, clone: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(b=1, wide=2)
    Repository().commit("second")
    Repository().push()
    monkeypatch.chdir(repo.top)
    repository = Repository()
    assert "of objects" in repository.fetch().message
    assert repository.fetch("origin").message == "all objects are here"
    shutil.move(repo.top.parent / "bare", repo.top.parent / "gone")
    repository.checkout("origin/main")
    repo.check(data)
    assert clone.head() == repo.head()


def test_pull_into_a_conflict_says_what_to_do(repo: Repo, clone: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    write(b=1)
    Repository().commit("theirs")
    Repository().push()
    monkeypatch.chdir(repo.top)
    write(b=2)
    repository = Repository()
    repository.commit("ours")
    with pytest.raises(RequestError, match=f"{MODEL} is in conflict") as caught:
        repository.pull("--no-rebase")
    assert "git theta resolve" in caught.value.hint
    assert clone.status() == ""


def test_load_fetches_what_it_reads_and_no_more(repo: Repo, clone: Repo) -> None:
    shutil.rmtree(clone.theta / "objects")
    # A remote that has nothing is passed over.
    clone.git("init", "--quiet", "--bare", str(clone.top.parent / "nothing"))
    clone.git("remote", "add", "a-first", str(clone.top.parent / "nothing"))
    clone.git("config", "branch.main.remote", "a-first")
    checkpoint = load(MODEL, "HEAD")
    assert clone.objects == set()
    assert checkpoint["wide"].shape == (160, 128)
    assert clone.objects == {place.object for place in repo.manifest().records["wide"].objects}
    clone.git("remote", "remove", "origin")
    with pytest.raises(MissingObjectError, match=r"tensor 'a' needs object .*git lfs fetch failed"):
        checkpoint["a"]
    clone.git("remote", "remove", "a-first")
    with pytest.raises(Exception, match=r"tensor 'a' needs object .*there is no remote to fetch them from"):
        checkpoint["a"]


def test_fetch_without_a_remote(repo: Repo) -> None:
    assert Repository().fetch().message == "all objects are here"
    assert repo.status() == ""
