"""The commands write index and files themselves: Git finds all as it would have left it, and need not look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.repo import MODEL, safetensors, torch_file
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.storage import tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.repo import Repo
    from theta_jupyter.storage.manifest import Node

NOBODY = ("-c", "filter.theta.process=false", "-c", "filter.theta.clean=false", "-c", "filter.theta.smudge=false")
"""No filter answers: whoever needs one fails."""


@pytest.fixture
def here(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repo]:
    monkeypatch.chdir(repo.top)
    with repo.environment():
        yield repo


def unasked(repo: Repo) -> str:
    """Status, with nobody to ask about content."""
    return repo.git(*NOBODY, "status", "--porcelain")


def two(repo: Repo) -> tuple[bytes, bytes]:
    """Two branches, ``main`` and ``other``; ``main`` is checked out."""
    first, second = safetensors(), safetensors(wide=5)
    repo.git("switch", "--quiet", "--create", "other")
    repo.commit(second, "other")
    repo.git("switch", "--quiet", "main")
    return first, second


def test_add_leaves_the_index_as_git_would(here: Repo) -> None:
    here.write(safetensors(1))
    Repository().add([MODEL])
    assert unasked(here) == f"M  {MODEL}\n"
    direct = here.text(f":{MODEL}")
    here.git("reset", "--quiet")
    here.git("add", MODEL)
    assert here.text(f":{MODEL}") == direct
    here.git("commit", "--quiet", "--message=two")
    here.check(safetensors(1))


def test_a_new_file_and_its_mode(here: Repo) -> None:
    here.track("new.pt")
    here.write(torch_file(), "new.pt")
    (here.top / "new.pt").chmod(0o755)
    Repository().add(["new.pt"])
    assert here.git("ls-files", "--stage", "new.pt").startswith("100755 ")
    assert "A  new.pt" in unasked(here)
    here.git("add", "--all")
    here.git("commit", "--quiet", "--message=new")
    here.check(torch_file(), "new.pt")


def test_what_git_would_refuse_is_refused(here: Repo) -> None:
    (here.top / ".gitignore").write_text("ignored.safetensors\n")
    here.track("ignored.safetensors")
    here.write(safetensors(), "ignored.safetensors")
    with pytest.raises(GitError, match="ignored"):
        Repository().add(["ignored.safetensors"])
    here.track("folder/*")
    (here.top / "real").mkdir()
    (here.top / "folder").symlink_to("real")
    here.write(safetensors(), "real/m.safetensors")
    with pytest.raises(ThetaError):
        Repository().add(["folder/m.safetensors"])
    assert here.git("ls-files") == f".gitattributes\n{MODEL}\n"


def test_what_git_would_convert_is_left_to_it(here: Repo) -> None:
    with (here.top / ".gitattributes").open("a") as file:
        file.write(f"{MODEL} ident\n")
    here.write(safetensors(2))
    Repository().add([MODEL])
    here.git("commit", "--quiet", "--all", "--message=two")
    here.check(safetensors(2))


def test_a_deleted_file_and_a_file_that_changes_meanwhile(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    from theta_jupyter import changes

    text_of = changes.text_of

    later = [safetensors(9)]

    def written_to(*args: Any, **named: Any) -> Any:
        found = text_of(*args, **named)
        if later:
            here.write(later.pop())
        return found

    here.write(safetensors(1))
    with monkeypatch.context() as patch:
        patch.setattr(changes, "text_of", written_to)
        Repository().add([MODEL])
        assert here.status() == f"M  {MODEL}\n"
        later += [safetensors(n) for n in range(10, 20)]
        with pytest.raises(RequestError, match="is being written to"):
            Repository().add([MODEL])
    here.write(safetensors(9))
    assert here.status() == f"M  {MODEL}\n"
    here.git("commit", "--quiet", "--message=nine")
    here.check(safetensors(9))
    (here.top / MODEL).unlink()
    Repository().commit("gone")
    assert MODEL not in here.git("ls-tree", "--name-only", "HEAD")


@pytest.mark.parametrize("road", ["switch", "checkout", "path"])
def test_going_elsewhere_needs_no_filter(here: Repo, road: str) -> None:
    _, second = two(here)
    repository = Repository()
    if road == "path":
        repository.checkout("other", [MODEL])
        assert unasked(here) == f"M  {MODEL}\n"
    else:
        getattr(repository, road)("other")
        assert unasked(here) == ""
        assert here.git("branch", "--show-current") == "other\n"
    assert here.read() == second
    assert (here.top / MODEL).stat().st_mode & 0o777 == 0o666 & ~_umask()
    here.git("commit", "--quiet", "--allow-empty", "--message=there")
    here.check(second)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_did_not_change_is_read_from_the_file_that_was_there(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    _, second = two(here)
    rebuilt: list[Node] = []
    decode = tensors._node

    def watched(node: Node, *rest: Any) -> memoryview:
        rebuilt.append(node)
        return decode(node, *rest)

    monkeypatch.setattr(tensors, "_node", watched)
    Repository().switch("other")
    assert here.read() == second
    assert {node.place.object for node in rebuilt} == {
        place.object for place in here.manifest("other:" + MODEL).records["wide"].objects
    }


def test_an_executable_model_stays_one(here: Repo) -> None:
    here.git("switch", "--quiet", "--create", "tool")
    (here.top / MODEL).chmod(0o755)
    here.commit(safetensors(3), "tool")
    here.git("switch", "--quiet", "main")
    Repository().switch("tool")
    assert (here.top / MODEL).stat().st_mode & 0o100
    here.check(safetensors(3))


def test_weights_that_are_not_here_leave_a_manifest_and_a_sentence(here: Repo) -> None:
    two(here)
    (place,) = here.manifest(f"other:{MODEL}").records["wide"].objects
    here.worktree.store.path(place.object).unlink()
    found = Repository().switch("other")
    assert "stays a manifest" in found.text()
    assert here.read() == here.text(f"other:{MODEL}")
    assert here.status() == ""
    assert Repository().switch("main").text() == "on branch main"
    here.check(safetensors())


def test_changes_are_not_lost(here: Repo) -> None:
    two(here)
    here.write(safetensors(8))
    for go in (Repository().switch, Repository().checkout):
        with pytest.raises(GitError, match="would be overwritten"):
            go("other")
        assert here.read() == safetensors(8)


def test_an_interruption_leaves_what_can_be_mended(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    _, second = two(here)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tensors, "_node", stop)
        with pytest.raises(KeyboardInterrupt):
            Repository().switch("other")
    assert here.git("branch", "--show-current") == "other\n"
    assert here.status() == ""
    Repository().checkout("", [MODEL])
    here.check(second)


def test_manifests_that_are_wanted_stay(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    two(here)
    monkeypatch.setenv("GIT_THETA_SKIP_SMUDGE", "1")
    Repository().switch("other")
    assert here.read() == here.text(f"other:{MODEL}")


def test_a_pull_writes_what_came(here: Repo) -> None:
    other = here.clone("clone")
    other.install()
    other.git("checkout", "--", MODEL)
    here.commit(safetensors(6), "six")
    with other.environment():
        Repository(other.top).pull()
    assert unasked(other) == ""
    other.check(safetensors(6))
