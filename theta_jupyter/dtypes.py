"""The element types of tensors, under the names safetensors gives them.

Everything else asks this table: how many bits an element has, how the bits of a float are laid out (the codec groups
by exponent), and how to see the bytes as numbers. NumPy is imported only when numbers are wanted, and ``ml_dtypes``
only for the types NumPy lacks, because a Git filter that finds its answer in a cache needs neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["DTYPES", "DType", "from_floats", "nbytes", "to_array", "to_floats"]


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    Parameters
    ----------
    name
        The safetensors name, such as ``"BF16"``.
    bits
        Bits of one element in the file; elements of fewer than 8 bits are packed.
    numpy
        The NumPy or ml_dtypes name of the unpacked element.
    exponent, mantissa
        Bits of a float's two fields; 0 and 0 for anything that is not a signed IEEE-like float.
    words
        Numbers in one element: 2 for complex types, else 1.
    """

    name: str
    bits: int
    numpy: str
    exponent: int = 0
    mantissa: int = 0
    words: int = 1

    @property
    def is_float(self) -> bool:
        """Whether the bits are sign, exponent, mantissa, so that ordering them as integers orders the values."""
        return self.exponent > 0

    @property
    def smallest(self) -> float:
        """Of a float: below it values are subnormal, and rounded to a fixed step."""
        return 2.0 ** (2 - (1 << (self.exponent - 1)))

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers; truth values are 0 and 1."""
        return self.name == "BOOL" or self.name[0] in "UI"

    @property
    def word_bytes(self) -> int:
        """Bytes of the unit the codec works on: one real number, or one byte for packed types."""
        return max(1, self.bits // self.words // 8)


DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("BOOL", 8, "bool"),
        DType("U8", 8, "uint8"),
        DType("I8", 8, "int8"),
        DType("U16", 16, "uint16"),
        DType("I16", 16, "int16"),
        DType("U32", 32, "uint32"),
        DType("I32", 32, "int32"),
        DType("U64", 64, "uint64"),
        DType("I64", 64, "int64"),
        DType("F16", 16, "float16", 5, 10),
        DType("BF16", 16, "bfloat16", 8, 7),
        DType("F32", 32, "float32", 8, 23),
        DType("F64", 64, "float64", 11, 52),
        DType("C64", 64, "complex64", 8, 23, words=2),
        DType("C128", 128, "complex128", 11, 52, words=2),
        DType("F8_E4M3", 8, "float8_e4m3fn", 4, 3),
        DType("F8_E5M2", 8, "float8_e5m2", 5, 2),
        DType("F8_E4M3FNUZ", 8, "float8_e4m3fnuz", 4, 3),
        DType("F8_E5M2FNUZ", 8, "float8_e5m2fnuz", 5, 2),
        DType("F8_E8M0", 8, "float8_e8m0fnu"),
        DType("F6_E2M3", 6, "float6_e2m3fn"),
        DType("F6_E3M2", 6, "float6_e3m2fn"),
        DType("F4", 4, "float4_e2m1fn"),
    )
}
"""Every known element type by name. C128 is ours: torch and NumPy have it, safetensors does not."""


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a contiguous tensor.

    Raises
    ------
    ValueError
        If the dtype is unknown, a dimension is negative, or packed elements do not fill whole bytes.
    """
    if dtype not in DTYPES:
        message = f"unknown dtype {dtype!r}"
        raise ValueError(message)
    if any(size < 0 for size in shape):
        message = f"negative dimension in {list(shape)}"
        raise ValueError(message)
    bits = math.prod(shape) * DTYPES[dtype].bits
    if bits % 8:
        message = f"{math.prod(shape)} elements of {dtype} do not fill whole bytes"
        raise ValueError(message)
    return bits // 8


def to_array(data: Any, dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    """See contiguous little-endian bytes as an array, without a copy where elements are whole bytes.

    Parameters
    ----------
    data
        A bytes-like object of exactly ``nbytes(dtype, shape)`` bytes.

    Returns
    -------
    numpy.ndarray
        Of the given shape; bfloat16, 8-bit floats and packed floats have the types of ``ml_dtypes``. Packed elements
        are taken lowest bits first.
    """
    import numpy as np

    kind = DTYPES[dtype]
    raw = np.frombuffer(data, dtype=np.uint8)
    if kind.bits < 8:
        bits = np.unpackbits(raw, bitorder="little").reshape(-1, kind.bits)
        raw = np.packbits(bits, axis=1, bitorder="little").reshape(-1)
    return raw.view(_numpy_dtype(kind)).reshape(tuple(shape))


def to_floats(data: Any, dtype: str) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]:
    """See bytes as a flat array of real numbers, for measuring.

    Returns
    -------
    numpy.ndarray
        float32 where every value of the type is exact in it, else float64; complex numbers as pairs of real ones.
    """
    import numpy as np

    kind = DTYPES[dtype]
    if kind.name == "BF16":
        # The upper half of a float32, which is ten times quicker to say than a conversion.
        upper = np.frombuffer(data, "<u2").astype("<u4")
        upper <<= np.uint32(16)
        return upper.view("<f4")
    if kind.name == "BOOL":
        kind = DTYPES["U8"]  # A byte other than 0 and 1 has no defined value as a truth value.
    array = to_array(data, kind.name, (len(data) * 8 // kind.bits,))
    if kind.words == 2:
        array = array.view(f"<f{kind.word_bytes}")
    if array.dtype == np.float64 or kind.name in {"U32", "I32", "U64", "I64"}:
        return array.astype(np.float64, copy=False)
    return array.astype(np.float32, copy=False)


def from_floats(values: npt.NDArray[np.floating[Any]], dtype: str) -> bytes:
    """Round real numbers to a type, and give its bytes: what :func:`to_floats` undoes.

    Floats are rounded to the nearest, ties to even, and just once. Integers are rounded in the same way, and kept
    within what the type can hold, as packed floats are, which have no infinity; BOOL is 1 above a half. What is not a
    number is 0 where the type has no such value.

    Parameters
    ----------
    values
        float32 or float64, flattened in C order; complex numbers as pairs of real ones.
    """
    import numpy as np

    kind, flat = DTYPES[dtype], np.ascontiguousarray(values).reshape(-1)
    if kind.name == "BOOL":
        truths: bytes = (flat > 0.5).astype(np.uint8).tobytes()
        return truths
    if kind.name == "BF16":
        return _bfloats(_single(flat))
    if kind.words == 2:
        return flat.astype(f"<f{kind.word_bytes}").tobytes()
    if kind.is_whole:
        limits = np.iinfo(kind.numpy)
        bounded = np.clip(np.rint(flat.astype(np.float64)), limits.min, limits.max)
        # 2^63 and 2^64 are doubles, the greatest integers below them are not.
        top = bounded >= float(limits.max)
        whole = np.where(top | np.isnan(bounded), 0.0, bounded).astype(_numpy_dtype(kind))
        whole[top] = limits.max
        return whole.tobytes()
    if hasattr(np, kind.numpy):
        return flat.astype(_numpy_dtype(kind)).tobytes()
    array = _single(flat).astype(_numpy_dtype(kind))
    if kind.bits >= 8:
        return array.tobytes()
    array[np.isnan(flat)] = 0
    bits = np.unpackbits(array.view(np.uint8).reshape(-1, 1), axis=1, bitorder="little")[:, : kind.bits]
    packed: bytes = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    return packed


def _single(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """float32, ready to be rounded to something shorter.

    What is between two numbers goes to that of them which is odd: then it is still on its side of every tie, and
    rounding twice is as good as rounding once (Boldo & Melquiond, 2008).
    """
    import numpy as np

    if values.dtype == np.float32:
        return values.astype("<f4", copy=False)
    near = values.astype("<f4")
    between = (near != values) & ~np.isnan(values)
    words = near.view("<u4")
    words -= between & (np.abs(near) > np.abs(values))
    words |= between
    return near


def _bfloats(values: npt.NDArray[np.float32]) -> bytes:
    """The nearest bfloat16; not for what is not finite, where the carry would run into the sign."""
    import numpy as np

    words = values.view("<u4")
    rounded = words >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += words
    rounded >>= np.uint32(16)
    special = ~np.isfinite(values)
    if special.any():
        quiet = (words >> np.uint32(16)) | np.where(words & np.uint32(0x7FFFFF), np.uint32(0x40), np.uint32(0))
        rounded = np.where(special, quiet, rounded)
    halves: bytes = rounded.astype("<u2").tobytes()
    return halves


def _numpy_dtype(kind: DType) -> np.dtype[Any]:
    import numpy as np

    if hasattr(np, kind.numpy):
        return np.dtype(kind.numpy).newbyteorder("<")
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, kind.numpy))
    return dtype
