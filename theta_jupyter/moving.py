"""Going to other versions: Git moves, and writes manifests; then the files are put in their places.

Written by Git itself, a file passes through a pipe, and all of it is held in memory. Here it is written directly, and
what of it already lies in the work tree, because most tensors are as they were, is read from there and not decoded.
Whoever is interrupted, or has no network, is left with manifests in the places of files: as after a clone without
weights, nothing is lost, and ``git theta checkout -- PATH`` goes on.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from theta_jupyter import changes
from theta_jupyter.errors import MissingObjectError, TransferError
from theta_jupyter.git.roads import at_hand, materialise
from theta_jupyter.git.transfer import fetch_missing
from theta_jupyter.git.worktree import LATER, SKIP, shown
from theta_jupyter.storage.manifest import looks_like_manifest
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["moved"]


@contextlib.contextmanager
def moved(worktree: Worktree, left: list[str], progress: Progress = silent) -> Iterator[Mapping[str, str]]:
    """Let Git move inside, with the environment that is given; then put files where it has written manifests.

    Parameters
    ----------
    left
        Gets a sentence for each model that stays a manifest because its weights are not to be had.
    """
    if os.environ.get(SKIP) == "1":
        yield {}
        return
    before = _manifests(worktree)
    files = _files(worktree, before)
    # Where weights come only when they are asked for, a file that lies there has been asked for.
    wanted = {name for name, _ in files} if worktree.is_lazy else None
    with at_hand(worktree, files):
        try:
            yield {LATER: "1"}
        except Exception:
            # Git may have moved a part of the way, as a pull that ends in a conflict does. An interruption just ends.
            _put(worktree, before, wanted, left, progress)
            raise
        _put(worktree, before, wanted, left, progress)


def _put(
    worktree: Worktree,
    before: Mapping[str, bytes],
    wanted: Container[str] | None,
    left: list[str],
    progress: Progress,
) -> None:
    """Put files in the places of manifests that were not there before; of these names only, or of all."""
    texts = {
        name: text
        for name, text in _manifests(worktree).items()
        if before.get(name) != text and (wanted is None or name in wanted)
    }
    manifests = [manifest for text in texts.values() if (manifest := changes.read(text)) is not None]
    with contextlib.suppress(TransferError):  # In one go; what cannot be had is told of below.
        fetch_missing(worktree, manifests)
    for name in texts:
        try:
            materialise(worktree, [name], progress)
        except (MissingObjectError, TransferError) as error:
            left.append(f"{shown(name)} stays a manifest, its weights are not here: {error.message.splitlines()[0]}")


def _manifests(worktree: Worktree) -> dict[str, bytes]:
    """Texts of manifests that lie in the places of tracked files."""
    found = {}
    for name in changes.tracked(worktree):
        path = worktree.top / name
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if looks_like_manifest(file.peek(64)):
                    found[name] = file.read()
    return found


def _files(worktree: Worktree, manifests: Mapping[str, bytes]) -> list[tuple[str, Manifest]]:
    """Tracked files that lie in the work tree, with the manifests that the index has for them."""
    index = worktree.index()
    names = [name for name in changes.tracked(worktree) if 0 in index.get(name, {}) and name not in manifests]
    texts = worktree.blobs(index[name][0] for name in names)
    return [(name, m) for name, text in zip(names, texts, strict=True) if (m := changes.read(text)) is not None]
