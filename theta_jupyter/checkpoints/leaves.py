"""Tensors in memory, of torch and of NumPy: what counts as one, and its values as an array.

Plug-ins that write files share this. Neither library is imported to ask: where there is a tensor of it, it has been.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from theta_jupyter.dtypes import DTYPES, to_array
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["as_numpy", "flat", "is_array", "is_tensor", "memory"]

_NAMES = {dtype.numpy: dtype.name for dtype in DTYPES.values()}
NESTED = "save as .pt what is nested or holds other things than tensors"


def is_tensor(leaf: Any) -> bool:
    """Whether it is a torch tensor with a place in memory: not sparse, not on the meta device."""
    kind = getattr(sys.modules.get("torch"), "Tensor", ())
    return isinstance(leaf, kind) and str(leaf.layout) == "torch.strided" and leaf.device.type != "meta"


def is_array(leaf: Any) -> bool:
    """Whether it is a NumPy array of numbers."""
    kind = getattr(sys.modules.get("numpy"), "ndarray", ())
    return isinstance(leaf, kind) and leaf.dtype.name in _NAMES


def memory(leaf: Any) -> Any:
    """What two tensors have in common that are one and the same: tied weights. None for an empty one, and an array."""
    if not is_tensor(leaf) or not leaf.numel():
        return None
    return str(leaf.device), leaf.data_ptr(), tuple(leaf.shape), leaf.stride(), str(leaf.dtype)


def as_numpy(leaf: Any, name: str) -> npt.NDArray[Any]:
    """The values of a tensor or an array, little-endian; copied only where they must be.

    Parameters
    ----------
    name
        For the error.

    Returns
    -------
    numpy.ndarray
        Of the same shape. bfloat16 and 8-bit floats have the types of ``ml_dtypes``.

    Raises
    ------
    RequestError
        If it is neither, or has an element type of which no more is known than its size.
    """
    import numpy as np

    if is_array(leaf):
        return np.asarray(leaf, dtype=leaf.dtype.newbyteorder("<"))
    if not is_tensor(leaf):
        raise RequestError(f"{name!r} is not a dense tensor but {_kind(leaf)}", hint=NESTED)
    import torch

    dtype = _NAMES.get(str(leaf.dtype).removeprefix("torch."))
    if dtype is None:
        raise RequestError(f"tensor {name!r} is of type {leaf.dtype}", hint="a .pt file can hold it")
    dense = leaf.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return to_array(dense.reshape(-1).view(torch.uint8).numpy(), dtype, tuple(leaf.shape))


def flat(state: Any, suffix: str) -> dict[str, Any]:
    """Check that a state is a dict of names, as a format needs it that has no nesting.

    Raises
    ------
    RequestError
        If it is not; it says which files keep what is nested.
    """
    if not isinstance(state, dict):
        raise RequestError(f"a {suffix} file holds tensors by name, and this is {_kind(state)}", hint=NESTED)
    for key, value in state.items():
        if not isinstance(key, str):
            raise RequestError(f"a {suffix} file holds tensors by name, and {key!r} is not text", hint=NESTED)
        if not (is_tensor(value) or is_array(value)):
            raise RequestError(f"a {suffix} file holds dense tensors, and {key!r} is {_kind(value)}", hint=NESTED)
    return state


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a dict"
    layout = f" ({value.layout}, {value.device})" if hasattr(value, "layout") else ""
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    return f"a {type(value).__name__}{dtype}{layout}"
