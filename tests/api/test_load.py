"""Reading versions as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.api.place import write
from tests.e2e.repo import MODEL, weights
from theta_jupyter import Repository, load
from theta_jupyter.errors import GitError, NotARepositoryError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.repo import Repo


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_versions(repo: Repo) -> None:
    write(b=1)
    repository = Repository()
    repository.commit("second")
    repository.branch("old", "HEAD~1")
    write(b=2)
    repository.add()
    write(b=3)
    assert_same(load(MODEL), weights(b=3))
    assert_same(load(MODEL, ":"), weights(b=2))
    assert_same(load(MODEL, "HEAD"), weights(b=1))
    assert_same(load(MODEL, "HEAD~1"), weights())
    assert_same(load(MODEL, "old"), weights())
    assert_same(repository.load(repo.top / MODEL, repo.head()[:8]), weights(b=1))
    (repo.top / MODEL).write_bytes(repo.text())
    assert_same(load(MODEL), weights(b=1))  # A manifest in the work tree stands for its file.


def test_only_what_is_asked_for_is_read(repo: Repo) -> None:
    checkpoint = load(MODEL, "HEAD")
    manifest = repo.manifest()
    wanted = {place.object for place in manifest.records["wide"].objects}
    for name in repo.objects - wanted:
        Repository().worktree.store.path(name).unlink()
    assert "wide" in checkpoint
    assert len(checkpoint) == 5
    assert repr(checkpoint) == f"<{MODEL} at HEAD: 5 tensors, read when asked for>"
    assert np.array_equal(checkpoint["wide"], weights()["wide"])
    assert list(load(MODEL, "HEAD", names=["wide"])) == ["wide"]
    with pytest.raises(Exception, match="tensor 'a' needs object"):
        checkpoint["a"]
    with pytest.raises(KeyError):
        checkpoint["nothing"]


@pytest.mark.parametrize("ref", ["", "HEAD"])
def test_names(repo: Repo, ref: str) -> None:
    assert_same(load(MODEL, ref, ["b", "wide", "b"]), {name: weights()[name] for name in ("b", "wide")})
    with pytest.raises(RequestError, match="has no tensor 'nothing'"):
        load(MODEL, ref, ["b", "nothing"])
    with pytest.raises(KeyError):
        load(MODEL, ref, ["b"])["wide"]
    assert repo.status() == ""


def test_what_is_not_there(repo: Repo, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no\.pt is not a tracked checkpoint in HEAD"):
        load("no.pt", "HEAD")
    with pytest.raises(RequestError, match=r"no\.pt does not exist"):
        load("no.pt")
    with pytest.raises(GitError, match="'nope' is not a commit"):
        load(MODEL, "nope")
    with pytest.raises(NotARepositoryError):
        load(tmp_path / "other" / MODEL, "HEAD")
    assert repo.status() == ""


def test_a_file_outside_any_repository(empty: Repo) -> None:
    data = write()
    assert_same(load(MODEL), weights())
    assert_same(load(empty.top / MODEL, names=["a"]), {"a": weights()["a"]})
    load(MODEL)["a"][0] = 1  # Arrays are the caller's own.
    assert Path(MODEL).read_bytes() == data


@pytest.mark.parametrize("data", [b"", b"short", None])
def test_a_file_that_was_written_to_since(empty: Repo, data: bytes | None) -> None:
    before = write()
    checkpoint = load(empty.top / MODEL)
    assert_same({"a": checkpoint["a"]}, {"a": weights()["a"]})
    Path(MODEL).write_bytes(before + b" " if data is None else data)
    with pytest.raises(RequestError, match="written to since it was loaded"):
        checkpoint["a"]


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.clone(memory_format=torch.contiguous_format).untyped_storage())


def test_torch_files_as_torch_reads_them(repo: Repo) -> None:
    """Views, transposed tensors, tied weights, an optimizer's state, every float that torch has."""
    base = torch.randn(80, 90)
    tied = torch.randn(100, 60, dtype=torch.bfloat16)
    state = {
        "row": base[3],
        "column": base[:, 4],
        "transposed": base.T,
        "strided": base[::2, 1::3],
        "expanded": torch.ones(1, 3).expand(4, 3),
        "tied": tied,
        "tied2": tied,
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "complex": torch.randn(3, dtype=torch.complex64),
        "int": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "half": torch.randn(7).half(),
        "f8": torch.randn(64).to(torch.float8_e4m3fn),
        "f8_5": torch.randn(64).to(torch.float8_e5m2),
    }
    torch.save({"model": state, "optimizer": [{"lr": 0.1, "momentum": base * 2}]}, "t.pt")
    repository = Repository()
    repository.track("t.pt")
    repository.commit("torch")
    expected = {f"model/{name}": tensor for name, tensor in torch.load("t.pt")["model"].items()}
    expected["optimizer/0/momentum"] = base * 2
    for ref in ("", "HEAD"):
        found = load("t.pt", ref).to_torch()
        assert sorted(found) == sorted(expected)
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype
            assert found[name].shape == tensor.shape
            assert bits(found[name]) == bits(tensor)
        arrays = load("t.pt", ref)
        assert np.array_equal(arrays["model/transposed"], base.numpy().T)
        assert arrays["model/tied"].dtype.name == "bfloat16"
        assert arrays["model/f8"].dtype.name == "float8_e4m3fn"
    assert repo.status() == ""


@pytest.mark.usefixtures("repo")
def test_a_change_of_views_and_tied_weights_is_measured() -> None:
    base, head = torch.randn(50, 60), torch.randn(60, 70)
    repository = Repository()
    repository.track("t.pt")
    for add in (0.0, 0.5):
        whole, tied = base + add, head + add
        torch.save({"part": whole[:10], "turned": whole.T, "one": tied, "two": tied}, "t.pt")
        repository.commit(f"plus {add}")
    found = {t.name: t for t in repository.diff("HEAD~1", "HEAD", exact=True).files[0].tensors}
    for name, old in (("part", base[:10]), ("turned", base.T), ("one", head), ("two", head)):
        new = old + 0.5
        assert found[name].l2 == pytest.approx(float((new.double() - old.double()).norm()), rel=1e-6)
        assert found[name].norm == pytest.approx(float(old.double().norm()), rel=1e-6)
        assert found[name].changed == 1
        assert not found[name].estimated


def test_types_that_torch_lacks(empty: Repo) -> None:
    from tests.checkpoints.roundtrip import safetensors_file

    header = {"x": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}
    Path("m.safetensors").write_bytes(safetensors_file(header, bytes(3)))
    assert load("m.safetensors")["x"].dtype.name == "float6_e2m3fn"
    with pytest.raises(RequestError, match="torch has no type for tensor 'x'"):
        load("m.safetensors").to_torch()
    assert empty.top.exists()


def test_safetensors_in_torch(empty: Repo) -> None:
    tensors = {"b": torch.randn(3, 4, dtype=torch.bfloat16), "e": torch.empty(0), "s": torch.tensor(1)}
    save_file(tensors, MODEL)
    found = load(empty.top / MODEL).to_torch()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
