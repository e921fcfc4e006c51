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

__all__ = ["DTYPES", "DType", "nbytes", "to_array", "to_floats"]


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
        return (np.frombuffer(data, "<u2").astype("<u4") << np.uint32(16)).view("<f4")
    if kind.name == "BOOL":
        kind = DTYPES["U8"]  # A byte other than 0 and 1 has no defined value as a truth value.
    array = to_array(data, kind.name, (len(data) * 8 // kind.bits,))
    if kind.words == 2:
        array = array.view(f"<f{kind.word_bytes}")
    if array.dtype == np.float64 or kind.name in {"U32", "I32", "U64", "I64"}:
        return array.astype(np.float64, copy=False)
    return array.astype(np.float32, copy=False)


def _numpy_dtype(kind: DType) -> np.dtype[Any]:
    import numpy as np

    if hasattr(np, kind.numpy):
        return np.dtype(kind.numpy).newbyteorder("<")
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, kind.numpy))
    return dtype
