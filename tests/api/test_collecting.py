"""``gc`` keeps whatever Git, or somebody at work in it, can still ask for, and nothing else.

Each situation is the only one that still knows of a version. It is kept while that lasts, and goes when it is over: so
each of these fails if that situation is forgotten.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.api.place import write
from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.git import needed
from theta_jupyter.storage.beside import machine
from theta_jupyter.storage.manifest import parse
from theta_jupyter.storage.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree

OLD = 1_000_000_000


def age(repo: Repo) -> None:
    """Let all objects be old."""
    for name in repo.objects:
        os.utime(repo.worktree.store.path(name), (OLD, OLD))


def forget(repo: Repo) -> None:
    """Empty the reflogs of HEAD and of branches, and remove what tells where HEAD was."""
    for folder in (repo.top / ".git", *(repo.top / ".git/worktrees").glob("*")):
        for name in ("ORIG_HEAD", "FETCH_HEAD", "AUTO_MERGE", "COMMIT_EDITMSG"):
            (folder / name).unlink(missing_ok=True)
        for log in (folder / "logs").rglob("*"):
            if log.is_file():
                log.write_bytes(b"")


class Lost:
    """A version that nothing knows of any more.

    Parameters
    ----------
    commit, blob
        Ids of the commit that it was, and of its manifest.
    text
        The manifest.
    objects
        What only it needs.
    """

    def __init__(self, repo: Repo, commit: str) -> None:
        self.repo, self.commit = repo, commit
        self.blob = repo.head(f"{commit}:{MODEL}")
        self.text = repo.text(self.blob)
        self.objects = set(parse(self.text).places()) - set(repo.manifest().places())
        assert self.objects

    def collected(self) -> bool:
        """Whether its objects go, all of them, when everything is old."""
        age(self.repo)
        Repository(bare=True).gc(grace=0)
        left = self.objects & self.repo.objects
        assert not left or left == self.objects
        return not left


@pytest.fixture(scope="session")
def commit(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a repository that has lost a commit, and which."""
    folder = tmp_path_factory.mktemp("lost") / "one"
    shutil.copytree(templates / "one", folder)
    repo = Repo(folder / "work", folder / "home")
    repo.git("switch", "--quiet", "--detach")
    made = repo.commit(safetensors(wide=9), "lost")
    repo.git("switch", "--quiet", "main")
    forget(repo)
    return folder, made


@pytest.fixture
def lost(commit: tuple[Path, str], repo: Repo) -> Lost:
    shutil.rmtree(repo.top / ".git")
    shutil.copytree(commit[0] / "work/.git", repo.top / ".git")
    return Lost(repo, commit[1])


def linked(repo: Repo, start: str = "main") -> Repo:
    """A linked work tree."""
    other = Repo(repo.top.parent / "linked", repo.home)
    repo.git("worktree", "add", "--quiet", "--detach", str(other.top), start)
    return other


def without(repo: Repo, *arguments: str) -> Callable[[], object]:
    return lambda: repo.git(*arguments)


def branch(lost: Lost) -> Callable[[], object]:
    lost.repo.git("branch", "kept", lost.commit)
    return without(lost.repo, "branch", "-D", "kept")


def packed(lost: Lost) -> Callable[[], object]:
    lost.repo.git("branch", "kept", lost.commit)
    lost.repo.git("gc", "--quiet")
    assert not (lost.repo.top / ".git/refs/heads/kept").exists()
    return without(lost.repo, "branch", "-D", "kept")


def light_tag(lost: Lost) -> Callable[[], object]:
    lost.repo.git("tag", "kept", lost.commit)
    return without(lost.repo, "tag", "-d", "kept")


def tag_of_a_tag(lost: Lost) -> Callable[[], object]:
    lost.repo.git("tag", "-a", "-m", "x", "inner", lost.commit)
    lost.repo.git("tag", "-a", "-m", "x", "kept", "inner")
    lost.repo.git("tag", "-d", "inner")
    return without(lost.repo, "tag", "-d", "kept")


def tag_of_a_tree(lost: Lost) -> Callable[[], object]:
    lost.repo.git("tag", "-a", "-m", "x", "kept", f"{lost.commit}^{{tree}}")
    return without(lost.repo, "tag", "-d", "kept")


def tag_of_a_manifest(lost: Lost) -> Callable[[], object]:
    lost.repo.git("tag", "kept", lost.blob)
    return without(lost.repo, "tag", "-d", "kept")


def note(lost: Lost) -> Callable[[], object]:
    lost.repo.git("notes", "add", "-C", lost.blob, "HEAD")
    return without(lost.repo, "update-ref", "-d", "refs/notes/commits")


def remote_branch(lost: Lost) -> Callable[[], object]:
    lost.repo.git("update-ref", "refs/remotes/origin/kept", lost.commit)
    return without(lost.repo, "update-ref", "-d", "refs/remotes/origin/kept")


def strange_ref(lost: Lost) -> Callable[[], object]:
    lost.repo.git("update-ref", "refs/some/thing/else", lost.commit)
    return without(lost.repo, "update-ref", "-d", "refs/some/thing/else")


def older(lost: Lost) -> Callable[[], object]:
    tree = lost.repo.head("HEAD^{tree}")
    newer = lost.repo.git("commit-tree", tree, "-p", lost.commit, "-m", "newer").strip()
    lost.repo.git("branch", "kept", newer)
    return without(lost.repo, "branch", "-D", "kept")


def stash(lost: Lost) -> Callable[[], object]:
    lost.repo.write(safetensors(wide=9))
    lost.repo.git("stash", "push", "--quiet")
    forget(lost.repo)
    return without(lost.repo, "update-ref", "-d", "refs/stash")


def older_stash(lost: Lost) -> Callable[[], object]:
    lost.repo.write(safetensors(wide=9))
    lost.repo.git("stash", "push", "--quiet")
    lost.repo.write(safetensors(b=8))
    lost.repo.git("stash", "push", "--quiet")
    return without(lost.repo, "stash", "drop", "--quiet", "stash@{1}")


def detached_head(lost: Lost) -> Callable[[], object]:
    lost.repo.git("update-ref", "--no-deref", "HEAD", "main")
    lost.repo.git("update-ref", "HEAD", lost.commit)
    forget(lost.repo)

    def undo() -> None:
        lost.repo.git("symbolic-ref", "HEAD", "refs/heads/main")
        forget(lost.repo)

    return undo


def reflog_of_head(lost: Lost) -> Callable[[], object]:
    lost.repo.git("checkout", "--quiet", lost.commit)
    lost.repo.git("checkout", "--quiet", "main")
    return lambda: forget(lost.repo)


def reflog_of_a_branch(lost: Lost) -> Callable[[], object]:
    lost.repo.git("branch", "moved", lost.commit)
    lost.repo.git("branch", "-f", "moved", "main")
    return without(lost.repo, "branch", "-D", "moved")


def reflog_of_a_branch_that_is_gone(lost: Lost) -> Callable[[], object]:
    lost.repo.git("branch", "gone", lost.commit)
    log = lost.repo.top / ".git/logs/refs/heads/gone"
    kept = log.read_bytes()
    lost.repo.git("branch", "-D", "gone")
    log.write_bytes(kept)
    return log.unlink


def reflog_of_a_linked_work_tree(lost: Lost) -> Callable[[], object]:
    other = linked(lost.repo, lost.commit)
    other.git("checkout", "--quiet", "--detach", "main")
    for name in ("ORIG_HEAD", "AUTO_MERGE"):
        (lost.repo.top / ".git/worktrees/linked" / name).unlink(missing_ok=True)
    return lambda: forget(lost.repo)


def head_of_a_linked_work_tree(lost: Lost) -> Callable[[], object]:
    linked(lost.repo).git("update-ref", "--no-deref", "HEAD", lost.commit)
    forget(lost.repo)
    return without(lost.repo, "worktree", "remove", "--force", "../linked")


def head_of_a_linked_work_tree_that_is_not_there(lost: Lost) -> Callable[[], object]:
    undo = head_of_a_linked_work_tree(lost)
    shutil.rmtree(lost.repo.top.parent / "linked")
    return undo


def ref_of_a_linked_work_tree(lost: Lost) -> Callable[[], object]:
    other = linked(lost.repo)
    other.git("update-ref", "refs/worktree/kept", lost.commit)
    forget(lost.repo)
    return without(other, "update-ref", "-d", "refs/worktree/kept")


def ref_of_the_main_work_tree_seen_from_a_linked_one(lost: Lost) -> Callable[[], object]:
    lost.repo.git("update-ref", "refs/worktree/kept", lost.commit)
    os.chdir(linked(lost.repo).top)
    forget(lost.repo)
    return without(lost.repo, "update-ref", "-d", "refs/worktree/kept")


def head_like(name: str, folder: str = "") -> Callable[[Lost], Callable[[], object]]:
    def make(lost: Lost) -> Callable[[], object]:
        if folder:
            linked(lost.repo)
            forget(lost.repo)
        path = lost.repo.top / ".git" / folder / name
        path.write_text(f"{lost.commit}\t\tbranch 'x' of somewhere\n")
        return path.unlink

    make.__name__ = f"{name}_{folder}".lower()
    return make


def tree_of_a_merge(lost: Lost) -> Callable[[], object]:
    path = lost.repo.top / ".git/AUTO_MERGE"
    path.write_text(lost.repo.head(f"{lost.commit}^{{tree}}") + "\n")
    return path.unlink


def state(name: str, text: str, folder: str = "") -> Callable[[Lost], Callable[[], object]]:
    """Something that has stopped half-way."""

    def make(lost: Lost) -> Callable[[], object]:
        if folder:
            linked(lost.repo)
            forget(lost.repo)
        path = lost.repo.top / ".git" / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(commit=lost.commit, short=lost.commit[:7], text=lost.text.decode()))
        return lambda: shutil.rmtree(path.parent) if "/" in name else path.unlink()

    make.__name__ = f"{name}_{folder}".replace("/", "_").lower()
    return make


def index(lost: Lost) -> Callable[[], object]:
    lost.repo.git("update-index", "--cacheinfo", f"100644,{lost.blob},{MODEL}")
    return without(lost.repo, "read-tree", "HEAD")


def index_of_a_linked_work_tree(lost: Lost) -> Callable[[], object]:
    linked(lost.repo).git("update-index", "--cacheinfo", f"100644,{lost.blob},{MODEL}")
    forget(lost.repo)
    return without(lost.repo, "worktree", "remove", "--force", "../linked")


def index_of_a_commit_in_the_making(lost: Lost) -> Callable[[], object]:
    made = lost.repo.top / ".git/next-index-1.lock"
    shutil.copy(lost.repo.top / ".git/index", made)
    env = {"GIT_INDEX_FILE": str(made)}
    lost.repo.git("update-index", "--cacheinfo", f"100644,{lost.blob},{MODEL}", env=env)
    return made.unlink


def stage(number: int) -> Callable[[Lost], Callable[[], object]]:
    def make(lost: Lost) -> Callable[[], object]:
        lines = "".join(
            f"100644 {lost.blob if n == number else lost.repo.head(f'HEAD:{MODEL}')} {n}\t{MODEL}\n" for n in (1, 2, 3)
        )
        lost.repo.git("update-index", "--index-info", data=f"0 {'0' * 40}\t{MODEL}\n{lines}".encode())
        return without(lost.repo, "read-tree", "HEAD")

    make.__name__ = f"stage_{number}"
    return make


def conflict_that_was_resolved(lost: Lost) -> Callable[[], object]:
    stage(3)(lost)
    lost.repo.git("add", MODEL)
    assert lost.blob in lost.repo.git("ls-files", "--resolve-undo")
    assert lost.blob not in lost.repo.git("ls-files", "--stage")
    return without(lost.repo, "read-tree", "HEAD")


def lying(path: str, where: str = "") -> Callable[[Lost], Callable[[], object]]:
    """A manifest in a work tree; ``where`` is that, or where somebody stands that collects."""

    def make(lost: Lost) -> Callable[[], object]:
        place = linked(lost.repo) if where == "linked" else lost.repo
        if where == "from a linked one":
            os.chdir(linked(lost.repo).top)
        elif where == "from .git":
            os.chdir(lost.repo.top / ".git")
        forget(lost.repo)
        file = place.top / path
        before = file.read_bytes() if file.exists() else None
        place.write(lost.text, path)
        return file.unlink if before is None else lambda: place.write(before or b"", path)

    make.__name__ = f"lying_{path}_{where}"
    return make


SITUATIONS: list[Callable[[Lost], Callable[[], object]]] = [
    branch,
    packed,
    light_tag,
    tag_of_a_tag,
    tag_of_a_tree,
    tag_of_a_manifest,
    note,
    remote_branch,
    strange_ref,
    older,
    stash,
    older_stash,
    detached_head,
    reflog_of_head,
    reflog_of_a_branch,
    reflog_of_a_branch_that_is_gone,
    reflog_of_a_linked_work_tree,
    head_of_a_linked_work_tree,
    head_of_a_linked_work_tree_that_is_not_there,
    ref_of_a_linked_work_tree,
    ref_of_the_main_work_tree_seen_from_a_linked_one,
    *map(head_like, ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "ORIG_HEAD", "FETCH_HEAD"]),
    head_like("MERGE_AUTOSTASH"),
    head_like("BISECT_EXPECTED_REV"),
    head_like("MERGE_HEAD", "worktrees/linked"),
    tree_of_a_merge,
    state("rebase-merge/autostash", "{commit}\n"),
    state("rebase-merge/git-rebase-todo", "pick {short} lost\n"),
    state("rebase-apply/orig-head", "{commit}\n"),
    state("rebase-apply/0001", "+++ b/m.safetensors\n{text}"),
    state("rebase-apply/autostash", "{commit}\n", "worktrees/linked"),
    state("sequencer/todo", "pick {short} lost\n"),
    state("THETA_MERGE", '{{"of":"x","revision":1,"steps":["{commit}:m.safetensors"]}}'),
    index,
    index_of_a_linked_work_tree,
    index_of_a_commit_in_the_making,
    stage(1),
    stage(2),
    stage(3),
    conflict_that_was_resolved,
    lying(MODEL),
    lying("sub/not tracked"),
    lying(MODEL, "linked"),
    lying(MODEL, "from a linked one"),
    lying(MODEL, "from .git"),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda make: make.__name__)
def test_what_only_this_knows_of_is_kept(situation: Callable[[Lost], Callable[[], object]], lost: Lost) -> None:
    undo = situation(lost)
    assert not lost.collected()
    undo()
    assert lost.collected()


# Whole operations of Git.


def test_a_rebase_that_has_stopped_keeps_what_it_has_put_away(forked: Repo) -> None:
    kept = safetensors(wide=9)
    forked.write(kept)
    assert "CONFLICT" in forked.fails("rebase", "--autostash", "theirs")
    forget(forked)
    age(forked)
    Repository().gc(grace=0)
    forked.git("rebase", "--abort")
    assert forked.read() == kept
    assert Repository().fsck().exit_status == 0


def test_a_merge_in_conflict_can_be_undone_and_redone(conflict: Repo) -> None:
    conflict.git("branch", "-D", "theirs")
    forget(conflict)
    age(conflict)
    Repository().gc(grace=0)
    conflict.git("add", MODEL)
    age(conflict)
    Repository().gc(grace=0)
    conflict.git("checkout", "--quiet", "-m", "--", MODEL)
    Repository().checkout(paths=[MODEL], side="theirs")
    conflict.git("commit", "--quiet", "-m", "merged")
    assert Repository().fsck(every=True).exit_status == 0
    conflict.git("checkout", "--quiet", "HEAD^1")
    assert conflict.read() == safetensors(a=1, b=1)


def test_what_was_replaced_is_kept(repo: Repo) -> None:
    first = repo.head()
    second = repo.commit(safetensors(wide=9), "second")
    repo.commit(safetensors(), "third")
    repo.git("replace", second, first)
    forget(repo)
    age(repo)
    objects = repo.objects
    Repository().gc(grace=0)
    assert repo.objects == objects
    repo.git("replace", "-d", second)
    assert Repository().fsck().exit_status == 0


@pytest.mark.parametrize(
    "change", [(b"theta manifest 1\n", b"theta manifest 23\n"), (b"\n\n", b"\n<<<<<<<\n"), (b'":"', b'": "')]
)
def test_a_manifest_that_cannot_be_read_keeps_what_it_names(change: tuple[bytes, bytes], lost: Lost) -> None:
    text = lost.text.replace(*change)
    assert text != lost.text
    blob = lost.repo.git("hash-object", "-w", "--no-filters", "--stdin", data=text).strip()
    lost.repo.git("tag", "kept", blob)
    assert not lost.collected()


# Kinds of repositories.


def test_a_repository_without_commits(empty: Repo) -> None:
    Repository.init()
    write()
    Repository().track(MODEL)
    assert Repository().gc(grace=0).needed.count == 0
    Repository().add()
    age(empty)
    objects = empty.objects
    found = Repository().gc(grace=0)
    assert (found.needed.count, found.deleted.count) == (len(objects), 0)
    assert empty.objects == objects


def test_a_bare_repository(bare: Repo, repo: Repo) -> None:
    write(wide=9)
    Repository().commit("second")
    Repository().push()
    repo.git("push", "--quiet", "--force", "origin", "HEAD~1:main")
    before = bare.objects
    age(bare)
    os.chdir(bare.top)
    found = Repository(bare=True).gc()
    assert found.deleted.count == 1
    assert bare.objects < before
    assert Repository(bare=True).fsck().exit_status == 0


def test_a_shallow_clone(repo: Repo) -> None:
    second = safetensors(wide=9)
    repo.commit(second, "second")
    repo.git("init", "--quiet", "--bare", "../bare")
    repo.git("remote", "add", "origin", "../bare")
    Repository().push("-u", "origin", "main")
    Repo(repo.top.parent / "bare", repo.home).clone("clone", "--depth=1", "--no-local")
    clone = Repo(repo.top.parent / "clone", repo.home)
    Repository.init(clone.top)
    assert clone.read() == second
    stray = clone.worktree.store.write(b"stray")
    age(clone)
    Repository(clone.top).gc()
    assert stray not in clone.objects
    assert Repository(clone.top).fsck().exit_status == 0
    clone.check(second)


def test_a_partial_clone_is_refused_until_it_is_whole(bare: Repo, repo: Repo) -> None:
    repo.commit(safetensors(wide=9), "second")
    Repository().push()
    bare.git("config", "uploadpack.allowFilter", "true")
    bare.git("config", "uploadpack.allowAnySHA1InWant", "true")
    clone = bare.clone("clone", "--filter=blob:none", "--no-local")
    Repository.init(clone.top)
    stray = clone.worktree.store.write(b"stray")
    age(clone)
    objects = clone.objects
    with pytest.raises(GitError, match="not in this repository, as in a partial clone") as caught:
        Repository(clone.top).gc()
    assert clone.objects == objects
    hint = caught.value.hint.partition(": ")[2]
    clone.git(*hint.split()[1:])
    Repository(clone.top).gc()
    assert clone.objects == objects - {stray}


def test_a_submodule_has_objects_of_its_own(repo: Repo, lost: Lost) -> None:
    env = {"GIT_ALLOW_PROTOCOL": "file"}
    repo.git("submodule", "--quiet", "add", str(lost.repo.top), "sub", env=env)
    sub = Repo(repo.top / "sub", repo.home)
    with sub.environment():
        Repository.init(sub.top)
        write(sub.top / MODEL, wide=7)
        Repository(sub.top).commit("in the submodule")
        age(sub)
        objects = sub.objects
        assert objects
        assert sub.theta != repo.theta
        Repository(repo.top).gc(grace=0)
        assert sub.objects == objects
        sub.write(sub.text("HEAD~1:" + MODEL).replace(b"a" * 64, b"b" * 64), "lying")
        Repository(sub.top).gc(grace=0)
        assert sub.objects == objects


@pytest.mark.parametrize("damage", ["ref", "commit", "index", "index of a work tree that is not there"])
def test_nothing_is_deleted_when_it_is_not_known_what_is_needed(damage: str, repo: Repo, lost: Lost) -> None:
    git = repo.top / ".git"
    if damage == "ref":
        (git / "refs/heads/bad").write_text("1" * 40 + "\n")
    elif damage == "index of a work tree that is not there":
        shutil.rmtree(linked(repo).top)
        (git / "worktrees/linked/index").write_bytes(b"DIRC" + bytes(100))
    elif damage == "commit":
        repo.commit(safetensors(b=1))
        first = repo.head("HEAD~1")
        (git / "objects" / first[:2] / first[2:]).unlink()
    else:
        (git / "index").write_bytes(b"DIRC" + bytes(100))
    age(repo)
    objects = repo.objects
    with pytest.raises(GitError):
        Repository().gc(grace=0)
    assert repo.objects == objects
    assert lost.objects < objects


# What goes.


def test_the_grace_period(lost: Lost) -> None:
    repo = lost.repo
    age(repo)
    days = time.time() - 13 * 24 * 3600
    for name in lost.objects:
        os.utime(repo.worktree.store.path(name), (days, days))
    found = Repository().gc()
    assert (found.recent.count, found.deleted.count) == (len(lost.objects), 0)
    assert lost.objects < repo.objects
    size = sum(repo.worktree.store.path(name).stat().st_size for name in lost.objects)
    found = Repository().gc(grace=12)
    assert (found.recent.count, found.deleted.count, found.deleted.size) == (0, len(lost.objects), size)
    assert not lost.objects & repo.objects
    for grace in (-1, float("nan")):
        with pytest.raises(RequestError, match="makes no sense"):
            Repository().gc(grace=grace)


def test_what_was_just_written_stays_even_without_a_grace_period(lost: Lost) -> None:
    lost.repo.worktree.store.freshen(lost.objects)
    found = Repository().gc(grace=0)
    assert found.recent.count == len(lost.objects)
    assert lost.objects < lost.repo.objects
    assert "in use just now" in found.text()


def test_a_dry_run_deletes_nothing(lost: Lost) -> None:
    repo = lost.repo
    age(repo)
    left = repo.theta / "tmp" / f"{machine()}.{1 << 29}.0123456789abcdef"
    left.write_bytes(b"left")
    before = {path: path.stat().st_mtime for path in repo.theta.rglob("*") if path.is_file()}
    found = Repository().gc(dry_run=True)
    assert {path: path.stat().st_mtime for path in repo.theta.rglob("*") if path.is_file()} == before
    assert found.deleted.count == len(lost.objects)
    done = Repository().gc()
    assert done.deleted == found.deleted
    assert done.leftovers == 4
    assert not left.exists()


def test_parts_that_lfs_has_left_go_when_they_are_old(repo: Repo) -> None:
    old, new = (repo.theta / "incomplete" / name for name in ("old.part", "new.part"))
    old.parent.mkdir()
    for part in (old, new):
        part.write_bytes(b"part")
    os.utime(old, (OLD, OLD))
    assert Repository().gc().leftovers == 4
    assert (old.exists(), new.exists()) == (False, True)


def test_it_tells_how_it_advances(lost: Lost) -> None:
    told: list[str] = []
    age(lost.repo)
    Repository(progress=lambda what, done, total: told.append(f"{what} {done == total}")).gc()
    assert {"reading the history True", "deleting True"} <= set(told)


# Beside others.


def hooked(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen after objects were set aside, and before they are looked at again."""
    known, times = needed.roots, []

    def roots(worktree: Worktree) -> needed.Roots:
        times.append(1)
        if len(times) == 2:
            act()
        return known(worktree)

    monkeypatch.setattr("theta_jupyter.collecting.roots", roots)


def test_an_add_between_looking_and_deleting(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    """It brings back the very content whose objects are set aside."""
    data = safetensors(wide=9)
    age(lost.repo)

    def add() -> None:
        assert not lost.objects & lost.repo.objects
        lost.repo.write(data)
        lost.repo.git("add", MODEL)

    hooked(monkeypatch, add)
    Repository().gc(grace=0)
    lost.repo.git("commit", "--quiet", "-m", "back")
    assert Repository().fsck().exit_status == 0
    (lost.repo.top / MODEL).unlink()
    lost.repo.git("checkout", "--", MODEL)
    lost.repo.check(data)


def test_an_add_before_they_are_set_aside(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    data = safetensors(wide=9)
    age(lost.repo)
    aside = ObjectStore.set_aside
    times: list[str] = []

    def set_aside(self: ObjectStore, object_id: str) -> Path | None:
        times.append(object_id)
        if len(times) == 1:
            lost.repo.write(data)
            lost.repo.git("add", MODEL)
        return aside(self, object_id)

    monkeypatch.setattr(ObjectStore, "set_aside", set_aside)
    found = Repository().gc()
    assert found.spared == len(lost.objects) == len(times)
    assert lost.objects < lost.repo.objects
    lost.repo.git("commit", "--quiet", "-m", "back")
    assert Repository().fsck().exit_status == 0


def test_a_commit_that_is_found_again(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    """No object is touched, but Git knows of it again."""
    age(lost.repo)
    hooked(monkeypatch, lambda: lost.repo.git("branch", "back", lost.commit))
    found = Repository().gc()
    assert (found.spared, found.deleted.count) == (len(lost.objects), 0)
    assert lost.objects < lost.repo.objects


def test_an_interrupt_puts_everything_back(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    age(lost.repo)
    objects = lost.repo.objects
    hooked(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        Repository().gc()
    assert lost.repo.objects == objects
    assert list((lost.repo.theta / "tmp").glob("*")) == []


KILLED = """
import os, signal
from pathlib import Path
from theta_jupyter import Repository
unlink = Path.unlink
def once(self):
    unlink(self)
    os.kill(os.getpid(), signal.SIGKILL)
Path.unlink = once
Repository().gc()
"""


def test_killed_half_way_nothing_is_lost_that_is_needed(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--detach")
    for seed in range(5, 9):
        repo.commit(safetensors(wide=seed))
    repo.git("switch", "--quiet", "main")
    forget(repo)
    age(repo)
    objects = repo.objects
    killed = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(objects) - len(repo.objects) >= 4
    assert Repository().fsck().exit_status == 0
    # That has swept: all are here again, but for the one that was deleted.
    assert len(objects - repo.objects) == 1
    found = Repository().gc()
    assert found.deleted.count == len(objects) - 1 - found.needed.count >= 3
    repo.check(safetensors())


def test_objects_of_another_user_stay(lost: Lost) -> None:
    age(lost.repo)
    folders = {lost.repo.worktree.store.path(name).parent for name in lost.objects}
    with lost.repo.forbidden(*folders):
        lost.repo.git("theta", "gc")
    assert lost.objects < lost.repo.objects


def test_a_push_freshens_what_is_there_already(bare: Repo, lost: Lost) -> None:
    """A collector over there must not take it for forgotten before the branch that needs it has arrived."""
    push = ("push", "--quiet", str(bare.top), f"{lost.commit}:refs/heads/again")
    lost.repo.git(*push)
    assert lost.objects < bare.objects
    # It is forgotten over there, and LFS will see no need to send it again.
    bare.git("update-ref", "-d", "refs/heads/again")
    for repo in (bare, lost.repo):
        age(repo)
    lost.repo.git(*push)
    assert all(bare.worktree.store.path(name).stat().st_mtime > OLD for name in lost.objects)
