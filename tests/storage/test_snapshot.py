"""A file comes back byte for byte, from what its manifest names and nothing else, and its manifest stays as it is."""

from __future__ import annotations

import copy
import errno
import hashlib
import io
import os
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints.roundtrip import safetensors_file
from tests.storage.samples import Known, flushed, npz, restore, save, take
from theta_jupyter import checkpoints
from theta_jupyter.checkpoints import Derived, Layout, Span, View, locate, opaque
from theta_jupyter.checkpoints.base import CONFLICT_MARKERS, check, derive
from theta_jupyter.dtypes import DTYPES, nbytes
from theta_jupyter.errors import CheckpointError, IntegrityError, ManifestError, MissingObjectError, ThetaError
from theta_jupyter.storage import codec, contest, pool, snapshot
from theta_jupyter.storage.contest import BUDGET
from theta_jupyter.storage.manifest import Header, Manifest, Place, Record, dump, parse
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.tensors import depth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RANDOM = np.random.default_rng(0)
torch.manual_seed(0)


# Files of every kind.


def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(100, 200), torch.nn.LayerNorm(200), torch.nn.Linear(200, 100))


def training() -> dict[str, Any]:
    """A checkpoint as training loops write it: model, optimizer, numbers, a random state."""
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(8, 100)).square().mean().backward()
        optimizer.step()
    state = {"step": 2, "lr": 1e-3, "rng": torch.get_rng_state(), "names": ["a", "b"]}
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), **state}


def shared() -> dict[str, Any]:
    """Tied weights, views of all kinds, storages that nothing covers."""
    weight = torch.randn(64, 32)
    flat = torch.arange(1000.0)
    return {
        "embedding": weight,
        "head": weight,
        "transposed": weight.T,
        "row": weight[3],
        "even": flat[::2],
        "middle": flat[10:20],
        "overlapping": flat[15:30],
        "expanded": torch.ones(1).expand(50, 50),
        "empty": flat[:0],
        "empty late": torch.empty(0, 5),
        "scalar": torch.tensor(7, dtype=torch.int64),
        "complex": torch.randn(10, dtype=torch.complex64),
        "half": torch.randn(33).half(),
        "brain": torch.randn(33).bfloat16(),
        "eight": torch.randn(33).to(torch.float8_e4m3fn),
        "bool": torch.tensor([True, False]),
        "part of nothing": torch.randn(10)[2:2],
    }


def every_dtype() -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for dtype in sorted(DTYPES):
        for shape in ((16, 8), (0, 8), (8,), (4096, 2)):
            data = RANDOM.bytes(nbytes(dtype, shape))
            where = [len(body), len(body) + len(data)]
            header[f"{dtype}.{shape}"] = {"dtype": dtype, "shape": shape, "data_offsets": where}
            body += data
    header["scalar"] = {"dtype": "F32", "shape": [], "data_offsets": [len(body), len(body) + 4]}
    return safetensors_file(header, body + b"\0\0\xc0\x7f")


def odd_padding() -> bytes:
    text = (
        ' {"b":{"shape":[2],"dtype":"F32","data_offsets":[0,8]} ,\n"a":{"data_offsets":[8,8],"dtype":"U8","shape":[0]}}'
    )
    return safetensors_file("{" + text[2:] + " " * 13, bytes(8))


FILES: dict[str, Callable[[], bytes]] = {
    "safetensors": lambda: safetensors.torch.save(model().state_dict()),
    "safetensors, every dtype": every_dtype,
    "safetensors, odd padding": odd_padding,
    "safetensors, no tensors": lambda: safetensors_file({}),
    "torch": lambda: save(model().state_dict()),
    "torch, training": lambda: save(training()),
    "torch, shared": lambda: save(shared()),
    "torch, one tensor": lambda: save(torch.randn(5)),
    "torch, no tensors": lambda: save({"a": 1}),
    "torch, old": lambda: save(model().state_dict(), _use_new_zipfile_serialization=False),
    "npz": lambda: npz(
        a=RANDOM.normal(size=(50, 60)), b=np.asfortranarray(np.eye(9)), c=np.array(3), d=np.array(["x"])
    ),
    "npy": lambda: npy(RANDOM.normal(size=(100, 100)).astype(np.float32)),
    "opaque": lambda: RANDOM.bytes(5000),
    "opaque, empty": lambda: b"",
    "opaque, one byte": lambda: b"x",
    "a manifest": lambda: b"theta manifest 1\n",
    "trailing bytes": lambda: save({"a": torch.ones(3)}) + b"more",
}


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FILES)
def test_a_file_comes_back_byte_for_byte(kind: str, store: ObjectStore, tmp_path: Path) -> None:
    data = FILES[kind]()
    manifest = take(data, store)
    assert manifest.opaque == ("opaque" in kind or kind in {"a manifest", "trailing bytes", "torch, old"})
    assert restore(manifest, store) == data
    # Self-contained: what its places name is enough, and all of it is needed.
    other = ObjectStore(tmp_path / "other")
    for object_id in manifest.places():
        other.write(store.read(object_id))
    assert restore(parse(dump(manifest)), other) == data
    assert set(store) == set(manifest.places())
    # Stable, and a second store comes to the same.
    assert take(data, store, manifest) is manifest
    assert take(data, ObjectStore(tmp_path / "third")) == manifest


@pytest.mark.parametrize("kind", ["torch, shared", "safetensors, every dtype"])
def test_nothing_depends_on_flushing(kind: str, store: ObjectStore, tmp_path: Path) -> None:
    data = FILES[kind]()
    manifest = take(data, store)
    with flushed():
        assert restore(manifest, store) == data
        assert dump(take(data, ObjectStore(tmp_path / "other"))) == dump(manifest)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250])
def test_an_opaque_file_is_cut_in_chunks(size: int, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opaque, "CHUNK", 100)
    data = RANDOM.bytes(size)
    manifest = take(data, store)
    assert len(manifest.records) == -(-size // 100)
    assert restore(manifest, store) == data
    longer = take(data + b"more", store, manifest)
    whole = size // 100
    assert list(longer.records.values())[:whole] == list(manifest.records.values())[:whole]
    assert restore(longer, store) == data + b"more"


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes_at_all(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = ObjectStore(tmp_path_factory.mktemp("any"))
    assert restore(take(data, store), store) == data


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_broken_checkpoint_comes_back_too(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = ObjectStore(tmp_path_factory.mktemp("broken"))
    whole = BROKEN[data.draw(st.sampled_from(sorted(BROKEN)))]
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = data.draw(
        st.sampled_from([whole[:at], whole[:at] + b"\xff" + whole[at + 1 :], whole[:at] + whole[at + 1 :]])
    )
    assert restore(take(broken, store), store) == broken


BROKEN = {"torch": save({"a": torch.ones(3), "b": torch.zeros(2)}), "npz": npz(a=np.ones(3)), "st": odd_padding()}


# Stability and reuse: law 2.


def change(state: dict[str, torch.Tensor], *names: str) -> dict[str, torch.Tensor]:
    found = copy.deepcopy(state)
    for name in names:
        found[name] += 1e-4 * torch.randn_like(found[name])
    return found


@pytest.mark.parametrize("write", [save, safetensors.torch.save])
def test_a_changed_tensor_adds_one_object(write: Callable[[Any], bytes], store: ObjectStore) -> None:
    state = model().state_dict()
    first = take(write(state), store)
    before = set(store)
    assert dump(take(write(state), store, first)) == dump(first)
    assert set(store) == before
    second = take(write(change(state, "0.weight")), store, first)
    assert len(set(store) - before) == 1
    assert second.header == first.header
    assert changed_records(first, second) == ["0.weight"]
    assert second.records["0.weight"].update == "delta"
    third = take(write(change(state, "0.weight", "2.weight")), store, second)
    assert changed_records(second, third) == ["0.weight", "2.weight"]
    for manifest in (first, second, third):
        assert restore(manifest, store)
    assert restore(first, store) == write(state)


def changed_records(one: Manifest, other: Manifest) -> list[str]:
    assert list(one.records) == list(other.records)
    return [name for name in one.records if one.records[name] != other.records[name]]


def test_back_to_an_older_version_adds_nothing(store: ObjectStore) -> None:
    state = model().state_dict()
    first = take(save(state), store)
    second = take(save(change(state, "0.weight")), store, first)
    before = set(store)
    assert dump(take(save(state), store, second, first)) == dump(first)
    # Known by its hash only, as from the cache.
    records = {record.blake3: record for record in first.records.values()}
    again = snapshot.take(memoryview(save(state)), Known([second], records), store)
    assert dump(again) == dump(first)
    assert set(store) == before


def test_a_merge_of_two_versions_reuses_both(store: ObjectStore) -> None:
    state = model().state_dict()
    first = take(save(state), store)
    ours_state, theirs_state = change(state, "0.weight"), change(state, "2.weight")
    ours, theirs = take(save(ours_state), store, first), take(save(theirs_state), store, first)
    before = set(store)
    ours_state["2.weight"] = theirs_state["2.weight"]
    merged = take(save(ours_state), store, ours, theirs)
    assert set(store) == before
    assert merged.records == {**ours.records, "2.weight": theirs.records["2.weight"]}


def test_a_renamed_and_a_recast_tensor_is_not_stored_again(store: ObjectStore) -> None:
    data = torch.randn(100, 200)
    first = take(save({"a": data}), store)
    before = set(store)
    second = take(save({"b": data.view(torch.int32)}), store, first)
    assert second.records["b"].nodes == first.records["a"].nodes
    assert (second.records["b"].dtype, second.records["b"].norm) != ("F32", first.records["a"].norm)
    assert len(set(store) - before) == 1  # The skeleton.
    assert restore(second, store) == save({"b": data.view(torch.int32)})
    assert second.records["b"] == msgspec.structs.replace(
        take(save({"b": data.view(torch.int32)}), store).records["b"], nodes=second.records["b"].nodes
    )


@pytest.mark.parametrize("kind", ["torch, training", "torch, shared"])
def test_what_is_gone_is_stored_again(kind: str, store: ObjectStore) -> None:
    data = FILES[kind]()
    manifest = take(data, store)
    for object_id in list(store):
        store.path(object_id).unlink()
        again = take(data, store, manifest)
        assert again == manifest
        assert restore(again, store) == data


def test_reuse_freshens(store: ObjectStore) -> None:
    state = model().state_dict()
    first = take(save(state), store)

    def old() -> None:
        for object_id in store:
            os.utime(store.path(object_id), (1000, 1000))

    def ages(manifest: Manifest) -> set[bool]:
        return {store.path(object_id).stat().st_mtime > 1000 for object_id in manifest.places()}

    old()
    take(save(state), store, first)
    assert ages(first) == {True}
    old()
    # Everything that is reused one by one: records, and the header's skeleton.
    second = take(save(change(state, "0.weight")), store, first)
    bases = {node.place.object for node in second.records["0.weight"].nodes[:-1]}
    assert all(store.path(name).stat().st_mtime > 1000 for name in set(second.places()) - bases)


def test_small_tensors_share_bundles(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {f"w{number}": torch.randn(100) for number in range(100)}
    manifest = take(save(state), store)
    assert len(manifest.places()) == 2
    monkeypatch.setattr(snapshot, "BUNDLE_BYTES", 10_000)
    smaller = take(save({name: tensor + 1 for name, tensor in state.items()}), store)
    assert 4 <= len(smaller.places()) <= 6
    assert restore(smaller, store)


def test_large_tensors_have_objects_of_their_own(store: ObjectStore) -> None:
    state = {
        "large": torch.randn(1 << 15),
        "larger": torch.randn(1 << 16),
        "small": torch.ones(3),
        "tiny": torch.ones(2),
    }
    manifest = take(save(state), store)
    objects = {name: record.nodes[0].place.object for name, record in manifest.records.items()}
    assert len({*objects.values(), manifest.header.skeleton.object}) == 4
    assert objects["small"] == objects["tiny"]
    large = manifest.records["large"].nodes[0].place
    assert (large.offset, large.length, store.missing({large.object: large.size})) == (0, None, {})


def test_what_rests_on_another_version_names_that_too(store: ObjectStore, tmp_path: Path) -> None:
    state = model().state_dict()
    first = take(save(state), store)
    data = save(change(state, "0.weight"))
    second = take(data, store, first)
    assert second.records["0.weight"].update == "delta"
    other = ObjectStore(tmp_path / "other")
    for object_id, size in second.places().items():
        assert len(store.read(object_id)) == size
        other.write(store.read(object_id))
    assert restore(parse(dump(second)), other) == data


def test_memory_is_bounded_by_what_is_in_flight(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IN_FLIGHT", 8 << 20)
    data = save({f"w{number}": torch.randn(1 << 18) for number in range(40)})
    out = bytearray(len(data))
    tracemalloc.start()
    manifest = snapshot.take(memoryview(data), Known(), store)
    peaks = [tracemalloc.get_traced_memory()[1]]
    tracemalloc.reset_peak()
    snapshot.restore(manifest, store, memoryview(out))
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert out == data
    assert max(peaks) < 20 << 20 < len(data)


def test_equal_tensors_keep_each_its_record(store: ObjectStore) -> None:
    """Optimizers count steps in many equal tensors; a change elsewhere leaves their records alone."""
    state = {f"s{number}": torch.ones(7) for number in range(5)} | {"w": torch.randn(100)}
    first = take(save(state), store)
    second = take(save(change(state, "w")), store, first)
    assert changed_records(first, second) == ["w"]


# Many versions: law 7, through the whole road.


@pytest.mark.parametrize("noise", [False, True])
def test_a_long_history_stays_cheap(noise: bool, store: ObjectStore) -> None:
    torch.manual_seed(3)
    state = model().state_dict()
    manifest = take(save(state), store)
    for _ in range(30):
        if noise:
            raw = {
                name: torch.from_numpy(RANDOM.integers(-(2**31), 2**31, tuple(t.shape), dtype="i4"))
                for name, t in state.items()
            }
            state = {name: value.view(torch.float32) for name, value in raw.items()}
        else:
            state = change(state, *[name for name in state if RANDOM.random() < 0.6])
        data = save(state)
        manifest = take(data, store, manifest)
        assert restore(manifest, store) == data
        for record in manifest.records.values():
            assert depth(record.nodes) <= 2
            # Very small tensors weigh more in frames than in values.
            assert sum(place.stored for place in record.objects) <= max(BUDGET * record.nbytes, record.nbytes + 24)


# Damage: laws 3 and 5.


def complaint(manifest: Manifest, store: ObjectStore, expected: bytes) -> str | None:
    """Say what is wrong with a file; None if it comes back as it was, for there are bits that zstd does not use."""
    try:
        assert restore(manifest, store) == expected
    except IntegrityError as error:
        return error.message
    return None


def test_every_flipped_bit_is_noticed(store: ObjectStore) -> None:
    state = model().state_dict()
    first = take(save(state), store)
    manifest = take(save(change(state, "0.weight")), store, first)
    expected = restore(manifest, store)
    names = {place.object: name for name, record in manifest.records.items() for place in record.objects}
    skeleton = manifest.header.skeleton.object
    harmless = 0
    for object_id in manifest.places():
        path = store.path(object_id)
        good = path.read_bytes()
        path.chmod(0o644)
        places = sorted({0, 1, len(good) // 2, len(good) - 1, *RANDOM.integers(0, len(good), 20).tolist()})
        for at in places:
            path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
            message = complaint(manifest, store, expected)
            if message is None:
                harmless += 1
            else:
                assert object_id[:12] in message
                assert "the skeleton" in message if object_id == skeleton else "tensor '" in message
        path.write_bytes(good[: len(good) // 2])
        with pytest.raises(IntegrityError, match=object_id[:12]):
            restore(manifest, store)
        path.unlink()
        with pytest.raises(MissingObjectError, match=object_id[:12]) as caught:
            restore(manifest, store)
        assert caught.value.object_id == object_id
        assert "tensor '" in caught.value.message or object_id not in names
        store.write(good)
    assert restore(manifest, store) == expected
    assert harmless < 10


def skeleton_of(manifest: Manifest, store: ObjectStore) -> dict[str, Any]:
    place = manifest.header.skeleton
    found: dict[str, Any] = msgspec.msgpack.decode(codec.decompress(store.read(place.object)))
    return found


def with_skeleton(manifest: Manifest, store: ObjectStore, body: bytes) -> Manifest:
    packed = codec.compress(body)
    place = Place(store.write(packed), len(packed))
    header = msgspec.structs.replace(manifest.header, blake3=blake3(body).hexdigest(), skeleton=place)
    return Manifest(header, manifest.records)


DEEP: Any = b"\x91" * 100_000 + b"\xc0"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"format": "other"}, ManifestError),
        ({"size": 1}, ManifestError),
        ({"size": -1}, ManifestError),
        ({"size": (1 << 64) - 1}, ManifestError),
        ({"storages": []}, ManifestError),
        ({"storages": [["a", [0, 12]], ["a", [12, 24]]]}, ManifestError),
        ({"storages": [["a", [-12, 0]], ["b", [0, 8]]]}, ManifestError),
        ({"storages": [["b", [0, 12]], ["a", [12, 20]]]}, ManifestError),
        ({"storages": [["a", [1 << 62, (1 << 62) + 12]], ["b", [0, 8]]]}, ManifestError),
        ({"views": ["a"]}, ManifestError),
        ({"views": ["c"]}, ManifestError),
        ({"derived": [[[0, 4], "crc32", [[4, 8]]]]}, ManifestError),
        ({"derived": [[[0, 4], "md5", [[4, 8]]]]}, ManifestError),
        ({"literals": b""}, ManifestError),
        ({"literals": b"x" * 1000}, ManifestError),
        ({"literals": "text"}, IntegrityError),
        ({"more": 1}, IntegrityError),
        ({"format": None}, IntegrityError),
        ({"storages": 7}, IntegrityError),
    ],
)
def test_a_skeleton_that_lies_is_refused(
    changes: dict[str, Any], error: type[ThetaError] | None, store: ObjectStore
) -> None:
    data = safetensors.torch.save({"a": torch.ones(3), "b": torch.ones(2)})
    manifest = take(data, store)
    lying = with_skeleton(manifest, store, msgspec.msgpack.encode({**skeleton_of(manifest, store), **changes}))
    if error is None:
        assert restore(lying, store) == data
    else:
        with pytest.raises(error):
            restore(lying, store)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\xff" * 10,
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa6format" + b"\xdb\xff\xff\xff\xff",
        b"\x81\xa8storages" + b"\xdd\xff\xff\xff\xff",
        b"\x81\xa4more" + DEEP,
        b"\x81\xa8storages" + DEEP,
        b"\x81\xa8literals" + b"\xc6\xff\xff\xff\xff",
    ],
)
def test_a_skeleton_that_is_none_is_refused(body: bytes, store: ObjectStore) -> None:
    manifest = take(save({"a": torch.ones(3)}), store)
    with pytest.raises(IntegrityError, match="the skeleton"):
        restore(with_skeleton(manifest, store, body), store)


def records_of(**changes: Any) -> Callable[[Manifest], dict[str, Record]]:
    """Change the record of the tensor "b", or remove it."""

    def apply(manifest: Manifest) -> dict[str, Record]:
        return {**manifest.records, "b": msgspec.structs.replace(manifest.records["b"], **changes)}

    return apply


@pytest.mark.parametrize(
    "change_records",
    [
        lambda m: {name: record for name, record in m.records.items() if name != "b"},
        lambda m: {**m.records, "x": m.records["b"]},
        lambda m: {**m.records, "x": Record("F32", (1,), of="b")},
        lambda m: {**{name: m.records[name] for name in "ac"}, "x": m.records["b"]},
        lambda m: {**m.records, "b": m.records["a"]},
        lambda m: {**m.records, "b": Record("F32", (5,), of="a")},
        lambda m: {**m.records, "c": m.records["b"]},
        lambda m: {**m.records, "c": Record("F32", (99,), of="a")},
        records_of(shape=(6,)),
        records_of(dtype="F64"),
        records_of(offset=4),
    ],
)
def test_records_of_another_structure_are_refused(
    change_records: Callable[[Manifest], dict[str, Record]], store: ObjectStore
) -> None:
    weight = torch.randn(4, 4)
    manifest = take(save({"a": weight, "b": torch.ones(5), "c": weight[1]}), store)
    assert [record.of for record in manifest.records.values()] == ["", "", "a"]
    wrong = Manifest(manifest.header, dict(sorted(change_records(manifest).items())))
    with pytest.raises(ManifestError):
        restore(wrong, store)


def test_a_shape_of_as_many_bytes_is_only_a_shape(store: ObjectStore) -> None:
    """A reshaped record is still the same file: the bytes are what is kept."""
    data = save({"a": torch.ones(6)})
    manifest = take(data, store)
    records = {"a": msgspec.structs.replace(manifest.records["a"], shape=(2, 3))}
    assert restore(Manifest(manifest.header, records), store) == data


def test_the_buffer_must_fit(store: ObjectStore) -> None:
    manifest = take(b"some bytes", store)
    for size in (0, 9, 11):
        with pytest.raises(ValueError, match="a buffer of"):
            snapshot.restore(manifest, store, memoryview(bytearray(size)))


# Bytes derived from tensors.


def test_two_changes_to_one_file_do_not_collide(store: ObjectStore) -> None:
    state = model().state_dict()
    base = take(save(state), store)
    ours = take(save(change(state, "0.weight")), store, base)
    theirs = take(save(change(state, "2.weight")), store, base)
    assert base.header == ours.header == theirs.header
    assert changed_records(base, ours) == ["0.weight"]
    assert changed_records(base, theirs) == ["2.weight"]
    # And their merge, made of text alone, is a file that torch itself could have written.
    merged = Manifest(base.header, {**ours.records, "2.weight": theirs.records["2.weight"]})
    data = restore(merged, store)
    loaded = torch.load(io.BytesIO(data))
    assert save(loaded) == data
    assert dump(take(data, store)) is not None


def test_checksums_that_are_false_come_back(store: ObjectStore) -> None:
    state = {"a": torch.ones(1000), "b": torch.zeros(1000)}
    good = save(state)
    layout, _ = locate(memoryview(good))
    assert len(layout.derived) >= 6
    for derived in layout.derived:
        for size in (1, derived.at.size):
            false = bytearray(good)
            false[derived.at.start : derived.at.start + size] = bytes(
                byte ^ 0xFF for byte in false[derived.at.start :][:size]
            )
            manifest = take(bytes(false), store)
            assert restore(manifest, store) == false
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        without = save(state)
    finally:
        torch.serialization.set_crc32_options(before)
    assert without != good
    assert restore(take(without, store), store) == without


def test_derived_bytes_are_not_stored(store: ObjectStore) -> None:
    data = save({"a": torch.randn(1000)})
    layout, _ = locate(memoryview(data))
    manifest = take(data, store)
    skeleton, _ = snapshot.load_skeleton(manifest, store)
    assert len(skeleton.derived) == len(layout.derived) > 0
    stored = 4 * 1000 + sum(derived.at.size for derived in layout.derived) + len(skeleton.literals)
    assert stored == len(data)


def lay(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    """Let a plug-in return this for any file."""

    class Plugin:
        name = "liar"

        def load(self) -> Plugin:
            return self

        def locate(self, _data: memoryview) -> Layout:
            return layout

    monkeypatch.setattr(checkpoints, "_plugins", lambda: (Plugin(),))


def crc(data: bytes) -> bytes:
    return derive("crc32", memoryview(data), [Span(0, len(data))], {})


def laid(*derived: Derived, storages: tuple[Span, ...] = (Span(0, 8),), size: int = 40) -> Layout:
    views = tuple(View(str(number), "U8", (span.size,), number) for number, span in enumerate(storages))
    return Layout("liar", size, storages, views, derived)


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_lie_of_a_plug_in_changes_a_byte(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever it says of derived bytes, true or false, in whatever order: refused, or exact."""
    file = bytearray(RANDOM.bytes(40))
    starts = data.draw(st.permutations([8, 12, 16, 20, 24, 30, 36]))
    spans = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: Span(min(pair), max(pair)))
    derived = tuple(
        Derived(Span(at, at + 4), "crc32", (data.draw(spans),)) for at in starts[: data.draw(st.integers(0, 4))]
    )
    # Make some of them true, in some order; those written later may falsify earlier ones.
    for one in data.draw(st.permutations(derived)):
        if data.draw(st.booleans()):
            file[one.at.start : one.at.stop] = derive(one.rule, memoryview(bytes(file)), one.over, {})
    store = ObjectStore(tmp_path_factory.mktemp("lies"))
    with pytest.MonkeyPatch.context() as patch:
        lay(patch, laid(*derived))
        manifest = take(bytes(file), store)
    assert restore(manifest, store) == file


def test_derived_bytes_over_later_ones_are_refused() -> None:
    """They would be computed from bytes that are not there yet."""
    first, second = Span(8, 12), Span(20, 24)
    right = laid(Derived(first, "crc32", (Span(0, 8),)), Derived(second, "crc32", (Span(4, 16),)))
    assert check(right, 40) is right
    for derived in [
        (Derived(second, "crc32", (Span(4, 16),)), Derived(first, "crc32", (Span(0, 8),))),
        (Derived(second, "crc32", (Span(0, 9),)), Derived(first, "crc32", (Span(0, 8),))),
        (Derived(second, "crc32", (Span(11, 20),)), Derived(first, "crc32", (Span(0, 8),))),
        (Derived(first, "crc32", (Span(0, 9),)),),
        (Derived(first, "crc32", (first,)),),
        (Derived(first, "crc32", (Span(0, 40),)),),
        (Derived(first, "crc32", (Span(9, 10),)), Derived(second, "crc32", (Span(0, 8),))),
    ]:
        with pytest.raises(CheckpointError, match="not computed yet"):
            check(laid(*derived), 40)
    # No bytes are no bytes, wherever they are, and neighbours do not touch.
    empty = laid(Derived(first, "crc32", (Span(10, 10),)), Derived(second, "crc32", (Span(12, 20),)))
    assert check(empty, 40) is empty


def test_derived_bytes_take_reasonable_time() -> None:
    many = tuple(Derived(Span(8 + 4 * n, 12 + 4 * n), "crc32", (Span(0, 8 + 4 * n),)) for n in range(8))
    check(laid(*many[:3]), 40)
    with pytest.raises(CheckpointError, match="again and again"):
        check(laid(*many), 40)
    same = tuple(Derived(one.at, "crc32", (Span(0, 8),)) for one in many)
    check(laid(*same), 40)


@pytest.mark.parametrize("name", ["", "a\n", "a\r", "a\u2028", "\x1b[2J", "a" * 4097, *CONFLICT_MARKERS])
def test_a_name_no_manifest_could_hold_makes_a_file_opaque(
    name: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(monkeypatch, Layout("liar", 8, (Span(0, 8),), (View(name, "U8", (8,), 0),)))
    manifest = take(b"12345678", store)
    assert manifest.opaque
    assert restore(manifest, store) == b"12345678"


@pytest.mark.parametrize("name", ["", "a b", "a\n", "<b>", "x" * 65, "../x"])
def test_a_format_no_manifest_could_hold_makes_a_file_opaque(
    name: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(monkeypatch, msgspec.structs.replace(laid(size=8), format=name))
    assert take(b"12345678", store).opaque


# A file that changes while it is read.


def test_a_file_that_changes_meanwhile_gives_a_consistent_manifest(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(save({"a": torch.zeros(1000), "b": torch.zeros(2000)}))
    layout, _ = locate(memoryview(data))
    encode = contest.encode
    lock = threading.Lock()

    def writing(*args: Any) -> Any:
        with lock:
            for span in layout.storages:
                data[span.start] ^= 0xFF
        return encode(*args)

    monkeypatch.setattr(snapshot, "encode", writing)
    manifest = snapshot.take(memoryview(data), Known(), store)
    monkeypatch.undo()
    rebuilt = restore(manifest, store)
    assert len(rebuilt) == len(data)
    assert dump(take(rebuilt, store, manifest)) == dump(manifest)


def test_a_full_disk_is_an_error_of_ours(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ThetaError, match="No space left"):
        take(save({"a": torch.ones(3)}), store)
    assert list(store) == []


def test_progress_is_told(store: ObjectStore) -> None:
    told: list[tuple[str, int, int]] = []
    data = save(model().state_dict())
    manifest = snapshot.take(memoryview(data), Known(), store, lambda *what: told.append(what))
    out = memoryview(bytearray(len(data)))
    snapshot.restore(manifest, store, out, lambda *what: told.append(what))
    size = sum(record.nbytes for record in manifest.records.values())
    assert [what for what, done, total in told if done == total == size] == [
        "checking",
        "reading",
        "storing",
        "restoring",
        "checking",
    ]


def test_an_object_has_the_hash_of_its_bytes(store: ObjectStore) -> None:
    take(FILES["torch, training"](), store)
    for object_id in store:
        assert hashlib.sha256(store.read(object_id)).hexdigest() == object_id


def test_the_header_has_only_what_values_do_not_change() -> None:
    """And ``content``, which only an opaque file has."""
    names = [field.name for field in msgspec.structs.fields(Header)]
    assert names == ["format", "size", "blake3", "skeleton", "content"]
