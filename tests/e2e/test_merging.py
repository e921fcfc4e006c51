"""The merge driver under real git: what settles itself, what is a conflict, and that nothing is lost either way."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import save

from tests.e2e.repo import MODEL, Repo, safetensors, torch_file, weights
from theta_jupyter.storage.manifest import Manifest, dump, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

FORMATS = pytest.mark.parametrize("make", [safetensors, torch_file])


NEW, OTHER = np.ones((3, 3), np.float32), np.ones((5, 3), np.float32)


@pytest.fixture(params=["a terminal", "no terminal"])
def anyhow(repo: Repo, request: pytest.FixtureRequest) -> Iterator[Repo]:
    """The repository, with and without somebody who could be asked."""
    with repo.at_a_terminal() if request.param == "a terminal" else contextlib.nullcontext():
        yield repo


def fork(repo: Repo, ours: bytes | None, theirs: bytes | None, base: bytes | None = None) -> None:
    """Commit one version on ``main`` and one on ``side``; None deletes the file."""
    if base is not None:
        repo.commit(base, "base")
    repo.git("switch", "--quiet", "--create", "side")
    _one(repo, theirs, "theirs")
    repo.git("switch", "--quiet", "main")
    _one(repo, ours, "ours")


def _one(repo: Repo, data: bytes | None, message: str) -> None:
    if data is None:
        repo.git("rm", "--quiet", MODEL)
    repo.commit(data, message)


def stages(repo: Repo) -> dict[int, bytes]:
    """Texts in the index stages of the model."""
    lines = repo.git("ls-files", "--unmerged").split("\n")[:-1]
    return {int(line.split()[2]): repo.text(line.split()[1]) for line in lines}


@FORMATS
def test_what_settles_itself(anyhow: Repo, make: Callable[..., bytes]) -> None:
    repo = anyhow
    fork(repo, make(a=1, wide=3, d=4), make(c=2, d=4), make())
    repo.git("merge", "--quiet", "side")
    repo.check(make(a=1, wide=3, c=2, d=4))
    repo.git("merge", "--quiet", "side")
    # One side only: git itself takes it.
    repo.git("switch", "--quiet", "side")
    repo.git("merge", "--quiet", "main")
    repo.check(make(a=1, wide=3, c=2, d=4))


def test_conflict(anyhow: Repo) -> None:
    repo, make = anyhow, safetensors
    fork(repo, make(a=1, b=1), make(a=2, c=2), make())
    said = repo.fails("merge", "side")
    assert "1 of 5 tensors in conflict" in said
    assert ": a\n" in said or "/a\n" in said
    found = stages(repo)
    assert [found[number] for number in (1, 2, 3)] == [
        repo.text(f"{ref}:{MODEL}") for ref in ("main~1", "main", "side")
    ]
    for text in found.values():
        parse(text)
    # Undecided is ours, decided is merged: a whole checkpoint.
    assert repo.read() == make(a=1, b=1, c=2)
    assert repo.status() == f"UU {MODEL}\n"
    (repo.top / MODEL).touch()
    assert repo.status() == f"UU {MODEL}\n"
    repo.git("diff")
    repo.git("merge", "--abort")
    repo.check(make(a=1, b=1))
    assert repo.run("merge", "side").returncode == 1
    repo.git("checkout", "--theirs", "--", MODEL)
    assert repo.read() == make(a=2, c=2)
    repo.git("checkout", "--merge", "--", MODEL)
    assert repo.read() == make(a=1, b=1, c=2)
    # By accident, no; on purpose, yes.
    assert MODEL in repo.fails("commit", "--all", "-m", "accident")
    repo.git("add", MODEL)
    repo.git("commit", "--quiet", "-m", "purpose")
    repo.check(make(a=1, b=1, c=2))


def test_commit_all_is_allowed_otherwise(repo: Repo) -> None:
    repo.write(safetensors(a=1))
    repo.git("commit", "--quiet", "--all", "-m", "fine")
    repo.check()
    repo.write(safetensors(a=2))
    repo.git("commit", "--quiet", "-m", "fine, too", "--", MODEL)
    repo.check(safetensors(a=2))


@pytest.mark.parametrize("equal", [True, False])
def test_added_on_both_sides(bare_repo: Repo, *, equal: bool) -> None:
    repo = bare_repo
    repo.track()
    repo.commit()
    fork(repo, safetensors(), safetensors() if equal else safetensors(b=1))
    if equal:
        repo.git("merge", "--quiet", "side")
    else:
        assert "1 of 5 tensors in conflict: b" in repo.fails("merge", "side")
        assert sorted(stages(repo)) == [2, 3]
        repo.git("add", MODEL)
        repo.git("commit", "--quiet", "-m", "merge")
    repo.check(safetensors())


def test_structure_on_one_side_values_on_the_other(repo: Repo) -> None:
    grown = weights(c=3) | {"new": np.ones((3, 3), np.float32)}
    grown.pop("d")
    fork(repo, save(grown), safetensors(a=1))
    repo.git("merge", "--quiet", "side")
    repo.check(save(grown | {"a": weights(a=1)["a"]}))


def saved(**changed: npt.NDArray[Any] | None) -> bytes:
    """The model, with tensors of these values; without those that are None."""
    tree = weights() | changed
    return save({name: value for name, value in tree.items() if value is not None})


def origin(repo: Repo) -> Repo:
    """A bare repository with all of this, and a clone of it."""
    bare = Repo(repo.top.parent / "origin.git", repo.home)
    bare.top.mkdir()
    bare.git("init", "--quiet", "--bare", "--initial-branch=main")
    repo.git("remote", "add", "origin", str(bare.top))
    repo.git("push", "--quiet", "--set-upstream", "origin", "main")
    clone = Repo(repo.top.parent / "clone", repo.home).init()
    clone.git("remote", "add", "origin", str(bare.top))
    clone.git("fetch", "--quiet", "origin")
    clone.git("checkout", "--quiet", "main")
    return clone


WAYS = {
    "merge": ["merge", "--quiet", "side"],
    "rebase": ["rebase", "--quiet", "side"],
    "cherry-pick": ["cherry-pick", "side"],
    "merge without a commit": ["merge", "--quiet", "--no-commit", "side"],
    "the older strategy": ["merge", "--quiet", "--strategy=recursive", "side"],
}


@pytest.mark.parametrize("way", WAYS)
def test_both_sides_add_tensors(repo: Repo, way: str) -> None:
    fork(repo, saved(new=NEW), saved(b=weights(b=1)["b"], other=OTHER))
    repo.git(*WAYS[way])
    assert repo.read() == saved(b=weights(b=1)["b"], new=NEW, other=OTHER)
    if way == "merge without a commit":
        repo.commit()
    # Stored anew it is the manifest that the driver made, and a clone has all it needs.
    text = repo.text()
    (repo.theta / "cache").rename(repo.top / ".git" / "away")
    repo.check()
    assert repo.text() == text
    clone = origin(repo)
    clone.check(saved(b=weights(b=1)["b"], new=NEW, other=OTHER))


def test_revert_and_stash_pop_with_tensors_added_on_both_sides(anyhow: Repo) -> None:
    repo = anyhow
    repo.commit(saved(new=NEW))
    repo.commit(saved(new=NEW, other=OTHER))
    repo.git("revert", "--no-edit", "HEAD~1")
    repo.check(saved(other=OTHER))
    repo.write(saved(other=OTHER, d=None))
    repo.git("stash", "push", "--quiet")
    repo.commit(saved(other=OTHER, new=NEW))
    repo.git("stash", "pop", "--quiet")
    assert repo.read() == saved(other=OTHER, new=NEW, d=None)
    assert repo.status() == f" M {MODEL}\n"


@pytest.mark.parametrize("how", ["--no-rebase", "--rebase"])
def test_pull_of_another_structure(repo: Repo, how: str) -> None:
    """The other side has only just come, without objects; what is needed of them is fetched."""
    clone = origin(repo)
    clone.commit(saved(other=OTHER))
    clone.git("push", "--quiet", "origin", "main")
    repo.commit(saved(new=NEW))
    repo.git("pull", "--quiet", how)
    repo.check(saved(new=NEW, other=OTHER))


def test_without_the_structures_it_is_a_conflict(repo: Repo) -> None:
    clone = origin(repo)
    clone.commit(saved(other=OTHER))
    clone.git("push", "--quiet", "origin", "main")
    repo.commit(saved(new=NEW))
    repo.git("fetch", "--quiet", "origin")
    said = repo.fails("merge", "origin/main", env={"GIT_THETA_SKIP_SMUDGE": "1"})
    assert "the file is ours as a whole; 1 change of theirs is not in it: other" in said
    assert repo.read() == saved(new=NEW)
    repo.git("merge", "--abort")
    # Nor can anything be fetched from what is gone.
    (repo.top.parent / "origin.git").rename(repo.top.parent / "away")
    said = repo.fails("merge", "origin/main")
    assert "the structures of the two sides could not be merged: git lfs fetch failed" in said
    assert "(structure) in conflict" in said
    assert repo.read() == saved(new=NEW)
    repo.git("merge", "--abort")
    repo.check(saved(new=NEW))


def test_a_store_that_cannot_be_written_to(repo: Repo) -> None:
    fork(repo, saved(new=NEW), saved(other=OTHER))
    temporary = repo.theta / "tmp"
    temporary.rmdir()
    temporary.write_bytes(b"")
    said = repo.fails("merge", "side")
    assert "the structures of the two sides could not be merged: cannot store" in said
    assert "(structure) in conflict" in said
    parse(repo.text(f":2:{MODEL}"))
    temporary.unlink()
    repo.git("checkout", "--quiet", "--ours", "--", MODEL)
    assert repo.read() == saved(new=NEW)
    repo.git("merge", "--abort")
    repo.check(saved(new=NEW))


def test_merge_tree(repo: Repo) -> None:
    """Nothing is checked out, and there need be no work tree."""
    fork(repo, saved(new=NEW), saved(other=OTHER))
    tree = repo.git("merge-tree", "--write-tree", "main", "side").strip()
    assert set(repo.manifest(f"{tree}:{MODEL}").records) == {*weights(), "new", "other"}
    repo.check(saved(new=NEW))
    (repo.top / ".git/info/attributes").write_text(f"{MODEL} merge=theta\n")
    bare = Repo(repo.top / ".git", repo.home)
    repo.git("config", "core.bare", "true")
    assert bare.git("merge-tree", "--write-tree", "main", "side").strip() == tree
    repo.git("config", "core.bare", "false")


def test_structure_on_both_sides_of_a_format_that_builds_none(repo: Repo) -> None:
    def file(**more: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save({name: torch.from_numpy(value) for name, value in (weights() | more).items()}, buffer)
        return buffer.getvalue()

    ours, theirs = file(new=NEW), file(b=weights(b=1)["b"], other=OTHER)
    fork(repo, ours, theirs, file())
    said = repo.fails("merge", "side")
    assert "(structure) in conflict" in said
    assert "the file is ours as a whole; 2 changes of theirs are not in it: b, other" in said
    assert repo.read() == ours


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_tensor_renamed_on_one_side(repo: Repo, side: str) -> None:
    """The other side trained it, and added one, too."""
    value = weights(a=1)["a"]
    renamed, trained = saved(z=weights()["a"], a=None), saved(a=value, new=NEW)
    fork(repo, *((renamed, trained) if side == "ours" else (trained, renamed)))
    repo.git("merge", "--quiet", "side")
    repo.check(saved(z=value, a=None, new=NEW))


def test_a_tensor_renamed_and_changed_against_changed(repo: Repo) -> None:
    wide = weights()["wide"]
    fork(repo, saved(wide=None, big=wide * np.float32(1.01)), saved(wide=wide * 2, c=weights(c=1)["c"]))
    assert "1 of 5 tensors in conflict: big" in repo.fails("merge", "side")
    assert repo.read() == saved(wide=None, big=wide * np.float32(1.01), c=weights(c=1)["c"])


def test_an_embedding_that_was_trimmed_on_one_side(anyhow: Repo) -> None:
    repo = anyhow
    small = weights()["wide"][:100].copy()
    fork(repo, saved(wide=small), saved(a=weights(a=1)["a"], new=NEW))
    repo.git("merge", "--quiet", "side")
    repo.check(saved(wide=small, a=weights(a=1)["a"], new=NEW))


def test_resized_against_changed(anyhow: Repo) -> None:
    """That tensor is in conflict, the rest is merged."""
    repo = anyhow
    small, changed = weights()["wide"][:100].copy(), weights(wide=1, a=1)
    fork(repo, saved(wide=small, b=weights(b=2)["b"]), saved(wide=changed["wide"], a=changed["a"], new=NEW))
    said = repo.fails("merge", "side")
    assert "1 of 6 tensors in conflict: wide" in said
    assert "(structure)" not in said
    assert repo.read() == saved(wide=small, b=weights(b=2)["b"], a=changed["a"], new=NEW)


def test_metadata_of_different_kinds_on_both_sides(repo: Repo) -> None:
    fork(repo, save(weights(), {"epoch": "1"}), save(weights(), {"lr": "0.1"}), save(weights(), {"epoch": "0"}))
    # It is there in theirs, only without the epoch.
    assert "(structure) in conflict" in repo.fails("merge", "side")
    repo.git("merge", "--abort")
    repo.git("switch", "--quiet", "side")
    repo.commit(save(weights(), {"epoch": "0", "lr": "0.1"}))
    repo.git("switch", "--quiet", "main")
    repo.git("merge", "--quiet", "side")
    assert sorted(_metadata(repo.read()).items()) == [("epoch", "1"), ("lr", "0.1")]


def _metadata(data: bytes) -> dict[str, str]:
    header: dict[str, Any] = msgspec.json.decode(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: dict[str, str] = header["__metadata__"]
    return found


def test_metadata_on_both_sides(repo: Repo) -> None:
    """Only that is undecided; the tensors merge."""
    fork(repo, save(weights(a=1), {"epoch": "1"}), save(weights(b=2), {"epoch": "2"}), save(weights(), {"epoch": "0"}))
    said = repo.fails("merge", "side")
    assert "(structure) in conflict" in said
    assert "as a whole" not in said
    assert repo.read() == save(weights(a=1, b=2), {"epoch": "1"})


def opaque(first: int, second: int) -> bytes:
    return bytes([first]) + bytes(64 << 20) + bytes([second])


@pytest.mark.parametrize("driver", [True, False])
def test_opaque_files_are_never_mixed(repo: Repo, *, driver: bool) -> None:
    if not driver:
        repo.git("config", "--unset-all", "merge.theta.driver")
        (repo.top / ".git/info/attributes").write_text(f"{MODEL} merge=text\n")
    fork(repo, opaque(1, 0), opaque(0, 1), opaque(0, 0))
    said = repo.fails("merge", "side")
    assert "CONFLICT" in said
    if driver:
        assert "the file is ours as a whole; 1 change of theirs is not in it: bytes/0001" in said
        assert repo.read() == opaque(1, 0)


def test_reshaped_against_changed_is_a_whole_file(repo: Repo) -> None:
    """As many bytes, but of another shape: a mixture would say one thing in its header and another in its record."""
    ours, theirs = safetensors(a=1), save(weights() | {"a": weights()["a"].reshape(4, 16)})
    fork(repo, ours, theirs)
    assert "in conflict: a" in repo.fails("merge", "side")
    assert repo.read() == ours
    repo.git("add", MODEL)
    assert repo.manifest(f":{MODEL}").records["a"].shape == (8, 8)


@pytest.mark.parametrize("deleted", ["ours", "theirs"])
def test_deleted_against_changed(repo: Repo, deleted: str) -> None:
    changed = safetensors(a=1)
    fork(repo, None if deleted == "ours" else changed, None if deleted == "theirs" else changed)
    repo.fails("merge", "side")
    assert repo.read() == changed
    repo.git("merge", "--abort")
    repo.check()
    # A tensor, not the file.
    repo.git("reset", "--quiet", "--hard", "main~1")
    repo.git("branch", "-D", "side")
    less = weights()
    less.pop("a")
    fork(repo, save(less) if deleted == "ours" else changed, save(less) if deleted == "theirs" else changed)
    assert "in conflict: a" in repo.fails("merge", "side")
    assert repo.read() == (save(less) if deleted == "ours" else changed)


def test_renamed_on_one_side(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--create", "side")
    repo.git("mv", MODEL, "renamed model.safetensors")
    repo.track("renamed model.safetensors")
    repo.commit(message="rename")
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(a=1))
    repo.git("merge", "--quiet", "side")
    repo.check(safetensors(a=1), "renamed model.safetensors")


def test_criss_cross(repo: Repo) -> None:
    """Two common ancestors that conflict themselves: the driver is asked for a made-up one, which must be valid."""
    fork(repo, safetensors(a=1, b=1), safetensors(a=2, c=1))
    repo.git("branch", "first")
    assert repo.run("merge", "side").returncode == 1
    repo.commit(safetensors(a=1, b=1, c=1), "main took its own")
    repo.git("switch", "--quiet", "side")
    assert repo.run("merge", "first").returncode == 1
    repo.commit(safetensors(a=2, b=1, c=1), "side took its own")
    repo.commit(safetensors(a=2, b=1, c=1, d=7))
    repo.git("switch", "--quiet", "main")
    assert len(repo.git("merge-base", "--all", "main", "side").split()) == 2
    assert "1 of 5 tensors in conflict: a" in repo.fails("merge", "side")
    assert repo.read() == safetensors(a=1, b=1, c=1, d=7)
    parse(stages(repo)[1])
    assert stages(repo)[1] != stages(repo)[2]
    repo.git("merge", "--abort")
    assert "1 of 5 tensors in conflict: a" in repo.fails("merge", "--strategy=recursive", "side")
    repo.git("merge", "--abort")
    repo.check(safetensors(a=1, b=1, c=1))


def test_criss_cross_of_structures(repo: Repo) -> None:
    """Both merge the other: it is one file, whoever did it, so nothing is in conflict later."""
    fork(repo, saved(new=NEW), saved(other=OTHER))
    repo.git("branch", "first")
    repo.git("merge", "--quiet", "side")
    merged = repo.text()
    repo.git("switch", "--quiet", "side")
    repo.git("merge", "--quiet", "first")
    assert repo.text() == merged
    repo.commit(saved(other=OTHER, new=NEW, more=NEW))
    repo.git("switch", "--quiet", "main")
    repo.commit(saved(other=OTHER, new=NEW, a=None))
    assert len(repo.git("merge-base", "--all", "main", "side").split()) == 2
    repo.git("merge", "--quiet", "side")
    repo.check(saved(other=OTHER, new=NEW, more=NEW, a=None))


def test_octopus(repo: Repo) -> None:
    for name, layer in (("one", "a"), ("two", "b")):
        repo.git("switch", "--quiet", "--create", name, "main")
        repo.commit(safetensors(**{layer: 1}))
    repo.git("switch", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-edit", "one", "two")
    assert repo.status() == ""
    # Git's octopus leaves the manifest in the work tree, and says nothing; what is committed is right.
    assert parse(repo.read()) == repo.manifest()
    repo.git("checkout", "--", MODEL)
    assert parse(repo.read()) == repo.manifest()
    repo.git("theta", "checkout", "--", MODEL)
    repo.check(safetensors(a=1, b=1))


def test_text_merge_where_nobody_has_the_driver(repo: Repo) -> None:
    repo.git("config", "--unset-all", "merge.theta.driver")
    repo.git("config", "--unset-all", "merge.theta.name")
    repo.git("config", "--unset-all", "merge.theta.recursive")
    (repo.top / ".git/info/attributes").write_text(f"{MODEL} merge=text\n")
    fork(repo, safetensors(a=1, wide=3), safetensors(b=1, d=2))
    repo.git("merge", "--quiet", "side")
    repo.check(safetensors(a=1, wide=3, b=1, d=2))
    # What cannot be merged so is text with marks, which cannot be committed by accident, nor stops git.
    repo.git("switch", "--quiet", "--create", "third", "HEAD~2")
    repo.commit(safetensors(a=9))
    repo.run("merge", "main")
    assert b"<<<<<<<" in repo.read()
    assert "UU" in repo.status()
    assert "conflict markers" in repo.fails("add", MODEL)
    repo.git("checkout", "--ours", "--", MODEL)
    repo.git("merge", "--abort")
    repo.check(safetensors(a=9))


def test_a_mixture_that_a_server_made_is_never_checked_out(repo: Repo) -> None:
    """As somebody may have settled it there, in an editor: the one's header, the other's tensors."""
    fork(repo, saved(new=NEW), saved(a=weights(a=1)["a"], other=OTHER))
    ours, theirs = repo.manifest(), repo.manifest(f"side:{MODEL}")
    faults = [
        Manifest(ours.header, theirs.records),
        Manifest(ours.header, {**ours.records, "new": msgspec.structs.replace(ours.records["new"], shape=(9, 2))}),
        Manifest(ours.header, {**ours.records, "new": msgspec.structs.replace(ours.records["a"])}),
    ]
    for fault in faults:
        text = dump(fault)
        blob = repo.git("hash-object", "-w", "--stdin", "--no-filters", data=text).strip()
        repo.git("update-index", "--cacheinfo", f"100644,{blob},{MODEL}")
        repo.git("commit", "--quiet", "-m", "settled on the server")
        (repo.top / MODEL).unlink()
        done = repo.run("checkout", "--", MODEL)
        assert (done.returncode, repo.read()) == (0, text)
        assert MODEL in done.stderr.decode()
        said = repo.fails("theta", "checkout", "--", MODEL)
        assert "tensor" in said
        assert "Traceback" not in said
        assert repo.read() == text
    repo.git("reset", "--quiet", "--hard", f"HEAD~{len(faults)}")
    repo.check(saved(new=NEW))


@pytest.mark.parametrize("how", ["--continue", "--abort", "--skip"])
def test_rebase_with_a_conflict(anyhow: Repo, how: str) -> None:
    repo = anyhow
    fork(repo, safetensors(a=1), safetensors(a=2, b=2))
    repo.git("switch", "--quiet", "side")
    said = repo.fails("rebase", "main")
    assert "1 of 5 tensors in conflict" in said
    assert repo.read() == safetensors(a=1, b=2)
    if how == "--continue":
        repo.git("checkout", "--theirs", "--", MODEL)
        repo.git("add", MODEL)
    repo.git("rebase", how)
    expected = {"--continue": safetensors(a=2, b=2), "--abort": safetensors(a=2, b=2), "--skip": safetensors(a=1)}
    repo.check(expected[how])


def test_stash_pop_and_cherry_pick_with_a_conflict(anyhow: Repo) -> None:
    repo = anyhow
    repo.write(safetensors(a=2, b=2))
    repo.git("stash", "push", "--quiet")
    repo.commit(safetensors(a=1))
    assert "in conflict: a" in repo.fails("stash", "pop")
    assert repo.read() == safetensors(a=1, b=2)
    repo.git("checkout", "--theirs", "--", MODEL)
    assert repo.read() == safetensors(a=2, b=2)
    repo.git("reset", "--quiet", "--hard")
    repo.git("switch", "--quiet", "--create", "side", "HEAD~1")
    repo.commit(safetensors(a=3, d=3))
    assert "in conflict: a" in repo.fails("cherry-pick", "main")
    repo.git("cherry-pick", "--abort")
    repo.check(safetensors(a=3, d=3))


def test_a_side_without_a_manifest(repo: Repo) -> None:
    """A checkpoint that somebody committed without the filter."""
    repo.git("switch", "--quiet", "--create", "side")
    blob = repo.git("hash-object", "-w", "--stdin", "--no-filters", data=safetensors(b=1)).strip()
    repo.git("update-index", "--cacheinfo", f"100644,{blob},{MODEL}")
    repo.git("commit", "--quiet", "-m", "raw")
    repo.git("reset", "--quiet", "--hard")
    assert repo.read() == safetensors(b=1)
    repo.git("switch", "--quiet", "--force", "main")
    repo.commit(safetensors(a=1))
    assert "no manifest" in repo.fails("merge", "side")
    assert repo.read() == safetensors(a=1)
    repo.git("merge", "--abort")
    repo.check(safetensors(a=1))
