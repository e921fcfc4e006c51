"""What changed, from two manifests."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, cast

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save

from tests.storage.samples import Known
from theta_jupyter.diffs.compare import TensorDiff, compare, overall
from theta_jupyter.diffs.grid import Cell, fold, places
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.snapshot import take
from theta_jupyter.storage.survey import survey_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from theta_jupyter.storage.manifest import Manifest

RNG = np.random.default_rng(0)
BIG = RNG.standard_normal((80, 100)).astype(np.float32)
SMALL = RNG.standard_normal((4, 4)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


def manifest(store: ObjectStore, tensors: Mapping[str, npt.NDArray[Any]] | bytes) -> Manifest:
    data = tensors if isinstance(tensors, bytes) else save(dict(tensors))
    return take(memoryview(data), Known(), store)


def test_every_status(store: ObjectStore) -> None:
    old: dict[str, npt.NDArray[Any]] = {
        "same": SMALL,
        "changed": BIG,
        "gone": SMALL[1:],
        "moved": BIG * 2,
        "shaped": BIG,
        "cast": BIG * 3,
    }
    new: dict[str, npt.NDArray[Any]] = {
        "same": SMALL,
        "changed": BIG + 1,
        "come": SMALL[2:],
        "went": BIG * 2,
        "shaped": BIG.reshape(100, 80),
        "cast": (BIG * 3).astype(np.float16),
    }
    found = {diff.name: diff for diff in compare(manifest(store, old), manifest(store, new))}
    assert {name: diff.status for name, diff in found.items()} == {
        "same": "",
        "changed": "M",
        "come": "A",
        "gone": "D",
        "went": "R",
        "shaped": "S",
        "cast": "T",
    }
    assert found["went"].old_name == "moved"
    assert found["went"].l2 == 0
    assert found["shaped"].old_shape == (80, 100)
    assert found["cast"].old_dtype == "F32"
    assert found["same"].relative == 0
    assert found["shaped"].relative is None
    assert [diff.name for diff in compare(None, manifest(store, new))] == sorted(new)
    assert {diff.status for diff in compare(manifest(store, old), None)} == {"D"}


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("much", [1e-2, 0.3, 10.0])
def test_estimates(store: ObjectStore, kind: Any, much: float) -> None:
    errors = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        old = rng.standard_normal(20_000).astype(kind)
        new = (old.astype(np.float64) + much * rng.standard_normal(20_000)).astype(kind)
        data = [_tensor(array) for array in (old, new)]
        (diff,) = compare(*(manifest(store, one) for one in data))
        assert diff.estimated
        true = np.linalg.norm(new.astype(np.float64) - old.astype(np.float64))
        errors.append(float((diff.l2 or 0) / true) - 1)
        assert diff.norm == pytest.approx(np.linalg.norm(old.astype(np.float64)), rel=1e-9)
    assert max(map(abs, errors)) < 0.4
    assert math.sqrt(np.mean(np.square(errors))) < 0.16


def _tensor(array: npt.NDArray[Any]) -> bytes:
    from safetensors.torch import save as save_torch

    raw = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
    tensor = torch.from_numpy(raw)
    return save_torch({"x": tensor.view(torch.bfloat16) if array.dtype.name == "bfloat16" else tensor})


def test_a_transposed_copy_is_not_estimated(store: ObjectStore, tmp_path: Path) -> None:
    """Its values lie in another order: the sketches say nothing about the difference, which is none."""
    path = tmp_path / "m.pt"
    square = torch.from_numpy(BIG)
    torch.save({"x": square}, path)
    old = manifest(store, path.read_bytes())
    torch.save({"x": square.T.contiguous().T}, path)
    (diff,) = compare(old, manifest(store, path.read_bytes()))
    assert (diff.status, diff.l2) == ("M", None)


def test_a_slice_does_not_pass_for_its_storage(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"x": torch.from_numpy(BIG)[:10]}, path)
    old = manifest(store, path.read_bytes())
    torch.save({"x": torch.from_numpy(BIG + 1)[:10]}, path)
    (diff,) = compare(old, manifest(store, path.read_bytes()))
    assert (diff.status, diff.l2, diff.norm) == ("M", None, None)


def test_tied_weights_change_together(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    versions = []
    for add in (0, 1):
        shared = torch.from_numpy(BIG + np.float32(add))
        torch.save({"embedding": shared, "head": shared}, path)
        versions.append(manifest(store, path.read_bytes()))
    one, two = compare(*versions)
    assert one.status == two.status == "M"
    assert one.l2 == two.l2 == pytest.approx(math.sqrt(BIG.size), rel=0.4)


def diff(name: str, status: Any = "M", norm: float | None = 1.0, l2: float | None = 0.1) -> TensorDiff:
    return TensorDiff(name, status, (2,), "F32", 2, norm=norm, l2=l2)


def test_overall() -> None:
    assert overall([]) == (None, False)
    relative, estimated = overall([diff("a", norm=3.0, l2=0.3), diff("b", norm=4.0, l2=0.4)])
    assert relative == pytest.approx(0.1)
    assert not estimated
    assert overall([diff("a", norm=1e200, l2=1e199), diff("b", "", 1e200, 0.0)])[0] == pytest.approx(0.1 / math.sqrt(2))
    assert overall([diff("a", norm=0.0, l2=1.0)]) == (math.inf, False)
    # What changed by nobody knows how much has not changed by nothing.
    assert overall([diff("a", "", 1.0, 0.0), diff("b", l2=None)]) == (None, True)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("encoder.layer.7.attention.query.weight", ("encoder.layer.7", "attention.query.weight")),
        ("layers.0.weight", ("layers.0", "weight")),
        ("0.weight", ("0", "weight")),
        ("h.11.mlp/c_fc.bias", ("h.11", "mlp/c_fc.bias")),
        ("block_3.weight", ("block_3", "weight")),
        ("down_blocks.1.resnets.0.conv1.weight", ("down_blocks.1", "resnets.0.conv1.weight")),
        ("fc1", ("fc1", "all")),
        # No name of these models has a number: they are folded by module.
        ("embeddings.word_embeddings.weight", ("embeddings.word_embeddings", "weight")),
        ("fc1.weight", ("fc1", "weight")),
        ("a/b.c", ("a/b", "c")),
        (".x", ("", "x")),
        ("x.", ("x", "")),
        ("weight", ("weight", "all")),
        ("", ("", "all")),
        ("a" * 5000, ("a" * 5000, "all")),
        ("1." * 2000 + "x", ("1.1", ("1." * 1998) + "x")),
        ("_1" * 3000, ("_1" * 3000, "all")),
    ],
)
def test_folding_of_names(name: str, cell: tuple[str, str]) -> None:
    grid = fold([diff(name)])
    assert ((grid.rows, grid.columns), list(grid.cells)) == (((cell[0],), (cell[1],)), [cell])


def test_grid_is_in_natural_order_and_takes_cells_together() -> None:
    grid = fold(
        [
            diff("layer.10.w"),
            diff("layer.2.w", "", 1.0, 0.0),
            diff("embed.a", norm=3.0, l2=0.3),
            diff("embed.b", norm=4.0, l2=0.4),
            diff("pool.w", "A", None, None),
            diff("layer.2.b", l2=None),
            diff("layer.2.b2", norm=0.0, l2=1.0),
        ]
    )
    assert grid.rows == ("embed", "layer.2", "layer.10", "pool")
    assert grid.columns == ("b", "b2", "w", "all")
    assert grid.cells == {
        ("layer.10", "w"): Cell(0.1),
        ("layer.2", "w"): Cell(0.0, "·"),
        ("embed", "all"): Cell(cast("float", pytest.approx(0.1))),
        ("pool", "all"): Cell(None, "A"),
        ("layer.2", "b"): Cell(None, "?"),
        ("layer.2", "b2"): Cell(math.inf),
    }


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        (
            ["fc1.weight", "fc1.bias", "head.out.weight", "scale"],
            [("fc1", "weight"), ("fc1", "bias"), ("head.out", "weight"), ("scale", "all")],
        ),
        # One number anywhere, and what has none is taken together by its first word.
        (
            ["embed.word.weight", "embed.norm.bias", "layer.0.weight", "scale"],
            [("embed", "all"), ("embed", "all"), ("layer.0", "weight"), ("scale", "all")],
        ),
        (["a", "b"], [("a", "all"), ("b", "all")]),
        ([], []),
    ],
)
def test_folding_of_models(names: list[str], cells: list[tuple[str, str]]) -> None:
    assert places(names) == dict(zip(names, cells, strict=True))
    assert set(fold([diff(name) for name in names]).cells) == set(cells)


def test_numbers_of_any_length_are_in_order() -> None:
    """Python itself refuses to read numbers of more than some thousand digits."""
    names = [f"layer.{number}.w" for number in ("2", "10", "007", "1" + "0" * 5000, "0", "9" * 5000)]
    rows = fold([diff(name) for name in names]).rows
    numbers = [row.removeprefix("layer.") for row in rows]
    assert numbers == ["0", "2", "007", "10", "9" * 5000, "1" + "0" * 5000]


@pytest.mark.parametrize(
    ("group", "cell"),
    [
        ([("", 1.0, 0.0), ("", 1.0, 0.0)], Cell(0.0, "·")),
        ([("", None, 0.0)], Cell(0.0, "·")),
        ([("A", None, None), ("", 1.0, 0.0)], Cell(None, "A")),
        ([("D", 1.0, None), ("D", 1.0, None), ("S", 1.0, None)], Cell(None, "D")),
        ([("A", None, None), ("M", 1.0, 0.5)], Cell(0.5)),
        ([("M", 1.0, None), ("M", 1.0, 0.5)], Cell(None, "?")),
        ([("R", 1.0, 0.0), ("", 1.0, 0.0)], Cell(0.0, "·")),
        ([("R", 1.0, 0.5), ("", 1.0, 0.0)], Cell(cast("float", pytest.approx(0.5 / math.sqrt(2))))),
        ([("M", 1.0, 0.0)], Cell(0.0, "?")),
        ([("T", 3.0, 0.3), ("M", 4.0, 0.4)], Cell(cast("float", pytest.approx(0.1)))),
        ([("M", math.inf, math.inf)], Cell(None, "?")),
    ],
)
def test_a_cell_says_what_is_known_of_all_in_it(group: list[tuple[Any, Any, Any]], cell: Cell) -> None:
    grid = fold([diff("l.0.x", *of) for of in group])
    assert grid.cells == {("l.0", "x"): cell}


def test_a_renamed_tensor_is_found_though_it_changed_a_little(store: ObjectStore) -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.standard_normal((80, 100)).astype(np.float32) for _ in range(2))
    near = one + 0.01 * rng.standard_normal(one.shape).astype(np.float32)
    (found,) = compare(manifest(store, {"old": one}), manifest(store, {"new": near}))
    assert (found.name, found.old_name, found.status, found.estimated) == ("new", "old", "R", True)
    assert found.relative == pytest.approx(0.01, rel=0.4)
    # Two tensors that have nothing to do with each other are one that went and one that came.
    apart = compare(manifest(store, {"old": one}), manifest(store, {"new": two}))
    assert {d.name: d.status for d in apart} == {"old": "D", "new": "A"}
    # Of another shape or type, it is not the same tensor.
    for other in (near.reshape(100, 80), near.astype(np.float16)):
        assert [d.status for d in compare(manifest(store, {"old": one}), manifest(store, {"new": other}))] == ["A", "D"]


def test_each_renamed_tensor_is_paired_with_its_nearest(store: ObjectStore) -> None:
    """Names that cross over, and more candidates than tensors: only mutual nearest are pairs."""
    rng = np.random.default_rng(2)
    noise = [rng.standard_normal((80, 100)).astype(np.float32) for _ in range(6)]
    old: dict[str, npt.NDArray[Any]] = {"a.1": noise[0], "a.2": noise[1], "a.3": noise[0] + noise[2] / 10}
    new: dict[str, npt.NDArray[Any]] = {
        "b.2": noise[0] + noise[3] / 100,
        "b.1": noise[1] + noise[4] / 100,
        "b.3": noise[5],
    }
    found = {d.name: d for d in compare(manifest(store, old), manifest(store, new))}
    assert {name: (d.status, d.old_name) for name, d in found.items()} == {
        "b.1": ("R", "a.2"),
        "b.2": ("R", "a.1"),
        "b.3": ("A", ""),
        "a.3": ("D", ""),
    }


def test_names_that_are_in_both_versions_are_not_renamed(store: ObjectStore) -> None:
    """Swapped values are two changes: a name that stays is the same tensor."""
    one, two = BIG, BIG[::-1].copy()
    found = compare(manifest(store, {"x": one, "y": two}), manifest(store, {"x": two, "y": one}))
    assert [(d.name, d.status, d.old_name) for d in found] == [("x", "M", ""), ("y", "M", "")]


def test_small_tensors_are_renamed_only_if_they_are_equal(store: ObjectStore) -> None:
    small = RNG.standard_normal(4095).astype(np.float32)
    near = small * np.float32(1.001)
    assert [d.status for d in compare(manifest(store, {"old": small}), manifest(store, {"new": near}))] == ["A", "D"]
    (found,) = compare(manifest(store, {"old": small}), manifest(store, {"new": small}))
    assert (found.status, found.old_name, found.l2) == ("R", "old", 0.0)


def test_too_many_candidates_are_not_compared(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [RNG.standard_normal((80, 100)).astype(np.float32) for _ in range(3)]
    old = manifest(store, {f"old.{i}": array for i, array in enumerate(arrays)})
    new = manifest(store, {f"new.{i}": array * np.float32(1.01) for i, array in enumerate(arrays)})
    monkeypatch.setattr("theta_jupyter.diffs.compare.PAIRS", 8)
    assert {d.status for d in compare(old, new)} == {"A", "D"}
    monkeypatch.setattr("theta_jupyter.diffs.compare.PAIRS", 9)
    assert {d.name: d.old_name for d in compare(old, new)} == {f"new.{i}": f"old.{i}" for i in range(3)}


def test_tied_weights_are_renamed_together(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    shared, versions = torch.from_numpy(BIG), []
    for names in (("embedding", "head"), ("model.embedding", "model.head")):
        torch.save({**dict.fromkeys(names, shared), "part": shared[:10]}, path)
        versions.append(manifest(store, path.read_bytes()))
    found = {d.name: (d.status, d.old_name, d.l2) for d in compare(*versions)}
    assert found == {
        "model.embedding": ("R", "embedding", 0.0),
        "model.head": ("R", "head", 0.0),
        "part": ("", "", 0.0),
    }
    # Two that are tied to something else have not moved.
    other = torch.from_numpy(BIG[::-1].copy())
    torch.save({"model.embedding": other, "model.head": other, "part": shared[:10]}, path)
    apart = {d.name: d.status for d in compare(versions[0], manifest(store, path.read_bytes()))}
    assert apart == {"embedding": "D", "head": "D", "model.embedding": "A", "model.head": "A", "part": ""}


def test_of_what_is_only_surveyed_nothing_is_stored(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    shared = torch.from_numpy(BIG)
    torch.save({"embedding": shared, "head": shared, "other": shared + 1, "none": torch.zeros(0)}, path)
    data = path.read_bytes()
    old = manifest(store, data)
    stored = {d.name: (d.update, d.stored > 0) for d in compare(None, old)}
    whole = ("whole", True)
    assert stored == {"embedding": whole, "head": ("shared", False), "none": ("", False), "other": whole}
    surveyed = survey_file(memoryview(data), {})
    for before in (None, old):
        found = compare(before, surveyed)
        assert {(d.update, d.stored) for d in found} == {("", 0)}


def test_a_diff_is_json_whatever_it_holds(store: ObjectStore) -> None:
    from theta_jupyter.diffs.report import Diff, FileDiff

    odd = np.array([np.nan, np.inf, 1e308, 1], np.float64)
    old, new = manifest(store, {"x": np.zeros(4), "y": odd}), manifest(store, {"x": odd, "y": odd * 1.5})
    file = FileDiff(
        "m", "M", "a", "b", (*compare(old, new), diff("z", norm=0.0), diff("w", norm=math.inf, l2=math.inf))
    )
    both = Diff("a", "b", (file,))
    for result in (file, both):
        json.dumps(result.to_dict(), allow_nan=False)
        assert result.text()
        assert result.html()
        assert len(result.to_pandas()) == 4
