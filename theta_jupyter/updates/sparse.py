"""Few values changed: say which, and to what.

Git-Theta's sparse update (Kandpal et al., ICML 2023), for whatever changes single values here and there: pruning,
training under a mask (Sung et al., NeurIPS 2021), an edit. A delta would do, but it finds its zeros anew in every plane
of bytes.

Parameters: how far each changed word is from the one before, and how much it changed, as an integer, modulo the size of
a word, zig-zagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theta_jupyter.dtypes import DTYPES
from theta_jupyter.errors import IntegrityError
from theta_jupyter.updates.parameters import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from theta_jupyter.updates.base import Tensor

__all__ = ["fit", "predict"]

_FEW = 1 / 16
"""Share of changed values beyond which a delta is smaller, and quicker."""


def fit(bases: Sequence[Tensor], new: Tensor) -> bytes | None:
    """Apply where few words differ from those of one base of the same dtype and size."""
    if len(bases) != 1 or bases[0].dtype != new.dtype or len(bases[0].data) != len(new.data):
        return None
    old, words = _words(bases[0].data, new.dtype), _words(new.data, new.dtype)
    step = words.size >> 12 | 1
    if np.count_nonzero(old[::step] != words[::step]) > 2 * _FEW * (words.size // step + 1):
        return None
    places = np.flatnonzero(old != words)
    if places.size > _FEW * words.size:
        return None
    gaps = np.diff(places, prepend=-1)
    if words.size >= 1 << 32:
        return None
    change = words[places] - old[places]
    top = change >> change.dtype.type(change.itemsize * 8 - 1)
    zigzag = change << change.dtype.type(1) ^ (~top + change.dtype.type(1))
    return pack(gaps.astype("<u4"), zigzag)


def predict(bases: Sequence[Tensor], parameters: memoryview, dtype: str, shape: tuple[int, ...]) -> memoryview:  # noqa: ARG001 - the shape of an update
    """Change these words of the base."""
    words = _words(bases[0].data, dtype).copy()
    gaps, zigzag = unpack(parameters, ["u4", words.dtype.str[1:]], 16 * words.size)
    one = words.dtype.type(1)
    places = np.cumsum(gaps.astype(np.int64)) - 1
    if places.size != zigzag.size or (places.size and (places[-1] >= words.size or not gaps.all())):
        raise IntegrityError("changed values lie outside the tensor")
    words[places] += zigzag >> one ^ (~(zigzag & one) + one)
    return words.view(np.uint8).data


def _words(data: memoryview, dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(data, f"<u{DTYPES[dtype].word_bytes}")
