"""What lies around a model: what Git says in the environment, other disks, hooks of the user, others who write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import KeptError, RequestError
from theta_jupyter.git import attributes, commits, roads
from theta_jupyter.storage import beside

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, SECOND, THIRD = safetensors(), safetensors(b=1, wide=2), safetensors(c=4)


@pytest.fixture
def here(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repo]:
    monkeypatch.chdir(repo.top)
    with repo.environment():
        yield repo


def linked(repo: Repo, top: Path | None = None, branch: str = "side") -> Repo:
    """A linked work tree, on a branch of its own."""
    other = Repo(top or repo.top.parent / "linked", repo.home)
    repo.git("worktree", "add", "--quiet", "-b", branch, str(other.top))
    return other


# Where Git says which repository it is.


def test_from_a_folder_of_a_linked_work_tree(repo: Repo) -> None:
    """Started by the alias, which names Git's folder and not the top."""
    other = linked(repo)
    folder = other.top / "deep/er"
    folder.mkdir(parents=True)
    other.write(SECOND)
    done = other.run("theta", "commit", "-m", "second", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert other.git("show", "--format=", "--name-status") == f"M\t{MODEL}\n"
    other.check(SECOND)
    (folder / MODEL).write_bytes(THIRD)
    done = other.run("theta", "track", MODEL, cwd=folder)
    assert done.returncode == 0, done.stderr
    done = other.run("theta", "add", MODEL, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert other.text(f":deep/er/{MODEL}").startswith(b"theta manifest")
    assert repo.run("diff", "--quiet").returncode == 0


def test_nothing_is_done_beside_a_bare_repository(repo: Repo) -> None:
    """As people keep it who have many work trees: `.git` is a file that names a bare repository."""
    place = Repo(repo.top.parent / "place", repo.home)
    place.top.mkdir()
    repo.git("clone", "--quiet", "--bare", str(repo.top), str(place.top / ".bare"))
    (place.top / ".git").write_text("gitdir: ./.bare\n")
    for key, value in ((line.split("=", 1)) for line in repo.git("config", "--list", "--local").splitlines()):
        if "theta" in key:
            place.git("config", key, value)
    before = place.git("rev-parse", "main")
    for words in (("commit", "-m", "x"), ("switch", "main"), ("status",)):
        assert "work tree" in place.fails("theta", *words)
    assert place.git("rev-parse", "main") == before
    assert sorted(path.name for path in place.top.iterdir()) == [".bare", ".git"]


def test_a_new_repository_from_a_linked_work_tree(repo: Repo) -> None:
    other = linked(repo)
    other.git("theta", "init", "../new")
    assert (other.top.parent / "new/.git").is_dir()


def test_clone_from_a_linked_work_tree(repo: Repo) -> None:
    other = linked(repo)
    before = other.git("config", "--list", "--local")
    other.git("theta", "clone", str(repo.top), "copy")
    copy = Repo(other.top / "copy", repo.home)
    assert copy.git("config", "filter.theta.process")
    assert (copy.top / ".git").is_dir()
    copy.check(FIRST)
    assert other.git("config", "--list", "--local") == before


def test_a_push_from_a_linked_work_tree_freshens_the_remote(repo: Repo) -> None:
    """Git names its own repository to the hook, also where the hook looks into another."""
    remote = repo.bare("origin.git")
    other = linked(repo)
    other.commit(SECOND)
    other.git("push", "--quiet", str(remote.top), "side")
    other.git("push", "--quiet", str(remote.top), ":side")
    paths = [remote.worktree.store.path(name) for name in remote.objects]
    for path in paths:
        data = path.read_bytes()
        path.unlink()  # It may be a link to ours.
        path.write_bytes(data)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    other.git("push", "--quiet", str(remote.top), "side")
    assert paths
    assert all(path.stat().st_mtime > 1_500_000_000 for path in paths)


def test_a_repository_that_git_refuses(repo: Repo) -> None:
    """As on a volume of another user: Git says what to do, and `init` makes none in its place."""
    env = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    for verb in ("status", "init"):
        done = subprocess.run(
            [sys.executable, "-m", "theta_jupyter", verb],
            cwd=repo.top,
            env=repo.env | env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "dubious ownership" in done.stderr
        assert "safe.directory" in done.stderr
        assert "git theta init" not in done.stderr


def test_a_file_needs_no_repository_that_works(repo: Repo, tmp_path: Path) -> None:
    code = f"from theta_jupyter import compare, load; load('{MODEL}')['a']; compare('{MODEL}', '{MODEL}')"
    repo.python(code, env={"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"})
    repo.python(code, env={"PATH": str(tmp_path / "nothing")})


def test_other_languages(repo: Repo) -> None:
    """Git speaks the user's own, and its words say whether there is a repository."""
    tools = repo.top.parent / "tools"
    tools.mkdir()
    (tools / "git").write_text(f'#!/bin/sh\necho "$LANGUAGE" >>"{tools}/told"\nexec /usr/bin/git "$@"\n')
    (tools / "git").chmod(0o755)
    repo.python(
        "from theta_jupyter import Repository; Repository()",
        env={"LANGUAGE": "de:en", "PATH": f"{tools}:{repo.env['PATH']}"},
    )
    assert set((tools / "told").read_text().split("\n")) == {""}


def test_a_linked_work_tree_on_another_disk(repo: Repo) -> None:
    top = Path("/dev/shm") / f"theta-{os.getpid()}-{repo.top.parent.name}"  # noqa: S108 - a disk of its own
    if not top.parent.is_dir() or top.parent.stat().st_dev == repo.top.stat().st_dev:
        # Only where memory is mounted as a disk can the test have two without being root.
        pytest.skip("there is no other disk here")
    try:
        other = linked(repo, top)
        second = repo.commit(SECOND)
        (top / f".theta-{beside.machine()}.{1 << 29}.{'0' * 16}.safetensors").touch()
        other.git("theta", "checkout", second)
        other.check(SECOND)
        assert not list(top.glob(".theta-*"))
        other.write(THIRD)
        other.git("theta", "commit", "-m", "third")
        other.check(THIRD)
    finally:
        shutil.rmtree(top, ignore_errors=True)


# Hooks and remotes of the user.


@pytest.mark.parametrize("verb", ["commit", "merge", "checkout"])
def test_hooks_of_the_user_may_ask_for_patterns(repo: Repo, verb: str) -> None:
    repo.git("switch", "--quiet", "--create", "side")
    repo.commit(SECOND)
    (repo.top / "a.txt").touch()
    repo.commit()
    repo.git("switch", "--quiet", "main")
    hooks = {"commit": "post-commit", "merge": "post-merge", "checkout": "post-checkout"}
    hook = repo.top / ".git/hooks" / hooks[verb]
    hook.write_text("#!/bin/sh\ngit ls-files -- '*.safetensors' >.git/seen\necho 'error: mine' >&2\n")
    hook.chmod(0o755)
    if verb == "commit":
        repo.write(THIRD)
    repo.git(
        "theta",
        *{"commit": ("commit", "-m", "third"), "merge": ("merge", "side"), "checkout": ("checkout", "side")}[verb],
    )
    assert (repo.top / ".git/seen").read_text() == f"{MODEL}\n"


def test_what_hooks_see_after_a_checkout(repo: Repo) -> None:
    """Files are put in their places when Git has done, and so have its hooks."""
    repo.commit(SECOND)
    hook = repo.top / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ncp {MODEL} .git/seen\n")
    hook.chmod(0o755)
    repo.git("theta", "checkout", "HEAD~1")
    assert (repo.top / ".git/seen").read_bytes() == repo.text()
    repo.check(FIRST)
    repo.git("checkout", "--quiet", "main")
    assert (repo.top / ".git/seen").read_bytes() == SECOND


def test_names_that_look_like_patterns(here: Repo) -> None:
    for name in ("*.safetensors", "[m].safetensors", ":m.safetensors"):
        Repository().save({"a": __import__("torch").ones(3)}, name, "odd")
        assert name in here.git("show", "--format=", "--name-only", "-z").split("\0")
    here.write(SECOND, ":m.safetensors")
    here.write(SECOND)
    Repository().checkout("", ["*.safetensors", ":m.safetensors"])
    assert here.status() == f" M {MODEL}\n"
    Repository().checkout("", ["."])
    here.check(FIRST)


def test_every_push_url_gets_the_objects(repo: Repo) -> None:
    one, two = repo.bare("one.git"), repo.bare("two.git")
    repo.git("remote", "add", "origin", str(one.top))
    for url in (one.top, two.top):
        repo.git("remote", "set-url", "--add", "--push", "origin", str(url))
    repo.git("config", "theta.publishPointers", "true")
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    for remote in (one, two):
        assert remote.objects == repo.objects
        assert remote.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/main", "refs/theta/pointers"]


@pytest.mark.parametrize("name", ["we#ird.git", "a%20b.git", "what?.git", "mit Leerzeichen & ü.git"])
def test_remotes_whose_paths_are_no_urls(repo: Repo, name: str) -> None:
    remote = repo.bare(name)
    repo.git("push", "--quiet", f"../{name}", "main")
    repo.commit(SECOND)
    repo.git("remote", "add", "origin", str(remote.top))
    repo.git("push", "--quiet", "origin", "main")
    assert remote.objects == repo.objects
    repo.git("theta", "clone", str(remote.top), "../other")
    assert (repo.top.parent / "other" / MODEL).read_bytes() == SECOND


@pytest.mark.parametrize("where", [".git/config", ".lfsconfig"])
def test_push_urls_that_share_one_lfs(repo: Repo, where: str) -> None:
    one, two, store = repo.bare("one.git"), repo.bare("two.git"), repo.bare("store.git")
    repo.git("remote", "add", "origin", str(one.top))
    for url in (one.top, two.top):
        repo.git("remote", "set-url", "--add", "--push", "origin", str(url))
    repo.git("config", "--file", where, "remote.origin.lfsurl", f"file://{store.top}")
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    assert store.objects == repo.objects
    assert one.objects == two.objects == set()


def test_a_program_of_the_user_answers_for_passwords(repo: Repo) -> None:
    tools = repo.top.parent / "tools"
    tools.mkdir()
    real = shutil.which("git-lfs")
    assert real
    (tools / "git-lfs").write_text(
        f'#!/bin/sh\necho "$GIT_ASKPASS:$GIT_TERMINAL_PROMPT" >>"{tools}/asked"\nexec {real} "$@"\n'
    )
    (tools / "git-lfs").chmod(0o755)
    remote = repo.bare("origin.git")
    env = {"PATH": f"{tools}:{repo.env['PATH']}", "GIT_ASKPASS": "/opt/ask"}
    repo.git("push", "--quiet", str(remote.top), "main", env=env)
    assert set((tools / "asked").read_text().split()) == {"/opt/ask:0"}


def test_a_ref_with_spaces_is_pushed(repo: Repo) -> None:
    remote = repo.bare("origin.git")
    repo.commit(SECOND, "fix bug")
    repo.git("push", "--quiet", str(remote.top), "HEAD^{/fix bug}:refs/heads/x")
    assert remote.objects == repo.objects


def test_a_commit_is_written_as_literally_as_it_was(repo: Repo) -> None:
    """Old tools have left authors without a name or a date, which Git reads, and would not write itself."""
    with repo.environment():
        tree = repo.head("HEAD^{tree}")
        odd = commits.Commit(tree, (), ((b"author", b"<>"), (b"committer", b"x <y> 1")), b"odd\n")
        assert repo.run("cat-file", "commit", commits.write(repo.worktree, odd)).stdout == odd.data()


def test_lfs_does_not_clear_away_what_a_collector_has_set_aside(repo: Repo) -> None:
    """It takes our folder for its own, and deletes what is old where temporary files lie."""
    store = repo.worktree.store
    remote = repo.bare("origin.git")
    lost = store.write(b"needed after all")
    os.utime(store.path(lost), (1_000_000_000, 1_000_000_000))
    aside = store.set_aside(lost)
    assert aside
    repo.git("push", "--quiet", str(remote.top), "main")
    store.put_back(aside)
    assert bytes(store.read(lost)) == b"needed after all"


# Files that are not models, and models that are not files.


def test_a_submodule_under_a_pattern(repo: Repo) -> None:
    inner = repo.clone("inner")
    inner.git("commit", "--quiet", "--allow-empty", "-m", "of its own")
    (repo.top / ".gitattributes").write_text(
        "* filter=theta diff=theta merge=theta -text\n*.txt !filter\n.git* !filter\n"
    )
    repo.commit()
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.top), "vendor")
    repo.git("commit", "--quiet", "-m", "vendor")
    second = repo.commit(SECOND)
    assert "no tracked model changed" in repo.git("theta", "status")
    assert "vendor" not in repo.git("theta", "ls-files")
    repo.git("theta", "checkout", "HEAD~1")
    repo.check(FIRST)
    repo.git("theta", "checkout", second)
    repo.check(SECOND)
    repo.write(THIRD)
    repo.git("theta", "commit", "-m", "third")
    assert repo.git("show", "--format=", "--name-only") == f"{MODEL}\n"


def test_a_model_outside_of_a_sparse_checkout_is_not_deleted(repo: Repo) -> None:
    repo.git("theta", "track", "far/*.safetensors")
    repo.commit(SECOND, path="far/m.safetensors")
    repo.git("sparse-checkout", "set", "near")
    assert not (repo.top / "far").exists()
    assert "no tracked model changed" in repo.git("theta", "status")
    (repo.top / MODEL).unlink()
    assert "deleted" in repo.git("theta", "status")


def test_attributes_that_are_a_link(here: Repo) -> None:
    outside = here.top.parent / "outside"
    outside.write_text("mine\n")
    (here.top / ".gitattributes").unlink()
    (here.top / ".gitattributes").symlink_to(outside)
    with pytest.raises(RequestError, match="is a link"):
        Repository().track("*.pt")
    assert outside.read_text() == "mine\n"


def test_attributes_are_whole_or_as_they_were(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (here.top / ".gitattributes").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(beside, "sync", full)
    with pytest.raises(OSError, match="No space"):
        attributes.track(here.worktree, pattern="*.pt")
    assert (here.top / ".gitattributes").read_bytes() == before
    assert not list(here.top.glob(".theta-*"))


@pytest.mark.parametrize("mask", ["022", "077"])
def test_a_repository_that_a_group_shares(tmp_path: Path, mask: str) -> None:
    repo = Repo(tmp_path / "work", tmp_path / "home")
    repo.home.mkdir()
    repo.init("--shared=group")
    repo.track()
    repo.write(FIRST)
    subprocess.run(["sh", "-c", f"umask {mask} && git theta commit -m first"], cwd=repo.top, env=repo.env, check=True)
    found = list(repo.theta.glob("objects/**/*"))
    assert found
    for path in found:
        assert path.stat().st_mode & 0o2070 == (0o2070 if path.is_dir() else 0o040), path
    assert (repo.theta / "tmp").stat().st_mode & 0o070 == 0o070


def test_a_folder_that_has_become_a_file(repo: Repo) -> None:
    repo.git("theta", "track", "far/*.safetensors")
    repo.commit(SECOND, path="far/m.safetensors")
    shutil.rmtree(repo.top / "far")
    (repo.top / "far").touch()
    assert "deleted" in repo.git("theta", "status")
    (repo.top / "far").unlink()
    (repo.top / MODEL).unlink()
    os.mkfifo(repo.top / MODEL)
    assert repo.git("theta", "status").count("deleted") == 2


def test_what_is_half_made_beside_a_model_is_no_model(repo: Repo) -> None:
    repo.git("theta", "track", "*.safetensors")
    (repo.top / f".theta-{beside.signed()}.safetensors").write_bytes(SECOND)
    repo.write(SECOND)
    assert ".theta" not in repo.git("theta", "status")
    repo.git("theta", "commit", "-m", "second")
    assert ".theta" not in repo.git("ls-files")


# Somebody else writes.


def test_autostash_brings_changes_back_as_a_file(repo: Repo) -> None:
    """Git puts what is not committed away and back again, while it writes manifests only."""
    remote = repo.bare("origin.git")
    repo.git("push", "--quiet", "--set-upstream", str(remote.top), "main")
    other = repo.clone("other")
    other.install()
    (other.top / "a.txt").touch()
    other.git("add", "a.txt")
    other.git("commit", "--quiet", "-m", "other")
    other.git("push", "--quiet", str(remote.top), "main")
    repo.git("remote", "add", "origin", str(remote.top))
    repo.write(SECOND)
    repo.git("-c", "rebase.autoStash=true", "theta", "pull", "--rebase", "origin", "main")
    assert (repo.top / "a.txt").exists()
    assert repo.read() == SECOND
    assert repo.status() == f" M {MODEL}\n"
    assert "M  m.safetensors" in repo.git("theta", "status")


def test_a_manifest_of_something_else_is_a_change(repo: Repo) -> None:
    second = repo.commit(SECOND)
    text = repo.text()
    repo.git("theta", "checkout", "HEAD~1")
    repo.write(text)
    status = repo.git("theta", "status")
    assert "M  m.safetensors" in status
    assert "its manifest lies in place of the file" in status
    repo.git("theta", "init")
    assert repo.read() == SECOND
    repo.git("theta", "commit", "-m", "as the second")
    assert repo.text() == repo.text(f"{second}:{MODEL}")


def test_what_is_saved_while_another_version_is_brought_stays(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    here.commit(SECOND)
    real = roads.rebuild

    def slow(*args: object) -> Path:
        made = real(*args)  # type: ignore[arg-type]
        here.write(THIRD)
        return made

    monkeypatch.setattr(roads, "rebuild", slow)
    message = Repository().checkout("HEAD~1")
    assert [line for line in message.details if "was written to meanwhile, and is kept" in line]
    assert here.read() == THIRD
    assert here.status() == f" M {MODEL}\n"
    here.write(here.text())
    with pytest.raises(KeptError):
        Repository().checkout("", [MODEL])
    assert here.read() == THIRD
    assert not list((here.theta / "tmp").iterdir())


def test_a_file_is_on_the_disk_before_the_index_says_so(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    here.commit(SECOND)
    did: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        did.append(f"sync {os.fstat(descriptor).st_size}")
        sync(descriptor)

    def noted_replace(old: Path, new: Path) -> None:
        did.append(f"replace {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    Repository().checkout("HEAD~1")
    at = did.index(f"replace {MODEL}")
    assert f"sync {len(FIRST)}" in did[:at]


def test_a_process_is_known_in_its_own_container_only(monkeypatch: pytest.MonkeyPatch) -> None:
    own, now = beside.signed(), time.time()
    gone = own.replace(f".{os.getpid()}.", f".{1 << 29}.")
    assert beside.abandoned(gone, now)
    assert not beside.abandoned(own, 0)
    monkeypatch.setattr(os, "readlink", lambda _: "pid:[1]")
    beside.machine.cache_clear()
    try:
        # Of another container, or from before the last start: nobody can be asked, and nobody takes that long.
        for name in (own, gone):
            assert not beside.abandoned(name, now - 600)
            assert beside.abandoned(name, now - 7200)
        assert not beside.abandoned(f"elsewhere-{own}", 0)
    finally:
        beside.machine.cache_clear()
