"""Comparisons that are not between two versions of a repository: with a model in memory, or between any two things.

A thing is a file, tracked or not; a file of a commit, said as ``REF:PATH``; or a model, a state dict, a loaded
checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theta_jupyter.changes import chosen, label, manifests, require
from theta_jupyter.diffs.pair import Pair, Side
from theta_jupyter.diffs.report import Diff
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.git.worktree import Worktree
from theta_jupyter.sides import (
    checkpoint_side,
    file_diff,
    file_side,
    in_memory,
    live_pair,
    live_side,
    place,
    stored_side,
)
from theta_jupyter.storage.arrays import Checkpoint
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["compare", "is_side", "with_model"]


def with_model(
    worktree: Worktree,
    version: str,
    paths: Sequence[str],
    model: Any,
    name: str = "model",
    progress: Progress = silent,
    *,
    tensors: Sequence[str] = (),
) -> Diff:
    """Compare a version of a file with a model in memory, nothing of which is saved.

    Parameters
    ----------
    version
        A ref; empty for the work tree, ``:`` for the index.
    paths
        One path; if there is none, the tracked file that has most of the model's tensors.
    name
        What to call the model.
    tensors
        Patterns; only tensors with such names are compared.

    Raises
    ------
    RequestError
        If it is not clear which file is meant, or the model is of another one.
    """
    found = manifests(worktree, version, paths, progress)
    if not found:
        what = f"{paths[0]} is not a tracked model" if paths else "there is no tracked model"
        raise RequestError(f"{what} in {label(version)} to compare {name} with", hint="see: git theta ls-files")
    shared = dict.fromkeys(found, 0)
    if len(found) > 1:
        names = in_memory(model, name).keys()
        shared = {path: place(names, manifest.records)[1] for path, manifest in found.items()}
        if not any(shared.values()):
            raise RequestError(
                f"no tensor of {name} is in {', '.join(found)}: it has {', '.join(list(names)[:2])}",
                hint="compare it with the file it was saved to",
            )
    best = [path for path in found if shared[path] == max(shared.values())]
    if len(best) > 1:
        raise RequestError(f"{name} could be any of {', '.join(best)}", hint=f"say which: --with {name} -- {best[0]}")
    path = best[0]
    old = stored_side(worktree, path, found[path], label(version))
    pair, remarks = live_pair(path, old, model, (label(version), name), progress)
    return _diff(pair, remarks, tensors)


def compare(
    old: Any,
    new: Any,
    *,
    tensors: Sequence[str] = (),
    exact: bool = False,
    names: tuple[str, str] = ("old", "new"),
    progress: Progress = silent,
) -> Diff:
    """Compare any two checkpoints, wherever they are.

    Parameters
    ----------
    old, new
        Each a path; ``"REF:PATH"`` for a file of a commit; or an object that holds tensors: a module, a state dict,
        what :func:`~theta_jupyter.load` gives.
    tensors
        Patterns; only tensors with such names are compared.
    exact
        Measure every changed tensor.
    names
        What to call objects in memory.

    Raises
    ------
    RequestError
        If there is no such file, or an object holds no tensors.

    Examples
    --------
    >>> compare("HEAD~3:model.safetensors", "runs/best.pt")  # doctest: +SKIP
    >>> compare(teacher, student).figure()  # doctest: +SKIP
    """
    labels = (_name(old, names[0]), _name(new, names[1]))
    remarks: tuple[str, ...] = ()
    if _is_live(old) and not _is_live(new):
        # A model finds its place in a file; so it is laid beside the file, and the two change sides.
        back, remarks = live_pair(labels[1], _side(new, labels[1], None, progress), old, labels[::-1], progress)
        pair = Pair(labels[1], back.new, back.old, labels)
    elif isinstance(new, str | os.PathLike):
        before = _side(old, labels[0], None, progress)
        pair = Pair(Path(labels[1]).name, before, _side(new, labels[1], before, progress), labels)
    else:
        before = _side(old, labels[0], None, progress)
        pair, remarks = live_pair(labels[0], before, new, labels, progress)
    found = _diff(pair, remarks, tensors)
    return found.exact(progress=progress) if exact else found


def is_side(text: str) -> bool:
    """Whether a text names one file, as ``REF:PATH``."""
    ref, colon, path = text.partition(":")
    if not colon or not ref or not path or os.path.lexists(text):
        return False
    try:
        Worktree.find(".").resolve(ref)
    except (ThetaError, ValueError):  # No repository, no such ref, or what no command can be given: a NUL.
        return False
    return True


def _diff(pair: Pair, remarks: tuple[str, ...], tensors: Sequence[str]) -> Diff:
    require(tensors, [side.manifest for side in (pair.old, pair.new) if side])
    file = chosen(file_diff(pair, remarks=remarks, stores=False), tensors)
    return Diff(*pair.labels, (file,) if file.changed else (), "", {pair.path: pair})


def _is_live(thing: Any) -> bool:
    return not isinstance(thing, str | os.PathLike | Checkpoint)


def _name(thing: Any, name: str) -> str:
    return os.fspath(thing) if isinstance(thing, str | os.PathLike) else name


def _side(thing: Any, name: str, other: Side | None, progress: Progress) -> Side:
    if isinstance(thing, Checkpoint):
        return checkpoint_side(thing, other.manifest if other else None, progress)
    if not isinstance(thing, str | os.PathLike):
        return live_side(in_memory(thing, name), name, None, progress)
    text = str(os.fspath(thing))
    try:
        worktree = Worktree.find(Path(os.path.abspath(text)).parent)  # noqa: PTH100 - a link is taken where it stands
    except GitError:  # There is none, or none that Git would open, or no Git: a file needs none.
        worktree = None
    like = other.manifest if other else None
    if is_side(text):
        ref, _, path = text.partition(":")
        repository = Worktree.find(".")
        inside = repository.relative(path)
        found = manifests(repository, ref, [inside])
        if inside in found:
            return stored_side(repository, inside, found[inside], text)
        raise RequestError(f"{path} is not a tracked checkpoint in {ref}", hint="what is: git theta ls-files")
    return file_side(Path(text), like, worktree, progress)
