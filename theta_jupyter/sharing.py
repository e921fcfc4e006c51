"""Sharing: a clone of one's own, and weights before they are needed.

Weights come when something reads them, from a remote that has them. What is here brings them earlier, or says that they
shall wait: in a lazy clone manifests stay in the places of files, and history, log and diffs work at once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from theta_jupyter import changes
from theta_jupyter.errors import RequestError
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.git.worktree import LATER, LAZY, run, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree

__all__ = ["clone", "prefetch"]


def clone(url: str, folder: str, options: Sequence[str], env: Mapping[str, str], *, lazy: bool) -> Path:
    """Run ``git clone``; manifests lie in the places of models afterwards.

    Parameters
    ----------
    folder
        Where to; empty for the name that Git would choose.
    options
        Of ``git clone``.
    env
        Set for git.
    lazy
        Whether they are to stay there.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    GitError
        With Git's words.
    """
    target = Path(folder or _name(url))
    config = [f"--config={LAZY}=true"] if lazy else []
    run(["clone", "--quiet", *config, *options, "--", url, str(target)], env={**env, LATER: "1"})
    return target


def prefetch(worktree: Worktree, refs: Sequence[str], paths: Sequence[str], include: Sequence[str]) -> int:
    """Fetch what versions of models need.

    Parameters
    ----------
    refs
        The versions.
    paths
        Models, or folders of them, from the top; all if there are none.
    include
        Names or patterns of tensors: then these alone are fetched, and can be read, but no file can be made of them.

    Returns
    -------
    int
        Bytes fetched.

    Raises
    ------
    RequestError
        If there is no such model, or no tensor of such a name.
    TransferError
        If no remote has what is missing.
    """
    found = [pair for ref in refs for pair in changes.manifests(worktree, ref, paths).items()]
    lost = [path for path in paths if not any(changes.among(name, [path]) for name, _ in found)]
    if lost:
        raise RequestError(f"{shown(lost[0])} is no model in {' or '.join(refs)}", hint="what is: git theta ls-files")
    changes.require(include, [manifest for _, manifest in found])
    needed: dict[str, int] = {}
    for _, manifest in found:
        if include:
            names = (name for name in manifest.records if changes.is_called(name, include))
            needed |= {place.object: place.size for name in names for place in manifest.owner(name).objects}
        else:
            needed |= manifest.places()
    return fetch_objects(worktree, needed)


def _name(url: str) -> str:
    """What Git calls the folder of a clone."""
    bare = re.sub(r"(/\.git|\.git|\.bundle)?$", "", url.rstrip("/"))
    return re.split(r"[/:\\]", bare)[-1]
