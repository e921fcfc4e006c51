"""status, add, commit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.api.place import write
from tests.e2e.repo import MODEL, safetensors, weights
from tests.storage.samples import moved
from theta_jupyter import Repository
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.repo import Repo


def states() -> dict[str, str]:
    return {entry.path: entry.state for entry in Repository().status().entries}


def test_status_of_every_state(repo: Repo) -> None:
    repository = Repository()
    assert repository.status().text() == "On branch main: no tracked model changed"
    for name in ("staged", "changed", "deleted", "removed", "manifest", "link"):
        write(f"{name}.pt", seed=ord(name[0]))
    repository.track("*.pt")
    repository.commit("more")
    for name in ("staged", "changed"):
        write(f"{name}.pt", seed=ord(name[0]), b=9)
    repository.add(["staged.pt"])
    (repo.top / "deleted.pt").unlink()
    repo.git("rm", "--quiet", "removed.pt")
    (repo.top / "manifest.pt").write_bytes(repo.text("HEAD:manifest.pt"))
    (repo.top / "link.pt").unlink()
    (repo.top / "link.pt").symlink_to("/dev/zero")
    write("new.pt", seed=77)
    write("untracked.safetensors", seed=78)
    (repo.top / "notes.txt").write_text("not a checkpoint")
    expected = {
        "changed.pt": "changed",
        "deleted.pt": "deleted",
        "link.pt": "changed",
        "manifest.pt": "manifest",
        "new.pt": "new",
        "removed.pt": "deleted",
        "staged.pt": "staged",
        "untracked.safetensors": "untracked",
    }
    status = repository.status()
    assert {entry.path: entry.state for entry in status.entries} == expected
    found = {entry.path: entry for entry in status.entries}
    assert (found["changed.pt"].changed, found["changed.pt"].tensors) == (1, 5)
    assert found["changed.pt"].relative == pytest.approx(_relative("c", b=9), rel=1e-6)
    text = status.text()
    for step in ("git theta commit", "git theta checkout -- PATH", "git theta track untracked.safetensors"):
        assert step in text


def _relative(name: str, **changed: int) -> float:
    old, new = weights(ord(name)), weights(ord(name), **changed)
    squares = sum(float(np.sum((new[key].astype(float) - old[key]) ** 2)) for key in old)
    return float(np.sqrt(squares / sum(float(np.sum(old[key].astype(float) ** 2)) for key in old)))


def test_status_says_to_the_byte_what_a_commit_stores(repo: Repo) -> None:
    write(b=3, wide=4)
    repository = Repository()
    (entry,) = repository.status().entries
    assert entry.state == "changed"
    before = sum((repo.theta / "objects").joinpath(name[:2], name[2:4], name).stat().st_size for name in repo.objects)
    assert repository.commit("two").stored == entry.stores > 0
    after = sum((repo.theta / "objects").joinpath(name[:2], name[2:4], name).stat().st_size for name in repo.objects)
    assert after == before  # Looking has stored it already; the commit made use of that.
    assert states() == {}


def test_status_where_there_is_no_commit_and_no_branch(empty: Repo) -> None:
    repository, _ = Repository.init()
    status = repository.status()
    assert (status.branch, status.commits, status.detached) == ("main", False, False)
    assert status.headline() == "On branch main, no commit yet: no tracked model changed"
    write()
    repository.track(MODEL)
    repository.commit("first")
    empty.git("tag", "main")  # As ambiguous as it gets.
    assert repository.status().branch == "main"
    empty.git("checkout", "--quiet", "--detach")
    status = repository.status()
    assert (status.branch, status.detached) == (empty.head()[:7], True)
    assert status.headline() == f"HEAD detached at {status.branch}: no tracked model changed"


def test_status_of_a_conflict(conflict: Repo) -> None:
    assert conflict.top.exists()
    status = Repository().status()
    assert [entry.state for entry in status.entries] == ["conflict"]
    assert "git theta resolve   (then: git theta merge --continue)" in status.text()


def test_status_of_a_folder_in_place_of_a_model(repo: Repo) -> None:
    (repo.top / MODEL).unlink()
    (repo.top / MODEL).mkdir()
    (repo.top / MODEL / "x").write_text("")
    assert states()[MODEL] == "deleted"


def test_status_of_an_opaque_file_says_why(empty: Repo) -> None:
    repository, _ = Repository.init()
    (empty.top / "m.pt").write_bytes(b"no checkpoint")
    repository.track("m.pt")
    (entry,) = repository.status().entries
    assert entry.summary.startswith("kept whole (not a format any plug-in knows); will store ")


def test_add(repo: Repo) -> None:
    repository = Repository()
    assert repository.add().message == "nothing to stage: no tracked model changed"
    data = write(b=2)
    assert repository.add().message == f"staged {MODEL}"
    assert states() == {MODEL: "staged"}
    (repo.top / "readme").write_text("")
    with pytest.raises(RequestError, match="readme is not tracked") as caught:
        repository.add(["readme"])
    assert caught.value.hint == "first: git theta track readme"
    (repo.top / "readme").unlink()
    repository.commit("two")
    repo.check(data)


def test_add_a_folder_from_a_subfolder(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository()
    repository.track("*.safetensors")
    write("sub/one.safetensors", seed=5)
    write("sub/deep/two.safetensors", seed=6)
    write(b=7)
    monkeypatch.chdir("sub")
    assert repository.add(["."]).message == "staged sub/deep/two.safetensors, sub/one.safetensors"
    assert states()[MODEL] == "changed"
    assert repository.commit("sub", ["deep"]).models == ("sub/deep/two.safetensors", "sub/one.safetensors")
    assert repo.status().startswith(f" M {MODEL}")


def test_commit_of_paths_leaves_the_others(repo: Repo) -> None:
    repository = Repository()
    repository.track("*.pt")
    write("a.pt", seed=3)
    write("b.pt", seed=4)
    commit = repository.commit("only a", ["a.pt"])
    assert commit.models == ("a.pt",)
    assert commit.subject == "only a"
    assert states() == {"b.pt": "new"}
    (repo.top / "a.pt").unlink()
    assert repository.commit("delete a", ["a.pt"]).models == ("a.pt",)
    assert states() == {"b.pt": "new"}


def test_commit_of_nothing(repo: Repo) -> None:
    head = repo.head()
    (repo.top / "readme").write_text("one")
    repo.git("add", "readme")
    repo.git("commit", "--quiet", "-m", "readme")
    (repo.top / "readme").write_text("two")  # Changed and not staged: nothing of ours.
    (repo.top / MODEL).touch()
    with pytest.raises(RequestError, match="nothing to commit"):
        Repository().commit("nothing")
    assert repo.head("HEAD~1") == head


def test_commit_with_a_conflict(conflict: Repo) -> None:
    head = conflict.head()
    with pytest.raises(RequestError, match=f"{MODEL} is in conflict") as caught:
        Repository().commit("merge")
    assert "git theta resolve" in caught.value.hint
    assert conflict.head() == head


@pytest.mark.parametrize("looked", [False, True])
def test_commit_from_another_model_rests_on_it(repo: Repo, *, looked: bool) -> None:
    """Also when the file was stored before, by a look at it."""
    base = weights()
    tuned = base | {"wide": moved(base["wide"]), "new": np.ones((4, 4), np.float32)}
    save_file(tuned, "tuned.safetensors")
    repository = Repository()
    repository.track("tuned.safetensors")
    if looked:
        repository.status()
    commit = repository.commit("tuned", derived_from=MODEL)
    assert commit.derived_from == (f"{MODEL}@{repo.head('HEAD~1')}",)
    assert "derived from m.safetensors@" in commit.text()
    manifest, origin = repo.manifest("HEAD:tuned.safetensors"), repo.manifest()
    nodes = manifest.records["wide"].nodes
    assert [node.update for node in nodes] == ["", "delta"]
    assert nodes[0] == origin.records["wide"].nodes[-1]
    assert manifest.records["a"].nodes == origin.records["a"].nodes
    data = (repo.top / "tuned.safetensors").read_bytes()
    repo.check(data, "tuned.safetensors")
    # It must hold without caches, and without the cause.
    shutil.rmtree(repo.theta / "cache")
    (repo.top / "tuned.safetensors").unlink()
    repository.checkout("", ["tuned.safetensors"])
    repo.check(data, "tuned.safetensors")


def test_commit_from_a_ref(repo: Repo) -> None:
    first = repo.head()
    write(wide=1)
    repository = Repository()
    repository.commit("two")
    save_file(weights() | {"wide": moved(weights()["wide"])}, "tuned.safetensors")
    repository.track("tuned.safetensors")
    assert repository.commit("t", derived_from=f"HEAD~1:{MODEL}").derived_from == (f"{MODEL}@{first}",)
    assert [node.update for node in repo.manifest("HEAD:tuned.safetensors").records["wide"].nodes] == ["", "delta"]
    write("other.safetensors")
    for wrong in ("other.safetensors", "HEAD:other.safetensors", f"HEAD~9:{MODEL}"):
        with pytest.raises(Exception, match=r"is not committed|is not a commit"):
            repository.commit("wrong", derived_from=wrong)


def test_commit_concludes_a_merge_that_changes_nothing(conflict: Repo) -> None:
    repository = Repository()
    repository.checkout(paths=[MODEL], side="ours")
    repository.commit("merged")
    assert len(conflict.git("rev-parse", "HEAD^@").split()) == 2
    conflict.check()


def test_results_render(repo: Repo, tmp_path: Path) -> None:
    assert tmp_path.exists()
    write(b=2)
    repository = Repository()
    for result in (repository.status(), repository.add(), repository.commit("two"), repository.files()):
        assert result.text()
        assert result.html()
    assert repo.read() == safetensors(b=2)


def test_two_files_of_equal_tensors(repo: Repo) -> None:
    """Their tensors are remembered, and looked up by several threads at once."""
    for name in ("one.pt", "two.pt", "three.pt"):
        (repo.top / name).write_bytes(repo.read())
    repository = Repository()
    repository.track("*.pt")
    before = repo.objects
    repository.status()
    assert len(repository.commit("copies").models) == 3
    assert repo.objects == before
