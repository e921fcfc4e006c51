"""Change by block in one line: in characters, in words, and as a picture that is looked at pixel by pixel."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import matplotlib.image
import msgspec
import numpy as np
import pytest

from theta_jupyter.diffs.compare import TensorDiff
from theta_jupyter.diffs.miniature import LEGEND, MOST, Miniature, glyph, miniature


def tensor(name: str, status: Any = "M", norm: float | None = 1.0, l2: float | None = 0.1) -> TensorDiff:
    return TensorDiff(name, status, (2,), "F32", 2, norm=norm, l2=0.0 if not status else l2)


def test_blocks_are_taken_together_as_one_vector() -> None:
    found = miniature(
        "m",
        [
            tensor("layer.10.a", norm=3.0, l2=0.3),
            tensor("layer.10.b", norm=4.0, l2=0.0, status=""),
            tensor("layer.2.a", ""),
            tensor("layer.2.b", "", norm=None),
            tensor("embed.w", norm=1.0, l2=1e-6),
            tensor("pool.w", l2=None),
        ],
    )
    assert found.blocks == ("embed", "layer.2", "layer.10", "pool")
    assert list(found.values) == [pytest.approx(1e-6), 0.0, pytest.approx(0.06), None]
    assert found.text() == "▁·▇?"


@pytest.mark.parametrize(
    ("statuses", "sign"),
    [
        ("A", "+"),
        ("AA", "+"),
        ("D", "-"),
        ("S", "±"),
        ("AD", "±"),
        ("SA", "±"),
        ("A ", "+"),  # A tensor came, the others stayed as they were.
        ("R", "▇"),
        ("T", "▇"),
        ("MA", "▇"),
        ("MD", "▇"),
        ("  ", "·"),
    ],
)
def test_what_has_no_size_has_a_sign(statuses: str, sign: str) -> None:
    diffs = [
        tensor(f"l.0.{i}", status.strip(), *([None, None] if status in "ADS" else []))
        for i, status in enumerate(statuses)
    ]
    assert miniature("m", diffs).text() == sign
    assert sign in LEGEND + "▇"


def test_what_is_not_known_does_not_hide_what_is() -> None:
    """Every block has small tensors, whose change no manifest tells."""
    diffs = [tensor("l.0.w", norm=2.0, l2=0.2), tensor("l.0.bias", norm=0.1, l2=None)]
    assert list(miniature("m", diffs).values) == [pytest.approx(0.1)]


def test_levels() -> None:
    sizes = [0.0, 1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.9, 1.0, 50.0, math.inf]
    assert "".join(map(glyph, sizes)) == "·▁▁▂▃▅▆▇████"


def test_many_blocks_share_bars() -> None:
    diffs = [tensor(f"layer.{i}.w", "M" if i == 70 else "", norm=1.0, l2=0.5) for i in range(100)]
    found = miniature("m", diffs)
    assert len(found.blocks) == len(found.values) == MOST == 32
    (place,) = [index for index, value in enumerate(found.values) if value]
    first, last = (int(name.rpartition(".")[2]) for name in found.blocks[place].split(" … "))
    assert first <= 70 <= last
    assert last - first in {2, 3}
    # The one that changed is a third or a quarter of the vector.
    assert found.values[place] == pytest.approx(0.5 / math.sqrt(last - first + 1))
    assert found.blocks[0].startswith("layer.0 … ")
    assert found.blocks[-1].endswith(" … layer.99")


def test_in_words() -> None:
    found = Miniature("m", tuple("abcdef"), (0.0, 0.0213, None, "+", "-", "±"))
    assert found.alt() == ("Change by block of m: a unchanged, b ~0.021, c not known, d added, e removed, f reshaped")


def test_nothing_at_all() -> None:
    empty = miniature("m", [])
    assert (empty.text(), empty.values) == ("", ())
    assert empty.png().startswith(b"\x89PNG")


def test_as_plain_data() -> None:
    found = Miniature("m", ("a", "b", "c"), (0.5, "+", None))
    built = msgspec.to_builtins(found)
    assert json.loads(json.dumps(built)) == {"path": "m", "blocks": ["a", "b", "c"], "values": [0.5, "+", None]}


def pixels(*values: Any) -> Any:
    found = Miniature("m", tuple(map(str, range(len(values)))), values)
    return matplotlib.image.imread(io.BytesIO(found.png()))


def test_the_more_the_higher_and_the_brighter() -> None:
    drawn = pixels(0.0, 1e-5, 1e-2, 1.0)
    bars = [drawn[:, 12 * i : 12 * i + 10] for i in range(4)]
    heights = [int(np.count_nonzero(bar[:, 5, 3])) for bar in bars]
    assert heights[0] == 2  # The line they stand on.
    assert heights == sorted(set(heights))
    assert heights[-1] == len(drawn) == 28
    brightness = [float(bar[-3, 5, :3].sum()) for bar in bars[1:]]
    assert brightness == sorted(set(brightness))
    # Yellow at the end, as everywhere else; and nothing is lost on a black page.
    assert bars[3][5, 5] == pytest.approx(np.array([0.995, 0.909, 0.217, 1.0]), abs=0.01)
    assert min(brightness) > 0.9
    # Between two bars one sees the page.
    assert np.all(drawn[:-2, 10:12, 3] == 0)


def test_signs_are_drawn_as_shapes() -> None:
    shapes = [pixels(sign)[:-2, :, 3].tobytes() for sign in ("+", "-", "±", None, 0.0)]
    assert len(set(shapes)) == 5
    plus = pixels("+")[:-2]
    assert set(np.unique(plus[..., 3])) == {0.0, 1.0}
    ink = plus[plus[..., 3] == 1][:, :3]
    assert ink == pytest.approx(np.full(ink.shape, 128 / 255), abs=0.01)
