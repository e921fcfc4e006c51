"""Others at work: trainers that save meanwhile, who share a repository, editors; and links, where files should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, KeptError, MissingObjectError, RequestError, ThetaError
from theta_jupyter.git import entries, roads
from theta_jupyter.storage import beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

FIRST, SECOND, THIRD = safetensors(), safetensors(b=1, wide=2), safetensors(c=4)
OTHER = "n.safetensors"


@pytest.fixture
def here(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repo]:
    monkeypatch.chdir(repo.top)
    with repo.environment():
        yield repo


@pytest.fixture
def conflict(here: Repo) -> Repo:
    """A merge that has stopped, at one layer."""
    here.git("switch", "--quiet", "--create", "theirs")
    here.commit(safetensors(b=2))
    here.git("switch", "--quiet", "main")
    here.commit(safetensors(b=1))
    here.fails("merge", "theirs")
    return here


def saving(repo: Repo, real: Callable[..., Any], data: bytes = THIRD) -> Callable[..., Any]:
    """The same function, and a trainer who saves before it returns."""

    def slow(*args: Any, **named: Any) -> Any:
        made = real(*args, **named)
        repo.write(data)
        return made

    return slow


# A manifest in the place of a file may be all there is of what was not committed.


@pytest.mark.parametrize("paths", [[MODEL], ["."]])
def test_what_only_a_manifest_tells_of_is_brought(here: Repo, paths: list[str]) -> None:
    Repository().track("*.safetensors")
    here.commit(FIRST, path=OTHER)
    here.commit(SECOND)
    text = here.text()
    here.git("theta", "checkout", "HEAD~1")
    here.write(text)
    here.write(THIRD, OTHER)
    assert "its manifest lies in place of the file" in here.git("theta", "status")
    said = Repository().checkout("", paths)
    assert said.details == (f"{MODEL}: what is not committed was brought; once more, and it is dropped",)
    assert here.read() == SECOND
    assert here.read(OTHER) == (FIRST if paths == ["."] else THIRD)
    assert Repository().checkout("", ["."]).details == ()
    here.check(FIRST)
    here.write(text)
    Repository().checkout("HEAD", [MODEL])
    here.check(FIRST)


def test_a_stash_that_found_no_room(repo: Repo) -> None:
    repo.write(SECOND)
    repo.git("stash", "--quiet")
    with repo.forbidden(repo.theta / "tmp"):
        done = repo.run("stash", "pop")
    assert b"mend the permissions, then bring it: git theta checkout -- PATH" in done.stderr
    repo.git("theta", "checkout", "--", MODEL)
    assert repo.read() == SECOND


# A trainer saves meanwhile.


def test_what_is_saved_while_a_merge_is_computed_stays(conflict: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    merge = Repository().merging()
    merge.choose(__import__("theta_jupyter").merges.plan.Rule("*", "linear"))
    index = conflict.git("ls-files", "--stage")
    with monkeypatch.context() as patch:
        patch.setattr(merge, "resolve", saving(conflict, merge.resolve))
        with pytest.raises(RequestError, match="changed since the merge stopped"):
            merge.finish()
    assert conflict.read() == THIRD
    assert conflict.git("ls-files", "--stage") == index
    for end in (merge.finish, merge.abort):
        with pytest.raises(RequestError, match="changed since the merge stopped"):
            end()
    conflict.git("checkout", "--quiet", "--ours", "--", MODEL)
    merge.abort()
    conflict.check(safetensors(b=1))


def test_what_is_saved_while_a_side_is_taken_stays(conflict: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roads, "rebuild", saving(conflict, roads.rebuild))
    with pytest.raises(KeptError):
        Repository().checkout(paths=[MODEL], side="theirs")
    assert conflict.read() == THIRD


def test_what_is_saved_in_the_place_of_a_deleted_model_stays(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    here.git("switch", "--quiet", "--create", "theirs")
    here.git("rm", "--quiet", MODEL)
    here.commit()
    here.git("switch", "--quiet", "main")
    here.commit(SECOND)
    here.fails("merge", "theirs")
    merge = Repository().merging()
    merge.choose(__import__("theta_jupyter").merges.plan.Rule("*", "theirs"))
    monkeypatch.setattr(merge, "resolve", saving(here, merge.resolve))
    with pytest.raises(RequestError, match="changed since the merge stopped"):
        merge.finish()
    assert here.read() == THIRD


def test_what_is_saved_between_a_look_and_the_next_stays(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    here.commit(SECOND)
    real = roads.lying

    def looked(worktree: Worktree, name: str) -> bytes | None:
        found = real(worktree, name)
        if found:
            here.write(THIRD)
        return found

    with monkeypatch.context() as patch:
        # Not where it is looked whether there is something to do.
        patch.setattr(roads, "lying", looked)
        Repository().checkout("HEAD~1")
    assert here.read() == THIRD
    assert here.status() == f" M {MODEL}\n"


def test_what_is_saved_after_a_checkout_is_not_staged(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    here.commit(SECOND)
    note = entries.note

    def blind(*args: Any) -> list[str]:
        here.write(THIRD)
        return list(args[1]) if note(*args) is not None else []

    monkeypatch.setattr(roads, "note", blind)
    Repository().checkout("HEAD~1")
    assert here.status() == f" M {MODEL}\n"


@pytest.mark.parametrize("verb", ["add", "commit"])
def test_a_checkpoint_that_is_cut_short_is_told_of(repo: Repo, verb: str) -> None:
    repo.write(SECOND[:-100])
    words = ["-m", "cut"] if verb == "commit" else []
    said = repo.run("theta", verb, *words).stderr.decode()
    assert f"{MODEL} is kept whole (" in said
    assert "write it again" in said
    repo.write(SECOND[:-200])
    assert not repo.run("theta", verb, *words).stderr


# Links.


@pytest.mark.parametrize("verb", ["add", "commit"])
def test_a_link_to_what_is_not_tracked_is_no_model(here: Repo, tmp_path: Path, verb: str) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(SECOND)
    (here.top / MODEL).unlink()
    (here.top / MODEL).symlink_to(blob)
    (entry,) = Repository().status().entries
    assert (entry.state, entry.summary) == ("changed", "a link to what is not tracked: no weights")
    with pytest.raises(RequestError, match="is a link to what is not tracked") as caught:
        getattr(Repository(), verb)(*(["linked"] if verb == "commit" else []))
    assert here.status() == f" T {MODEL}\n"
    # Both ways that the hint shows.
    copy, keep = (words.partition(": ")[2] for words in caught.value.hint.split("; or "))
    here.git(*keep.split()[1:])
    Repository().commit("a link")
    assert here.git("ls-tree", "HEAD", MODEL).startswith("120000")
    assert Repository().status().entries == ()
    here.git("-c", f"alias.bring=!{copy}", "bring")
    Repository().commit("weights")
    here.check(SECOND)


def test_a_link_to_another_model(here: Repo) -> None:
    Repository().track("*.safetensors")
    here.write(SECOND, OTHER)
    (here.top / MODEL).unlink()
    (here.top / MODEL).symlink_to(OTHER)
    assert [entry.summary for entry in Repository().status().entries if entry.path == MODEL] == [
        "a link to another model"
    ]
    Repository().commit("best")
    here.check()
    (here.top / MODEL).unlink()
    (here.top / MODEL).symlink_to(MODEL)
    with pytest.raises(RequestError, match="is a link to what is not tracked"):
        Repository().commit("in a circle")


def test_nothing_is_written_beyond_a_link(here: Repo, tmp_path: Path) -> None:
    Repository().track("*.safetensors")
    here.commit(FIRST, path=f"models/{MODEL}")
    out = tmp_path / "out"
    out.mkdir()
    (out / MODEL).write_bytes(here.text(f"HEAD:models/{MODEL}"))
    shutil.rmtree(here.top / "models")
    (here.top / "models").symlink_to(out)
    before = (out / MODEL).read_bytes()
    Repository.init(".")
    assert (out / MODEL).read_bytes() == before
    assert ("deleted", f"models/{MODEL}") in {(entry.state, entry.path) for entry in Repository().status().entries}
    with pytest.raises(ThetaError, match="a folder on the way to it is a link"):
        roads.lay(here.worktree, f"models/{MODEL}", before, None)


# Who shares a repository, or looks at it.


def test_old_objects_of_another_user_are_made_ones_own(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but their owner can tell a collector that they are needed again."""
    store = here.worktree.store
    old, young = sorted(here.objects)[:2]
    long_ago = time.time() - 30 * 24 * 3600
    os.utime(store.path(old), (long_ago, long_ago))
    before = {name: (store.path(name).stat().st_ino, store.path(name).read_bytes()) for name in (old, young)}

    def refused(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refused)
        store.freshen([old, young])
        assert time.time() - store.path(old).stat().st_mtime < 24 * 3600
        assert store.path(old).read_bytes() == before[old][1]
        assert store.path(old).stat().st_ino != before[old][0]
        assert store.path(young).stat().st_ino == before[young][0]
    os.utime(store.path(old), (long_ago, long_ago))
    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refused)
        patch.setattr(shutil, "copyfile", refused)
        with pytest.raises(MissingObjectError):
            store.freshen([old])
    assert not list((here.theta / "tmp").iterdir())


def test_what_only_a_tag_over_there_has_is_not_lost(repo: Repo) -> None:
    repo.commit(SECOND)
    repo.git("tag", "two")
    repo.git("reset", "--quiet", "--hard", "HEAD~1")
    other = repo.clone("other")
    other.install()
    checked = other.git("theta", "fsck", "--all")
    assert "cannot be rebuilt" not in checked
    (repo.top / "unpushed").touch()
    other.git("tag", "--no-sign", "own", "two^0")
    repo.git("tag", "--delete", "two")
    assert "cannot be rebuilt" in other.fails("theta", "fsck", "--all")


def test_hooks_that_are_not_where_git_looks(here: Repo) -> None:
    assert not Repository().status().notes()
    here.git("config", "core.hooksPath", ".husky")
    assert Repository().status().notes() == (
        "no hook of ours is where Git looks, so a push sends no objects of models: git theta init",
    )
    Repository.init(".")
    assert not Repository().status().notes()


def test_a_lock_that_somebody_has_just_taken_stays(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = here.top / ".git/index.lock"
    abandoned = beside.signed().replace(f".{os.getpid()}.", f".{1 << 29}.")
    lock.write_text(abandoned)
    real, looks = beside.abandoned, iter(range(9))

    def raced(*args: Any) -> bool:
        found = real(*args)
        if next(looks) == 0:
            # Another process of ours has removed it, and a Git taken the lock.
            lock.unlink()
            lock.write_text("")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(entries, "abandoned", raced)
        entries.unlock(here.worktree)
    assert lock.read_text() == ""
    lock.write_text(abandoned)
    entries.unlock(here.worktree)
    assert not lock.exists()
    assert not list((here.theta / "tmp").iterdir())


def test_a_lock_that_goes_is_waited_for(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    here.commit(SECOND)
    lock = here.top / ".git/index.lock"
    note, sleep = entries.note, time.sleep
    slept = []

    def locked(*args: Any) -> list[str]:
        lock.touch()
        return note(*args)

    def gone(seconds: float) -> None:
        slept.append(seconds)
        lock.unlink(missing_ok=True)
        sleep(0)

    with monkeypatch.context() as patch:
        patch.setattr(roads, "note", locked)
        patch.setattr(time, "sleep", gone)
        Repository().checkout("HEAD~1")
        assert slept
        here.check(FIRST)
        patch.setattr(entries, "_PATIENCE", -1.0)
        with pytest.raises(GitError, match=r"index\.lock") as caught:
            Repository().checkout("main")
    assert here.read() == SECOND
    assert "the files are in place" in caught.value.hint
    lock.unlink()
    Repository().checkout("", [MODEL])
    here.check(SECOND)


# Where Git is told which repository it is; names.


def test_a_git_dir_that_is_relative(repo: Repo) -> None:
    (repo.top / "sub").mkdir()
    env = repo.env | {"GIT_DIR": "../.git", "GIT_WORK_TREE": ".."}
    repo.write(SECOND)
    command = [sys.executable, "-m", "theta_jupyter", "status"]
    done = subprocess.run(command, cwd=repo.top / "sub", env=env, capture_output=True, check=False)
    assert b"M  m.safetensors" in done.stdout, done.stderr


@pytest.mark.parametrize("name", [":(glob)x.safetensors", ":x.safetensors", "!x.safetensors"])
def test_a_new_file_whose_name_is_like_a_pattern(here: Repo, name: str) -> None:
    Repository().track("*.safetensors")
    here.write(FIRST, name)
    here.write(FIRST, "ignored.safetensors")
    (here.top / ".git/info/exclude").write_text("ignored.*\n")
    Repository().commit("strange")
    assert name in here.git("ls-tree", "-z", "--name-only", "HEAD").split("\0")
    here.check()


@pytest.mark.usefixtures("here")
def test_a_path_is_told_as_it_was_given() -> None:
    with pytest.raises(GitError) as caught:
        Repository().checkout("", ["nothing.safetensors"])
    assert ":(top" not in caught.value.message
    assert "nothing.safetensors" in caught.value.message
