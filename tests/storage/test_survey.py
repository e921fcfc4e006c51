"""A survey says what storing would say, without storing anything."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import ml_dtypes
import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tests.storage.samples import flushed, npz, save, take
from theta_jupyter.diffs.compare import compare
from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import RequestError
from theta_jupyter.storage.survey import LiveCheckpoint, survey_file, survey_live

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from theta_jupyter.storage.manifest import Manifest, Record
    from theta_jupyter.storage.objects import ObjectStore

RNG = np.random.default_rng(0)
WIDE = torch.from_numpy(RNG.standard_normal((80, 100)).astype(np.float32))


def training() -> dict[str, Any]:
    """What a training loop writes: nested, with an optimizer, and numbers."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(70, 70), torch.nn.LayerNorm(70))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(3, 70)).square().mean().backward()
    optimizer.step()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": 3, "list": [WIDE, (WIDE + 1,)]}


FILES: dict[str, Callable[[], bytes]] = {
    "safetensors": lambda: safetensors.torch.save(
        {"a": WIDE, "b.0": WIDE.bfloat16(), "c": torch.tensor(3), "d": WIDE[:0]}
    ),
    "torch": lambda: save(training()),
    "tied": lambda: save({"embedding": WIDE, "head": WIDE, "turned": WIDE.T}),
    "slices": lambda: save({"part": WIDE[10:20], "column": WIDE[:, 3], "other": (WIDE * 2)[:5].half()}),
    "channels last": lambda: save({"w": torch.randn(8, 9, 10, 11).to(memory_format=torch.channels_last)}),
    "not finite": lambda: save({"x": torch.tensor([float("nan"), float("inf"), -0.0] * 2000)}),
    "huge": lambda: save({"x": torch.full((5000,), 1e300, dtype=torch.float64)}),
    "npz": lambda: npz(a=WIDE.numpy(), b=np.arange(5), c=np.asfortranarray(WIDE.numpy()), d=np.zeros((0, 3))),
    "opaque": lambda: bytes(RNG.bytes(200_000)),
    "empty": lambda: b"",
}


def bare(records: Mapping[str, Record]) -> dict[str, Record]:
    """Records but for where their tensors are stored."""
    return {name: msgspec.structs.replace(record, nodes=()) for name, record in records.items()}


@pytest.mark.parametrize("kind", FILES)
def test_a_survey_of_a_file_says_what_storing_it_says(kind: str, store: ObjectStore) -> None:
    data = FILES[kind]()
    stored = take(data, store)
    objects = set(store)
    surveyed = survey_file(memoryview(data), {})
    assert surveyed.records == bare(stored.records)
    assert list(surveyed.records) == list(stored.records)
    assert (surveyed.header.format, surveyed.header.size) == (stored.header.format, stored.header.size)
    assert surveyed.header.content == stored.header.content
    assert surveyed.opaque == stored.opaque
    # What is known already need not be measured, and comes out the same.
    known = {record.blake3: record for record in stored.records.values() if record.blake3}
    assert survey_file(memoryview(data), known).records == surveyed.records
    assert not [diff for diff in compare(stored, surveyed) if diff.status]
    assert set(store) == objects
    with flushed():
        assert survey_file(memoryview(data), {}) == surveyed


def test_what_is_known_under_another_type_is_measured_again(store: ObjectStore) -> None:
    raw = WIDE.numpy()
    stored = take(safetensors.torch.save({"a": WIDE}), store)
    known = {record.blake3: record for record in stored.records.values()}
    data = save({"a": torch.from_numpy(raw.view(np.int32).reshape(4000, 2))})
    surveyed = survey_file(memoryview(data), known)
    assert surveyed.records["a"].norm == pytest.approx(np.linalg.norm(raw.view(np.int32).astype(np.float64)), rel=1e-9)
    assert surveyed.records == survey_file(memoryview(data), {}).records


# In memory.


def surveyed(tensors: Mapping[str, Any], like: Manifest | None = None) -> tuple[LiveCheckpoint, Manifest]:
    live = LiveCheckpoint("model", tensors, like.records if like else None)
    return live, survey_live(live, {})


TORCH = [
    dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and any(d.numpy == str(dtype).removeprefix("torch.") for d in DTYPES.values())
]


def test_every_type_that_a_file_can_hold_is_one_in_memory() -> None:
    names = {str(dtype).removeprefix("torch.") for dtype in TORCH}
    assert names >= {d.numpy for d in DTYPES.values() if d.bits >= 8}


@pytest.mark.parametrize("dtype", dict.fromkeys(TORCH), ids=str)
def test_every_type_of_torch(dtype: torch.dtype, store: ObjectStore) -> None:
    raw = RNG.integers(0, 2, 6000 * dtype.itemsize, np.uint8)
    tensor = torch.from_numpy(raw).view(dtype).reshape(60, 100)
    buffer = io.BytesIO()
    torch.save({"x": tensor, "row": tensor[3].clone()}, buffer)
    live, manifest = surveyed({"x": tensor, "row": tensor[3]})
    assert manifest.records == bare(take(buffer.getvalue(), store).records)
    assert bytes(live.raw("x")) == raw.tobytes()
    assert bytes(live.raw("row")) == raw.tobytes()[300 * dtype.itemsize : 400 * dtype.itemsize]


def test_other_types_are_refused() -> None:
    odd = torch.empty(2, dtype=torch.bits8)
    for tensor in (odd, np.array(["x"]), np.zeros(2, [("a", "f4")]), np.array([None]), np.zeros(2, "M8[s]")):
        with pytest.raises(RequestError, match=r"tensor 'x' is of type .* which no checkpoint holds"):
            LiveCheckpoint("model", {"x": tensor})


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
def test_tensors_without_plain_values_are_refused() -> None:
    sparse = torch.eye(3).to_sparse()
    for tensor in (sparse, sparse.to_sparse_csr(), torch.zeros(3, device="meta")):
        with pytest.raises(RequestError, match="tensor 'x' has no plain values: it is sparse, or on the meta device"):
            LiveCheckpoint("model", {"x": tensor})


LIVE: dict[str, tuple[Any, Any]] = {
    "plain": (WIDE, WIDE.numpy()),
    "parameter": (torch.nn.Parameter(WIDE), WIDE.numpy()),
    "turned": (WIDE.T, WIDE.numpy().T),
    "every other": (WIDE[::2, 1::3], WIDE.numpy()[::2, 1::3]),
    "spread": (torch.ones(1).expand(50, 100), np.ones((50, 100), np.float32)),
    "scalar": (torch.tensor(2.5), np.array(2.5, np.float32)),
    "empty": (torch.zeros(0, 3), np.zeros((0, 3), np.float32)),
    "conjugate": (torch.tensor([1 + 2j, 3 - 4j]).conj(), np.array([1 - 2j, 3 + 4j], np.complex64)),
    "negative": (torch.tensor([1 + 2j, 3 - 4j]).conj().imag, np.array([-2, 4], np.float32)),
    "truth": (torch.tensor([True, False]), np.array([1, 0], np.uint8)),
    "bfloat16": (torch.tensor([1.5, -2]).bfloat16(), np.array([1.5, -2], ml_dtypes.bfloat16)),
    "big-endian": (np.arange(5, dtype=">f4"), np.arange(5, dtype="<f4")),
    "fortran": (np.asfortranarray(WIDE.numpy()), WIDE.numpy()),
    "backwards": (np.arange(6)[::-1], np.arange(6)[::-1].copy()),
    "0-d": (np.float16(3).reshape(()), np.array(3, np.float16)),
    "ml_dtypes": (np.ones(3, ml_dtypes.float8_e5m2), np.ones(3, ml_dtypes.float8_e5m2)),
    "read-only": (np.broadcast_to(np.float32(1), (3, 4)), np.ones((3, 4), np.float32)),
}


@pytest.mark.parametrize("kind", LIVE)
def test_values_in_memory(kind: str) -> None:
    tensor, array = LIVE[kind]
    live, manifest = surveyed({"x": tensor})
    record = manifest.records["x"]
    raw = np.ascontiguousarray(array).tobytes()
    assert (record.shape, record.offset, record.stride, record.storage) == (array.shape, 0, None, None)
    assert DTYPES[record.dtype].bits == array.dtype.itemsize * 8
    assert record.blake3 == blake3(raw).hexdigest()
    assert bytes(live.raw("x")) == raw
    assert live["x"].tobytes() == raw
    if array.size:
        assert record.norm == pytest.approx(np.linalg.norm(array.astype(np.complex128).reshape(-1)), rel=1e-6)
    assert (record.sketch is not None) == (array.size >= 4096)


@settings(deadline=None, max_examples=50)
@given(arrays(np.float32, array_shapes(max_dims=4, max_side=5)), st.data())
def test_any_order_of_dimensions(array: Any, data: Any) -> None:
    order = data.draw(st.permutations(range(array.ndim)))
    expected = np.ascontiguousarray(array.transpose(order)).tobytes()
    for tensor in (torch.from_numpy(array).permute(order), array.transpose(order)):
        live, _ = surveyed({"x": tensor})
        assert bytes(live.raw("x")) == expected
    # And as it would lie in a file.
    filed = survey_file(memoryview(save({"x": torch.from_numpy(array).permute(order)})), {})
    for tensor in (torch.from_numpy(array).permute(order), torch.from_numpy(array.transpose(order).copy())):
        live, manifest = surveyed({"x": tensor}, filed)
        assert manifest.records["x"].blake3 == filed.records["x"].blake3
        assert bytes(live.raw("x")) == expected


def test_another_memory_format_is_no_change(store: ObjectStore) -> None:
    """Convolutions are often trained channels last; their values are those of the file, in whichever order."""
    weight = torch.randn(8, 9, 10, 11)
    turned = weight.to(memory_format=torch.channels_last)
    for saved in (weight, turned):
        stored = take(save({"w": saved}), store)
        for tensor in (weight, turned):
            _, manifest = surveyed({"w": tensor}, stored)
            assert [(diff.status, diff.l2) for diff in compare(stored, manifest)] == [("", 0.0)]
            live, manifest = surveyed({"w": tensor * 1.01}, stored)
            (diff,) = compare(stored, manifest)
            assert (diff.status, diff.estimated) == ("M", True)
            assert diff.relative == pytest.approx(0.01, rel=0.4)
            assert bytes(live.raw("w")) == (weight * 1.01).numpy().tobytes()


@pytest.mark.parametrize("other", [WIDE[:, :50], WIDE.T, WIDE.T.half(), WIDE.T[:, :20]])
def test_what_lies_otherwise_in_a_file_is_taken_as_it_is(other: torch.Tensor) -> None:
    """Another shape, another type, a part of a storage."""
    filed = survey_file(memoryview(save({"x": WIDE.T[:, 10:30], "y": other})), {})
    live, manifest = surveyed({"x": WIDE.T[:, 10:30], "y": WIDE}, filed)
    assert bytes(live.raw("x")) == WIDE.T[:, 10:30].contiguous().numpy().tobytes()
    assert bytes(live.raw("y")) == WIDE.numpy().tobytes()
    assert manifest.records["y"].stride is None


def test_tied_tensors_are_each_what_they_are() -> None:
    live, manifest = surveyed({"b": WIDE, "a": WIDE, "part": WIDE[:2]})
    assert list(manifest.records) == ["a", "b", "part"]
    assert manifest.records["a"] == manifest.records["b"]
    assert manifest.header.format == "live"
    assert bytes(live.raw("part")) == WIDE[:2].numpy().tobytes()
    assert not manifest.opaque


def test_a_tensor_that_changed_can_no_longer_be_read() -> None:
    tensor, array = torch.ones(3), np.ones(3)
    live, _ = surveyed({"t": tensor, "n": array, "other": torch.ones(1)})
    tensor += 1
    array[0] = 5
    for name in ("t", "n"):
        with pytest.raises(RequestError, match=f"tensor '{name}' of model has changed since it was compared") as caught:
            live.raw(name)
        assert caught.value.hint == "compare again"
    assert live["other"] == 1
    tensor -= 1
    assert live["t"].tolist() == [1, 1, 1]


def test_what_was_read_stays() -> None:
    tensor = torch.ones(3)
    live, _ = surveyed({"x": tensor})
    raw = live.raw("x")
    tensor += 1
    assert np.frombuffer(raw, np.float32).tolist() == [1, 1, 1]


def test_a_survey_in_memory_flushed_is_the_same() -> None:
    tensors = {"x": torch.full((5000,), 1e-40)}
    with flushed():
        _, manifest = surveyed(tensors)
    assert manifest == surveyed(tensors)[1]
    assert manifest.records["x"].norm == pytest.approx(1e-40 * 5000**0.5, rel=1e-4)
