"""Laws 1 and 2: every road of git's ends in the same bytes and a clean status."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from tests.e2e.repo import MODEL, Repo, safetensors, torch_file, weights
from theta_jupyter.storage.manifest import parse

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = safetensors()
SECOND = safetensors(b=1)
THIRD = safetensors(b=1, wide=2)
FORMATS = pytest.mark.parametrize("make", [safetensors, torch_file])


def line(repo: Repo, make: Callable[..., bytes] = safetensors) -> tuple[bytes, bytes, bytes]:
    """Three versions, one after the other."""
    versions = make(), make(b=1), make(b=1, wide=2)
    for data in versions:
        repo.commit(data)
    return versions


@FORMATS
def test_checkout_of_branches_and_commits(repo: Repo, make: Callable[..., bytes]) -> None:
    first, second, third = line(repo, make)
    repo.git("branch", "old", "HEAD~1")
    repo.check(third)
    repo.git("switch", "--quiet", "old")
    repo.check(second)
    repo.git("checkout", "--quiet", "--detach", "old~1")
    repo.check(first)
    repo.git("checkout", "--quiet", "main")
    repo.check(third)


def test_checkout_of_a_path_and_reset(repo: Repo) -> None:
    line(repo)
    before = repo.text()
    repo.git("checkout", "--quiet", "HEAD~2", "--", MODEL)
    assert repo.read() == FIRST
    assert repo.status() == f"M  {MODEL}\n"
    assert repo.text(f":{MODEL}") == repo.text(f"HEAD~2:{MODEL}")
    repo.git("reset", "--quiet", "--hard")
    repo.check(THIRD)
    repo.git("restore", "--source=HEAD~1", "--", MODEL)
    assert repo.read() == SECOND
    assert repo.status() == f" M {MODEL}\n"
    repo.git("add", MODEL)
    # The manifest that content had is the manifest it gets.
    assert repo.text(f":{MODEL}") == repo.text(f"HEAD~1:{MODEL}")
    repo.git("reset", "--quiet", "--mixed", "HEAD~1")
    repo.check(SECOND)
    repo.git("reset", "--quiet", "--hard", "ORIG_HEAD")
    repo.check(THIRD)
    assert repo.text() == before


@pytest.mark.parametrize("pop", [["pop"], ["pop", "--index"]])
def test_stash(repo: Repo, pop: list[str]) -> None:
    line(repo)
    changed = safetensors(b=1, wide=2, c=5)
    repo.write(changed)
    repo.git("stash", "push", "--quiet")
    repo.check(THIRD)
    repo.git("stash", *pop)
    assert repo.read() == changed
    assert repo.status() == f" M {MODEL}\n"
    repo.git("checkout", "--quiet", "--", MODEL)
    repo.check(THIRD)


def test_stash_of_index_and_work_tree(repo: Repo) -> None:
    line(repo)
    staged, changed = safetensors(b=1, wide=2, c=5), safetensors(b=1, wide=2, c=5, d=6)
    repo.write(staged)
    repo.git("add", MODEL)
    repo.write(changed)
    assert repo.status() == f"MM {MODEL}\n"
    text = repo.text(f":{MODEL}")
    repo.git("stash", "push", "--quiet")
    repo.check(THIRD)
    repo.git("stash", "pop", "--index", "--quiet")
    assert (repo.read(), repo.status(), repo.text(f":{MODEL}")) == (changed, f"MM {MODEL}\n", text)
    repo.git("stash", "push", "--quiet", "--keep-index")
    assert (repo.read(), repo.status()) == (staged, f"M  {MODEL}\n")


@pytest.mark.parametrize("backend", ["--merge", "--apply"])
def test_rebase(repo: Repo, backend: str) -> None:
    repo.git("branch", "side")
    repo.commit(safetensors(a=1), "ours")
    (repo.top / "note").write_text("ours\n")
    repo.commit(message="note")
    repo.git("switch", "--quiet", "side")
    (repo.top / "other").write_text("theirs\n")
    repo.commit(safetensors(d=2), "theirs")
    repo.commit(safetensors(d=2, wide=3), "theirs again")
    repo.git("rebase", "--quiet", backend, "main")
    repo.check(safetensors(a=1, d=2, wide=3))
    repo.git("checkout", "--quiet", "HEAD~1")
    repo.check(safetensors(a=1, d=2))


def test_cherry_pick_and_revert(repo: Repo) -> None:
    line(repo)
    repo.git("switch", "--quiet", "--create", "side", "HEAD~2")
    repo.git("cherry-pick", "main")
    repo.check(safetensors(wide=2))
    repo.git("cherry-pick", "main~1")
    repo.check(THIRD)
    repo.git("revert", "--no-edit", "HEAD~1")
    repo.check(SECOND)
    repo.git("revert", "--no-edit", "HEAD~1")
    repo.check(FIRST)


def test_am(repo: Repo) -> None:
    line(repo)
    patch = repo.git("format-patch", "--stdout", "HEAD~1")
    repo.git("switch", "--quiet", "--create", "side", "HEAD~1")
    repo.git("am", "--quiet", data=patch.encode())
    repo.check(THIRD)
    assert repo.text() == repo.text(f"main:{MODEL}")
    repo.git("reset", "--quiet", "--hard", "main~2")
    repo.git("am", "--quiet", "--3way", data=patch.encode())
    repo.check(safetensors(wide=2))


def test_worktrees_share_objects(repo: Repo) -> None:
    line(repo)
    other = Repo(repo.top.parent / "other tree", repo.home)
    repo.git("worktree", "add", "--quiet", "-b", "side", str(other.top), "HEAD~1")
    other.check(SECOND)
    assert other.theta == repo.theta
    other.commit(safetensors(b=1, a=7))
    other.check(safetensors(b=1, a=7))
    assert not (repo.top / ".git/worktrees/other tree/theta").exists()
    repo.git("merge", "--quiet", "side")
    repo.check(safetensors(b=1, wide=2, a=7))


def test_adding_again_changes_nothing(repo: Repo) -> None:
    line(repo)
    text, objects = repo.text(), repo.objects
    repo.write(THIRD)
    repo.git("add", MODEL)
    repo.git("add", "--renormalize", MODEL)
    assert (repo.status(), repo.text(f":{MODEL}"), repo.objects) == ("", text, objects)
    # On another branch, with the cache and without.
    for _ in range(2):
        repo.git("switch", "--quiet", "--force-create", "side", "HEAD~1")
        repo.commit(SECOND)
        repo.write(THIRD)
        repo.git("add", MODEL)
        repo.git("stash", "--quiet")
        repo.git("switch", "--quiet", "main")
        repo.check(THIRD)
        assert repo.text() == text
        shutil.rmtree(repo.theta / "cache")


def test_the_index_knows_without_the_cache(repo: Repo) -> None:
    """A manifest that is only in the index, and that nobody would write again here, is still the one of its content."""
    repo.git("switch", "--quiet", "--create", "side")
    repo.commit(safetensors(wide=5))
    near = save(weights(wide=5) | {"wide": weights(wide=5)["wide"] * np.float32(1 + 1e-6)})
    repo.commit(near)
    theirs = repo.text()
    repo.git("switch", "--quiet", "main")
    repo.git("checkout", "--quiet", "side", "--", MODEL)
    shutil.rmtree(repo.theta / "cache")
    (repo.top / MODEL).touch()
    assert repo.status() == f"M  {MODEL}\n"
    # Nor does it take another when it is a side of a conflict.
    repo.commit(safetensors(wide=7))
    assert repo.run("merge", "side").returncode == 1
    repo.git("checkout", "--theirs", "--", MODEL)
    shutil.rmtree(repo.theta / "cache")
    repo.git("add", MODEL)
    assert repo.text(f":{MODEL}") == theirs


def test_only_what_changed_is_stored(repo: Repo) -> None:
    before = repo.objects
    repo.commit(SECOND)
    [bundle] = repo.objects - before
    changed = {
        name for name, record in repo.manifest().records.items() if any(p.object == bundle for p in record.objects)
    }
    assert changed == {"b"}
    before = repo.objects
    repo.commit(THIRD)
    [wide] = repo.objects - before
    assert repo.manifest().records["wide"].nodes[-1].place.object == wide
    assert repo.manifest().records["b"] == repo.manifest(f"HEAD~1:{MODEL}").records["b"]


def test_a_known_value_under_the_same_structure_adds_nothing(repo: Repo) -> None:
    line(repo)
    before = repo.objects
    repo.commit(FIRST)
    assert repo.objects == before
    assert repo.text() == repo.text(f"HEAD~3:{MODEL}")


def test_the_cache_can_go(repo: Repo) -> None:
    line(repo)
    shutil.rmtree(repo.theta / "cache")
    repo.check(THIRD)
    shutil.rmtree(repo.theta / "cache")
    repo.git("checkout", "--quiet", "HEAD~1")
    repo.check(SECOND)
    (repo.theta / "cache" / "seen.sqlite").write_bytes(b"rubbish")
    repo.git("checkout", "--quiet", "main")
    repo.check(THIRD)


def test_content_that_is_not_what_lies_in_the_work_tree(repo: Repo) -> None:
    """Git may send something else than the file: shorter, longer, other, or where no file is."""
    line(repo)
    for lying in (FIRST, FIRST[:1000], FIRST + b"more", b"", None):
        if lying is None:
            (repo.top / MODEL).unlink()
        else:
            repo.write(lying)
        blob = repo.git("hash-object", "-w", "--stdin", f"--path={MODEL}", data=SECOND).strip()
        assert repo.text(blob) == repo.text(f"HEAD~1:{MODEL}")
        empty = repo.git("hash-object", "-w", "--stdin", f"--path={MODEL}", data=b"").strip()
        assert repo.manifest(empty).header.size == 0
    assert list((repo.theta / "tmp").iterdir()) == []


def test_large_content_that_differs_late(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content larger than what is kept in memory goes through a temporary file."""
    from blake3 import blake3

    from theta_jupyter.drivers import content

    monkeypatch.setattr(content, "IN_MEMORY", 100_000)
    data = os.urandom(350_000)
    packets = [data[start : start + 65516] for start in range(0, len(data), 65516)]
    worktree = repo.worktree
    for lying in (None, data, data[:200_000], data[:200_000] + b"x" * 150_000, data + b"x"):
        path = "" if lying is None else MODEL
        if lying is not None:
            repo.write(lying)
        for room in (True, False):
            with content.Content(worktree, path) as received:
                received._room = room
                received.receive(packets)
                assert bytes(received.view) == data
                assert received.digest == blake3(data).hexdigest()
    assert list((repo.theta / "tmp").iterdir()) == []


def test_content_whose_file_is_cut_off(repo: Repo) -> None:
    """Memory of a file that is cut off kills the process that looks at it."""
    from theta_jupyter.drivers import content

    data = os.urandom(350_000)
    repo.write(data)
    with (repo.top / MODEL).open("r+b") as writer, content.Content(repo.worktree, MODEL) as received:
        received.receive([data])
        writer.truncate(0)
        assert bytes(received.view) == data


@FORMATS
def test_empty_and_unknown_files(bare_repo: Repo, make: Callable[..., bytes]) -> None:
    for number, data in enumerate([b"", b"no checkpoint", make()[:-3], make() + b"more", os.urandom(70_000)]):
        bare_repo.track(f"{number}.bin")
        bare_repo.write(data, f"{number}.bin")
    bare_repo.commit()
    kept = {path.name: path.read_bytes() for path in bare_repo.top.glob("*.bin")}
    for name in kept:
        (bare_repo.top / name).unlink()
    bare_repo.git("checkout", "--quiet", "--", ".")
    assert {path.name: path.read_bytes() for path in bare_repo.top.glob("*.bin")} == kept
    bare_repo.check()


def test_interactive_add_and_partial_commit(repo: Repo) -> None:
    repo.write(SECOND)
    (repo.top / "note").write_text("a\n")
    repo.git("add", "note")
    repo.git("add", "--patch", MODEL, data=b"y\ny\ny\n")
    repo.git("commit", "--quiet", "-m", "only the model", "--", MODEL)
    assert repo.status() == "A  note\n"
    assert repo.read() == SECOND
    repo.git("commit", "--quiet", "--amend", "--no-edit", "--all")
    repo.check(SECOND)


def test_archive_has_the_checkpoint(repo: Repo) -> None:
    import io
    import tarfile

    line(repo)
    bare = repo.clone("bare.git", "--bare")
    shutil.copytree(repo.theta, bare.top / "theta")
    bare.git("config", "filter.theta.process", repo.git("config", "filter.theta.process").strip())
    for where in (repo, bare):
        done = where.run("archive", "HEAD")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            member = archive.extractfile(MODEL)
            assert member
            assert member.read() == THIRD


def test_git_dir_and_work_tree_apart(repo: Repo) -> None:
    """``--git-dir`` and ``--work-tree``, as those do who keep their settings under git; from elsewhere, too."""
    apart = repo.top.parent / "apart"
    (repo.top / ".git").rename(apart)
    repo.write(SECOND)
    where = [f"--git-dir={apart}", f"--work-tree={repo.top}"]
    for cwd, options in ((repo.top.parent, where), (repo.top, ["--git-dir=../apart", "--work-tree=."])):
        done = repo.run(*options, "add", "--all", ":/", cwd=cwd)
        assert done.returncode == 0, done.stderr
        done = repo.run(*options, "commit", "--quiet", "--allow-empty", "-m", "apart", cwd=cwd)
        assert done.returncode == 0, done.stderr
        (repo.top / MODEL).touch()
        assert repo.run(*options, "status", "--porcelain", cwd=cwd).stdout == b""
    assert not (repo.top / "theta").exists()
    (repo.top / MODEL).unlink()
    assert repo.run(*where, "checkout", "--", ":/", cwd=repo.top.parent).returncode == 0
    assert repo.read() == SECOND


def test_equal_content_at_two_paths_keeps_both_manifests(repo: Repo) -> None:
    repo.commit(FIRST)
    repo.commit(SECOND)  # A delta, which the same content in another repository is not.
    (repo.top / ".gitattributes").write_text("*.safetensors filter=theta diff=theta merge=theta -text\n")
    elsewhere = Repo(repo.top.parent / "elsewhere", repo.home).init()
    elsewhere.track("other.safetensors")
    elsewhere.commit(SECOND, "other", "other.safetensors")
    shutil.copytree(elsewhere.theta / "objects", repo.theta / "objects", dirs_exist_ok=True)
    text = elsewhere.text("HEAD:other.safetensors")
    blob = repo.git("hash-object", "-w", "--stdin", "--no-filters", data=text).strip()
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},other.safetensors")
    repo.git("add", ".gitattributes")
    repo.git("commit", "--quiet", "--message=other")
    repo.git("checkout", "--", "other.safetensors")
    assert repo.read("other.safetensors") == SECOND
    assert repo.text() != repo.text("HEAD:other.safetensors")
    for path in (MODEL, "other.safetensors"):
        for other in (MODEL, "other.safetensors"):
            os.utime(repo.top / other)
        repo.check(SECOND, path)


def test_a_manifest_that_is_spelt_differently_stays(repo: Repo) -> None:
    repo.commit(FIRST)
    lines = repo.text().decode().split("\n")
    spelt = "\n".join(" " + json.dumps(json.loads(line)) if line.startswith(" {") else line for line in lines)
    assert parse(spelt.encode()) == repo.manifest()
    blob = repo.git("hash-object", "-w", "--stdin", "--no-filters", data=spelt.encode()).strip()
    repo.git("update-index", "--cacheinfo", f"100644,{blob},{MODEL}")
    repo.git("commit", "--quiet", "--message=spelt differently")
    repo.git("reset", "--quiet", "--hard")
    shutil.rmtree(repo.theta / "cache")
    os.utime(repo.top / MODEL)
    repo.check(FIRST)
    assert repo.text(f":{MODEL}") == spelt.encode()
