"""Rows were removed, added or put in another order: trimmed and extended embeddings, pruned heads, a sorted vocabulary.

Along one axis, each slice of the tensor that the base has too is taken from there. If hardly any is found, as after
training, slices are taken to stand where they stood, and those beyond the base's end are zero in the guess. Parameters:
the axis, and runs of slices (where in the base they begin, plus one; 0 for zeros; and how many), which is Git-Theta's
"trim" update (ICML 2023) for any order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import IntegrityError
from theta_jupyter.updates.parameters import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from theta_jupyter.updates.base import Tensor

__all__ = ["RESHAPES", "fit", "predict"]

RESHAPES = True

_SAMPLE = 64
"""Slices looked for before all are."""
_MOST = 0.5
"""Share of slices that must be found, where the order alone is to be explained."""


def fit(bases: Sequence[Tensor], new: Tensor) -> bytes | None:
    """Apply to one base of the same type whose shape differs along one axis, or not at all."""
    if len(bases) != 1 or bases[0].dtype != new.dtype or DTYPES[new.dtype].bits < 8 or not new.shape:
        return None
    old = bases[0]
    if len(old.shape) != len(new.shape) or 0 in old.shape or 0 in new.shape:
        return None
    differing = [axis for axis, sizes in enumerate(zip(old.shape, new.shape, strict=True)) if sizes[0] != sizes[1]]
    if len(differing) > 1:
        return None
    axis = differing[0] if differing else 0
    if len(new.shape) == 1 and not differing:
        return None
    places = _found(_slices(old, axis), _slices(new, axis))
    if places is None:
        if not differing:
            return None
        places = np.where(np.arange(new.shape[axis]) < old.shape[axis], np.arange(new.shape[axis]) + 1, 0)
    if not differing and np.array_equal(places, np.arange(1, len(places) + 1)):
        return None
    return pack(np.array(axis, "u1"), *_runs(places))


def predict(bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]) -> memoryview:
    """Take slices from the base."""
    axis, starts, counts = unpack(parameters, ["u1", "i8", "u4"], 16 * max([1, *shape]))
    old = bases[0]
    fits = not axis.shape and int(axis) < len(shape) == len(old.shape) and old.dtype == dtype
    if not fits or any(a != b for i, (a, b) in enumerate(zip(old.shape, shape, strict=True)) if i != int(axis)):
        raise IntegrityError("the base is not of the shape that was resized")
    along = int(axis)
    if starts.shape != counts.shape or int(counts.astype(np.int64).sum()) != shape[along]:
        raise IntegrityError("runs do not fill the tensor")
    width = DTYPES[dtype].bits // 8
    before = math.prod(shape[:along])
    inner = math.prod(shape[along + 1 :]) * width
    source = np.frombuffer(old.data, np.uint8).reshape(before, old.shape[along], inner)
    out = np.zeros((before, shape[along], inner), np.uint8)
    position = 0
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        if start:
            if start < 0 or start - 1 + count > old.shape[along]:
                raise IntegrityError("a run lies outside the base")
            out[:, position : position + count] = source[:, start - 1 : start - 1 + count]
        position += count
    return out.reshape(-1).data


def _slices(tensor: Tensor, axis: int) -> npt.NDArray[np.void]:
    """Each slice along an axis as one opaque value."""
    width = DTYPES[tensor.dtype].bits // 8
    before, count = math.prod(tensor.shape[:axis]), tensor.shape[axis]
    inner = math.prod(tensor.shape[axis + 1 :]) * width
    cube = np.frombuffer(tensor.data, np.uint8).reshape(before, count, inner)
    flat = np.ascontiguousarray(cube.transpose(1, 0, 2)).reshape(count, before * inner)
    return flat.view(np.dtype((np.void, before * inner))).reshape(count)


def _found(old: npt.NDArray[np.void], new: npt.NDArray[np.void]) -> npt.NDArray[np.int64] | None:
    """Where each slice stands in the base, plus one, or 0; None if most of them are nowhere."""
    # Hashes of this process: where two slices share one, the guess is wrong, and the correction right.
    before = [hash(item.tobytes()) for item in old]
    places = {value: len(before) - index for index, value in enumerate(reversed(before))}
    sample = np.linspace(0, len(new) - 1, min(_SAMPLE, len(new))).astype(np.intp)
    if sum(hash(new[index].tobytes()) in places for index in sample) < _MOST * len(sample):
        return None
    found = np.zeros(len(new), np.int64)
    last = 0
    for index, item in enumerate(new):
        # Of equal slices, such as rows never trained, the one that follows is taken: runs are longer.
        value = hash(item.tobytes())
        follows = 0 < last < len(before) and before[last] == value
        last = last + 1 if follows else places.get(value, 0)
        found[index] = last
    return found


def _runs(places: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Neighbours that stand side by side in the base too, as begin and number."""
    steps = np.diff(places)
    joined = ((places[1:] == 0) & (places[:-1] == 0)) | ((steps == 1) & (places[:-1] > 0))
    begins = np.flatnonzero(np.concatenate([[True], ~joined]))
    counts = np.diff(np.append(begins, len(places)))
    return places[begins].astype("<i8"), counts.astype("<u4")
