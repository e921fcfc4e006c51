"""One tensor looked at closely: how its values were spread, how they are, and how the difference is.

This is what a click on a tensor asks for. Both versions are read and measured exactly; histograms say where the values
lie, and the leading singular values of the difference whether it is of low rank, as a folded LoRA is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.diffs.figures import DIFFERENCE, SINGULAR, VALUES, histogram, singular
from theta_jupyter.dtypes import to_floats
from theta_jupyter.errors import RequestError
from theta_jupyter.results import Result, Table, count_text, plain, relative_text, size_text
from theta_jupyter.storage.sketch import fixed_arithmetic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    from theta_jupyter.diffs.compare import TensorDiff
    from theta_jupyter.diffs.figures import Spec

__all__ = ["Detail", "Histogram", "edges_of", "look", "singular_values", "spread"]

BINS = 61
LEADING = 32
"""Singular values given."""
ENERGY = 0.99
"""Share of the square of the change that the values up to the rank hold."""
GRAM = 1024
"""Matrices with a side up to this are solved through their Gram matrix; for larger ones, a random subspace is."""
_FAR = 1e300
"""Larger values are beyond the edge of any picture."""
_MOST = 1 << 28
"""Values of a matrix whose singular values are computed: in double precision, 2 GiB."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie where.

    Parameters
    ----------
    edges
        Of the bins, one more than there are bins, rising.
    counts
        Values in each bin.
    outside
        Finite values beyond the first and the last edge.
    not_finite
        Values that are NaN or infinite.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    outside: int = 0
    not_finite: int = 0


@dataclass(frozen=True)
class Detail(Result):
    """One tensor in two versions, measured.

    Parameters
    ----------
    path, old, new
        The file, and what was compared.
    tensor
        Measured, where there are two versions with equally many values.
    before, after
        The values of each version, over the same edges; None where there is none.
    difference
        Of values with the same place; None if there is no such thing.
    flips
        Share of values that went from one side of zero to the other.
    singular
        Leading singular values of the difference as a matrix (its first dimension by all the others), falling.
    rank
        How many of them hold 99 % of the squared change; None if they do not.
    """

    path: str
    old: str
    new: str
    tensor: TensorDiff
    before: Histogram | None = None
    after: Histogram | None = None
    difference: Histogram | None = None
    flips: float | None = None
    singular: tuple[float, ...] = ()
    rank: int | None = None

    def headline(self) -> str:
        """Which tensor, between what."""
        return f"{self.tensor.name}   {self.old} → {self.new}"

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What is known of it, a label and a value each."""
        t = self.tensor
        shape = " x ".join(map(str, t.shape)) or "scalar"
        if t.old_shape is not None:
            shape = f"{' x '.join(map(str, t.old_shape)) or 'scalar'} → {shape}"
        known = (
            ("type", f"{t.old_dtype} → {t.dtype}" if t.old_dtype else t.dtype),
            ("shape", shape),
            ("was called", t.old_name),
            ("values", count_text(t.size)),
            ("changed", "" if t.changed is None else _percent(t.changed)),
            ("relative", "" if t.relative is None else relative_text(t.relative, estimated=t.estimated)),
            ("largest", "" if t.largest is None else f"{t.largest:.2g}"),
            ("cosine", "" if t.cosine is None else f"{t.cosine:.6f}"),
        )
        return (*((label, value) for label, value in known if value), *self.findings())

    def findings(self) -> tuple[tuple[str, str], ...]:
        """What looking closely found, beyond the numbers that a diff has of every tensor."""
        t = self.tensor
        kept = bool(t.update) and t.status != "D"
        known = (
            ("signs flipped", _percent(self.flips) if self.flips else ""),
            ("rank", "" if not self.singular else f"~{self.rank}" if self.rank else f"over {len(self.singular)}"),
            ("not finite before", str(self.before.not_finite) if self.before and self.before.not_finite else ""),
            ("not finite after", str(self.after.not_finite) if self.after and self.after.not_finite else ""),
            ("stored as", f"{t.update}, {size_text(t.stored)}" if kept else ""),
        )
        return tuple((label, value) for label, value in known if value)

    def table(self) -> Table:
        """The facts, a line each."""
        return Table(("", ""), self.facts())

    def notes(self) -> tuple[str, ...]:
        """What the rank means."""
        return (f"rank: singular values that hold {ENERGY:.0%} of the squared change",) if self.rank else ()

    def specs(self) -> tuple[tuple[str, Spec], ...]:
        """A title and a figure for everything there is to see."""
        found: list[tuple[str, Spec]] = []
        if self.before or self.after:
            found.append((VALUES, histogram(self.before, self.after)))
        if self.difference:
            found.append((DIFFERENCE, histogram(difference=self.difference)))
        if self.singular:
            found.append((SINGULAR, singular(self.singular, self.rank)))
        return tuple(found)

    def figure(self) -> go.Figure:
        """Histograms before and after, of the difference, and singular values, side by side, in plotly."""
        from theta_jupyter.diffs.figures import beside, to_plotly

        return to_plotly(beside(self.specs(), plain(self.headline())))

    def plot(self) -> Figure:
        """The same, in matplotlib."""
        from theta_jupyter.diffs.plots import draw

        return draw([spec for _, spec in self.specs()], [title for title, _ in self.specs()], plain(self.headline()))

    def html(self) -> str:
        """The facts and the pictures."""
        from theta_jupyter.diffs.plots import image

        picture = image(self.plot(), f"Histograms of {plain(self.tensor.name)}") if self.specs() else ""
        return super().html() + picture


def look(
    diff: TensorDiff,
    before: memoryview | None,
    after: memoryview | None,
    flips: float | None,
    labels: tuple[str, str, str],
) -> Detail:
    """Make histograms and singular values of a tensor's versions.

    Parameters
    ----------
    diff
        The tensor, measured already where it can be.
    before, after
        The bytes of each version, in C order; None where there is none.
    flips
        As measured.
    labels
        File, old version, new version.
    """
    with fixed_arithmetic():
        a = None if before is None else to_floats(before, diff.old_dtype or diff.dtype)
        b = None if after is None else to_floats(after, diff.dtype)
        sides = [side for side in (a, b) if side is not None]
        if not sides:
            raise RequestError(f"tensor {diff.name!r} has no values to look at")
        edges = edges_of(*sides)
        one, two = (None if side is None else spread(side, edges) for side in (a, b))
        if a is None or b is None or a.size != b.size or diff.status in {"", "S"}:
            return Detail(*labels, diff, one, two)
        difference = np.subtract(b, a, dtype=np.float64)
        apart = spread(difference, edges_of(difference))
        del a, b, sides  # What was read may be large; below, one copy of the difference is.
        values, rank = singular_values(difference, diff.shape)
    return Detail(*labels, diff, one, two, apart, flips, values, rank)


def singular_values(difference: npt.NDArray[np.float64], shape: Sequence[int]) -> tuple[tuple[float, ...], int | None]:
    """Find the leading singular values of a tensor as a matrix, its first dimension by all the others.

    Up to :data:`GRAM` through the eigenvalues of the Gram matrix, exact to about 1e-8 of the largest value; beyond, by
    the randomised range finder of Halko, Martinsson & Tropp (2011) with two power iterations.

    Returns
    -------
    values, rank
        At most 32 values, falling, and how many of them hold 99 % of the squares; None if they do not. Nothing for
        what is not a matrix.
    """
    if len(shape) < 2 or min(shape) < 1 or difference.size > _MOST or math.prod(shape) != difference.size:
        return (), None
    matrix = np.nan_to_num(difference, nan=0.0, posinf=0.0, neginf=0.0).reshape(shape[0], -1)
    if min(matrix.shape) < 2:
        return (), None
    largest = max(float(np.max(matrix)), -float(np.min(matrix)))
    if not largest:
        return (), None
    matrix /= largest  # So that squares neither overflow nor vanish.
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    if tall.shape[1] > GRAM:
        random = np.random.default_rng(0)
        basis = tall @ (tall.T @ (tall @ random.standard_normal((tall.shape[1], LEADING + 8))))
        basis = tall @ (tall.T @ np.linalg.qr(basis)[0])
        tall = (np.linalg.qr(basis)[0].T @ tall).T
    squares = np.linalg.eigvalsh(tall.T @ tall)[::-1].clip(0.0)
    total = float(np.vdot(matrix, matrix))
    held = np.cumsum(squares[:LEADING])
    rank = int(np.searchsorted(held, ENERGY * total)) + 1
    values = largest * np.sqrt(squares[:LEADING])
    return tuple(values.tolist()), rank if rank <= len(values) else None


def edges_of(*sides: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Bins for all but the outermost few values, so that one stray value does not push the rest into a single bin."""
    low, high = math.inf, -math.inf
    for side in sides:
        step = max(1, side.size // (1 << 18))
        sample = side[::step]
        finite = sample[np.isfinite(sample)]
        if finite.size:
            # Not np.quantile, which adds and subtracts where doubles may end.
            ends = finite.size // 2000, finite.size - 1 - finite.size // 2000
            outermost = np.clip(np.partition(finite, ends)[[*ends]].astype(np.float64), -_FAR, _FAR)
            low, high = min(low, float(outermost[0])), max(high, float(outermost[1]))
    if not math.isfinite(low):
        low, high = 0.0, 0.0
    room = 0.15 * (high - low) if high - low > 1e-9 * abs(high) else 0.5 * abs(high) or 0.5
    return np.linspace(low - room, high + room, BINS + 1)


def spread(values: npt.NDArray[Any], edges: npt.NDArray[np.float64]) -> Histogram:
    """Count how many values lie where."""
    counts = np.zeros(len(edges) - 1, np.int64)
    finite = 0
    for start in range(0, values.size, 1 << 20):
        block = values[start : start + (1 << 20)]
        block = block[np.isfinite(block)].astype(np.float64)
        finite += block.size
        counts += np.histogram(block, edges)[0]
    outside = finite - int(counts.sum())
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), outside, values.size - finite)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
