"""Sharing: Git carries commits, the objects they need travel along, and weights come before they are needed.

Git runs in the user's own words, and the objects of a push are sent first, by the pre-push hook. Weights come when
something reads them, from a remote that has them. What is here brings them earlier, or says that they shall wait: in a
lazy clone manifests stay in the places of files, and history, log and diffs work at once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from theta_jupyter import changes, staging
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.git.install import install_hooks
from theta_jupyter.git.transfer import OFFER_ALL, fetch_missing, fetch_objects, remotes
from theta_jupyter.git.worktree import AS_TYPED, LATER, LAZY, SKIP, elsewhere, run, shown
from theta_jupyter.moving import moved
from theta_jupyter.results import Message, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["clone", "fetch", "prefetch", "pull", "push"]

_SILENT = {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force", "GCM_INTERACTIVE": "0"}
"""What keeps Git, and what it starts, from asking in a terminal, where nobody may be there to answer."""


def push(worktree: Worktree, arguments: Sequence[str], *, ask: bool) -> Message:
    """Run ``git push``, which also sends what commits lack that are there already."""
    install_hooks(worktree)
    return _git(worktree, "push", arguments, "pushed", {OFFER_ALL: "1"}, ask=ask)


def pull(worktree: Worktree, arguments: Sequence[str], include: Sequence[str], *, ask: bool) -> Message:
    """Run ``git pull``; then bring the models it changed, or only these tensors, and leave manifests."""
    if include:
        done = _git(worktree, "pull", arguments, "pulled", {SKIP: "1"}, ask=ask)
        return Message(done.message, (*done.details, prefetch(worktree, ["HEAD"], [], include).message))
    left: list[str] = []
    with moved(worktree, left, worktree.progress) as env:
        done = _git(worktree, "pull", arguments, "pulled", env, ask=ask)
    return Message(done.message, (*done.details, *left))


def fetch(worktree: Worktree, remote: str, *, ask: bool) -> Message:
    """Run ``git fetch``, then fetch the objects of HEAD and its upstream."""
    if remotes(worktree):
        _git(worktree, "fetch", [remote] if remote else [], "", {}, ask=ask)
    wanted: list[Manifest] = []
    for ref in ("HEAD", "@{upstream}"):
        try:
            wanted += changes.manifests(worktree, ref, []).values()
        except GitError:
            continue  # No commit yet, or no upstream.
    return _fetched(fetch_missing(worktree, wanted))


def clone(url: str, folder: str, options: Sequence[str], *, ask: bool, lazy: bool) -> Path:
    """Run ``git clone``; manifests lie in the places of models afterwards.

    Parameters
    ----------
    folder
        Where to; empty for the name that Git would choose.
    options
        Of ``git clone``.
    ask
        Whether Git may ask in the terminal.
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
    with elsewhere():
        run(["clone", "--quiet", *config, *options, "--", url, str(target)], env={**_environment(ask=ask), LATER: "1"})
    return target


def prefetch(worktree: Worktree, refs: Sequence[str], paths: Sequence[str], include: Sequence[str]) -> Message:
    """Fetch what versions of models need.

    Parameters
    ----------
    refs
        The versions.
    paths
        Models, or folders of them, from the top; all if there are none.
    include
        Names or patterns of tensors: then these alone are fetched, and can be read, but no file can be made of them.

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
    return _fetched(fetch_objects(worktree, needed))


def _git(
    worktree: Worktree, verb: str, arguments: Sequence[str], done: str, env: Mapping[str, str], *, ask: bool
) -> Message:
    # The user's words to git, as if typed there: no literal pathspecs, and progress where there is a terminal.
    try:
        out = worktree.git(verb, *arguments, env={**AS_TYPED, **_environment(ask=ask), **env})
    except GitError:
        staging.refuse_conflicts(worktree)
        raise
    return Message(done, tuple(out.decode(errors="replace").strip().splitlines()))


def _environment(*, ask: bool) -> Mapping[str, str]:
    return {} if ask else _SILENT


def _fetched(size: int) -> Message:
    return Message(f"fetched {size_text(size)} of objects" if size else "all objects are here")


def _name(url: str) -> str:
    """What Git calls the folder of a clone."""
    bare = re.sub(r"(/\.git|\.git|\.bundle)?$", "", url.rstrip("/"))
    return re.split(r"[/:\\]", bare)[-1]
