"""checkout, switch, branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.numpy import save, save_file

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors, torch_file, weights
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, RequestError

if TYPE_CHECKING:
    from tests.e2e.repo import Repo
    from theta_jupyter.merges.threeway import Side


def test_checkout_of_a_commit_and_of_a_file(repo: Repo) -> None:
    repository = Repository()
    second = write(b=1)
    repository.commit("second")
    assert repository.checkout("HEAD~1").message.endswith(f"first: {MODEL}")
    repo.check(safetensors())
    repository.checkout("main")
    repo.check(second)
    assert repository.checkout("HEAD~1", [MODEL]).message == f"checked out {MODEL} from HEAD~1"
    assert repo.read() == safetensors()
    assert repository.status().entries[0].state == "staged"
    write(b=7)
    repository.checkout(paths=[MODEL])  # Of the index.
    assert repo.read() == safetensors()
    with pytest.raises(GitError):
        repository.checkout("nope")
    with pytest.raises(GitError):
        repository.checkout("nope", [MODEL])
    with pytest.raises(RequestError, match="'--orphan' is not a ref"):
        repository.checkout("--orphan")


def test_checkout_refuses_to_lose_changes(repo: Repo) -> None:
    repository = Repository()
    write(b=1)
    repository.commit("second")
    mine = write(b=2)
    repository.branch("other", "HEAD~1")
    for go in (repository.checkout, repository.switch):
        with pytest.raises(GitError) as caught:
            go("other")
        said = "Your local changes to the following files would be overwritten by checkout:"
        assert (caught.value.message, caught.value.hint) == (f"{said}\n\t{MODEL}", "commit or discard them first")
    assert repo.read() == mine


def test_switching_says_what_is_in_the_way(conflict: Repo) -> None:
    repository = Repository()
    with pytest.raises(GitError, match=r"resolve your current index|while merging") as caught:
        repository.switch("theirs")
    assert caught.value.hint == "finish or abort first what is in progress"
    conflict.git("merge", "--abort")
    repository.switch("theirs")
    (conflict.top / "notes.txt").write_text("theirs")
    conflict.git("add", "notes.txt")
    repository.commit("notes", staged=True)
    repository.switch("main")
    (conflict.top / "notes.txt").write_text("mine")
    write(b=9)
    with pytest.raises(GitError) as caught:
        repository.switch("theirs")
    # Both kinds at once: Git names them all.
    assert [line for line in caught.value.message.splitlines() if line.startswith("\t")] == [
        f"\t{MODEL}",
        "\tnotes.txt",
    ]
    assert "error:" not in caught.value.message
    write(b=1, a=1)
    with pytest.raises(GitError) as caught:
        repository.switch("theirs")
    assert caught.value.hint == "move them away or commit them first"


def test_checkout_of_a_folder_replaces_manifests(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository()
    repository.track("*.pt")
    data = write("sub/one.pt", seed=4)
    repository.commit("two")
    (repo.top / "sub/one.pt").write_bytes(repo.text("HEAD:sub/one.pt"))
    repo.git("add", "sub/one.pt")
    monkeypatch.chdir(repo.top / "sub")
    repository.checkout(paths=["."])
    repo.check(data, "sub/one.pt")


SIDES = pytest.mark.parametrize("side", ["ours", "theirs"])


@SIDES
def test_a_side_is_taken_for_tensors_in_conflict_only(conflict: Repo, side: Side) -> None:
    message = Repository().checkout(paths=[MODEL], side=side)
    assert message.message == f"{MODEL}: 1 in conflict taken from {side}, 4 settled by themselves; staged"
    expected = safetensors(a=1, wide=2, b={"ours": 1, "theirs": 2}[side])
    assert conflict.read() == expected
    assert conflict.status() == f"M  {MODEL}\n"
    Repository().commit("merged")
    conflict.check(expected)


@SIDES
def test_a_side_of_torch_files_and_from_a_subfolder(repo: Repo, monkeypatch: pytest.MonkeyPatch, side: Side) -> None:
    repository = Repository()
    (repo.top / "sub").mkdir()
    monkeypatch.chdir("sub")
    repository.track("t.pt")
    repo.write(torch_file(), "sub/t.pt")
    repository.commit("base")
    repository.switch("theirs", create=True)
    repo.write(torch_file(b=2, wide=2), "sub/t.pt")
    repository.commit("theirs")
    repository.switch("main")
    repo.write(torch_file(b=1, c=1), "sub/t.pt")
    repository.commit("ours")
    repo.fails("merge", "theirs")
    repository.checkout(paths=["t.pt"], side=side)
    assert repo.read("sub/t.pt") == torch_file(c=1, wide=2, b={"ours": 1, "theirs": 2}[side])


def test_sides_that_cannot_be_taken(conflict: Repo) -> None:
    repository = Repository()
    with pytest.raises(RequestError, match="needs paths, and no ref"):
        repository.checkout("HEAD", [MODEL], side="ours")
    with pytest.raises(RequestError, match="needs paths, and no ref"):
        repository.checkout(side="ours")
    repository.checkout(paths=[MODEL], side="ours")
    with pytest.raises(RequestError, match="is not in conflict"):
        repository.checkout(paths=[MODEL], side="ours")
    assert conflict.status().startswith("M ")


def test_deleted_on_one_side(repo: Repo) -> None:
    repository = Repository()
    repository.switch("theirs", create=True)
    (repo.top / MODEL).unlink()
    repository.commit("deleted")
    repository.switch("main")
    write(b=1)
    repository.commit("ours")
    repo.fails("merge", "theirs")
    with pytest.raises(RequestError, match="deleted on one side") as caught:
        repository.checkout(paths=[MODEL], side="theirs")
    assert f"git rm {MODEL}" in caught.value.hint


def test_structure_in_conflict_is_taken_whole(repo: Repo) -> None:
    repository = Repository()
    repository.track("m.pt")
    repo.write(torch_file(), "m.pt")
    repository.commit("base")
    files = {}
    for branch in ("theirs", "ours"):
        repository.switch(branch, create=True)
        tree = {name: torch.from_numpy(value) for name, value in weights().items()}
        torch.save(tree | {branch: torch.ones(3)}, "m.pt")
        files[branch] = repo.read("m.pt")
        repository.commit(branch)
        repository.switch("main")
    repository.switch("ours")
    repo.fails("merge", "theirs")
    message = repository.checkout(paths=["m.pt"], side="theirs").message
    assert message == "m.pt: taken from theirs as a whole; 1 change of ours is not in it: ours; staged"
    assert repo.read("m.pt") == files["theirs"]


@SIDES
def test_metadata_in_conflict_is_taken_and_tensors_stay_merged(repo: Repo, side: Side) -> None:
    repository = Repository()
    for branch, changed in (("theirs", {"a": 1, "b": 1}), ("ours", {"b": 2, "c": 2})):
        repository.switch(branch, create=True)
        save_file(weights(**changed), MODEL, {"epoch": branch})
        repository.commit(branch)
        repository.switch("main")
    repository.switch("ours")
    repo.fails("merge", "theirs")
    message = repository.checkout(paths=[MODEL], side=side).message
    assert message == f"{MODEL}: (structure) and 1 in conflict taken from {side}, 4 settled by themselves; staged"
    assert repo.read() == save(weights(a=1, b={"theirs": 1, "ours": 2}[side], c=2), {"epoch": side})


@SIDES
def test_a_side_is_taken_with_its_mode(repo: Repo, side: Side) -> None:
    repository = Repository()
    repository.switch("theirs", create=True)
    write(b=1)
    (repo.top / MODEL).chmod(0o755)
    repository.commit("theirs")
    repository.switch("main")
    write(b=2)
    repository.commit("ours")
    repo.fails("merge", "theirs")
    repository.checkout(paths=[MODEL], side=side)
    executable = side == "theirs"
    assert repo.git("ls-files", "-s", MODEL).startswith("100755" if executable else "100644")
    assert bool((repo.top / MODEL).stat().st_mode & 0o100) == executable


def test_switch_and_branch(repo: Repo) -> None:
    repository = Repository()
    assert [branch.name for branch in repository.branch().branches] == ["main"]
    assert repository.switch("work", create=True).message == "on new branch work"
    data = write(b=1)
    repository.commit("work")
    assert repository.switch("main").message == "on branch main"
    repo.check(safetensors())
    assert repository.switch("-").message == "on branch work"
    repo.check(data)
    with pytest.raises(GitError, match="there is no branch 'nope'") as caught:
        repository.switch("nope")
    assert caught.value.hint == "make it with: git theta switch -c nope"
    found = repository.branch("old", "HEAD~1").branches
    assert {branch.name: branch.commit for branch in found} == {
        "main": repo.head("main"),
        "old": repo.head("HEAD~1"),
        "work": repo.head(),
    }
    assert [branch.name for branch in found if branch.current] == ["work"]
    assert [branch.name for branch in repository.branch("old", delete=True).branches] == ["main", "work"]
    with pytest.raises(GitError):
        repository.branch("work", delete=True)
    with pytest.raises(GitError):
        repository.branch("--force")
    assert "* " in repository.branch().text()


def test_a_new_branch_may_start_anywhere(repo: Repo) -> None:
    repository = Repository()
    write(b=1)
    repository.commit("second")
    assert repository.switch("from-first", "HEAD~1", create=True).message == "on new branch from-first"
    repo.check(safetensors())
    with pytest.raises(RequestError, match="has no start"):
        repository.switch("main", "HEAD~1")
