"""From memory to a file in the work tree: what ``Repository.save`` does before it stages.

A file appears whole or not at all. It is written beside its place, synced, and renamed; what a killed process leaves
there is swept away by the next one that saves in the folder.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theta_jupyter.checkpoints import locate, writer
from theta_jupyter.errors import GitError, RequestError, ThetaError
from theta_jupyter.git import attributes
from theta_jupyter.git.install import install, install_hooks, is_installed
from theta_jupyter.git.worktree import AS_TYPED, shown
from theta_jupyter.states import is_checkpoint, state, tensors
from theta_jupyter.storage.beside import replacing
from theta_jupyter.storage.mapped import mapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from theta_jupyter.git.worktree import Worktree

__all__ = ["checked", "save", "write"]


def save(worktree: Worktree, obj: Any, path: str | Path) -> tuple[str, ...]:
    """Write the state of a live object to a file of the work tree, and have the file tracked.

    Parameters
    ----------
    obj
        What :func:`theta_jupyter.states.state` takes.
    path
        From the current folder; its suffix chooses the format.

    Returns
    -------
    tuple of str
        What the user should know besides.

    Raises
    ------
    RequestError
        If no format writes such a file, the format cannot hold the state, or the file cannot be tracked. What was there
        before is then still there.
    """
    name = checked(worktree, path)
    with write(obj, Path(path)) as details:
        if worktree.filters([name])[name] == "theta":
            return details
        # Last, so that nothing is tracked that could not be written; but before the file is put in its place.
        if not is_installed(worktree):
            install(worktree)
            install_hooks(worktree)
        attributes.track(worktree, path=name)
        return (f"now tracking {shown(name)}", *details)


def checked(worktree: Worktree, path: str | Path) -> str:
    """Write a path as Git does, once it is known that a checkpoint can be saved there.

    Raises
    ------
    RequestError
        If it cannot.
    GitError
        If it lies outside the work tree.
    """
    name = worktree.relative(path)
    if ".git" in Path(name).parts:
        raise RequestError(f"{shown(name)} is Git's own place", hint="save elsewhere")
    if _is_ignored(worktree, name):
        raise RequestError(f"{shown(name)} is ignored by Git", hint="remove it from .gitignore, or save elsewhere")
    if Path(path).is_dir():
        raise RequestError(f"{path} is a folder")
    writer(Path(path))
    return name


@contextlib.contextmanager
def write(obj: Any, path: Path) -> Iterator[tuple[str, ...]]:
    """Write the state of a live object to a temporary file, which becomes ``path`` at the end of the block.

    The file has the permissions of the one it replaces, or those of any new file. Folders are made.

    Yields
    ------
    tuple of str
        What of the state the file does not show as it is.

    Raises
    ------
    RequestError
        If it cannot be written. Nothing is then left behind.
    """
    form = writer(path)
    if path.is_dir():
        raise RequestError(f"{path} is a folder")
    tree = _read(state(obj))
    live = tensors(tree)
    if not live:
        raise RequestError(
            f"there is no tensor in this {type(obj).__name__}",
            hint="save a model, an optimizer, a dict of them, or a dict of tensors",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        try:
            form.write(tree, temporary)
        except (ThetaError, OSError, MemoryError):
            raise
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise RequestError(f"cannot write {path}: {words}") from error
        yield _losses(temporary, live)


def _read(tree: Any) -> Any:
    """Read what was loaded from a version, so that it is saved as tensors."""
    if is_checkpoint(tree):
        return tree.to_torch()
    if isinstance(tree, dict) and any(map(is_checkpoint, tree.values())):
        return {key: _read(value) for key, value in tree.items()}
    return tree


def _losses(path: Path, live: dict[str, Any]) -> tuple[str, ...]:
    """What tensors the file does not have under their names."""
    with mapped(path) as data:
        layout, reason = locate(data)
    if reason:
        return (f"will be kept whole: {reason}",)
    lost = sorted(live.keys() - {view.name for view in layout.views}, key=list(live).index)
    if not lost:
        return ()
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return (f"not in the file by name: {lost[0]}{more} (tied to another tensor, or an array in a pickle)",)


def _is_ignored(worktree: Worktree, name: str) -> bool:
    try:
        listed = os.fsencode(name) + b"\0"
        return bool(worktree.git("check-ignore", "-z", "--stdin", data=listed, env=AS_TYPED))
    except GitError:
        return False
