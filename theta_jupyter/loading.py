"""The way back: a version of a checkpoint into objects that live in memory, in place.

Everything is read and checked before anything is touched: names, shapes, types. Tensors come through the engine, as
they do everywhere. What is no tensor (the steps and groups of an optimizer) is only in the pickle of a torch file; that
is read by torch, which is told to make nothing of it but tensors and plain values.
"""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theta_jupyter.checkpoints import quote
from theta_jupyter.checkpoints.leaves import is_array, is_tensor, memory
from theta_jupyter.errors import RequestError
from theta_jupyter.git.roads import rebuild
from theta_jupyter.states import bare, tensors
from theta_jupyter.storage.arrays import FileCheckpoint
from theta_jupyter.storage.manifest import dump
from theta_jupyter.storage.mapped import mapped

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.arrays import Checkpoint
    from theta_jupyter.storage.manifest import Manifest
    from theta_jupyter.storage.pool import Progress

__all__ = ["Version", "fill", "from_file", "opened", "rebuilt"]

Step = tuple[int, "Callable[[], object]"]
"""What is done once all is checked, and when: what may still fail by itself goes first."""


@dataclass(frozen=True)
class Version:
    """One version of a checkpoint, as this module needs it.

    Parameters
    ----------
    what
        Path and ref, for errors.
    read
        Gives the checkpoint with tensors of these names only, or all.
    file
        Gives the file itself for the length of a block.
    wanted
        Names of the tensors to be used; all if None.
    """

    what: str
    read: Callable[[Sequence[str] | None], Checkpoint]
    file: Callable[[], AbstractContextManager[Path]]
    wanted: Sequence[str] | None = None

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors to be used."""
        return tuple(self.read(self.wanted))

    @functools.cached_property
    def tree(self) -> Any:
        """Everything that is in a torch file, read without running it."""
        import torch

        with self.file() as path:
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except OSError:
                raise
            except Exception as error:
                raise _unread(self.what, error) from error

    def at(self, path: Sequence[Any]) -> Any:
        """The part of the tree at a path of keys."""
        node = self.tree
        for depth, key in enumerate(path):
            try:
                node = node[key]
            except (LookupError, TypeError):
                found = ", ".join(map(repr, node)) if isinstance(node, dict) else f"a {type(node).__name__}"
                where = quote(*path[: depth + 1])
                raise RequestError(f"{self.what} has nothing at {where}", hint=f"there is: {found}") from None
        return node

    def under(self, prefix: str) -> dict[Any, Any]:
        """The part of the tree whose tensors have names that begin like this; empty if there is none of that kind."""
        node = self.tree
        while prefix:
            keys = {quote(key): key for key in node} if isinstance(node, dict) else {}
            first = next((name for name in keys if f"{prefix}/".startswith(f"{name}/")), "")
            if not first:
                return {}
            node, prefix = node[keys[first]], prefix[len(first) + 1 :]
        return node if isinstance(node, dict) else {}


@dataclass(frozen=True)
class _Match:
    """Tensors in memory, and the part of a version that fills them.

    Parameters
    ----------
    keys
        The key of each tensor in the state it is of, by the name it was compared by.
    live
        The tensors, by that name.
    names
        The names of all tensors of the version, by what they were compared by.
    prefix
        How the latter begin in this part.
    """

    keys: Mapping[str, Any]
    live: Mapping[str, Any]
    names: Mapping[str, str]
    prefix: str


def fill(into: Any, version: Version) -> Any:
    """Fill live objects with a version.

    Parameters
    ----------
    into
        An object with ``load_state_dict``, a tensor, an array; or a dict, list or tuple of such, each of which gets the
        part of the version at its place. Plain values in a dict are replaced. By itself, a module or a flat dict of
        tensors gets the one part of the version that has its names.

    Returns
    -------
    object
        ``into``.

    Raises
    ------
    RequestError
        If something does not fit; nothing has then been touched, unless it is an optimizer or another object of that
        kind that turned its state down.
    """
    steps = sorted(_plan(into, (), version), key=lambda step: step[0])
    for _, step in steps:
        step()
    return into


def from_file(what: str | Path, path: Path, names: Sequence[str] | None, into: Any) -> Any:
    """Load a file that lies in no repository, or as it lies in a work tree; lazily, if there is nothing to fill."""

    def read(wanted: Sequence[str] | None) -> Checkpoint:
        with opened(what, path) as data:
            return FileCheckpoint(str(what), path, data, wanted)

    if into is None:
        return read(names)
    return fill(into, Version(str(what), read, lambda: contextlib.nullcontext(path), names))


@contextlib.contextmanager
def opened(what: str | Path, path: Path) -> Iterator[memoryview]:
    """See a file as memory, as :func:`theta_jupyter.storage.mapped.mapped` does.

    Raises
    ------
    RequestError
        If there is no such file.
    """
    if not path.is_file():
        there = "is no file" if path.exists() else "does not exist"
        raise RequestError(f"{what} {there}", hint='a version that was committed: load(PATH, "HEAD")')
    with mapped(path) as data:
        yield data


@contextlib.contextmanager
def rebuilt(worktree: Worktree, manifest: Manifest, progress: Progress) -> Iterator[Path]:
    """The file of a manifest, for the length of a block."""
    path = rebuild(worktree, dump(manifest), progress)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _plan(obj: Any, path: tuple[Any, ...], version: Version) -> Iterator[Step]:
    """Check what is to be filled with the part of a version at a path; give what is then to be done."""
    if callable(getattr(obj, "load_state_dict", None)):
        yield from (_module if hasattr(obj, "named_parameters") else _object)(obj, path, version)
    elif is_tensor(obj) or is_array(obj):
        name = quote(*path) or ("tensor" if is_tensor(obj) else "array")
        match = _Match({name: name}, {name: obj}, {name: name for name in version.names}, "")
        yield from _tensors(match, version, whole=False)
    elif isinstance(obj, dict) and obj and all(is_tensor(leaf) or is_array(leaf) for leaf in obj.values()):
        yield from _tensors(_match(obj, obj, path, version), version)
    elif isinstance(obj, dict | list | tuple):
        for key, value in obj.items() if isinstance(obj, dict) else enumerate(obj):
            if isinstance(obj, dict) and _is_plain(value):
                yield 1, functools.partial(obj.__setitem__, key, version.at((*path, key)))
            else:
                yield from _plan(value, (*path, key), version)
    else:
        where = f" at {quote(*path)}" if path else ""
        raise RequestError(
            f"a {type(obj).__name__}{where} cannot be filled",
            hint="give a model, an optimizer, tensors, or a dict of them",
        )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | complex | str | bytes)


def _module(module: Any, path: tuple[Any, ...], version: Version) -> Iterator[Step]:
    state = module.state_dict()
    live = {key: leaf for key, leaf in state.items() if is_tensor(leaf)}
    # What a module keeps besides tensors: its extra state, for which it alone is responsible.
    others = [key for key in state if key not in live]
    if any(getattr(getattr(state[key], "device", None), "type", "") == "meta" for key in others):
        raise RequestError(
            f"this {type(module).__name__} has no memory yet: it is on the meta device",
            hint='first: model.to_empty(device="cpu")',
        )
    match = _match(live, module, path, version)
    read = _read(match, version, type(module).__name__)
    found = {key: read[name] for name, key in match.keys.items()}
    part = version.under(match.prefix) if others else {}
    short = {bare(key): key for key in part if isinstance(key, str)}
    for key in others:
        own = key if key in part else short.get(bare(key))
        if own is None:
            raise RequestError(f"{version.what} has no {key!r} for {type(module).__name__}")
        found[key] = part[own]
    new = {key: found[key] for key in state}
    yield 1, functools.partial(_load, module, new, version.what)


def _object(obj: Any, path: tuple[Any, ...], version: Version) -> Iterator[Step]:
    """An optimizer, a scheduler: what keeps more than tensors."""
    live = obj.state_dict()
    part = version.at(path) if path else _part(live, obj, version)
    what = f"{version.what}: {quote(*path)}" if path else version.what
    if isinstance(live, dict) and isinstance(part, dict) and "param_groups" in live:
        old, new = ([len(group.get("params", ())) for group in side.get("param_groups", ())] for side in (live, part))
        if old != new:
            kind = type(obj).__name__
            raise RequestError(f"{what} has groups of {new} parameters, and this {kind} has groups of {old}")
    there = tensors(part)
    for name, leaf in tensors(live).items():
        if name in there and tuple(there[name].shape) != tuple(leaf.shape):
            raise RequestError(_misshapen(what, name, there[name], leaf))
    yield 0, functools.partial(_load, obj, part, what)


def _load(obj: Any, state: Any, what: str) -> None:
    try:
        obj.load_state_dict(state)
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise RequestError(f"{what} does not load into {type(obj).__name__}: {words}") from error


def _part(live: Any, obj: Any, version: Version) -> Any:
    """Find the one part of a tree that has the keys of a state: the whole, or a part one level down."""
    tree = version.tree

    def fits(part: Any) -> bool:
        return isinstance(part, dict) and isinstance(live, dict) and part.keys() == live.keys()

    if fits(tree):
        return tree
    members = tree if isinstance(tree, dict) else {}
    fitting = [key for key, part in members.items() if fits(part)]
    if len(fitting) == 1:
        return members[fitting[0]]
    raise _unplaced([quote(key) for key in fitting], [quote(key) for key in members], obj, version)


def _match(keys: Mapping[Any, Any], obj: Any, path: tuple[Any, ...], version: Version) -> _Match:
    """Find the part of a version that has the names of some tensors: at a path, or the only one there is.

    Names are compared as they are first. A flat dict may have names of the version for its keys, as what ``to_torch``
    gives has. What compiling a model or training it on several devices puts before names may stand on either side.

    Parameters
    ----------
    keys
        Tensors by the keys they have in ``obj``.

    Raises
    ------
    RequestError
        If there is no such part, or there are several; it says which there are.
    """
    quoted = {quote(key): key for key in keys}
    raw = {key: key for key in keys if isinstance(key, str)} if isinstance(obj, dict) else {}
    ways = [(own, {name: name for name in version.names}) for own in (raw, quoted) if len(own) == len(keys)]
    ways += [
        ({bare(n): key for n, key in own.items()}, {bare(n): name for n, name in all_.items()}) for own, all_ in ways
    ]
    nearest: tuple[tuple[int, int], _Match] | None = None
    parts: list[str] = []
    for own, names in ways:
        if len(own) < len(keys) or len(names) < len(version.names):
            continue  # Without what was put before them, two have the same name.
        live = {name: keys[key] for name, key in own.items()}
        count, found = _found(live, names, quote(*path) if path else None)
        fitting = [p for p, there in found.items() if len(there) == count[p] and not _missing(live, there)]
        if len(fitting) == 1:
            return _Match(own, live, names, fitting[0])
        if fitting:
            raise _unplaced(fitting, [], obj, version)
        parts = parts or [prefix for prefix in count if prefix]
        for prefix, there in found.items():
            near = len(there), -count[prefix]
            if nearest is None or near > nearest[0]:
                nearest = near, _Match(own, live, names, prefix)
    if nearest:
        return nearest[1]  # What is wrong with it is said when it is read.
    if path:
        return _Match(quoted, {name: keys[key] for name, key in quoted.items()}, ways[0][1], quote(*path))
    raise _unplaced([], parts, obj, version)


def _found(live: Container[str], names: Iterable[str], only: str | None) -> tuple[dict[str, int], dict[str, set[str]]]:
    """How many names begin in each way (or in one only), and which of some tensors are among them."""
    count: dict[str, int] = {}
    found: dict[str, set[str]] = {}
    for name in names:
        at = -1
        while True:
            prefix, rest = name[: max(at, 0)], name[at + 1 :]
            if only is None or prefix == only:
                count[prefix] = count.get(prefix, 0) + 1
                if rest in live:
                    found.setdefault(prefix, set()).add(rest)
            at = name.find("/", at + 1)
            if at < 0:
                break
    return count, found


def _unplaced(fitting: list[str], parts: list[str], obj: Any, version: Version) -> RequestError:
    kind = type(obj).__name__
    if fitting:
        choices = " and ".join(place or "the whole" for place in sorted(fitting))
        hint = f"say which, as in: into={{{max(fitting)!r}: ...}}"
        return RequestError(f"{version.what} has several parts that fit this {kind}: {choices}", hint=hint)
    there = f"it has: {', '.join(parts[:8])}" if parts else f"it has tensors such as {list(version.names[:3])}"
    return RequestError(f"{version.what} has nothing that fits this {kind}", hint=there)


def _missing(live: Mapping[str, Any], names: set[str]) -> list[str]:
    """Of these tensors, those that a file with some names lacks; one that is tied to one it has is not missing."""
    lacking = [name for name in live if name not in names]
    present = {memory(live[name]) for name in names} if lacking else set()
    return [name for name in lacking if memory(live[name]) is None or memory(live[name]) not in present]


def _read(match: _Match, version: Version, kind: str, *, whole: bool = True) -> dict[str, Any]:
    """Read the tensors of a part of a version for those that are to be filled, which they are checked against.

    Parameters
    ----------
    whole
        Whether the part may have no other tensors.

    Returns
    -------
    dict
        Torch tensors by the names that were compared; where it is arrays that are to be filled, arrays.
    """
    live, start = match.live, f"{match.prefix}/" if match.prefix else ""
    there = {name.removeprefix(start): own for name, own in match.names.items() if name.startswith(start)}
    missing = _missing(live, {name for name in live if name in there})
    extra = [name for name in there if name not in live] if whole else []
    for names, fault in ((missing, "has no tensor {}, which the {} has"), (extra, "has tensor {}, which the {} lacks")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            told = fault.format(f"{start + names[0]!r}{more}", kind)
            raise RequestError(f"{version.what} {told}", hint=_choices(version))
    chosen = version.read([there[name] for name in live if name in there])
    if any(map(is_array, live.values())):
        read: Mapping[str, Any] = chosen
    else:
        read = chosen.to_torch()
    found: dict[str, Any] = {}
    same: dict[Any, str] = {}
    for name, leaf in live.items():
        if name in there:
            found[name] = read[there[name]]
            same.setdefault(memory(leaf), name)
    for name, leaf in live.items():
        if name not in there:
            found[name] = found[same[memory(leaf)]]
        if tuple(found[name].shape) != tuple(leaf.shape):
            raise RequestError(_misshapen(version.what, start + name, found[name], leaf))
        if not _castable(found[name], leaf):
            raise RequestError(
                f"{version.what}: tensor {start + name!r} is {found[name].dtype}, which {leaf.dtype} cannot take"
            )
    return found


def _tensors(match: _Match, version: Version, *, whole: bool = True) -> Iterator[Step]:
    live = match.live
    for name, leaf in live.items():
        if is_array(leaf) and not leaf.flags.writeable:
            raise RequestError(f"array {name!r} cannot be written to")
    arrays = {name: leaf for name, leaf in live.items() if is_array(leaf)}
    plain = {name: leaf for name, leaf in live.items() if not is_array(leaf)}
    if arrays and plain:
        raise RequestError("a dict holds either tensors or arrays", hint="fill them one after the other")
    found = _read(match, version, "dict", whole=whole)
    for name, leaf in live.items():
        yield 1, functools.partial(_copy, leaf, found[name])


def _copy(leaf: Any, new: Any) -> None:
    if is_array(leaf):
        leaf[...] = new
        return
    import torch

    with torch.no_grad():
        leaf.copy_(new)


def _castable(new: Any, leaf: Any) -> bool:
    """Whether values keep their meaning, if not every digit: floats may go into shorter floats, not into integers."""
    if new.dtype == leaf.dtype:
        return True
    if is_tensor(leaf):
        import torch

        return torch.can_cast(new.dtype, leaf.dtype)
    import numpy as np

    floats = [np.issubdtype(side.dtype, np.floating) or side.dtype.isbuiltin == 2 for side in (new, leaf)]
    return all(floats) or np.can_cast(new.dtype, leaf.dtype, "same_kind")


def _unread(what: str, error: Exception) -> RequestError:
    """What torch says of a file it refuses, in brief: it advises to run the file, and we do not."""
    words = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error))
    sentence = re.split(r"\.\s|\n", words, maxsplit=1)[0].strip()
    refused = re.search(r"GLOBAL (\S+) was not an allowed", words)
    if refused:
        return RequestError(
            f"{what} cannot be read as a torch file: {sentence}: it holds {refused[1]}, which is not plain data",
            hint="if you trust it: git theta checkout REF -- PATH, and load the file with torch yourself",
        )
    return RequestError(
        f"{what} cannot be read as a torch file: {sentence}",
        hint="what is not a tensor, as in an optimizer, is kept in .pt files of tensors and plain values",
    )


def _misshapen(what: str, name: str, new: Any, leaf: Any) -> str:
    return f"{what}: tensor {name!r} has shape {list(new.shape)}, and what it goes into has {list(leaf.shape)}"


def _choices(version: Version) -> str:
    names = ", ".join(version.names[:3])
    return f"it has {len(version.names)} tensors, such as {names}"
