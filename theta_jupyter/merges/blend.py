"""One tensor in several versions to one, by a strategy: bytes in, bytes out.

Around the arithmetic, which is the strategy's, stands what every merge needs: values are read in float32 or better and
cast once at the end; what is not finite is refused, with its place; a tensor that a strategy may take in parts is taken
in parts, so that memory stays small; and versions of different sizes, such as vocabularies that grew, are laid over
each other first.

* The result has the shape and the type that one side changed it to; where both did, the largest, and ours.
* Rows are matched by their bytes if one version's are all found, in order, in the other's, as after trimming, or in the
  base's; else the leading rows are taken for the same.
* Where all versions that the strategy looks at have a value, it merges; where some have, their mean is taken; where one
  has, it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from theta_jupyter.dtypes import DTYPES, from_floats, nbytes, to_floats
from theta_jupyter.errors import RequestError
from theta_jupyter.merges.base import Tensor
from theta_jupyter.storage.sketch import fixed_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from theta_jupyter.merges.base import Array, Strategy
    from theta_jupyter.storage.manifest import Record

__all__ = ["Blended", "Part", "Version", "blend", "outcome", "room"]

BLOCK = 1 << 19
"""Values at a time, for a strategy that allows it: few enough for a cache, and so many that threads, which take turns
between NumPy's steps, do not wait for each other (with 2^16, two take longer than one after the other)."""


class Version(NamedTuple):
    """The bytes of one version of a tensor, and how to read them.

    Parameters
    ----------
    data
        In C order.
    dtype, shape
        As in a manifest.
    label
        What to call the version in a message.
    """

    data: memoryview
    dtype: str
    shape: tuple[int, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor in one version of a file.

    Parameters
    ----------
    record
        What the manifest says of it.
    name
        What it is called there.
    label
        What the version is called.
    owner
        The record that holds its values, if it shares those of another tensor.
    """

    record: Record
    name: str
    label: str = ""
    owner: Record | None = None


@dataclass(frozen=True, slots=True)
class Blended:
    """What came out.

    Parameters
    ----------
    data
        The bytes.
    dtype, shape
        How to read them.
    remark
        How versions of different sizes were laid over each other; empty if they were of one.
    """

    data: memoryview
    dtype: str
    shape: tuple[int, ...]
    remark: str = ""


def outcome(models: Sequence[Version], base: Version | None) -> tuple[str, tuple[int, ...]]:
    """The type and the shape of the merged tensor: what one side changed them to; of several, ours and the largest."""
    dtypes = [m.dtype for m in models if base is None or m.dtype != base.dtype] or [models[0].dtype]
    shapes = [m.shape for m in models if base is None or m.shape != base.shape] or [models[0].shape]
    shape = shapes[0]
    if any(len(other) != len(shape) for other in shapes):
        return dtypes[0], shape
    return dtypes[0], tuple(max(sizes) for sizes in zip(*shapes, strict=True))


def room(strategy: Strategy, models: int) -> int:
    """How many times its bytes a tensor takes in memory while it is merged, about."""
    if strategy.elementwise:
        return models + (3 if strategy.look is None else 4)
    return 4 * (models + 1) + 4


def blend(
    strategy: Strategy,
    values: Mapping[str, Any],
    models: Sequence[Version],
    base: Version | None,
    name: str,
    statistics: Mapping[str, Sequence[Version | None]] | None = None,
) -> Blended:
    """Merge the versions of one tensor.

    Parameters
    ----------
    strategy, values
        What to do, with every parameter.
    models
        Ours first.
    base
        Their common ancestor, if they have one.
    name
        Of the tensor, for messages and for random numbers.
    statistics
        What checkpoints that parameters name have for this tensor, by parameter.

    Raises
    ------
    RequestError
        If the strategy does not apply, a value is not finite, or the result does not fit the type.
    """
    refusal = strategy.refusal(len(models), base=base is not None)
    if refusal:
        raise RequestError(f"{strategy.name} cannot merge {name!r}: {refusal}")
    if strategy.takes:
        taken = {"ours": models[0], "theirs": models[-1], "base": base}[strategy.takes]
        if taken is None:
            raise RequestError(f"there is no {strategy.takes} of {name!r}")
        return Blended(taken.data, taken.dtype, taken.shape)
    dtype, shape = outcome(models, base)
    if strategy.base == "no" and all(model.shape == shape for model in models):
        base = None
    versions = [*models, *([base] if base else [])]
    if any(DTYPES[version.dtype].words != DTYPES[dtype].words for version in versions):
        raise RequestError(
            f"{strategy.name} cannot merge {name!r}: some of its versions are complex, others real",
            hint="take a side for this tensor",
        )
    work = _Work(strategy, {**values}, name, dtype, statistics or {})
    with fixed_arithmetic():
        if all(version.shape == shape for version in versions):
            return Blended(memoryview(work.merged(models, base, shape)), dtype, shape)
        return _overlaid(work, models, base, shape)


@dataclass(frozen=True, slots=True)
class _Work:
    strategy: Strategy
    values: dict[str, Any]
    name: str
    dtype: str
    statistics: Mapping[str, Sequence[Version | None]]

    def merged(self, models: Sequence[Version], base: Version | None, shape: tuple[int, ...]) -> bytes | bytearray:
        """Merge versions of one shape."""
        packed = any(DTYPES[v.dtype].bits < 8 for v in (*models, *([base] if base else [])))
        if self.strategy.elementwise and not packed and DTYPES[self.dtype].bits >= 8:
            return self._in_parts(models, base, math.prod(shape))
        arrays = [self.array(version).reshape(self._inner(shape)) for version in models]
        ground = None if base is None else self.array(base).reshape(self._inner(shape))
        given = {
            key: tuple(None if v is None else _floats(v, wide=False).reshape(v.shape) for v in versions)
            for key, versions in self.statistics.items()
        }
        result = self.strategy.run(arrays, ground, {**self.values, **given}, Tensor(self.name, self.dtype))
        return self.cast(result.reshape(-1), [(..., self.words(one)) for one in (*models, *([base] if base else []))])

    def array(self, version: Version, start: int = 0, stop: int | None = None) -> Array:
        """Read a version, or some of its values, and refuse what is not finite."""
        kind = DTYPES[self.dtype]
        # In double precision where that costs little, or where single would lose something.
        wide = not kind.is_float or kind.word_bytes > 4 or (self.strategy.elementwise and kind.word_bytes == 4)
        found = _floats(version if stop is None else _part(version, start, stop), wide=wide)
        if not np.all(np.isfinite(found)):
            count = int(np.count_nonzero(~np.isfinite(_floats(version, wide=False))))
            where = f" in {version.label}" if version.label else ""
            raise RequestError(
                f"{self.strategy.name} cannot merge {self.name!r}: {count} of its values{where} "
                f"{'is' if count == 1 else 'are'} NaN or infinite",
                hint="take a side for this tensor: ours, theirs or base",
            )
        return found

    def words(self, version: Version, start: int = 0, stop: int | None = None) -> npt.NDArray[Any] | None:
        """The very values of a version, or some of them, where a double does not hold all that is in them."""
        kind = DTYPES[self.dtype]
        precise = version.dtype != self.dtype or not (kind.name == "BOOL" or (kind.is_whole and kind.word_bytes == 8))
        return None if precise else np.frombuffer(version.data, f"<u{kind.word_bytes}")[start:stop]

    def cast(self, result: Array, known: Sequence[tuple[Any, npt.NDArray[Any] | None]] = ()) -> bytes:
        """Round a result to the type of the tensor.

        Parameters
        ----------
        known
            Where the values of each version lie in the result, ours first, and what :meth:`words` gives of them: a
            result that is one of them, as far as doubles tell, is so to the last bit. A truth value that is split
            evenly is ours.
        """
        kind = DTYPES[self.dtype]
        exact = [(place, words) for place, words in known if words is not None]
        if kind.name == "BOOL" and exact:
            place, words = exact[0]
            result = result.copy()
            result[place] = np.where(np.abs(result[place] - 0.5) < 1e-9, words, result[place])
        data = from_floats(result, self.dtype)
        if not _fits(result, data, self.dtype):
            what = f"does not fit {self.dtype}" if np.all(np.isfinite(result)) else "is not finite"
            message = f"{self.strategy.name} cannot merge {self.name!r}: its result {what}"
            raise RequestError(message, hint="try another strategy, or other parameters")
        if not exact:
            return data
        merged = np.frombuffer(data, exact[0][1].dtype).reshape(result.shape).copy()
        for place, words in reversed(exact):
            same = result[place] == to_floats(words.tobytes(), self.dtype).reshape(words.shape)
            merged[place] = np.where(same, words, merged[place])
        return merged.tobytes()

    def _in_parts(self, models: Sequence[Version], base: Version | None, count: int) -> bytearray:
        out = bytearray(nbytes(self.dtype, (count,)))
        size = DTYPES[self.dtype].bits // 8
        stats = {key: [v and _checked_size(v, count, self.name) for v in vs] for key, vs in self.statistics.items()}
        blocks = [(start, min(count, start + BLOCK)) for start in range(0, count, BLOCK)]

        def arrays(start: int, stop: int) -> tuple[list[Array], Array | None]:
            ground = None if base is None else self.array(base, start, stop)
            return [self.array(version, start, stop) for version in models], ground

        seen = self.strategy.looked(lambda: (arrays(*block) for block in blocks), self.values)
        for start, stop in blocks:
            given = {
                key: tuple(None if v is None else _floats(_part(v, start, stop), wide=True) for v in versions)
                for key, versions in stats.items()
            }
            # A complex number is two values.
            tensor = Tensor(self.name, self.dtype, start * DTYPES[self.dtype].words)
            result = self.strategy.run(*arrays(start, stop), {**self.values, **given}, tensor, seen)
            known = [(..., self.words(one, start, stop)) for one in (*models, *([base] if base else []))]
            out[start * size : stop * size] = self.cast(result, known)
        return out

    def _inner(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, 2) if DTYPES[self.dtype].words == 2 else shape


def _fits(values: Array, data: bytes, dtype: str) -> bool:
    """Whether values are finite, and as a type has them still are."""
    kind = DTYPES[dtype]
    if kind.is_whole:
        return bool(np.all(np.isfinite(values)))
    if kind.bits < 8:  # These have no infinity: what is beyond would be the greatest.
        import ml_dtypes

        info: Any = ml_dtypes.finfo(getattr(ml_dtypes, kind.numpy))  # type: ignore[no-untyped-call]
        most = float(info.max) * (1 + 0.5 / (2 ** (info.nmant + 1) - 1))  # Half a step above the greatest.
        return bool(np.all(np.abs(values) <= most))
    return bool(np.all(np.isfinite(to_floats(data, dtype))))


def _overlaid(work: _Work, models: Sequence[Version], base: Version | None, shape: tuple[int, ...]) -> Blended:
    """Merge versions of different shapes, laid over each other."""
    versions = [*models, *([base] if base else [])]
    if any(len(version.shape) != len(shape) for version in versions) or not shape:
        sizes = ", ".join(f"{v.label or 'a version'} is {_size(v.shape)}" for v in versions)
        raise RequestError(
            f"{work.strategy.name} cannot merge {work.name!r}: {sizes}", hint="take a side for this tensor"
        )
    if DTYPES[work.dtype].words == 2 or work.statistics:
        raise RequestError(
            f"{work.strategy.name} cannot merge {work.name!r}: its versions have different shapes",
            hint="take a side for this tensor",
        )
    arrays = [work.array(version).reshape(version.shape) for version in versions]
    rows, matched = _rows(versions, base, shape[0])
    result = np.zeros(shape, np.result_type(*arrays))
    counts = np.zeros(shape, np.int8)
    # Where not all have a value: the mean of the models that have, and the base where only that has.
    for array, found in zip(arrays[: len(models)], rows, strict=False):
        place = _place(found, array.shape, shape)
        result[place] += _laid(array, found, shape)
        counts[place] += 1
    np.divide(result, counts, out=result, where=counts > 1)
    if base:
        place = _place(rows[-1], base.shape, shape)
        result[place] = np.where(counts[place] == 0, _laid(arrays[-1], rows[-1], shape), result[place])
    seen = len(versions) if work.strategy.base != "no" else len(models)
    common = np.all([found >= 0 for found in rows[:seen]], axis=0)
    inner = tuple(min(sizes) for sizes in zip(*(version.shape[1:] for version in versions[:seen]), strict=True))
    overlap = (int(common.sum()), *inner)
    if math.prod(overlap):
        parts = [_laid(a, np.where(common, found, -1), overlap) for a, found in zip(arrays, rows, strict=True)][:seen]
        ground = parts[-1] if seen > len(models) else None
        merged = work.strategy.run(parts[: len(models)], ground, work.values, Tensor(work.name, work.dtype))
        result[np.ix_(np.flatnonzero(common), *map(np.arange, inner))] = merged
    known = []
    for version, found in zip(versions, rows, strict=True):
        words = work.words(version)
        laid = None if words is None else _laid(words.reshape(version.shape), found, shape)
        known.append((_place(found, version.shape, shape), laid))
    remark = (
        f"{' and '.join(_size(v.shape) for v in models)} laid over each other: "
        f"rows {'matched by their values' if matched else 'taken in order'}, "
        f"{' x '.join(map(str, overlap))} in common; the rest from whoever has it"
    )
    return Blended(memoryview(work.cast(result, known)), work.dtype, shape, remark)


def _rows(versions: Sequence[Version], base: Version | None, count: int) -> tuple[list[npt.NDArray[np.intp]], bool]:
    """Which row of each version stands in each row of the result, or -1; and whether they were found by their bytes."""
    # Whoever has the base's number of rows has the base's rows: it is the base, which comes last, that is looked at.
    of = {version.shape[0]: version for version in versions}
    found = {size: None if size == count else _found(of[count], other) for size, other in of.items()}
    rows = {size: _leading(size, count) if places is None else places for size, places in found.items()}
    if base:
        for size, places in found.items():
            through = _found(base, of[size]) if places is None and size not in {count, base.shape[0]} else None
            if through is not None:
                found[size], way = through, rows[base.shape[0]]
                rows[size] = np.where(way >= 0, through[way], -1)
    return [rows[version.shape[0]] for version in versions], any(places is not None for places in found.values())


def _leading(size: int, count: int) -> npt.NDArray[np.intp]:
    rows = np.arange(count)
    return np.where(rows < size, rows, -1)


def _found(one: Version, other: Version) -> npt.NDArray[np.intp] | None:
    """Which row of another version each row is by its bytes, or -1; None unless all rows of the smaller are found."""
    if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype or DTYPES[one.dtype].bits < 8:
        return None
    width = nbytes(one.dtype, one.shape[1:])
    count, size = one.shape[0], other.shape[0]
    if not width:
        return None
    few, many = (one, other) if count <= size else (other, one)
    places: list[int] = []
    wanted = bytes(few.data[:width])
    for position in range(many.shape[0]):
        if len(places) == few.shape[0] or many.shape[0] - position < few.shape[0] - len(places):
            break
        if many.data[position * width : (position + 1) * width] == wanted:
            places.append(position)
            wanted = bytes(few.data[len(places) * width : (len(places) + 1) * width])
    if len(places) < few.shape[0]:
        return None
    if few is one:
        return np.array(places, np.intp)
    rows = np.full(count, -1, np.intp)
    rows[places] = np.arange(size)
    return rows


def _place(rows: npt.NDArray[np.intp], sizes: Sequence[int], shape: Sequence[int]) -> Any:
    """Where in the result a version of some size lies."""
    return np.ix_(np.flatnonzero(rows >= 0), *(np.arange(min(pair)) for pair in zip(sizes[1:], shape[1:], strict=True)))


def _laid(array: npt.NDArray[Any], rows: npt.NDArray[np.intp], shape: Sequence[int]) -> npt.NDArray[Any]:
    """The part of a version that lies in the result, row by row."""
    corner: Any = (rows[rows >= 0], *(slice(0, size) for size in shape[1:]))
    return np.ascontiguousarray(array[corner])


def _floats(version: Version, *, wide: bool) -> Array:
    found = to_floats(version.data, version.dtype)
    return found.astype(np.float64, copy=False) if wide else found


def _part(version: Version, start: int, stop: int) -> Version:
    size = DTYPES[version.dtype].bits // 8
    return Version(version.data[start * size : stop * size], version.dtype, (stop - start,), version.label)


def _checked_size(version: Version, count: int, name: str) -> Version:
    if math.prod(version.shape) != count:
        raise RequestError(f"{version.label} has {name!r} in another shape: {_size(version.shape)}")
    return version


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
