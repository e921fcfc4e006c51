"""The door through which plug-ins come: there is always an answer."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

from tests.checkpoints.roundtrip import opaque, tensors
from theta_jupyter import checkpoints
from theta_jupyter.checkpoints import Layout, Span, View, locate
from theta_jupyter.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


class Plugin:
    """An entry point, and the plug-in it names."""

    def __init__(self, name: str, answer: Layout | Exception | None) -> None:
        self.name = name
        self.answer = answer

    def load(self) -> Plugin:
        return self

    def locate(self, _: memoryview) -> Layout | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


GOOD = Layout("good", 4, (Span(0, 4),), (View("a", "F32", (), 0),))
BAD = Layout("bad", 4, (Span(0, 5),), (View("a", "F32", (), 0),))


def use(monkeypatch: pytest.MonkeyPatch, *answers: Layout | Exception | None) -> None:
    plugins = tuple(Plugin(f"p{index}", answer) for index, answer in enumerate(answers))
    monkeypatch.setattr(checkpoints, "_plugins", lambda: plugins)


def test_our_formats_come_through_entry_points() -> None:
    assert {"numpy", "safetensors", "torch"} <= {plugin.name for plugin in checkpoints._plugins()}


def test_first_plugin_that_knows_the_file_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None, GOOD, BAD)
    assert locate(memoryview(b"1234")) == (GOOD, "")


@pytest.mark.parametrize(
    "error", [ValueError("v"), KeyError("k"), RecursionError(), MemoryError(), OverflowError(), AttributeError("\n\n")]
)
def test_a_broken_plugin_stops_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    use(monkeypatch, error)
    assert opaque(b"1234").startswith(f"plug-in p0 failed: {type(error).__name__}")
    use(monkeypatch, error, GOOD)
    assert locate(memoryview(b"1234")) == (GOOD, "")


def test_the_reason_is_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, CheckpointError("it is\ncut short"), ValueError("other"))
    assert opaque(b"1234") == "it is cut short"


def test_what_a_plugin_returns_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, BAD)
    assert "leave the file" in opaque(b"1234")


@pytest.mark.parametrize(
    "data", [b"x", b"hello world", b"\0" * 100, b"{}", b"\x89PNG\r\n", b"\x80\x04.", b"PK\x05\x06"]
)
def test_other_files_are_opaque(data: bytes) -> None:
    assert opaque(data) == "not a format any plug-in knows"


def test_an_empty_file_has_no_storages() -> None:
    layout, reason = locate(memoryview(b""))
    assert (layout.storages, layout.views, layout.literals()) == ((), (), [])
    assert reason


def test_opaque_files_are_cut_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.opaque, "CHUNK", 4)
    opaque(b"0123456789")
    layout, _ = locate(memoryview(b"0123456789"))
    assert layout.storages == (Span(0, 4), Span(4, 8), Span(8, 10))
    assert [view.name for view in layout.views] == ["bytes/0000", "bytes/0001", "bytes/0002"]


@pytest.mark.parametrize("tail", [b"", b"x"])
def test_no_reference_to_the_file_is_kept(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3)}) + tail)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        layout, _ = locate(memoryview(mapped))
        assert layout.format == ("opaque" if tail else "safetensors")
    # A map that is still referred to cannot be closed: leaving the block would have raised BufferError.


def test_the_name_of_a_file_does_not_matter() -> None:
    assert tensors(safetensors.numpy.save({"a": np.zeros(3, "f4")}), "safetensors") == {"a": ("F32", (3,), bytes(12))}
