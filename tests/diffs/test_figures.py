"""Pictures of a diff, looked at pixel by pixel."""

from __future__ import annotations

import io
import warnings
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from theta_jupyter.diffs.compare import TensorDiff
from theta_jupyter.diffs.figures import heatmap, png
from theta_jupyter.diffs.grid import fold
from theta_jupyter.diffs.report import FileDiff


def tensor(name: str, l2: float | None, status: Any = "M") -> TensorDiff:
    return TensorDiff(name, status if l2 != 0 else "", (2, 2), "F32", 4, norm=1.0, l2=l2)


def picture(*tensors: TensorDiff) -> Any:
    return matplotlib.image.imread(io.BytesIO(png(heatmap(fold(tensors), "m"))))


def cell(figure: Any, row: int, column: int) -> tuple[int, int]:
    """A pixel in a cell, beside the mark that may stand in its middle."""
    figure.canvas.draw()
    x, y = figure.axes[0].transData.transform((column - 0.25, row - 0.25))
    return round(figure.bbox.height - y), round(x)


def test_a_changed_cell_is_coloured_and_an_unchanged_one_is_not() -> None:
    grid = fold([tensor("l.0.a", 0.001), tensor("l.0.b", 0), tensor("l.1.a", 0), tensor("l.1.b", 0.5)])
    figure = heatmap(grid, "m")
    pixels = matplotlib.image.imread(io.BytesIO(png(figure)))
    at = {(row, column): pixels[cell(figure, row, column)] for row in (0, 1) for column in (0, 1)}
    assert at[0, 0][3] == at[1, 1][3] == 1
    assert at[0, 1][3] == at[1, 0][3] == 0
    # The more, the brighter.
    assert np.sum(at[1, 1][:3]) > np.sum(at[0, 0][:3]) + 0.5


def test_ink_is_readable_on_white_and_on_black() -> None:
    pixels = picture(tensor("l.0.a", 0))
    ink = pixels[pixels[..., 3] > 0.9][:, :3]
    assert len(ink) > 100
    luminance = np.median(ink @ [0.2126, 0.7152, 0.0722])
    assert 0.35 < luminance < 0.65


@pytest.mark.parametrize(
    "names",
    [
        ["x"],
        [""],
        ["$\\frac{1}{$.0.b"],
        ["\n\t\x1b[31m\u202e.0.b"],
        ["漢字.0.ü"],
        ["a" * 400 + ".0." + "b" * 400],
        [f"layer.{i}.{j}" for i in range(60) for j in "abc"],
        [f"layer.0.{j}" for j in range(300)],
    ],
)
def test_any_names_can_be_drawn(names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = picture(*(tensor(name, 0.1) for name in names))
    height, width = pixels.shape[:2]
    assert 100 < height < 2500
    assert 200 < width < 1500
    assert np.count_nonzero(pixels[..., 3]) > 500


def test_a_new_file_has_no_picture() -> None:
    """All of it would be one colour."""
    tensors = (tensor("l.0.a", None, "A"),)
    assert "<img" not in FileDiff("m", "A", "a", "b", tensors).html()
    assert "<img" in FileDiff("m", "M", "a", "b", tensors).html()
    assert "new: 1 tensor" in FileDiff("m", "A", "a", "b", tensors).text()
