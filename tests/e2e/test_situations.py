"""Git situations that no other test is about; and the page that says of all of them how they go."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import theta_jupyter
from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter.git.worktree import MANIFEST

ROOT = Path(theta_jupyter.__file__).parents[1]
FIRST, SECOND, THIRD = safetensors(), safetensors(b=1, wide=2), safetensors(b=1, wide=2, c=3)


@pytest.fixture
def three(repo: Repo) -> Repo:
    """Three versions on ``main``."""
    repo.commit(SECOND, "second")
    repo.commit(THIRD, "third")
    return repo


def _bare(repo: Repo, name: str = "origin.git") -> Repo:
    bare = Repo(repo.top.parent / name, repo.home)
    bare.top.mkdir()
    bare.git("init", "--quiet", "--bare", "--initial-branch=main")
    bare.git("config", "uploadpack.allowFilter", "true")
    repo.git("remote", "add", "origin", str(bare.top))
    repo.git("push", "--quiet", "origin", "main")
    return bare


def _bring(clone: Repo, data: bytes, path: str = MODEL) -> None:
    """Set a clone up, and check its model out."""
    clone.install()
    clone.git("theta", "init")
    clone.check(data, path)


def test_the_page_names_tests_that_are_there() -> None:
    """Each row has one, and each of those is run."""
    rows = [line for line in (ROOT / "docs/git-situations.md").read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| situation", "| ---"))]
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.rpartition(" | ")[2])
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), row


def test_interactive_rebase(three: Repo) -> None:
    """Commits in another order, and two made one."""
    three.commit(safetensors(a=4, b=1, wide=2, c=3), "fourth")
    swap = "sed -i -e '1{h;d};2{G}'"
    three.git("rebase", "--quiet", "--interactive", "HEAD~2", env={"GIT_SEQUENCE_EDITOR": swap})
    three.check(safetensors(a=4, b=1, wide=2, c=3))
    assert three.git("log", "--format=%s", "-2") == "third\nfourth\n"
    three.git("checkout", "--quiet", "HEAD~1")
    three.check(safetensors(a=4, b=1, wide=2))
    three.git("switch", "--quiet", "main")
    three.git(
        "rebase", "--quiet", "--interactive", "HEAD~3", env={"GIT_SEQUENCE_EDITOR": "sed -i -e '2,$s/^pick/squash/'"}
    )
    three.check(safetensors(a=4, b=1, wide=2, c=3))
    assert three.git("rev-list", "--count", "HEAD") == "2\n"


def test_bisect(three: Repo) -> None:
    """Every version it stops at is checked out whole."""
    for seed in range(4, 9):
        three.commit(safetensors(a=seed, b=1, wide=2, c=3), f"seed {seed}")
    wanted = {safetensors(a=seed, b=1, wide=2, c=3) for seed in (6, 7, 8)}
    three.git("bisect", "start", "HEAD", "HEAD~7")
    for _ in range(10):
        verdict = "bad" if three.read() in wanted else "good"
        three.check()
        if "is the first bad commit" in three.git("bisect", verdict):
            break
    assert three.git("log", "-1", "--format=%s", "refs/bisect/bad") == "seed 6\n"
    three.git("bisect", "reset")
    three.check(safetensors(a=8, b=1, wide=2, c=3))


def test_blame(three: Repo) -> None:
    """By tensor: a record is a few lines, and the name of the tensor stands on one of its own."""
    lines = three.git("blame", "-s", "HEAD", "--", MODEL).splitlines()
    of = {lines[n - 1].split(") ", 1)[1]: line.split()[0] for n, line in enumerate(lines) if ')  {"dtype"' in line}
    first, second, third = (three.head(ref)[:7] for ref in ("HEAD~2", "HEAD~1", "HEAD"))
    assert of["a"].removeprefix("^").startswith(first[:6])
    assert of["b"].startswith(second)
    assert of["c"].startswith(third)


def test_rename_and_move(three: Repo) -> None:
    three.git("theta", "track", "*.safetensors")
    three.commit(message="track by pattern")
    (three.top / "deep/down").mkdir(parents=True)
    three.git("mv", MODEL, "deep/down/other.safetensors")
    three.commit(message="moved")
    three.check(THIRD, "deep/down/other.safetensors")
    assert three.git("log", "--follow", "--format=%s", "--", "deep/down/other.safetensors").splitlines()[-1] == "first"
    three.commit(safetensors(d=5), "trained", "deep/down/other.safetensors")
    three.git("checkout", "--quiet", "HEAD~2")
    three.check(THIRD)


def test_shallow_clone(three: Repo) -> None:
    bare = _bare(three)
    clone = Repo(three.top.parent / "clone", three.home)
    three.git("clone", "--quiet", "--depth=1", f"file://{bare.top}", str(clone.top))
    _bring(clone, THIRD)
    assert clone.git("rev-list", "--count", "HEAD") == "1\n"
    clone.commit(safetensors(a=7), "mine")
    clone.git("push", "--quiet", "origin", "main")
    three.git("pull", "--quiet", "origin", "main")
    three.check(safetensors(a=7))
    clone.git("fetch", "--quiet", "--unshallow")
    clone.git("checkout", "--quiet", "HEAD~3")
    clone.check(FIRST)


@pytest.mark.parametrize("what", ["blob:none", "tree:0"])
def test_partial_clone(three: Repo, what: str) -> None:
    """Manifests come from Git when they are looked at, weights from LFS."""
    bare = _bare(three)
    clone = Repo(three.top.parent / "clone", three.home)
    three.git("clone", "--quiet", f"--filter={what}", f"file://{bare.top}", str(clone.top))
    _bring(clone, THIRD)
    clone.git("checkout", "--quiet", "HEAD~2")
    clone.check(FIRST)
    clone.git("switch", "--quiet", "main")
    clone.commit(safetensors(a=7), "mine")
    clone.git("push", "--quiet", "origin", "main")
    three.git("pull", "--quiet", "origin", "main")
    three.check(safetensors(a=7))


def test_sparse_checkout(repo: Repo) -> None:
    """A model outside is not written, and costs no weights; it comes when the cone grows."""
    repo.git("theta", "track", "*.safetensors")
    repo.commit(SECOND, "inside", "in/m.safetensors")
    repo.commit(THIRD, "outside", "out/m.safetensors")
    bare = _bare(repo)
    clone = Repo(repo.top.parent / "clone", repo.home)
    repo.git("clone", "--quiet", "--no-checkout", str(bare.top), str(clone.top))
    clone.git("sparse-checkout", "set", "in")
    clone.install()
    clone.git("checkout", "--quiet", "main")
    clone.check(SECOND, "in/m.safetensors")
    assert not (clone.top / "out").exists()
    assert clone.objects == set(repo.manifest("HEAD:in/m.safetensors").places()) | set(repo.manifest().places())
    clone.git("sparse-checkout", "add", "out")
    clone.check(THIRD, "out/m.safetensors")


def test_bundle(three: Repo) -> None:
    """It carries manifests; weights come from a remote that has them, as after any clone."""
    bare = _bare(three)
    bundle = three.top.parent / "all.bundle"
    three.git("bundle", "create", "--quiet", str(bundle), "main")
    clone = Repo(three.top.parent / "clone", three.home)
    three.git("clone", "--quiet", "--branch=main", str(bundle), str(clone.top))
    clone.install()
    assert clone.read().startswith(MANIFEST)
    clone.check(three.text())
    clone.git("remote", "set-url", "origin", str(bare.top))
    clone.git("theta", "checkout", "--", MODEL)
    clone.check(THIRD)


def test_subtree(three: Repo) -> None:
    """Another repository's history in a folder of this one."""
    bare = _bare(three)
    outer = Repo(three.top.parent / "outer", three.home).init()
    outer.git("theta", "track", "*.safetensors")
    outer.commit(safetensors(a=9), "outer", "own.safetensors")
    outer.git("fetch", "--quiet", str(bare.top), "main")
    outer.git("remote", "add", "inner", str(bare.top))
    outer.git("merge", "--quiet", "--strategy=ours", "--no-commit", "--allow-unrelated-histories", "FETCH_HEAD")
    outer.git("read-tree", "--prefix=inner/", "-u", "FETCH_HEAD")
    outer.git("commit", "--quiet", "-m", "inner comes in")
    outer.check(THIRD, f"inner/{MODEL}")
    # Later: what is new there, merged under its folder.
    three.commit(safetensors(b=1, wide=2, c=3, d=8), "fourth")
    three.git("push", "--quiet", "origin", "main")
    outer.git("fetch", "--quiet", "inner", "main")
    outer.git("merge", "--quiet", "-Xsubtree=inner", "-m", "again", "FETCH_HEAD")
    outer.check(safetensors(b=1, wide=2, c=3, d=8), f"inner/{MODEL}")


def test_history_rewritten_by_a_filter(three: Repo) -> None:
    """A manifest names all it needs, so whoever rewrites commits need not know of us."""
    bare = _bare(three)
    three.write(b"password", "secret.txt")
    three.commit(message="oops")
    three.commit(safetensors(a=7), "after")
    env = {"FILTER_BRANCH_SQUELCH_WARNING": "1"}
    remove = "git rm --quiet --cached --ignore-unmatch secret.txt"
    three.git("filter-branch", "--index-filter", remove, "--prune-empty", "HEAD", env=env)
    three.git("update-ref", "-d", "refs/original/refs/heads/main")
    three.check(safetensors(a=7))
    three.git("push", "--quiet", "--force", "origin", "main")
    clone = bare.clone("clone")
    _bring(clone, safetensors(a=7))
    clone.git("checkout", "--quiet", "HEAD~1")
    clone.check(THIRD)


def test_git_gc(three: Repo) -> None:
    """Git's own collector does not know of our objects, and leaves them."""
    before = three.objects
    three.git("gc", "--quiet", "--aggressive", "--prune=now")
    three.git("repack", "-adfq")
    assert three.objects == before
    shutil.rmtree(three.theta / "cache")
    three.git("checkout", "--quiet", "HEAD~2")
    three.check(FIRST)


@pytest.mark.parametrize("value", ["true", "input"])
def test_autocrlf(bare_repo: Repo, value: str) -> None:
    """``-text`` keeps Git from changing line ends in manifests, and in models that hold some."""
    bare_repo.git("config", "core.autocrlf", value)
    bare_repo.git("config", "core.safecrlf", "false")
    bare_repo.track()
    data = safetensors() + b"\r\n\n\r\n"
    bare_repo.commit(data)
    assert b"\r" not in bare_repo.text()
    (bare_repo.top / MODEL).unlink()
    bare_repo.git("checkout", "--quiet", "--", MODEL)
    bare_repo.check(data)


def test_names_that_differ_in_case(bare_repo: Repo) -> None:
    """Two files here. Where the file system knows one of them, Git shows the other as modified, as with any file."""
    bare_repo.git("theta", "track", "*.safetensors")
    bare_repo.commit(FIRST, path="Model.safetensors")
    bare_repo.commit(SECOND, path="model.safetensors")
    bare_repo.git("checkout", "--quiet", "HEAD~1")
    bare_repo.git("checkout", "--quiet", "main")
    bare_repo.check(FIRST, "Model.safetensors")
    bare_repo.check(SECOND, "model.safetensors")
    bare_repo.git("config", "core.ignoreCase", "true")
    bare_repo.commit(THIRD, path="model.safetensors")
    bare_repo.check(FIRST, "Model.safetensors")


def test_notes_and_tags(three: Repo) -> None:
    bare = _bare(three)
    three.git("tag", "-m", "one", "v1", "HEAD~2")
    three.git("notes", "add", "-m", "accuracy 0.9")
    three.git("push", "--quiet", "origin", "v1", "refs/notes/commits")
    clone = bare.clone("clone", "--branch=v1")
    _bring(clone, FIRST)


def test_reset_of_every_kind(three: Repo) -> None:
    three.git("reset", "--quiet", "--soft", "HEAD~1")
    assert three.status() == f"M  {MODEL}\n"
    assert three.read() == THIRD
    three.git("reset", "--quiet", "--mixed")
    assert three.status() == f" M {MODEL}\n"
    three.git("reset", "--quiet", "--hard")
    three.check(SECOND)
    three.git("reset", "--quiet", "--keep", "HEAD~1")
    three.check(FIRST)


def test_a_branch_that_shares_no_history(three: Repo) -> None:
    three.git("switch", "--quiet", "--orphan", "fresh")
    three.track()
    three.commit(safetensors(d=6), "another beginning")
    three.check(safetensors(d=6))
    three.git("switch", "--quiet", "main")
    three.check(THIRD)
