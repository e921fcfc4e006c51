"""What everybody has to store: histories of models, as files.

A history is a list of versions, each with its parents; a version is one file, placed beside those of its parents or
over one of them. Files are made on the first call and found afterwards, with their hashes and with the share of values
that changed: a ratio says little without it. Which histories there are, :mod:`benchmarks.recipes` says.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from blake3 import blake3
from safetensors import safe_open

from benchmarks.weights import Encoder, Toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.weights import Tensors, Trainer

__all__ = ["FILE", "History", "Shelf", "Version", "changed", "described", "digest", "tensors_of"]

FILE = "model.safetensors"


@dataclass(frozen=True)
class Version:
    """One version of a file.

    Parameters
    ----------
    name
        As the report calls it.
    path
        A file with its bytes.
    size
        Of the file.
    digest
        BLAKE3 of the file.
    changed
        Share of the values that are not those of a parent; None for the first.
    parents
        Names of the versions it was made from.
    file
        What it is called where it is stored.
    """

    name: str
    path: Path
    size: int
    digest: str
    changed: float | None
    parents: tuple[str, ...] = ()
    file: str = FILE


@dataclass(frozen=True)
class History:
    """Versions, in the order in which they come to be.

    Parameters
    ----------
    name
        For the command line.
    title
        For the page.
    versions
        Parents before children.
    thorough
        Whether status and adding again are measured too, and memory in a round of its own.
    sampled
        Whether the history is so long that only every tenth version is weighed, instead of timed, and checked out.
    together
        Whether all peers go through it side by side. If not, because it is large, one after the other.
    once
        Whether one round has to do, because it is long.
    """

    name: str
    title: str
    versions: tuple[Version, ...]
    thorough: bool = False
    sampled: bool = False
    together: bool = True
    once: bool = False

    @cached_property
    def named(self) -> dict[str, Version]:
        """Versions by name."""
        return {version.name: version for version in self.versions}

    def tree(self, version: Version) -> dict[str, Version]:
        """Which version each file is of, where this version is."""
        files: dict[str, Version] = {}
        for parent in version.parents:
            files |= self.tree(self.named[parent])
        return files | {version.file: version}

    def raw(self, version: Version) -> int:
        """Bytes of all files where this version is."""
        return sum(each.size for each in self.tree(version).values())


class Shelf:
    """Where files of versions are kept.

    Parameters
    ----------
    folder
        Groups of files are folders in it.
    quick
        Whether they are toys.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder / ("quick" if quick else "data")
        self.quick = quick

    @cached_property
    def trainer(self) -> Trainer:
        """Who makes models."""
        return Toy() if self.quick else Encoder()

    def group(self, name: str, make: Callable[[Path], None]) -> Path:
        """A folder of files; it appears when all of them are there."""
        folder = self.folder / name
        if not folder.exists():
            begun = folder.with_name(folder.name + ".begun")
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir(parents=True)
            make(begun)
            begun.rename(folder)
        return folder


# ---------------------------------------------------------------- looking at files


def digest(path: Path) -> str:
    """BLAKE3 of a file."""
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def tensors_of(path: Path) -> Tensors:
    """The tensors of a file, each read when it is used."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    return dict(_flat("", torch.load(path, mmap=True, weights_only=True)))


def _flat(prefix: str, tree: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(tree, torch.Tensor):
        yield prefix, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(f"{prefix}/{key}" if prefix else str(key), value)


def bits(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.contiguous().view(integer).numpy()


def changed(parents: Sequence[Tensors], new: Tensors) -> float:
    """Share of the values whose bits are not those of a parent.

    A value is compared with the one at its place in the tensor of its name; where rows have come or gone, with a row
    that is the same somewhere; and a tensor that has another name counts as it was.
    """
    known = {name: tensor for parent in reversed(parents) for name, tensor in parent.items()}
    renamed = {blake3(bits(known[name]).tobytes()).digest() for name in known.keys() - new.keys()}
    differ = total = 0
    for name, tensor in new.items():
        after, old = bits(tensor), known.get(name)
        total += after.size
        if old is None:
            differ += 0 if blake3(after.tobytes()).digest() in renamed else after.size
        elif old.dtype == tensor.dtype and old.shape == tensor.shape:
            differ += min(int(np.count_nonzero(after != bits(parent[name]))) for parent in parents if name in parent)
        elif old.dtype == tensor.dtype and old.ndim == tensor.ndim == 2 and old.shape[1] == tensor.shape[1]:
            rows = {row.tobytes() for row in bits(old)}
            differ += sum(row.size for row in after if row.tobytes() not in rows)
        else:
            differ += after.size
    return differ / total


def described(folder: Path, versions: Sequence[Mapping[str, Any]]) -> tuple[Version, ...]:
    """Versions in full; what takes long to find out is noted beside the files.

    Parameters
    ----------
    versions
        Of each: arguments of :class:`Version`, with ``path`` but without what follows from it; and ``sources``, the
        versions that it is compared with, where these are not its parents.
    """
    notes = folder / "described.json"
    known: dict[str, Any] = json.loads(notes.read_text()) if notes.exists() else {}
    found: dict[str, Version] = {}
    for version in versions:
        traits = {"parents": (), **version}
        path, sources = traits["path"], [found[name].path for name in traits.pop("sources", traits["parents"])]
        key = " < ".join([path.name, *(source.name for source in sources)])
        if key not in known:
            share = changed([tensors_of(source) for source in sources], tensors_of(path)) if sources else None
            known[key] = {"size": path.stat().st_size, "digest": digest(path), "changed": share}
            notes.write_text(json.dumps(known, indent=1))
        found[traits["name"]] = Version(**traits, **known[key])
    return tuple(found.values())
