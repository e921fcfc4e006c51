"""NumPy files, beside what numpy makes of them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints.roundtrip import check_tiling, opaque, tensors
from theta_jupyter.checkpoints import locate, quote
from theta_jupyter.checkpoints.numpy import _DTYPES

Array = npt.NDArray[Any]


def npy(array: Array, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    return buffer.getvalue()


def npz(**arrays: Array) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + body


SMALL = npz(a=np.arange(3, dtype="i2"), b=np.arange(4, dtype="f8").reshape(2, 2))


@pytest.mark.parametrize("descr", _DTYPES)
def test_every_dtype(descr: str) -> None:
    array = np.arange(24).astype(descr).reshape(2, 3, 4)
    assert array.dtype.str == descr
    assert tensors(npy(array), "numpy") == {"array": (_DTYPES[descr], (2, 3, 4), array.tobytes())}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version(version: tuple[int, int]) -> None:
    array = np.arange(6.0)
    assert tensors(npy(array, version), "numpy") == {"array": ("F64", (6,), array.tobytes())}


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3), (2, 3, 4), (1, 5, 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_shapes_and_orders(shape: tuple[int, ...], order: Any) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype="f4").reshape(shape).copy(order)
    expected = ("F32", shape, np.load(io.BytesIO(npy(array))).tobytes())
    assert tensors(npy(array), "numpy") == {"array": expected}


def test_bytes_after_the_array_are_kept() -> None:
    assert tensors(npy(np.ones(2)) + b"more", "numpy")["array"][1] == (2,)


@pytest.mark.parametrize(
    "array",
    [
        np.ones(2, ">f4"),
        np.array(["text"]),
        np.array([b"text"]),
        np.array(["2020-01-01"], "M8[D]"),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.array([{}], object),
        np.zeros(2, "V2"),
    ],
)
def test_other_dtypes(array: Array) -> None:
    assert "it is not made of little-endian numbers" in opaque(npy(array))
    assert "it is not made of little-endian numbers" in opaque(npz(a=array))
    assert tensors(npz(a=array, b=np.ones(2)), "numpy") == {"b": ("F64", (2,), np.ones(2).tobytes())}


def test_an_archive() -> None:
    arrays: dict[str, Array] = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6, dtype="i4").reshape(2, 3)),
        "deep/name": np.array(True),
        "0": np.zeros(0, "c8"),
        "é": np.ones(3, "f2"),
    }
    data = npz(**arrays)
    loaded = np.load(io.BytesIO(data))
    expected = {
        quote(name): (_DTYPES[array.dtype.str], array.shape, loaded[name].tobytes()) for name, array in arrays.items()
    }
    assert tensors(data, "numpy") == expected


def test_an_archive_through_a_pipe() -> None:
    class Pipe(io.BytesIO):
        """Where zipfile cannot go back to fill in a checksum."""

        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    np.savez(pipe, a=np.ones(3))
    data = pipe.getvalue()
    assert tensors(data, "numpy") == {"a": ("F64", (3,), np.ones(3).tobytes())}
    layout, _ = locate(memoryview(data))
    assert len(layout.derived) == 2


def test_both_checksums_of_a_member_are_derived() -> None:
    layout, _ = locate(memoryview(SMALL))
    assert len(layout.derived) == 4


def test_a_compressed_archive() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.zeros(1000))
    assert opaque(buffer.getvalue()) == "its arrays are compressed; save with numpy.savez to see tensors"


def test_another_zip() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", npy(np.ones(2)))
        archive.writestr("readme.txt", "hello")
    assert opaque(buffer.getvalue()) == "not a format any plug-in knows"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (npy(np.ones(2))[:-1], "needs 16 bytes of a storage of 15"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}"), "absurd shape"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "absurd shape"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", bytes(4)), "shape"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", bytes(4)), "another kind"),
        (header("{'descr': '<f4', 'fortran_order': False}", bytes(4)), "another kind"),
        (header("{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", bytes(4)), "another kind"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", bytes(4)), "another kind"),
        (header("{'descr': ['<f4'], 'fortran_order': False, 'shape': ()}", bytes(4)), "dtype"),
        (header("{'descr': exit(), 'fortran_order': False, 'shape': ()}", bytes(4)), "damaged"),
        (header("(" * 5000), "damaged"),
        (header("-" * 60_000 + "1"), "damaged"),
        (header("{"), "damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "version"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "cut short or absurdly large"),
        (b"\x93NUMPY\x02\x00\x01\x00\x01\x00" + b" " * 65537, "cut short or absurdly large"),
    ],
)
def test_a_file_that_lies_is_opaque(data: bytes, reason: str) -> None:
    assert reason in opaque(data)


@pytest.mark.parametrize("whole", [SMALL, npy(np.arange(3.0))])
def test_cut_anywhere(whole: bytes) -> None:
    for length in range(1, len(whole)):
        opaque(whole[:length])


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
@settings(max_examples=500)
def test_one_byte_wrong(at: int, value: int) -> None:
    data = bytearray(SMALL)
    data[at] = value
    layout, _ = locate(memoryview(data))
    check_tiling(layout, bytes(data))
