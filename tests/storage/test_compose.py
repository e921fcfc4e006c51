"""A tensor that was computed is stored as one that was cut from a file is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from tests.checkpoints.roundtrip import safetensors_file
from tests.storage.samples import take
from theta_jupyter.checkpoints import View
from theta_jupyter.dtypes import DTYPES, from_floats, nbytes, to_floats
from theta_jupyter.errors import RequestError, ThetaError
from theta_jupyter.storage import snapshot, tensors
from theta_jupyter.storage.compose import Made, compose
from theta_jupyter.storage.manifest import Record
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.snapshot import bases_of
from theta_jupyter.storage.tensors import Chain, chains

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.storage.manifest import Manifest

RANDOM = np.random.default_rng(0)
Values = dict[str, tuple[str, tuple[int, ...], bytes]]


def file(values: Values) -> bytes:
    header, body = {}, b""
    for name, (dtype, shape, data) in values.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    return safetensors_file(header, body)


def composed(
    values: Values, store: ObjectStore, bases: Mapping[str, Sequence[Chain]] | None = None
) -> dict[str, tuple[Record, str]]:
    def make(name: str) -> Made:
        dtype, shape, data = values[name]
        return Made(View(name, dtype, shape, 0), memoryview(data), (bases or {}).get(name, ()), f"made {name}")

    return compose("merging", make, values, lambda name: len(values[name][2]), store)


def check(record: Record, name: str, data: bytes, store: ObjectStore) -> None:
    assert bytes(tensors.decode(record, store, name)) == data


def bfloats(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bytes:
    return from_floats(values, "BF16")


def without_places(record: Record) -> Record:
    nodes = tuple(
        msgspec.structs.replace(node, place=msgspec.structs.replace(node.place, object="0" * 64, size=0, offset=0))
        for node in record.nodes
    )
    return msgspec.structs.replace(record, nodes=nodes)


def test_the_record_is_that_of_a_file(tmp_path: Path) -> None:
    """For every type, small and large, empty and scalar."""
    values: Values = {}
    for dtype, kind in DTYPES.items():
        for shape in ((), (0, 3), (8,), (100, 60)):
            if kind.bits >= 8 or shape:
                data = RANDOM.bytes(nbytes(dtype, shape))
                values[f"{dtype}.{shape}"] = dtype, shape, data
    values["large"] = "F32", (300, 300), RANDOM.normal(size=(300, 300)).astype("<f4").tobytes()
    one, other = ObjectStore(tmp_path / "one"), ObjectStore(tmp_path / "other")
    cut = take(file(values), one)
    found = composed(values, other)
    assert found.keys() == cut.records.keys()
    for name, (record, remark) in found.items():
        assert without_places(record) == without_places(cut.records[name])
        assert remark == f"made {name}"
        check(record, name, values[name][2], other)


def test_a_file_of_composed_tensors_has_their_records(store: ObjectStore) -> None:
    """Or Git would see a change right after the merge."""
    values: Values = {
        f"layer.{n}": ("F32", (70, 70), RANDOM.normal(size=4900).astype("<f4").tobytes()) for n in range(5)
    }
    records = {name: record for name, (record, _) in composed(values, store).items()}
    skeleton = take(file(values), ObjectStore(store.root / "other"))
    merged: Manifest = msgspec.structs.replace(skeleton, records=records)
    assert dict(take(file(values), store, merged).records) == records


def test_small_ones_share_an_object_and_large_ones_do_not(store: ObjectStore) -> None:
    values: Values = {f"bias.{n}": ("F32", (50,), RANDOM.bytes(200)) for n in range(40)}
    values |= {
        f"weight.{n}": ("U8", (snapshot.OBJECT_BYTES + n,), RANDOM.bytes(snapshot.OBJECT_BYTES + n)) for n in range(2)
    }
    found = composed(values, store)
    places = {name: record.nodes[-1].place for name, (record, _) in found.items()}
    assert len({place.object for name, place in places.items() if "bias" in name}) == 1
    assert len({place.object for place in places.values()}) == 3
    assert len(list(store)) == 3
    assert {place.offset for name, place in places.items() if "weight" in name} == {0}
    for name, (record, _) in found.items():
        check(record, name, values[name][2], store)


def test_many_small_ones_share_several(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "BUNDLE_BYTES", 1000)
    values: Values = {f"bias.{n}": ("F32", (50,), RANDOM.bytes(200)) for n in range(40)}
    found = composed(values, store)
    assert 5 < len(list(store)) < 20
    for name, (record, _) in found.items():
        check(record, name, values[name][2], store)


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_an_average_rests_on_its_parents(store: ObjectStore, dtype: str) -> None:
    """Two fine-tunes of one model, and the mean of them: what is stored is a small part of the whole."""
    shape = (512, 256)
    start = RANDOM.normal(size=shape) * 0.02
    parents = [from_floats(start + RANDOM.normal(size=shape) * 1e-5 * (n + 1), dtype) for n in range(2)]
    manifests = [take(file({"w": (dtype, shape, parent)}), store) for parent in parents]
    mean = from_floats((to_floats(parents[0], dtype) + to_floats(parents[1], dtype)) / 2, dtype)
    bases = bases_of(manifest.records["w"] for manifest in manifests)
    assert len(bases) == 2
    values: Values = {"w": (dtype, shape, mean)}
    alone = composed(values, ObjectStore(store.root / "other"))["w"][0]
    rested = composed(values, store, {"w": bases})["w"][0]
    assert alone.update == "whole"
    assert rested.update != "whole"
    assert rested.nodes[0] in {base.node for base in bases}
    assert rested.nodes[-1].place.stored < 0.7 * alone.nodes[-1].place.stored
    check(rested, "w", mean, store)
    # It may be rested on in turn, and so may what it rests on.
    assert bases_of([rested]) == chains(rested)
    assert {chain.node for chain in bases_of([rested])} == set(rested.nodes)


def test_roots() -> None:
    assert bases_of([]) == bases_of([None]) == []
    assert bases_of([Record("F32", (0,))]) == []


def test_equal_parents_are_one_root(store: ObjectStore) -> None:
    record = composed({"w": ("U8", (9,), b"123456789")}, store)["w"][0]
    assert bases_of([record, None, record]) == [Chain((record.nodes[-1],), record.blake3)]


def test_a_part_of_a_storage(store: ObjectStore) -> None:
    """As torch has views: the record says where it lies."""
    data = RANDOM.bytes(400)
    made = Made(View("row", "F32", (10,), 0, 40, (2,)), memoryview(data))
    record, _ = compose("merging", lambda _: made, [0], lambda _: 400, store)["row"]
    assert (record.offset, record.stride, record.storage, record.shape) == (40, (2,), 400, (10,))
    check(record, "row", data, store)


@pytest.mark.parametrize("bad", [0, 3, 9])
def test_a_failure_leaves_nothing_half_written(store: ObjectStore, bad: int) -> None:
    """What was stored before is whole, and found again the next time."""
    values: Values = {f"w{n}": ("U8", (size,), RANDOM.bytes(size)) for n, size in enumerate([90_000] * 5 + [300] * 5)}

    def make(name: str) -> Made:
        if name == f"w{bad}":
            raise RequestError(f"cannot merge {name}")
        return Made(View(name, *values[name][:2], 0), memoryview(values[name][2]))

    with pytest.raises(RequestError, match=f"cannot merge w{bad}"):
        compose("merging", make, values, lambda name: len(values[name][2]), store)
    assert all(store.sound(object_id) for object_id in store)
    assert not list((store.root / "tmp").glob("*"))
    before = set(store)
    found = composed(values, store)
    assert before <= set(store)
    for name, (record, _) in found.items():
        check(record, name, values[name][2], store)


def test_a_store_that_takes_nothing(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: bytes) -> str:
        raise ThetaError("the disk is full")

    monkeypatch.setattr(store, "write", full)
    for size in (10, 100_000):
        with pytest.raises(ThetaError, match="the disk is full"):
            composed({"w": ("U8", (size,), RANDOM.bytes(size))}, store)


def test_progress_is_told(store: ObjectStore) -> None:
    told: list[tuple[str, int, int]] = []
    sizes = {"a": 10, "b": 20, "c": 30}

    def make(name: str) -> Made:
        return Made(View(name, "U8", (sizes[name],), 0), memoryview(bytes(sizes[name])))

    compose("merging", make, sizes, lambda name: sizes[name], store, lambda *args: told.append(args))
    assert told[-1] == ("merging", 60, 60)
    assert compose("merging", make, [], lambda name: sizes[name], store) == {}
