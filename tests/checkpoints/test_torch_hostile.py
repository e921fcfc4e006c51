"""Torch files that nobody's torch wrote: nothing runs, nothing hangs, nothing is believed."""

from __future__ import annotations

import io
import pathlib
import struct
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints.roundtrip import TENSOR, check_tiling, opaque, tensors, torch_file
from theta_jupyter.checkpoints import locate, pickled

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(30)

ZEROS = ("F32", (2, 2), bytes(16))


def save(tree: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


SMALL = save({"a": torch.arange(3), "b": [torch.ones(2)]})


class Evil:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return pathlib.Path.touch, (self.path,)


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    data = save({"a": torch.ones(2), "evil": Evil(marker)})
    assert list(tensors(data, "torch")) == ["a"]
    assert not marker.exists()
    torch.load(io.BytesIO(data), weights_only=False)
    assert marker.exists(), "the pickle is harmless, so the test shows nothing"


def test_a_pickle_made_by_hand() -> None:
    assert tensors(torch_file(b"\x80\x02}X\x01\0\0\0a" + TENSOR + b"s."), "torch") == {"a": ZEROS}


def nested(levels: int) -> list[Any]:
    tree: list[Any] = [torch.ones(1)]
    for _ in range(levels):
        tree = [tree, tree]
    return tree


def test_shared_parts_have_every_name() -> None:
    assert len(tensors(save(nested(5)), "torch")) == 32


@pytest.mark.parametrize("levels", [25, 60, 400])
def test_billion_laughs(levels: int) -> None:
    assert opaque(save(nested(levels))) == "its objects are nested too deeply, or in too many ways"


def test_billion_laughs_without_a_tensor() -> None:
    program = b"\x80\x02]" + b"2\x86" * 60 + b"."
    assert "nested" in opaque(torch_file(program))


def test_billion_laughs_as_a_key() -> None:
    program = b"\x80\x02})" + b"2\x86" * 60 + TENSOR + b"s."
    assert opaque(torch_file(program)) == "a key in its objects is absurdly large"


def test_a_long_key_at_many_levels() -> None:
    key = b"X" + struct.pack("<I", 4000) + b"k" * 4000 + b"q\x01"
    program = b"\x80\x02" + b"}" + key + (b"}h\x01" * 500) + TENSOR + b"s" * 501 + b"."
    assert "characters" in opaque(torch_file(program))


def test_a_tree_that_holds_itself() -> None:
    tree: dict[str, Any] = {"a": torch.ones(1)}
    tree["self"] = tree
    tree["list"] = [tree, torch.ones(2)]
    assert list(tensors(save(tree), "torch")) == ["a", "list/1"]


def test_a_deep_tree() -> None:
    assert "nested" in opaque(torch_file(b"\x80\x02" + b"(" * 100_000 + TENSOR + b"l" * 100_000 + b"."))


def test_many_long_names() -> None:
    program = b"\x80\x02" + b"(" * 900 + TENSOR + b"q\0" + b"h\0" * 3000 + b"l" * 900 + b"."
    assert "nested" in opaque(torch_file(program))


def test_a_long_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MAX_OPCODES", 100)
    assert "more than 100 instructions" in opaque(torch_file(b"\x80\x02" + b"N0" * 100 + b"N."))


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x02",
        b"\x80\x02N",
        b"garbage",
        b"t.",
        b"0.",
        b"h\x07.",
        b"R.",
        b"NNs.",
        b"NNb.",
        b"(NNNu.",
        b")(Ne.",
        b"\x86.",
        b"N\x93.",
        b"NN\x93.",
        b"cnospace\n",
        b"X\xff\xff\xff\x7fabc.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"L" + b"9" * 10_000 + b"L\n.",
        b"\x82\x01.",
        b"\x97.",
        b"NQ.",
        b"(lQ.",
        b"Px\n.",
    ],
)
def test_a_broken_pickle(program: bytes) -> None:
    opaque(torch_file(program))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"K\x02K\x02\x86", b"K\x02K\x03\x86", "needs 20 bytes of a storage of 16"),
        (b"K\0K\x02K\x02", b"K\x01K\x02K\x02", "needs 20 bytes of a storage of 16"),
        (b"K\0K\x02K\x02", b"J\xff\xff\xff\xffK\x02K\x02", "begins before its storage"),
        (b"K\x02K\x01\x86\x89", b"K\x03K\x01\x86\x89", "needs 20 bytes of a storage of 16"),
        (b"K\x02K\x01\x86\x89", b"J\xff\xff\xff\xffK\x01\x86\x89", "stride"),
        (b"K\x02K\x01\x86\x89", b"K\x02\x85\x89", "stride"),
        (b"K\x02K\x02\x86", b"K\x02\x8a\x09\0\0\0\0\0\0\0\0\x01\x86", "absurd shape"),
        (b"K\x02K\x02\x86", b"K\x02N\x86", "no proper shape"),
        (b"K\x02K\x02\x86", b"N", "no proper shape"),
        (b"K\x04tQ", b"K\x05tQ", "wants 5 elements in a storage of 16 bytes"),
        (b"FloatStorage", b"DoubleStorage", "wants 4 elements in a storage of 16 bytes"),
        (b"X\x01\0\0\x000", b"X\x01\0\0\x001", "has no storage in this file"),
        (b"X\x01\0\0\x000", b"K\0", "has no storage in this file"),
        (b"X\x07\0\0\0storage", b"X\x07\0\0\0storags", "has no storage in this file"),
        (b"tQK\0", b"tK\0", "spelled in an unknown way"),
        (b"NtR", b"N0000tR", "spelled in an unknown way"),
    ],
)
def test_a_tensor_that_lies(old: bytes, new: bytes, reason: str) -> None:
    assert TENSOR.count(old) == 1
    data = torch_file(b"\x80\x02}X\x01\0\0\0a" + TENSOR.replace(old, new) + b"s.")
    assert reason in opaque(data)
    assert "'a'" in opaque(data)


ONE = b"\x80\x02}X\x01\0\0\0a" + TENSOR + b"s."


def test_a_bomb_is_not_inflated() -> None:
    assert opaque(torch_file(ONE + bytes(1 << 24), compression=zipfile.ZIP_DEFLATED)).startswith(
        "its pickle is compressed"
    )


def test_a_compressed_storage() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/data.pkl", ONE)
        archive.writestr("m/data/0", bytes(16), zipfile.ZIP_DEFLATED)
    assert opaque(buffer.getvalue()) == "the storage of tensor 'a' is compressed"


def test_two_members_of_one_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = torch_file(ONE, [("data/0", bytes(16)), ("data/0", bytes(range(16)))])
    assert opaque(data) == "two members of the zip archive have the same name"


def entry(data: bytes, name: str) -> tuple[int, int]:
    """Find a member's own header, and its entry in the directory."""
    return data.index(name.encode()) - 30, data.rindex(name.encode()) - 46


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def test_an_archive_that_lies() -> None:
    data = torch_file(ONE)
    assert tensors(data, "torch") == {"a": ZEROS}
    local, central = entry(data, "m/data/0")
    other, _ = entry(data, "m/data.pkl")
    end = data.rindex(b"PK\x05\x06")
    lies = [
        (patched(data, central + 42, "<I", other), "overlaps others"),
        (patched(data, central + 42, "<I", len(data)), "outside the zip archive"),
        (patched(data, central + 42, "<I", central), "outside the zip archive"),
        (patched(data, central + 42, "<I", local - 8), "overlaps others"),
        (patched(data, central + 20, "<II", 17 << 20, 17 << 20), "outside the zip archive"),
        (patched(data, central + 20, "<II", 16, 17), "two sizes"),
        (patched(data, central + 20, "<II", 0xFFFFFFFF, 16), "lacks a 64-bit size"),
        (patched(data, central + 8, "<H", 1), "not what the directory"),
        (patched(patched(data, central + 8, "<H", 1), local + 6, "<H", 1), "is compressed"),
        (patched(data, central, "<I", 0), "directory"),
        (patched(data, central + 28, "<H", 9), "directory"),
        (patched(data, local, "<I", 0), "not what the directory"),
        (patched(data, local + 30, "<B", 65), "not what the directory"),
        (patched(data, local + 28, "<H", 200), "outside the zip archive"),
        (patched(data, end + 4, "<H", 1), "several files"),
        (patched(data, end + 8, "<HH", 9, 9), "damaged"),
        (patched(data, end + 8, "<HH", 1, 1), "another length"),
        (patched(data, end + 16, "<I", 0), "other bytes around its directory"),
        (patched(data, end + 16, "<I", 0xFFFFFFFF), "other bytes around its directory"),
        (patched(data, end + 20, "<H", 7), "followed by other bytes"),
        (data + b"tail", "followed by other bytes"),
    ]
    for lie, reason in lies:
        assert reason in opaque(lie)
    assert opaque(b"head" + data) == "not a format any plug-in knows"


def test_members_that_overlap() -> None:
    data = torch_file(ONE, [("data/0", bytes(16)), ("data/1", bytes(16))])
    _, central = entry(data, "m/data/0")
    # Long enough to reach into the next member.
    assert "overlaps others" in opaque(patched(data, central + 20, "<II", 30, 30))


def test_a_comment_is_kept() -> None:
    data = torch_file(ONE)
    end = data.rindex(b"PK\x05\x06")
    assert tensors(patched(data, end + 20, "<H", 5) + b"hello", "torch") == {"a": ZEROS}


def test_64_bit_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Python writes the long form from this size on.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 8)
    data = torch_file(ONE)
    assert b"PK\x06\x06" in data
    assert tensors(data, "torch") == {"a": ZEROS}
    at = data.rindex(b"PK\x06\x07")
    opaque(patched(data, at + 8, "<Q", 1 << 63))
    opaque(patched(data, at + 8, "<Q", 0))


def test_names_that_leave_the_archive() -> None:
    key = b"X\x0c\0\0\0../../passwd"
    data = torch_file(ONE.replace(b"X\x01\0\0\x000", key), [("data/../../passwd", bytes(16))])
    assert tensors(data, "torch") == {"a": ZEROS}


def test_another_zip() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>", zipfile.ZIP_DEFLATED)
    assert opaque(buffer.getvalue()) == "not a format any plug-in knows"


def test_cut_anywhere() -> None:
    for length in range(1, len(SMALL)):
        opaque(SMALL[:length])


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
@settings(max_examples=1000, deadline=None)
def test_one_byte_wrong(at: int, value: int) -> None:
    data = bytearray(SMALL)
    data[at] = value
    layout, reason = locate(memoryview(data))
    check_tiling(layout, bytes(data))
    assert "plug-in" not in reason.replace("any plug-in knows", ""), "an error that we did not foresee"


@given(
    st.lists(
        st.sampled_from(
            [*b"()]}0125NQRabdehlostu\x81\x85\x86\x8f\x90\x91\x92\x93\x94", TENSOR, b"K\0", b"q\0", b"h\0"]
        ),
        max_size=30,
    )
)
@settings(max_examples=1000, deadline=None)
def test_any_instructions(parts: list[int | bytes]) -> None:
    program = b"".join(part if isinstance(part, bytes) else bytes([part]) for part in parts)
    layout, reason = locate(memoryview(torch_file(b"\x80\x04" + program + b".")))
    assert layout.format in {"torch", "opaque"}
    assert "plug-in" not in reason, "an error that we did not foresee"


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None)
def test_any_pickle(program: bytes) -> None:
    layout, reason = locate(memoryview(torch_file(b"\x80\x02" + program + b".")))
    assert layout.format in {"torch", "opaque"}
    assert "plug-in" not in reason, "an error that we did not foresee"
