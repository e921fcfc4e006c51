"""The laws of names and of layouts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theta_jupyter.checkpoints.base import Derived, Layout, Span, View, canonical_stride, check, quote
from theta_jupyter.errors import CheckpointError

awkward = st.text(st.sampled_from("a0/()\"'\\.-<\n "), max_size=6)
keys = st.one_of(
    awkward, st.integers(-3, 12), st.booleans(), st.none(), st.tuples(awkward), st.tuples(awkward, awkward), st.floats()
)
paths = st.lists(keys, min_size=1, max_size=3)


@given(paths, paths)
def test_different_paths_have_different_names(one: list[object], other: list[object]) -> None:
    assert (quote(*one) == quote(*other)) == (repr(one) == repr(other))


@pytest.mark.parametrize("key", ["(1, 'a/b')", "((1, 'a/b'))", "(\"(1, 'a/b')\")"])
def test_a_string_never_looks_like_a_tuple(key: str) -> None:
    assert quote(key) != quote((1, "a/b"))


@given(paths)
def test_names_can_be_printed(path: list[object]) -> None:
    assert quote(*path).isprintable()


def test_a_contiguous_stride_is_none() -> None:
    assert canonical_stride((2, 3), (3, 1)) is None
    assert canonical_stride((2, 1), (1, 7)) is None
    assert canonical_stride((0, 3), (9, 9)) is None
    assert canonical_stride((), ()) is None
    assert canonical_stride((2, 3), (1, 2)) == (1, 2)
    assert canonical_stride((2, 3), (0, 1)) == (0, 1)


def layout(
    *views: View, storages: tuple[Span, ...] = (Span(0, 8),), derived: tuple[Derived, ...] = (), size: int = 16
) -> Layout:
    return Layout("x", size, storages, views or (View("a", "F32", (2,), 0),), derived)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (layout(size=17), "the file has 16"),
        (layout(storages=(Span(0, 17),)), "leave the file"),
        (layout(storages=(Span(0, 8), Span(4, 12))), "overlap"),
        (layout(storages=(Span(0, 8), Span(8, 16))), "no tensor"),
        (layout(storages=(Span(8, 16), Span(0, 8))), "file order"),
        (layout(View("a", "F32", (3,), 0)), "needs 12 bytes"),
        (layout(View("a", "F32", (2,), 0, 4)), "needs 12 bytes"),
        (layout(View("a", "F32", (2,), 0, -4)), "begins before"),
        (layout(View("a", "F32", (2,), 0, 0, (2,))), "needs 12 bytes"),
        (layout(View("a", "F32", (2,), 0, 0, (-1,))), "stride"),
        (layout(View("a", "F32", (2,), 0, 0, ())), "stride"),
        (layout(View("a", "F4", (3,), 0)), "whole bytes"),
        (layout(View("a", "F33", (2,), 0)), "unknown dtype"),
        (layout(View("a", "F32", (1 << 62,), 0)), "absurd shape"),
        (layout(View("a", "F32", (1,) * 65, 0)), "absurd shape"),
        (layout(View("a", "F32", (2,), 1)), "which there is not"),
        (layout(View("a", "F32", (2,), 0), View("a", "F32", (1,), 0)), "two tensors"),
        (layout(View("", "F32", (2,), 0)), "unusable"),
        (layout(View("a\n", "F32", (2,), 0)), "unusable"),
        (layout(derived=(Derived(Span(4, 8), "crc32", (Span(0, 4),)),)), "overlap"),
        (layout(derived=(Derived(Span(8, 11), "crc32", (Span(0, 4),)),)), "no known rule"),
        (layout(derived=(Derived(Span(8, 12), "md5", (Span(0, 4),)),)), "no known rule"),
        (layout(derived=(Derived(Span(8, 12), "crc32", ()),)), "one span"),
        (layout(derived=(Derived(Span(8, 12), "crc32", (Span(0, 17),)),)), "outside the file"),
    ],
)
def test_a_wrong_layout_is_refused(wrong: Layout, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        check(wrong, 16)


def test_a_right_layout_passes() -> None:
    right = layout(derived=(Derived(Span(8, 12), "crc32", (Span(0, 8),)),))
    assert check(right, 16) is right
    assert right.literals() == [Span(12, 16)]
