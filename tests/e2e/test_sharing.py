"""Clones, fetch and push over git-lfs, hooks, and what git itself shows of a model."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import theta_jupyter
from tests.e2e.host import Host, serving
from tests.e2e.repo import LAYERS, MODEL, Repo, safetensors
from theta_jupyter.git import install
from theta_jupyter.git.transfer import fetch, fetch_missing
from theta_jupyter.storage.manifest import MAGIC

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, SECOND = safetensors(), safetensors(b=1, wide=2)


@pytest.fixture
def remote(repo: Repo) -> Repo:
    """An empty bare repository, which is the origin of the first."""
    bare = repo.bare("origin.git")
    repo.git("remote", "add", "origin", str(bare.top))
    return bare


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A server of Git LFS, over HTTP."""
    with serving(tmp_path / "host") as found:
        yield found


def sent(bare: Repo) -> set[str]:
    return {path.name for path in (bare.top / "theta" / "objects").glob("??/??/*")}


def written(bare: Repo) -> dict[str, int]:
    """Which file each object is: a push may touch one that is there, but not write it."""
    return {path.name: path.stat().st_ino for path in (bare.top / "theta" / "objects").glob("??/??/*")}


def test_git_sees_text(repo: Repo) -> None:
    assert repo.text().startswith(MAGIC.encode())
    assert repo.text().decode().isprintable() or "\n" in repo.text().decode()
    assert set(repo.manifest().records) == {*LAYERS, "wide"}
    repo.commit(SECOND)
    # Nothing is rebuilt to show a difference.
    shutil.rmtree(repo.theta / "objects")
    shown = repo.git("diff", "HEAD~1", "HEAD")
    assert {"b", "wide"} <= {line[1:] for line in shown.split("\n")} | {
        line.rpartition(" ")[2] for line in shown.split("\n")
    }
    assert "b\n" in repo.git("log", "-p", "-1")
    assert not (repo.theta / "objects").exists()


def test_hunk_headers_name_the_tensor(repo: Repo) -> None:
    repo.commit(SECOND)
    shown = repo.git("diff", "--unified=0", "HEAD~1", "HEAD")
    assert [line.rpartition("@@ ")[2] for line in shown.split("\n") if line.startswith("@@")] == ["b", "wide"]


def test_clone_with_a_global_install(repo: Repo, remote: Repo) -> None:
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    try:
        with repo.environment():
            install.install(None)
        clone = remote.clone("clone")
        clone.check(SECOND)
        # Only what was asked for has come.
        assert clone.objects == set(repo.manifest().places())
        clone.git("checkout", "--quiet", "HEAD~1")
        clone.check(FIRST)
        # A first commit of its own brings the hooks, and is pushed with its objects.
        clone.git("checkout", "--quiet", "main")
        clone.commit(safetensors(b=1, wide=2, d=4))
        clone.git("push", "--quiet", "origin", "main")
        repo.git("pull", "--quiet", "origin", "main")
        repo.check(safetensors(b=1, wide=2, d=4))
        with repo.environment():
            install.uninstall(None)
    finally:
        (repo.home / ".gitconfig").unlink()


def test_checkout_in_a_repository_that_was_only_fetched(repo: Repo, remote: Repo) -> None:
    """HEAD names no commit yet while smudge runs."""
    repo.git("push", "--quiet", "origin", "main")
    other = Repo(repo.top.parent / "other", repo.home).init()
    other.git("remote", "add", "origin", str(remote.top))
    other.git("fetch", "--quiet", "origin")
    other.git("checkout", "--quiet", "main")
    other.check(FIRST)


def test_install_after_clone(repo: Repo, remote: Repo) -> None:
    repo.git("push", "--quiet", "origin", "main")
    clone = remote.clone("clone")
    assert clone.read() == repo.text()
    clone.install()
    clone.check(repo.text())
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--quiet", "--", MODEL)
    clone.check(FIRST)


def test_objects_are_sent_once_and_only_those_needed(repo: Repo, remote: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "private")
    repo.commit(safetensors(a=5))
    repo.git("switch", "--quiet", "main")
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    needed = set(repo.manifest().places()) | set(repo.manifest(f"HEAD~1:{MODEL}").places())
    assert sent(remote) == needed
    repo.commit(safetensors(b=1, wide=2, c=3))
    trace = repo.top.parent / "trace"
    repo.git("push", "--quiet", "origin", "main", env={"GIT_TRACE": str(trace)})
    [new] = sent(remote) - needed
    assert new in repo.manifest().places()
    assert "sending batch of size 1" in trace.read_text()
    # A tag of what is there already, a deletion, and a second push send nothing; the last two do not even ask.
    repo.git("tag", "-m", "one", "v1")
    before = written(remote)
    for what in (["v1"], ["--delete", "v1"], ["main"]):
        trace.unlink()
        repo.git("push", "--quiet", "origin", *what, env={"GIT_TRACE": str(trace)})
        assert "v1" in what or "git-lfs" not in trace.read_text()
        assert written(remote) == before


def test_push_to_a_remote_that_has_moved(repo: Repo, remote: Repo) -> None:
    """Tracking branches tell of the one before."""
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    second = repo.bare("second.git")
    repo.git("remote", "set-url", "origin", str(second.top))
    repo.git("push", "--quiet", "origin", "main")
    assert sent(second) == sent(remote) == repo.objects


@pytest.mark.parametrize("by", ["name", "url", "default"])
def test_push_mends_what_was_pushed_without_the_hook(repo: Repo, remote: Repo, by: str) -> None:
    repo.git("switch", "--quiet", "--create", "private")
    repo.commit(safetensors(a=5))
    private = set(repo.manifest().places())
    repo.git("switch", "--quiet", "main")
    repo.commit(SECOND)
    repo.git("push", "--quiet", "--no-verify", "--set-upstream", "origin", "main")
    private -= set(repo.manifest().places()) | set(repo.manifest(f"HEAD~1:{MODEL}").places())
    assert sent(remote) == set()
    where = {"name": ["origin", "main"], "url": [str(remote.top), "main"], "default": []}[by]
    repo.git("push", "--quiet", *where)
    assert sent(remote) == set()
    repo.git("theta", "push", *where)
    assert sent(remote) == repo.objects - private
    # A deletion sends nothing of what is checked out.
    repo.git("switch", "--quiet", "private")
    repo.git("push", "--quiet", "origin", "main:side")
    repo.git("theta", "push", "origin", "--delete", "side")
    assert sent(remote) == repo.objects - private


def test_a_server_is_asked_before_anything_is_brought(repo: Repo, remote: Repo, host: Host) -> None:
    """A clone that starts a branch has only the objects of the version checked out, and needs no others for that."""
    repo.git("config", "lfs.url", host.url)
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    assert host.objects == repo.objects
    clone = remote.clone("clone")
    clone.git("config", "lfs.url", host.url)
    clone.install()
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--quiet", "--", MODEL)
    assert clone.objects < repo.objects
    clone.git("switch", "--quiet", "--create", "side")
    clone.commit(safetensors(b=1, wide=2, d=4))
    [new] = clone.objects - repo.objects
    host.forget()
    clone.git("push", "--quiet", "origin", "side")
    assert host.log == [f"PUT {new}"]
    host.forget()
    clone.git("theta", "push", "origin", "side")
    assert host.log == []
    # What it does not have either is brought from where it is, or missed.
    lost = min(repo.objects - clone.objects)
    content = host.path(lost).read_bytes()
    host.path(lost).unlink()
    words = clone.fails("push", "origin", "HEAD:other")
    assert "theta: " in words
    assert "404 Not Found" in words
    assert "other" not in remote.git("branch")
    second = repo.top.parent / "second"
    path = second / "theta" / "objects" / lost[:2] / lost[2:4] / lost
    repo.bare("second")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    clone.git("remote", "add", "second", str(second))
    clone.git("config", "--unset", "lfs.url")
    clone.git("config", "remote.origin.lfsurl", host.url)
    clone.git("push", "--quiet", "origin", "HEAD:other")
    assert host.path(lost).read_bytes() == content


def test_a_folder_is_looked_into_before_anything_is_brought(repo: Repo, remote: Repo) -> None:
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    clone = remote.clone("clone")
    clone.install()
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--quiet", "--", MODEL)
    before = clone.objects
    assert before < repo.objects
    for where in ("origin", str(remote.top), f"file://{remote.top}"):
        clone.git("push", "--quiet", where, f"HEAD:refs/heads/{len(where)}")
    assert clone.objects == before


def test_push_of_versions_that_were_never_fetched(repo: Repo, remote: Repo) -> None:
    """A clone has only the objects it needed; the rest comes before it is sent on."""
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    clone = remote.clone("clone")
    clone.install()
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--quiet", "--", MODEL)
    second = Repo(repo.top.parent / "second.git", repo.home)
    second.top.mkdir()
    second.git("init", "--quiet", "--bare")
    clone.git("push", "--quiet", str(second.top), "main")
    assert sent(second) == sent(remote)


def test_settings_of_lfs_do_not_hide_objects(repo: Repo, remote: Repo) -> None:
    repo.git("push", "--quiet", "origin", "main")
    clone = remote.clone("clone", "--branch", "main")
    clone.install()
    for key, value in {"fetchinclude": "nothing", "fetchexclude": "*", "fetchrecentalways": "true"}.items():
        clone.git("config", f"lfs.{key}", value)
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--quiet", "--", MODEL)
    clone.check(FIRST)
    clone.git("lfs", "prune")
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--quiet", "--", MODEL)
    clone.check(FIRST)


def test_missing_and_damaged_objects(repo: Repo, remote: Repo) -> None:
    repo.commit(SECOND)
    repo.git("push", "--quiet", "origin", "main")
    clone = remote.clone("clone")
    clone.install()
    manifest = repo.manifest()
    lost = manifest.records["b"].nodes[-1].place.object
    [path] = (remote.top / "theta" / "objects").glob(f"??/??/{lost}")
    path.rename(remote.top / "aside")
    (clone.top / MODEL).unlink()
    done = clone.run("checkout", "--", MODEL)
    assert done.returncode == 0
    assert b"theta: m.safetensors: " in done.stderr
    clone.check(repo.text())
    # The others have come all the same; a second remote has the last.
    assert clone.objects == set(manifest.places()) - {lost}
    with clone.environment(), pytest.raises(Exception, match=r"(?i)object|lfs"):
        fetch_missing(clone.worktree, [manifest])
    shutil.copytree(remote.top, repo.top.parent / "backup.git")
    path = repo.top.parent / "backup.git" / path.relative_to(remote.top)
    (remote.top / "aside").rename(path)
    clone.git("remote", "add", "backup", str(repo.top.parent / "backup.git"))
    with clone.environment():
        assert fetch_missing(clone.worktree, [manifest]) == manifest.places()[lost]
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--", MODEL)
    clone.check(SECOND)
    # Damaged on the way: it does not stay.
    clone.worktree.store.path(lost).unlink()
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    with clone.environment(), pytest.raises(Exception, match=r"(?i)object|lfs"):
        fetch(clone.worktree, "backup", {lost: manifest.places()[lost]})
    assert lost not in clone.objects


def test_smudge_can_be_skipped(repo: Repo) -> None:
    (repo.top / MODEL).unlink()
    repo.git("checkout", "--quiet", "--", MODEL, env={"GIT_THETA_SKIP_SMUDGE": "1"})
    repo.check(repo.text())


def test_without_lfs(repo: Repo, remote: Repo, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for tool in Path(folder).iterdir():
            if tool.name != "git-lfs" and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    repo.env["PATH"] = str(tools)
    repo.commit(SECOND)
    repo.git("checkout", "--quiet", "HEAD~1")
    repo.git("checkout", "--quiet", "main")
    repo.check(SECOND)
    words = repo.fails("push", "origin", "main")
    assert "git-lfs is not installed" in words
    assert "install git-lfs" in words
    assert remote.git("for-each-ref") == ""
    clone = remote.clone("clone")
    assert clone.run("rev-parse", "HEAD").returncode != 0


def test_hooks_are_chained_and_given_back(repo: Repo, remote: Repo) -> None:
    hooks = repo.top / ".git" / "hooks"
    with repo.environment():
        install.uninstall_hooks(repo.worktree)
    push, real = hooks / "pre-push", repo.top / "real-hook"
    push.write_text('#!/bin/sh\necho "$@" > .git/given\ncat > .git/stdin\n')
    push.chmod(0o755)
    # A link to a script without a first line that names its interpreter, as git allows.
    real.write_text("echo mine >> .git/mine\ntest ! -e stop\n")
    real.chmod(0o755)
    (hooks / "pre-commit").symlink_to(real)
    kept = {path.name: path.read_bytes() for path in hooks.iterdir()}
    with repo.environment():
        assert install.install_hooks(repo.worktree) == ["pre-push", "pre-commit"]
        assert install.install_hooks(repo.worktree) == []
    repo.commit(SECOND)
    assert (repo.top / ".git" / "mine").read_text() == "mine\n"
    repo.git("push", "--quiet", "origin", "main")
    assert (repo.top / ".git" / "given").read_text() == f"origin {remote.top}\n"
    zeros = "0" * 40
    assert (repo.top / ".git" / "stdin").read_text() == f"refs/heads/main {repo.head()} refs/heads/main {zeros}\n"
    assert sent(remote)
    (repo.top / "stop").touch()
    repo.fails("commit", "--allow-empty", "-m", "refused by the user's own hook")
    with repo.environment():
        assert install.uninstall_hooks(repo.worktree) == ["pre-push", "pre-commit"]
    assert {path.name: path.read_bytes() for path in hooks.iterdir()} == kept
    assert (hooks / "pre-commit").is_symlink()


def test_a_kept_hook_is_never_replaced(repo: Repo) -> None:
    """Another tool has written its hook over ours, beside which the user's own is kept."""
    hooks = repo.top / ".git" / "hooks"
    with repo.environment():
        install.uninstall_hooks(repo.worktree)
        (hooks / "pre-commit").write_text("#!/bin/sh\n# first\n")
        install.install_hooks(repo.worktree)
    ours = (hooks / "pre-commit").read_text()
    (hooks / "pre-commit").write_text("#!/bin/sh\n# second\n")

    def check() -> None:
        assert (hooks / "pre-commit").read_text().endswith("second\n")
        assert (hooks / "pre-commit.before-theta").read_text().endswith("first\n")

    repo.write(SECOND)
    done = repo.run("add", "--all")
    assert done.returncode == 0
    assert b"pre-commit.before-theta" in done.stderr
    assert b"git push" not in done.stderr
    check()
    words = repo.fails("theta", "init")
    assert "pre-commit is not ours" in words
    assert "remove pre-commit.before-theta, then: git theta init" in words
    check()
    repo.git("theta", "uninstall")
    check()
    assert not (hooks / "pre-push").exists()
    # Written again as it was, it is no other hook.
    (hooks / "pre-commit").write_text("#!/bin/sh\n# first\n")
    repo.install()
    assert (hooks / "pre-commit").read_text() == ours


def test_leaving_as_the_page_says(repo: Repo) -> None:
    page = Path(theta_jupyter.__file__).parents[1] / "docs" / "git.md"
    steps = page.read_text().partition("## Leaving")[2].partition("```sh\n")[2].partition("```")[0]
    assert "untrack PATH" in steps
    said = repo.git("theta", "uninstall")
    assert f"still tracked: {MODEL}" in said
    assert "Leaving" in said
    assert "Leaving" not in repo.git("-c", f"alias.theta=!{install.command('theta_jupyter')}", "theta", "uninstall")
    repo.install()
    script = steps.replace("PATH", shlex.quote(MODEL))
    subprocess.run(["sh", "-ec", script], cwd=repo.top, env=repo.env, capture_output=True, timeout=60, check=True)
    assert repo.text() == FIRST
    assert "theta" not in repo.git("show", "HEAD:.gitattributes")
    repo.check(FIRST)
    assert "still tracked" not in repo.git("theta", "uninstall")
    repo.check(FIRST)
    # A clone, set up or not, has the file.
    clone = repo.clone("clone")
    clone.check(FIRST)
    clone.install()
    clone.check(FIRST)


def test_hooks_of_git_lfs_still_run(repo: Repo, remote: Repo) -> None:
    with repo.environment():
        install.uninstall_hooks(repo.worktree)
    repo.git("lfs", "install", "--local")
    (repo.top / "data.bin").write_bytes(os.urandom(2000))
    repo.git("lfs", "track", "*.bin")
    repo.commit(SECOND)
    assert (repo.top / ".git/hooks/pre-push.before-theta").exists()
    repo.git("push", "--quiet", "origin", "main")
    [pointer] = repo.git("lfs", "ls-files", "--long").split("\n")[:-1]
    assert {path.name for path in (remote.top / "lfs/objects").glob("??/??/*")} == {pointer.split()[0]}
    assert sent(remote) == repo.objects


@pytest.mark.parametrize("form", ["relative", "absolute", "nowhere"])
def test_hooks_path(bare_repo: Repo, tmp_path: Path, form: str) -> None:
    """Hooks outside ``.git`` belong to the user: without being asked, clean does not write there, and says so."""
    repo = bare_repo
    with repo.environment():
        install.uninstall_hooks(repo.worktree)
    value = {"relative": ".githooks", "absolute": str(tmp_path / "hooks of all"), "nowhere": "/dev/null"}[form]
    repo.git("config", "core.hooksPath", value)
    repo.track()
    repo.write(FIRST)
    done = repo.run("add", "--all")
    assert done.returncode == 0
    assert b"theta: " in done.stderr
    assert b"git push" in done.stderr
    folder = repo.top / value
    assert not folder.is_dir()
    assert not list((repo.top / ".git/hooks").glob("*theta*"))
    with repo.environment():
        if form == "nowhere":
            with pytest.raises(Exception, match="/dev/null"):
                install.install_hooks(repo.worktree)
            return
        assert install.install_hooks(repo.worktree) == ["pre-push", "pre-commit"]
    assert (folder / "pre-push").exists()
    repo.write(SECOND)
    assert repo.run("add", MODEL).stderr == b""


def test_hooks_in_a_linked_worktree(repo: Repo, remote: Repo) -> None:
    with repo.environment():
        install.uninstall_hooks(repo.worktree)
    other = Repo(repo.top.parent / "other", repo.home)
    repo.git("worktree", "add", "--quiet", "-b", "side", str(other.top))
    other.commit(SECOND)
    assert (repo.top / ".git/hooks/pre-push").exists()
    other.git("push", "--quiet", "origin", "side")
    assert sent(remote) == repo.objects


def test_push_from_a_bare_repository(repo: Repo, remote: Repo) -> None:
    bare = repo.clone("bare.git", "--bare")
    shutil.copytree(repo.theta, bare.top / "theta")
    shutil.copytree(repo.top / ".git/hooks", bare.top / "hooks", dirs_exist_ok=True)
    bare.git("push", "--quiet", str(remote.top), "main")
    assert sent(remote) == repo.objects


def test_submodule(repo: Repo, remote: Repo) -> None:
    repo.git("push", "--quiet", "origin", "main")
    outer = Repo(repo.top.parent / "outer", repo.home).init()
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(remote.top), "inner")
    inner = Repo(outer.top / "inner", repo.home)
    inner.install()
    (inner.top / MODEL).unlink()
    inner.git("checkout", "--quiet", "--", MODEL)
    inner.check(FIRST)
    assert inner.theta == outer.top / ".git" / "modules" / "inner" / "theta"
    inner.commit(SECOND)
    outer.git("add", "--all")
    outer.git("commit", "--quiet", "-m", "outer")
    outer.check()


def test_sha256_repository(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    repo = Repo(tmp_path / "work", home).init("--object-format=sha256")
    repo.track()
    repo.commit(FIRST)
    repo.commit(SECOND)
    repo.git("checkout", "--quiet", "HEAD~1")
    repo.check(FIRST)
    repo.git("branch", "side")
    repo.commit(safetensors(d=2))
    repo.git("merge", "--quiet", "main")
    repo.check(safetensors(b=1, wide=2, d=2))
    bare = Repo(tmp_path / "origin.git", home)
    bare.top.mkdir()
    bare.git("init", "--quiet", "--bare", "--object-format=sha256")
    repo.git("push", "--quiet", str(bare.top), "HEAD:refs/heads/main", "side")
    assert sent(bare) == repo.objects
    clone = bare.clone("clone", "--branch=main")
    clone.install()
    (clone.top / MODEL).unlink()
    clone.git("checkout", "--quiet", "--", MODEL)
    clone.check(safetensors(b=1, wide=2, d=2))


def test_a_private_branch_stays_private(repo: Repo) -> None:
    """Law 11: content that a branch has as a delta, or in a bundle, is stored anew on one that must not know it."""
    repo.git("switch", "--quiet", "--create", "private")
    repo.commit(safetensors(a=5, b=5, wide=5))
    scaled = _near(safetensors(a=5, b=5, wide=5))
    repo.commit(scaled)
    private = {*repo.manifest().places(), *repo.manifest(f"HEAD~1:{MODEL}").places()} - set(
        repo.manifest(f"main:{MODEL}").places()
    )
    assert len(repo.manifest().records["wide"].nodes) == 2
    secret = {place.object for place in repo.manifest(f"HEAD~1:{MODEL}").records["wide"].objects}
    repo.git("switch", "--quiet", "main")
    repo.commit(scaled)
    repo.check(scaled)
    public = repo.manifest()
    assert not secret & set(public.places())
    for name in set(public.places()) & private:
        # Shared is only what is nothing but this content.
        places = {p for record in public.records.values() for p in record.objects if p.object == name}
        assert sum(place.stored for place in places) == next(iter(places)).size
    # Equal whole tensors are shared.
    repo.git("switch", "--quiet", "private")
    repo.commit(safetensors(a=5, b=5, wide=9))
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(wide=9))
    assert repo.manifest().records["wide"].nodes == repo.manifest(f"private:{MODEL}").records["wide"].nodes


def test_a_bundle_of_a_private_branch_stays_private(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "private")
    repo.commit(safetensors(a=5, b=5))
    bundle = repo.manifest().records["b"].nodes[-1].place.object
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(b=5))
    assert bundle not in repo.manifest().places()
    assert repo.manifest().records["b"].blake3 == repo.manifest(f"private:{MODEL}").records["b"].blake3
    # Nor as a whole file whose manifest has an older private version beside it.
    repo.git("switch", "--quiet", "private")
    repo.commit(safetensors(a=5, b=6))
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(a=5, b=6))
    assert bundle not in repo.manifest().places()


def test_origin_named_by_the_user(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "private")
    repo.commit(safetensors(wide=5))
    blob, base = repo.head(f"HEAD:{MODEL}"), repo.manifest().records["wide"].nodes[-1].place.object
    repo.git("switch", "--quiet", "main")
    near = _near(safetensors(wide=5))
    repo.write(near)
    repo.git("add", MODEL)
    assert base not in repo.manifest(f":{MODEL}").places()
    repo.git("reset", "--quiet", "--hard")
    shutil.rmtree(repo.theta / "cache")
    repo.write(near)
    repo.git("add", MODEL, env={"THETA_FROM": blob})
    assert base in repo.manifest(f":{MODEL}").places()
    repo.git("commit", "--quiet", "-m", "tuned")
    repo.check(near)
    # Now it is part of the history, and stays known.
    repo.write(FIRST)
    repo.git("add", MODEL)
    repo.write(near)
    repo.git("add", MODEL)
    repo.check(near)


def _near(data: bytes) -> bytes:
    """The same model, every weight a little different."""
    from safetensors.numpy import save

    from tests.e2e.repo import tensors

    return save({name: value * (1 + 1e-6) if name == "wide" else value for name, value in tensors(data).items()})
