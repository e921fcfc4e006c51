"""Updates come through entry points, whoever wrote them, and delta is the least of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from theta_jupyter.errors import ThetaError
from theta_jupyter.updates import base, delta
from theta_jupyter.updates.base import Tensor, find, installed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fresh() -> Iterator[None]:
    installed.cache_clear()
    yield
    installed.cache_clear()


def test_delta_is_installed() -> None:
    assert find("delta") is delta
    assert "delta" in installed()


def test_an_update_that_is_not_installed_is_named() -> None:
    with pytest.raises(ThetaError, match="no installed package provides the update 'magic'") as caught:
        find("magic")
    assert "install" in caught.value.hint


@pytest.mark.usefixtures("fresh")
def test_a_plug_in_that_cannot_be_loaded_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Any:
        raise ImportError("no such thing")

    entries = [
        SimpleNamespace(name="delta", value="theta_jupyter.updates.delta", load=lambda: delta),
        SimpleNamespace(name="broken", value="somewhere.else", load=fail),
    ]
    monkeypatch.setattr(base, "entry_points", lambda **_: entries)
    monkeypatch.setattr(base, "sorted", list, raising=False)
    assert installed() == {"delta": delta}
    assert "broken (somewhere.else) cannot be loaded: no such thing" in caplog.text
    with pytest.raises(ThetaError, match="'broken'"):
        find("broken")


def tensor(data: bytes, dtype: str = "U8", *shape: int) -> Tensor:
    return Tensor(memoryview(data), dtype, shape or (len(data),))


def test_delta_guesses_the_base() -> None:
    base_tensor = tensor(b"12345678", "F32", 2)
    assert delta.fit([base_tensor], tensor(b"abcdefgh", "F32", 2)) == b""
    assert bytes(delta.predict([base_tensor], memoryview(b""), "F32", (2,))) == b"12345678"


def test_delta_does_not_mind_another_shape() -> None:
    assert delta.fit([tensor(b"12345678", "F32", 2)], tensor(b"abcdefgh", "F32", 1, 2, 1)) == b""


@pytest.mark.parametrize(
    "bases",
    [[], [tensor(b"12345678", "F32", 2)] * 2, [tensor(b"12345678", "I32", 2)], [tensor(b"1234", "F32", 1)]],
)
def test_delta_needs_one_base_of_its_kind(bases: list[Tensor]) -> None:
    assert delta.fit(bases, tensor(b"abcdefgh", "F32", 2)) is None
