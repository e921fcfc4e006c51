"""``fsck`` finds whatever is damaged or missing, says which tensors of which versions that costs, and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.api.place import write
from tests.e2e.repo import MODEL, Repo, safetensors
from theta_jupyter import Repository
from theta_jupyter.errors import GitError
from theta_jupyter.git.roads import at_hand
from theta_jupyter.storage import tensors
from theta_jupyter.storage.manifest import Manifest, Record, dump

if TYPE_CHECKING:
    from collections.abc import Callable

    from theta_jupyter.upkeep import Checked, Loss


@pytest.fixture
def three(repo: Repo) -> Repo:
    """Three versions: of all, then with another ``b``, then with another ``wide``."""
    repo.commit(safetensors(b=1), "another b")
    repo.commit(safetensors(b=1, wide=2), "another wide")
    return repo


def place(repo: Repo, tensor: str, ref: str = "HEAD") -> tuple[Path, int, int]:
    """Where what was last stored for a tensor lies: the object, and the part of it."""
    last = list(repo.manifest(f"{ref}:{MODEL}").records[tensor].objects)[-1]
    return repo.worktree.store.path(last.object), last.offset, last.stored


def damage(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.chmod(0o644)
    path.write_bytes(data)


def flip(position: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[position] ^= 1

    return change


def lost(found: Checked) -> list[tuple[str, tuple[str, ...]]]:
    return [(loss.subject, loss.tensors) for loss in found.losses]


def only(found: Checked) -> Loss:
    (loss,) = found.losses
    return loss


def test_all_is_well(three: Repo) -> None:
    found = Repository().fsck()
    assert (found.exit_status, found.faults, found.losses, found.unchecked) == (0, (), (), ())
    assert (found.versions, found.whole, found.elsewhere, found.unneeded) == (3, 3, 0, 0)
    assert found.objects == len(three.objects)
    assert found.size == sum(three.worktree.store.path(name).stat().st_size for name in three.objects)
    # Each once: five of the first version, and one more in each of the others.
    assert found.tensors == 7
    assert found.headline().startswith("all is well: 3 versions, 7 tensors, ")
    quick = Repository().fsck(quick=True)
    assert (quick.exit_status, quick.tensors, quick.whole) == (0, 0, 3)


@pytest.mark.parametrize("quick", [False, True])
def test_a_flipped_bit(quick: bool, three: Repo) -> None:
    path, _, size = place(three, "wide", "HEAD~1")
    damage(path, flip(size // 2))
    found = Repository().fsck(quick=quick)
    assert found.exit_status == 1
    assert [(fault.object, fault.problem, fault.needed) for fault in found.faults] == [(path.name, "damaged", True)]
    assert lost(found) == [("another b", ("wide",)), ("first", ("wide",))]
    assert all(loss.path == MODEL and loss.count == 5 for loss in found.losses)
    assert [loss.commit for loss in found.losses] == [three.head("HEAD~1"), three.head("HEAD~2")]
    assert (found.versions, found.whole) == (3, 1)
    assert found.standing == {MODEL: three.head()}
    assert f"object {path.name[:12]} is damaged" in found.losses[0].reason


def test_a_flipped_bit_in_a_bundle_costs_one_tensor(three: Repo) -> None:
    path, offset, size = place(three, "c")
    damage(path, flip(offset + size - 1))
    found = Repository().fsck()
    assert {tensors for _, tensors in lost(found)} == {("c",)}
    assert len(found.losses) == 3
    # A quick check cannot tell.
    assert ("first", ("a", "b", "c", "d")) in lost(Repository().fsck(quick=True))


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("change", [lambda data: data.pop(), lambda data: data.clear(), lambda data: data.append(0)])
def test_another_length(change: Callable[[bytearray], object], quick: bool, three: Repo) -> None:
    path, _, _ = place(three, "wide")
    damage(path, change)
    found = Repository().fsck(quick=quick)
    assert [(fault.object, fault.problem) for fault in found.faults] == [(path.name, "damaged")]
    assert lost(found) == [("another wide", ("wide",))]
    assert found.standing == {MODEL: three.head("HEAD~1")}


@pytest.mark.parametrize("quick", [False, True])
def test_a_missing_object(quick: bool, three: Repo) -> None:
    path, _, _ = place(three, "wide")
    path.unlink()
    found = Repository().fsck(quick=quick)
    assert found.exit_status == 1
    assert [(fault.object, fault.problem, fault.remotes) for fault in found.faults] == [(path.name, "missing", ())]
    assert lost(found) == [("another wide", ("wide",))]
    assert "is missing" in only(found).reason
    assert any(note.startswith("no remote is known to have that") for note in found.notes())


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("change", [flip(-1), lambda data: data.clear(), None])
def test_the_rest_of_the_file(change: Callable[[bytearray], object] | None, quick: bool, repo: Repo) -> None:
    path = repo.worktree.store.path(repo.manifest().header.skeleton.object)
    if change is None:
        path.unlink()
    else:
        damage(path, change)
    loss = only(Repository().fsck(quick=quick))
    assert (loss.subject, loss.tensors, loss.count) == ("first", (), 5)
    assert path.name[:12] in loss.reason


def put(repo: Repo, manifest: Manifest | bytes, path: str = MODEL) -> None:
    """Commit a manifest, as it is."""
    text = manifest if isinstance(manifest, bytes) else dump(manifest)
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", data=text).strip()
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    repo.git("commit", "--quiet", "-m", "put")


def changed(manifest: Manifest, tensor: str, **fields: object) -> Manifest:
    record: Record = msgspec.structs.replace(manifest.records[tensor], **fields)
    return Manifest(manifest.header, {**manifest.records, tensor: record})


def test_a_record_with_a_hash_that_is_wrong(repo: Repo) -> None:
    put(repo, changed(repo.manifest(), "b", blake3="0" * 64))
    found = Repository().fsck()
    assert found.faults == ()
    assert (only(found).subject, only(found).tensors) == ("put", ("b",))
    assert "does not have its hash" in only(found).reason
    assert found.exit_status == 1
    # Objects are as they should be, and that is all that a quick check looks at.
    assert Repository().fsck(quick=True).exit_status == 0


def test_a_record_that_is_of_another_tensor(repo: Repo) -> None:
    manifest = repo.manifest()
    put(repo, changed(manifest, "b", nodes=manifest.records["c"].nodes))
    assert only(Repository().fsck()).tensors == ("b",)


def test_a_manifest_that_says_another_size(repo: Repo) -> None:
    """Then the object counts as missing wherever it is wanted."""
    manifest = repo.manifest()
    node = manifest.records["wide"].nodes[-1]
    place = msgspec.structs.replace(node.place, size=node.place.size + 1, length=node.place.size)
    put(repo, changed(manifest, "wide", nodes=(msgspec.structs.replace(node, place=place),)))
    for quick in (False, True):
        loss = only(Repository().fsck(quick=quick))
        assert (loss.subject, loss.tensors) == ("put", ("wide",))
        assert "has another size" in loss.reason


def test_a_manifest_and_a_file_that_do_not_belong_together(repo: Repo) -> None:
    manifest = repo.manifest()
    put(repo, Manifest(manifest.header, {name: r for name, r in manifest.records.items() if name != "b"}))
    loss = only(Repository().fsck())
    assert (loss.tensors, loss.count) == ((), 4)
    assert "are not those of its file" in loss.reason


def test_a_manifest_that_cannot_be_read(repo: Repo) -> None:
    put(repo, repo.text().replace(b"\n\n", b"\n<<<<<<<\n", 1))
    loss = only(Repository().fsck())
    assert (loss.tensors, loss.count) == ((), 0)
    assert loss.reason


def test_a_manifest_of_a_version_to_come_is_not_judged(repo: Repo) -> None:
    put(repo, repo.text().replace(b"manifest 1", b"manifest 2"))
    put(repo, b"theta manifest is what this is not\n" * 10, "notes.txt")
    found = Repository().fsck()
    assert (found.exit_status, found.versions) == (0, 1)
    assert "version 2" in found.unchecked[0]
    assert found.unchecked[0] in found.notes()


def test_an_update_that_is_not_installed_is_not_judged(repo: Repo) -> None:
    repo.commit(safetensors(b=1), "second")
    manifest = repo.manifest()
    first = repo.manifest(f"HEAD~1:{MODEL}").records["wide"].nodes[0]
    last = msgspec.structs.replace(manifest.records["wide"].nodes[-1], update="unheard-of", bases=(0,))
    put(repo, changed(manifest, "wide", nodes=(first, last)))
    found = Repository().fsck()
    assert (found.exit_status, found.losses) == (0, ())
    assert "'unheard-of'" in found.unchecked[0]


def test_what_nothing_needs_is_counted(three: Repo) -> None:
    three.worktree.store.write(b"stray")
    found = Repository().fsck()
    assert (found.exit_status, found.unneeded, found.objects) == (0, 1, len(three.objects))
    damage(three.worktree.store.path(hashlib.sha256(b"stray").hexdigest()), flip(0))
    found = Repository().fsck()
    assert (found.exit_status, found.losses) == (1, ())
    assert [(fault.problem, fault.needed) for fault in found.faults] == [("damaged", False)]
    assert found.headline().startswith("nothing is lost")


def test_reflogs_only_if_asked_for(three: Repo) -> None:
    path, _, _ = place(three, "wide")
    three.git("reset", "--quiet", "--hard", "HEAD~1")
    path.unlink()
    assert Repository().fsck().exit_status == 0
    found = Repository().fsck(every=True)
    assert lost(found) == [("another wide", ("wide",))]


def test_what_is_only_staged(three: Repo) -> None:
    three.write(safetensors(b=1, wide=7))
    three.git("add", MODEL)
    path, _, _ = place(three, "wide", "")
    path.unlink()
    loss = only(Repository().fsck())
    assert (loss.path, loss.commit, loss.tensors, loss.where) == (MODEL, "", ("wide",), "index")


def test_what_only_a_tag_knows_of(three: Repo) -> None:
    text = dump(changed(three.manifest(), "b", blake3="0" * 64))
    three.git("tag", "odd", three.git("hash-object", "-w", "--no-filters", "--stdin", data=text).strip())
    loss = only(Repository().fsck())
    assert (loss.path, loss.commit, loss.tensors) == ("", "", ("b",))


def test_one_manifest_at_two_paths(repo: Repo) -> None:
    repo.track("two.safetensors")
    repo.commit(safetensors(), "copied", "two.safetensors")
    assert repo.text("HEAD:two.safetensors") == repo.text()
    place(repo, "wide")[0].unlink()
    found = Repository().fsck()
    assert {(loss.path, loss.subject) for loss in found.losses} == {(MODEL, "first"), ("two.safetensors", "copied")}
    assert (found.versions, found.whole) == (1, 0)


def test_a_version_of_a_side_branch(forked: Repo) -> None:
    path, _, _ = place(forked, "c", "theirs")
    path.unlink()
    found = Repository().fsck()
    assert ("theirs again", ("b", "c")) in lost(found)
    assert found.whole == found.versions - 1


def test_a_clone_that_has_only_what_it_was_asked_for(bare: Repo, repo: Repo) -> None:
    repo.commit(safetensors(wide=2), "second")
    Repository().push()
    clone = bare.clone("clone")
    Repository.init(clone.top)
    found = Repository(clone.top).fsck()
    assert (found.exit_status, found.versions, found.whole, found.elsewhere) == (0, 2, 1, 1)
    assert {(fault.problem, fault.remotes) for fault in found.faults} == {("missing", ("origin",))}
    assert any("should be on a remote" in note for note in found.notes())
    # What was never pushed is nowhere else.
    clone.commit(safetensors(wide=3), "third")
    path, _, _ = place(clone, "wide")
    path.unlink()
    found = Repository(clone.top).fsck()
    assert lost(found) == [("third", ("wide",))]
    assert (found.whole, found.elsewhere) == (1, 1)


def test_the_way_back_from_a_remote(bare: Repo, repo: Repo) -> None:
    """What is told to do is done, and all is well again."""
    path, _, size = place(repo, "wide")
    os.chdir(repo.top)
    # The remote shares its files with this one.
    shutil.copy(path, copy := path.with_name("copy"))
    path.unlink()
    copy.rename(path)
    damage(path, flip(size // 2))
    found = Repository().fsck()
    (fault,) = found.faults
    assert (fault.problem, fault.remotes) == ("damaged", ("origin",))
    assert lost(found) == [("first", ("wide",))]
    assert any(note.startswith("origin should have that: delete what is damaged") for note in found.notes())
    Path(fault.path).unlink()
    Repository().fetch()
    assert Repository().fsck().exit_status == 0
    assert bare.objects >= {path.name}


def test_what_lies_at_hand_is_not_taken_for_what_is_stored(repo: Repo) -> None:
    repository = Repository()
    path, _, size = place(repo, "wide")
    damage(path, flip(size // 2))
    with at_hand(repository.worktree, [(MODEL, repo.manifest())]):
        # The file is there, so whoever merges would have the tensor all the same.
        assert len(tensors.decode(repo.manifest().records["wide"], repository.worktree.store, "wide"))
        assert only(repository.fsck()).tensors == ("wide",)


def test_a_version_is_of_the_commit_that_made_it_first(three: Repo) -> None:
    first = three.head("HEAD~2")
    three.commit(safetensors(), "first again")
    place(three, "wide", first)[0].unlink()
    found = Repository().fsck()
    assert [loss.subject for loss in found.losses] == ["another b", "first"]
    assert found.standing == {MODEL: three.head("HEAD~1")}


def test_each_record_is_rebuilt_once(three: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    three.commit(safetensors(), "first again")
    decode, names = tensors.decode, []

    def counted(record: Record, *rest: object, **options: object) -> memoryview:
        names.append(record.blake3)
        return decode(record, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tensors, "decode", counted)
    assert Repository().fsck().tensors == len(names) == len(set(names)) == 7


def test_a_damaged_history_is_git_s_to_tell(three: Repo) -> None:
    first = three.head("HEAD~2")
    (three.top / ".git/objects" / first[:2] / first[2:]).unlink()
    with pytest.raises(GitError, match="history cannot be walked") as caught:
        Repository().fsck()
    assert "git fsck" in caught.value.hint


def test_progress_is_told(three: Repo) -> None:
    told: set[str] = set()
    Repository(progress=lambda what, done, total: told.add(what) if done == total else None).fsck()
    assert told == {"checking objects", "reading the history", "rebuilding"}
    assert three.status() == ""


def test_a_repository_without_commits(empty: Repo) -> None:
    Repository.init()
    found = Repository().fsck()
    assert (found.exit_status, found.versions, found.objects) == (0, 0, 0)
    write()
    Repository().track(MODEL)
    Repository().add()
    assert (Repository().fsck().versions, len(empty.objects)) == (1, 3)
