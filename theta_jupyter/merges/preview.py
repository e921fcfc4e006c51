"""What two sides did to one tensor, and what a strategy would make of it.

The first answer comes from the sketches in the manifests: how far each side went, and the angle between the two ways.
Two changes at 90 degrees have nothing to do with each other, and add up well; at 180 they undo each other, and at 0
they are the same change twice. How often both agree on the sign follows from the angle, as for random numbers it does
(1 - angle / 180; Goemans & Williamson, 1995). Read, every number is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.diffs.detail import Histogram, edges_of, spread
from theta_jupyter.diffs.figures import BASE, OURS, RESULT, THEIRS, beside, overlaid, to_plotly
from theta_jupyter.dtypes import DTYPES, to_floats
from theta_jupyter.merges.plan import Rule
from theta_jupyter.results import Result, Table, plain, relative_text
from theta_jupyter.storage.sketch import distance, fixed_arithmetic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.figures import Spec
    from theta_jupyter.merges.blend import Version
    from theta_jupyter.merges.threeway import Class
    from theta_jupyter.storage.manifest import Record

__all__ = ["Preview", "Row", "Standing", "estimated", "measured", "preview"]

_BLOCK = 1 << 15


@dataclass(frozen=True, slots=True)
class Standing:
    """How two changes of a tensor stand to each other.

    Parameters
    ----------
    ours, theirs
        Size of each side's change, as a part of the base's norm; None where there is no base, or not known.
    angle
        Between the changes, in degrees; between the tensors themselves if there is no base.
    signs
        Of the values that both changed, the share that both moved the same way.
    estimated
        Whether these come from sketches.
    """

    ours: float | None = None
    theirs: float | None = None
    angle: float | None = None
    signs: float | None = None
    estimated: bool = False


@dataclass(frozen=True)
class Row:
    """One tensor of a merge.

    Parameters
    ----------
    name
        In the result.
    kind
        Its class.
    dtype, shape
        Of ours, or of theirs where ours has none.
    ours_shape, theirs_shape
        Where they differ.
    standing
        How the two changes stand to each other.
    strategy, parameters
        What was chosen; empty while it is undecided.
    rule
        Which rule of the plan did so.
    refusals
        Strategies that do not apply, and why.
    remark
        How versions of different sizes will be laid over each other.
    """

    name: str
    kind: Class
    dtype: str = ""
    shape: tuple[int, ...] = ()
    ours_shape: tuple[int, ...] | None = None
    theirs_shape: tuple[int, ...] | None = None
    standing: Standing = Standing()
    strategy: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()
    rule: int | None = None
    refusals: tuple[tuple[str, str], ...] = ()
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        standing = {name: getattr(self.standing, name) for name in ("ours", "theirs", "angle", "signs", "estimated")}
        return {
            "name": self.name,
            "class": self.kind,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "ours_shape": self.ours_shape,
            "theirs_shape": self.theirs_shape,
            **standing,
            "strategy": self.strategy,
            "parameters": dict(self.parameters),
            "rule": self.rule,
            "refusals": dict(self.refusals),
            "remark": self.remark,
        }

    def call(self) -> str:
        """The strategy with its parameters."""
        return Rule("", self.strategy, dict(self.parameters)).call()


@dataclass(frozen=True)
class Preview(Result):
    """A tensor of a merge, read and measured, with what a strategy makes of it.

    Parameters
    ----------
    row
        The tensor.
    labels
        What to call ours, theirs and base.
    norms
        L2 norm of each version, by ``ours``, ``theirs``, ``base``, ``result``.
    distances
        Of the result from each version.
    histograms
        Of the values, over the same edges.
    changes
        Of what ours, theirs and the result are away from the base, over the same edges.
    remark
        What was done to versions of different sizes.
    """

    row: Row
    labels: tuple[str, str, str]
    norms: tuple[tuple[str, float], ...]
    distances: tuple[tuple[str, float], ...]
    histograms: tuple[tuple[str, Histogram], ...]
    changes: tuple[tuple[str, Histogram], ...] = ()
    remark: str = ""

    def headline(self) -> str:
        """The tensor and the strategy."""
        how = f"   {self.row.call()}" if self.row.strategy else ""
        return f"{self.row.name}   {self.row.kind}{how}"

    def facts(self) -> tuple[tuple[str, str], ...]:
        """How the two changes stand to each other, in words."""
        standing = self.row.standing
        shape = " x ".join(map(str, self.row.shape)) or "scalar"
        known = (
            ("type", self.row.dtype),
            ("shape", shape),
            ("angle", "" if standing.angle is None else f"{round(standing.angle, 1):g}°"),
            ("signs agree", "" if standing.signs is None else f"{100 * standing.signs:.3g} %"),
        )
        return tuple((label, value) for label, value in known if value)

    def table(self) -> Table:
        """A line a version: its norm, its change, and how far the result is from it."""
        changes = {"ours": self.row.standing.ours, "theirs": self.row.standing.theirs}
        distances, norms = dict(self.distances), dict(self.norms)
        names = {**dict(zip(("ours", "theirs", "base"), self.labels, strict=True)), "result": ""}
        rows = tuple(
            (
                f"{side}: {names[side]}" if names[side] else side,
                f"{norms[side]:.5g}",
                relative_text(changes[side]) if changes.get(side) is not None else "",
                f"{distances[side]:.3g}" if side in distances else "",
            )
            for side in ("ours", "theirs", "base", "result")
            if side in norms
        )
        return Table(("version", ">norm", ">change", ">result differs by"), rows)

    def notes(self) -> tuple[str, ...]:
        """What was done to sizes."""
        return (self.remark,) if self.remark else ()

    def specs(self) -> tuple[tuple[str, Spec], ...]:
        """A title and a figure for everything there is to see."""
        colors = {"base": BASE, "ours": OURS, "theirs": THEIRS, "result": RESULT}
        shown = (("changes from the base", dict(self.changes)), ("values of each version", dict(self.histograms)))
        return tuple(
            (title, overlaid([(side, found[side], color) for side, color in colors.items() if side in found]))
            for title, found in shown
            if found
        )

    def figure(self) -> go.Figure:
        """The histograms, side by side, in plotly."""
        return to_plotly(beside(self.specs(), plain(self.headline())))

    def plot(self) -> Figure:
        """The same, in matplotlib."""
        from theta_jupyter.diffs.plots import draw

        return draw([spec for _, spec in self.specs()], [title for title, _ in self.specs()], plain(self.headline()))

    def html(self) -> str:
        """The table and the picture."""
        from theta_jupyter.diffs.plots import image

        return super().html() + (image(self.plot(), f"Histograms of {plain(self.row.name)}") if self.specs() else "")


def estimated(base: Record | None, ours: Record | None, theirs: Record | None) -> Standing:
    """Say how two changes stand to each other, from the sketches of three records; nothing is read."""
    if ours is None or theirs is None:
        one = ours or theirs
        change = _relative(base, one)
        known = change is not None
        return Standing(change if ours else None, change if theirs else None, estimated=known)
    first, second = _relative(base, ours), _relative(base, theirs)
    angle = None
    if base is None:
        if ours.sketch and theirs.sketch and ours.shape == theirs.shape:
            angle = _between(ours.sketch, theirs.sketch)
    elif base.sketch and ours.sketch and theirs.sketch and base.shape == ours.shape == theirs.shape:
        a = [y - x for x, y in zip(base.sketch, ours.sketch, strict=True)]
        b = [y - x for x, y in zip(base.sketch, theirs.sketch, strict=True)]
        angle = _between(a, b)
    known = any(value is not None for value in (first, second, angle))
    return Standing(first, second, angle, None if angle is None else 1 - angle / 180, known)


def measured(base: Version | None, ours: Version, theirs: Version) -> Standing:
    """Say the same exactly, from the bytes of versions of one shape; what is not finite counts as not changed."""
    if len({math.prod(v.shape) * DTYPES[v.dtype].words for v in (ours, theirs, *([base] if base else []))}) > 1:
        return Standing()  # Complex numbers beside real ones.
    products = one = two = ground = 0.0
    both = alike = 0
    with fixed_arithmetic():
        for a, b, c in _blocks(ours, theirs, base):
            x, y = (a, b) if c is None else (a - c, b - c)
            finite = np.isfinite(x) & np.isfinite(y)
            if not finite.all():
                x, y = np.where(finite, x, 0.0), np.where(finite, y, 0.0)
            products += float(np.dot(x, y))
            one += float(np.dot(x, x))
            two += float(np.dot(y, y))
            ground += 0.0 if c is None else float(np.dot(z := np.where(np.isfinite(c), c, 0.0), z))
            signs = np.sign(x) * np.sign(y)
            both += int(np.count_nonzero(signs))
            alike += int(np.count_nonzero(signs > 0))
    first, second = math.sqrt(one), math.sqrt(two)
    away = None if base is None else math.sqrt(ground)
    return Standing(
        _ratio(first, away), _ratio(second, away), _angle(products, one, two), alike / both if both else None
    )


def preview(
    row: Row, labels: tuple[str, str, str], versions: dict[str, Version], result: Version | None, remark: str = ""
) -> Preview:
    """Lay versions and a result beside each other.

    Parameters
    ----------
    versions
        By ``ours``, ``theirs`` and ``base``; what is absent is left out.
    """
    sides = {**versions, **({"result": result} if result else {})}
    with fixed_arithmetic():
        floats = {side: to_floats(version.data, version.dtype) for side, version in sides.items()}
        edges = edges_of(*floats.values())
        histograms = tuple((side, spread(values, edges)) for side, values in floats.items())
        norms = tuple((side, _length(values)) for side, values in floats.items())
        distances: tuple[tuple[str, float], ...] = ()
        if result is not None:
            made = floats["result"]
            distances = tuple(
                (side, _length(np.subtract(made, values, dtype=np.float64)))
                for side, values in floats.items()
                if side != "result" and versions[side].shape == result.shape and values.size == made.size
            )
        changes = _changes(floats, sides) if "base" in floats else ()
    return Preview(row, labels, norms, distances, histograms, changes, remark)


def _changes(floats: dict[str, npt.NDArray[Any]], sides: dict[str, Version]) -> tuple[tuple[str, Histogram], ...]:
    """How far values are from the base, of the versions that have its shape."""
    base = floats["base"]
    away = {
        side: np.subtract(values, base, dtype=np.float64)
        for side, values in floats.items()
        if side != "base" and sides[side].shape == sides["base"].shape and values.size == base.size
    }
    edges = edges_of(*away.values()) if away else None
    return () if edges is None else tuple((side, spread(values, edges)) for side, values in away.items())


def _length(values: npt.NDArray[Any]) -> float:
    total = 0.0
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK].astype(np.float64)
        block = np.where(np.isfinite(block), block, 0.0)
        total += float(np.dot(block, block))
    return math.sqrt(total)


def _blocks(ours: Version, theirs: Version, base: Version | None) -> Any:
    arrays = [to_floats(version.data, version.dtype) for version in (ours, theirs, *([base] if base else []))]
    for start in range(0, arrays[0].size, _BLOCK):
        parts = [array[start : start + _BLOCK].astype(np.float64) for array in arrays]
        yield parts[0], parts[1], parts[2] if base else None


def _relative(base: Record | None, side: Record | None) -> float | None:
    """The change of a side, over the base's norm; None where sketches do not tell."""
    if base is None or side is None:
        return None
    if base.blake3 == side.blake3 and base.shape == side.shape:
        return 0.0
    if not base.sketch or not side.sketch or base.norm is None or base.shape != side.shape:
        return None
    return _ratio(distance(base.sketch, side.sketch), base.norm)


def _ratio(change: float, norm: float | None) -> float | None:
    if norm is None:
        return None
    return change / norm if norm else (math.inf if change else 0.0)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _between(a: Sequence[float], b: Sequence[float]) -> float | None:
    return _angle(_dot(a, b), _dot(a, a), _dot(b, b))


def _angle(product: float, one: float, two: float) -> float | None:
    """In degrees, from the product of two vectors and their squares."""
    # The root of a square is exact, so that equal changes are at 0 degrees; but it may be beyond what a double holds.
    lengths = math.sqrt(one * two)
    if not 0 < lengths < math.inf:
        lengths = math.sqrt(one) * math.sqrt(two)
    if not 0 < lengths < math.inf:
        return None
    return math.degrees(math.acos(max(-1.0, min(1.0, product / lengths))))
