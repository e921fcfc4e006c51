"""What an earlier system of this kind gets wrong, each as a test of this one.

Found by running it and by reading its code and its documentation; see also benchmarks/. All goes through real git.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save
from safetensors.torch import save as save_tensors

from tests.e2e.repo import LAYERS, MODEL, Repo, safetensors, tensors, weights


def pickled(tree: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


def without(*names: str) -> bytes:
    return save({name: value for name, value in weights().items() if name not in names})


def fork(repo: Repo, ours: bytes, theirs: bytes) -> None:
    repo.git("switch", "--quiet", "--create", "side")
    repo.commit(theirs)
    repo.git("switch", "--quiet", "main")
    repo.commit(ours)


@pytest.fixture
def remote(repo: Repo) -> Repo:
    """An empty bare repository, which is the origin of the other."""
    bare = Repo(repo.top.parent / "origin.git", repo.home)
    bare.top.mkdir()
    bare.git("init", "--quiet", "--bare", "--initial-branch=main")
    repo.git("remote", "add", "origin", str(bare.top))
    return bare


def fresh_clone(remote: Repo) -> Repo:
    """A clone on another machine: nothing is there but what was pushed."""
    clone = Repo(remote.top.parent / "fresh", remote.home).init()
    clone.git("remote", "add", "origin", str(remote.top))
    clone.git("fetch", "--quiet", "origin")
    clone.git("checkout", "--quiet", "main")
    return clone


# Merging.

ALIKE = {
    "both add a tensor": save(weights() | {"new": np.ones(3, np.float32)}),
    "both delete a tensor": without("c"),
    "both make the same change": safetensors(a=1),
}


@pytest.mark.parametrize("what", ALIKE)
def test_what_both_sides_did_alike_is_no_conflict(repo: Repo, what: str) -> None:
    changed = ALIKE[what]
    # Beside it each side does something of its own, so that git asks the driver at all.
    mine, yours = (
        save(tensors(changed) | {layer: value})
        for layer, value in (("d", weights(d=2)["d"]), ("wide", weights(wide=2)["wide"]))
    )
    fork(repo, mine, yours)
    repo.git("merge", "--quiet", "side")
    repo.check(save(tensors(changed) | {"d": weights(d=2)["d"], "wide": weights(wide=2)["wide"]}))


def test_what_one_side_did_alone_is_taken_without_a_question(repo: Repo) -> None:
    fork(repo, safetensors(a=1), safetensors(b=1, wide=3))
    with repo.at_a_terminal():
        repo.git("merge", "--quiet", "side")
    repo.check(safetensors(a=1, b=1, wide=3))


def test_a_conflict_waits_in_the_index_and_needs_no_terminal(repo: Repo) -> None:
    fork(repo, safetensors(a=1), safetensors(a=2, b=1))
    assert "1 of 5 tensors in conflict: a" in repo.fails("merge", "side")
    # The file is there, whole, and can be read.
    assert repo.read() == safetensors(a=1, b=1)
    assert repo.status() == f"UU {MODEL}\n"


def test_octopus(repo: Repo) -> None:
    for layer in LAYERS[:2]:
        repo.git("switch", "--quiet", "--create", layer, "main")
        repo.commit(safetensors(**{layer: 1}))
    repo.git("switch", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-edit", *LAYERS[:2])
    repo.git("theta", "checkout", "--", MODEL)
    repo.check(safetensors(a=1, b=1))


# Bytes.


def test_many_small_updates_come_back_bit_for_bit(repo: Repo) -> None:
    """Sums of floats that are added again would drift."""
    values = weights()
    versions = []
    for step in range(3):
        change = np.random.default_rng(step).standard_normal(values["wide"].shape) * 1e-3
        values["wide"] = (values["wide"] + change).astype(np.float32)
        versions.append(save(values))
        repo.commit(versions[-1])
    assert repo.manifest().records["wide"].update == "delta"
    for back, data in enumerate(reversed(versions)):
        repo.git("checkout", "--quiet", f"main~{back}")
        repo.check(data)


SMALLEST = {"less than 1e-8": 0, "one ulp": 1, "the sign of zero": 2, "the bits of a NaN": 3}
"""What is changed, and in which value of the first row."""


def test_the_smallest_change_is_seen(bare_repo: Repo) -> None:
    repo, after = bare_repo, {}
    before = weights()
    before["a"][0, :4] = [1e-9, 1.0, 0.0, np.nan]
    row = np.array([3e-9, np.nextafter(np.float32(1), np.float32(2)), -0.0, np.nan], np.float32)
    row.view(np.uint32)[3] ^= 1
    for what, column in SMALLEST.items():
        changed = before["a"].copy()
        changed[0, column] = row[column]
        after[f"{what}.safetensors"] = save(before | {"a": changed})
        repo.track(f"{what}.safetensors")
        repo.write(save(before), f"{what}.safetensors")
    repo.commit()
    for name, data in after.items():
        assert data != save(before)
        repo.write(data, name)
    assert sorted(repo.status().splitlines()) == sorted(f' M "{name}"' for name in after)
    repo.commit()
    repo.git("checkout", "--quiet", "HEAD~1")
    for name in after:
        repo.check(save(before), name)
    repo.git("checkout", "--quiet", "main")
    for name, data in after.items():
        repo.check(data, name)


def test_a_folded_lora_takes_less_than_the_dense_tensor(bare_repo: Repo) -> None:
    repo = bare_repo
    repo.track()
    random = np.random.default_rng(0)
    weight = (random.standard_normal((512, 512)) * 0.02).astype(np.float32)
    update = random.standard_normal((512, 8)) @ random.standard_normal((8, 512)) * 1e-3
    repo.commit(save({"w": weight}))
    before = repo.objects
    repo.commit(save({"w": (weight + update).astype(np.float32)}))
    new = sum(repo.worktree.store.path(name).stat().st_size for name in repo.objects - before)
    assert 0 < new < weight.nbytes


# History.


def test_after_a_rebase_of_sparse_commits_a_fresh_clone_checks_out(repo: Repo, remote: Repo) -> None:
    """A version rests on nothing that is looked up by commit."""

    def sparse(layer: str, *rows: int) -> dict[str, npt.NDArray[np.float32]]:
        value: npt.NDArray[np.float32] = weights()[layer].copy()
        value[list(rows)] += 1
        return {layer: value}

    repo.git("switch", "--quiet", "--create", "side")
    repo.commit(save(weights() | sparse("wide", 1)))
    repo.commit(save(weights() | sparse("wide", 1, 5)))
    repo.git("switch", "--quiet", "main")
    repo.commit(safetensors(a=1))
    repo.git("switch", "--quiet", "side")
    repo.git("rebase", "--quiet", "main")
    repo.git("push", "--quiet", "origin", "side:main")
    clone = fresh_clone(remote)
    clone.check(save(weights(a=1) | sparse("wide", 1, 5)))
    clone.git("checkout", "--quiet", "HEAD~1")
    clone.check(save(weights(a=1) | sparse("wide", 1)))


def test_after_git_mv_a_push_works(repo: Repo, remote: Repo) -> None:
    repo.git("push", "--quiet", "origin", "main")
    repo.git("mv", MODEL, "moved.safetensors")
    repo.track("moved.safetensors")
    repo.commit(message="moved")
    repo.git("push", "--quiet", "origin", "main")
    fresh_clone(remote).check(safetensors(), "moved.safetensors")


# Formats.


def npz() -> bytes:
    buffer = io.BytesIO()
    arrays: Any = weights()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


NESTED = {"model": {"layers": [torch.ones(3), {"w": torch.arange(6.0).view(2, 3)}]}, "epoch": 3, "name": "x"}


def test_several_formats_in_one_repository(bare_repo: Repo) -> None:
    files = {"a.safetensors": safetensors(), "b.pt": pickled(NESTED), "c.npz": npz(), "d.ckpt": pickled(NESTED)}
    for name, data in files.items():
        bare_repo.track(name)
        bare_repo.write(data, name)
    bare_repo.commit()
    found = {name: bare_repo.manifest(f"HEAD:{name}").header.format for name in files}
    assert found == {"a.safetensors": "safetensors", "b.pt": "torch", "c.npz": "numpy", "d.ckpt": "torch"}
    for name, data in files.items():
        (bare_repo.top / name).unlink()
        bare_repo.git("checkout", "--", name)
        bare_repo.check(data, name)


def test_nested_checkpoints(bare_repo: Repo) -> None:
    bare_repo.track("m.pt")
    bare_repo.commit(pickled(NESTED), path="m.pt")
    assert set(bare_repo.manifest("HEAD:m.pt").records) == {"model/layers/0", "model/layers/1/w"}


def test_small_types(bare_repo: Repo) -> None:
    files: dict[str, bytes] = {}
    for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2):
        tensor = torch.arange(-32.0, 32.0).view(8, 8).to(dtype)
        files |= {f"{dtype}.pt": pickled({"w": tensor}), f"{dtype}.safetensors": save_tensors({"w": tensor})}
    for name, data in files.items():
        bare_repo.track(name)
        bare_repo.write(data, name)
    bare_repo.commit()
    for name, data in files.items():
        assert set(bare_repo.manifest(f"HEAD:{name}").records) == {"w"}
        (bare_repo.top / name).unlink()
        bare_repo.git("checkout", "--", name)
        assert bare_repo.read(name) == data
    bare_repo.check()


def test_tied_tensors_are_stored_once(bare_repo: Repo) -> None:
    embedding = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    bare_repo.track("m.pt")
    bare_repo.commit(pickled({"embed": embedding, "head": embedding}), path="m.pt")
    records = bare_repo.manifest("HEAD:m.pt").records
    assert (records["head"].of, records["head"].nodes) == ("embed", ())
    # In a format that cannot say so, too: the same bytes are one object.
    bare_repo.track()
    bare_repo.commit(save({"embed": embedding.numpy(), "head": embedding.numpy().copy()}))
    records = bare_repo.manifest().records
    assert records["embed"].nodes == records["head"].nodes


def test_metadata_of_safetensors_is_kept(repo: Repo) -> None:
    repo.commit(save(weights(), {"format": "pt", "licence": "MIT"}))
    repo.git("checkout", "--quiet", "HEAD~1")
    repo.git("checkout", "--quiet", "main")
    with safe_open(repo.top / MODEL, "numpy") as file:
        assert file.metadata() == {"format": "pt", "licence": "MIT"}


# Looking.


def test_git_diff_tells_more_than_names(repo: Repo) -> None:
    repo.commit(save(weights() | {"a": weights()["a"] * 2}))
    norm = float(np.sqrt(np.square(weights()["a"].astype(np.float64)).sum()))
    lines = repo.git("diff", "HEAD~1", "HEAD").split("\n")
    (old,) = (line for line in lines if line.startswith("- ") and '"norm"' in line)
    (new,) = (line for line in lines if line.startswith("+ ") and '"norm"' in line)
    assert _norm(old) == pytest.approx(norm, rel=1e-6)
    assert _norm(new) == pytest.approx(2 * norm, rel=1e-6)
    said = repo.git("theta", "diff", "HEAD~1", "HEAD")
    assert "a" in said
    assert "100" in said


def _norm(line: str) -> float:
    return float(line.partition('"norm":')[2].partition(",")[0])
