"""The nearest of many tensors is found by its sketch, and a database that is damaged is only empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theta_jupyter.storage import likeness as module
from theta_jupyter.storage.likeness import Likeness
from theta_jupyter.storage.manifest import Node, Place, Record
from theta_jupyter.storage.sketch import BUCKETS, distance

if TYPE_CHECKING:
    from pathlib import Path

NODE = Node("F32", (64, 64), Place("0" * 64, 10))


def record(seed: int, shape: tuple[int, ...] = (64, 64), *, near: int | None = None) -> Record:
    values = np.random.default_rng(seed).normal(size=BUCKETS)
    if near is not None:
        values = np.random.default_rng(near).normal(size=BUCKETS) + 1e-3 * values
    sketch = tuple(values.astype("f4").tolist())
    return Record("F32", shape, "0" * 64, (NODE,), norm=8.0, sketch=sketch)


@pytest.fixture
def likeness(tmp_path: Path) -> Likeness:
    return Likeness(tmp_path / "cache")


def test_the_nearest_is_found(likeness: Likeness) -> None:
    assert likeness.missing(["a", "b"]) == ["a", "b"]
    assert likeness.nearest(["a"], record(1), 3) == []
    likeness.add("a", {f"layer.{seed}": record(seed) for seed in range(50)})
    likeness.add("b", {f"moved.{seed}": record(seed, near=seed) for seed in range(50, 90)})
    assert likeness.missing(["a", "b", "c"]) == ["c"]
    found = likeness.nearest(["a", "b"], record(1000, near=7), 2)
    assert (found[0].blob, found[0].name) == ("a", "layer.7")
    assert found[0].distance < 0.05 < found[1].distance
    assert likeness.nearest(["b"], record(1000, near=7), 1)[0].distance > 1
    assert likeness.nearest([], record(7), 1) == []


def test_only_what_has_the_shape_and_a_sketch(likeness: Likeness) -> None:
    other = Record("F32", (8,), "0" * 64, (NODE,))
    likeness.add("a", {"flat": record(1, (4096,)), "small": other, "view": Record("F32", (64, 64), of="flat")})
    assert likeness.nearest(["a"], record(1), 3) == []
    assert likeness.nearest(["a"], other, 3) == []
    assert [found.name for found in likeness.nearest(["a"], record(1, (4096,)), 3)] == ["flat"]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20, unique=True), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_it_is_the_nearest_indeed(tmp_path_factory: pytest.TempPathFactory, seeds: list[int], wanted: int) -> None:
    known = Likeness(tmp_path_factory.mktemp("cache"))
    records = {str(seed): record(seed) for seed in seeds}
    known.add("a", records)
    own = record(wanted)
    (found,) = known.nearest(["a"], own, 1)
    distances = {name: distance(other.sketch or (), own.sketch or ()) for name, other in records.items()}
    assert found.distance == pytest.approx(min(distances.values()), rel=1e-5, abs=1e-5)


def test_old_ones_go(likeness: Likeness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEEP", 3)
    for number in range(6):
        likeness.add(f"b{number}", {"x": record(number)})
    assert likeness.missing([f"b{number}" for number in range(6)]) == ["b0", "b1", "b2"]


def test_a_damaged_database_is_empty(likeness: Likeness, tmp_path: Path) -> None:
    likeness.add("a", {"x": record(1)})
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(b"rubbish" * 1000)
    fresh = Likeness(tmp_path / "cache")
    assert fresh.missing(["a"]) == ["a"]
    assert fresh.nearest(["a"], record(1), 1) == []
    fresh.add("a", {"x": record(1)})
    assert Likeness(tmp_path / "cache").nearest(["a"], record(1), 1)[0].name == "x"
