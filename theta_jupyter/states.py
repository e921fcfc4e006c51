"""What a live object holds: a tree of tensors, named as they are named in a file.

A model, an optimizer, or a dict of both has a state; what tells one is its ``state_dict()``, so that torch need not be
imported to ask. Names are those that the torch plug-in (:mod:`theta_jupyter.checkpoints.torch`) finds in a saved file
of the same tree: a model in memory can be laid beside any version of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from theta_jupyter.checkpoints import quote
from theta_jupyter.checkpoints.leaves import is_array, is_tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["bare", "is_checkpoint", "state", "tensors"]


def state(obj: Any) -> Any:
    """Turn a live object into a tree of dicts, lists, tuples, tensors and plain values.

    Parameters
    ----------
    obj
        Anything with a ``state_dict()`` (a module, an optimizer, a scheduler, a LightningModule); or a mapping, list or
        tuple of such; or a tensor, an array, a number, a string.

    Returns
    -------
    object
        ``obj.state_dict()``; or the same dict, list or tuple if no member of it had to be replaced, else a new one.
        Tensors are not copied. A :class:`~theta_jupyter.storage.arrays.Checkpoint` stays what it is, unread.
    """
    return _resolved(obj, set())


def tensors(tree: Any) -> dict[str, Any]:
    """Flatten a tree into its tensors by name.

    Returns
    -------
    dict
        Tensors of torch that have values in a plain layout (not sparse, not on the meta device), and arrays of an
        element type of :data:`theta_jupyter.dtypes.DTYPES`, in the order of the tree; not copied. The arrays of a
        checkpoint keep the names they have, and are read. One that is the whole tree is named ``tensor``, or ``array``,
        as in its file.
    """
    return dict(_leaves(tree, (), set()))


def is_checkpoint(tree: Any) -> bool:
    """Whether it is a version that was loaded: a mapping whose names are flat already."""
    return isinstance(tree, Mapping) and callable(getattr(tree, "to_torch", None))


def bare(name: str) -> str:
    """The name of a tensor without what compiling a model, or training it on several devices, puts before it."""
    part, slash, last = name.rpartition("/")
    return part + slash + last.replace("_orig_mod.", "").removeprefix("module.")


def _resolved(obj: Any, entered: set[int]) -> Any:
    method = getattr(obj, "state_dict", None)
    if callable(method) and not isinstance(obj, type):
        return method()
    if not isinstance(obj, Mapping | list | tuple) or is_checkpoint(obj) or id(obj) in entered:
        return obj
    entered.add(id(obj))
    members: Iterable[tuple[Any, Any]] = obj.items() if isinstance(obj, Mapping) else enumerate(obj)
    found = {key: (value, _resolved(value, entered)) for key, value in members}
    entered.discard(id(obj))
    if isinstance(obj, dict | list | tuple) and all(value is new for value, new in found.values()):
        return obj  # As it is: a state dict carries more than its members, such as the versions of its layers.
    if isinstance(obj, Mapping):
        return {key: new for key, (_, new) in found.items()}
    return (list if isinstance(obj, list) else tuple)(new for _, new in found.values())


def _leaves(node: Any, path: tuple[Any, ...], entered: set[int]) -> Iterator[tuple[str, Any]]:
    if is_tensor(node):
        yield quote(*path) or "tensor", node
    elif is_array(node):
        yield quote(*path) or "array", node
    elif is_checkpoint(node):
        yield from (("/".join((*map(quote, path), name)), array) for name, array in node.items())
    elif isinstance(node, dict | list | tuple) and id(node) not in entered:
        # As in a file, what holds itself is entered once.
        entered.add(id(node))
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, (*path, key), entered)
        entered.discard(id(node))
