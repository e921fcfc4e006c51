"""Preparing a repository for models, and taking that back: settings, hooks, and files in the places of manifests."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from theta_jupyter import changes
from theta_jupyter.errors import ThetaError, TransferError
from theta_jupyter.git.install import install, install_hooks, is_installed, uninstall, uninstall_hooks
from theta_jupyter.git.roads import materialise, why
from theta_jupyter.git.transfer import fetch_missing
from theta_jupyter.git.worktree import shown
from theta_jupyter.results import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from theta_jupyter.git.worktree import Worktree

__all__ = ["prepare", "undo"]


def prepare(worktree: Worktree, *, made: bool) -> Message:
    """Install filter, drivers and hooks; then put models in the places of manifests, unless the clone is a lazy one.

    Parameters
    ----------
    made
        Whether the repository is a new one, which is told.
    """
    changed = install(worktree)
    hooks = install_hooks(worktree)
    details = [f"hooks: {', '.join(hooks)}"] if hooks else []
    details += _brought(worktree)
    if made:
        return Message(f"{worktree.top} is a new Git repository, ready for models", tuple(details))
    already = "" if changed or hooks else " already"
    return Message(f"{worktree.top} is{already} ready for models", tuple(details))


def undo(worktree: Worktree) -> Message:
    """Take settings and hooks back; files in the work tree stay as they are, and what is still tracked is told."""
    keys, hooks = uninstall(worktree), uninstall_hooks(worktree)
    if not (keys or hooks):
        return Message("there was nothing to remove here")
    details = []
    tracked = [] if is_installed(worktree) else changes.tracked(worktree)
    if tracked:
        details += [f"still tracked: {name}" for name in tracked]
        details.append('next: git theta init, then untrack them first; see "Leaving" in docs/git.md')
    return Message(f"removed {len(keys)} settings and {len(hooks)} hooks from {worktree.top}", tuple(details))


def _brought(worktree: Worktree) -> Iterator[str]:
    """Put models in the places of manifests, unless they shall stay; tell of each."""
    if worktree.is_lazy:
        return
    names = changes.tracked(worktree)
    texts = changes.manifests(worktree, changes.INDEX, [])
    with suppress(TransferError):  # In one go; what cannot be had is told of below.
        fetch_missing(worktree, [texts[name] for name in names if name in texts])
    failed: dict[str, ThetaError] = {}
    yield from (f"checked out: {shown(done)}" for done in materialise(worktree, names, worktree.progress, failed))
    yield from (why(name, error) for name, error in failed.items())
