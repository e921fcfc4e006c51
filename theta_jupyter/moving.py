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
from theta_jupyter.errors import GitError, KeptError, MissingObjectError, RequestError, ThetaError, TransferError
from theta_jupyter.git.roads import at_hand, lying, materialise, why
from theta_jupyter.git.transfer import fetch_missing
from theta_jupyter.git.worktree import AS_TYPED, LATER, SKIP, literal, shown
from theta_jupyter.results import Message
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Manifest

__all__ = ["checkout", "checkout_files", "moved", "switch"]

_WAYS_OUT = (
    ("your local changes", "commit or discard them first"),
    ("untracked working tree files", "move them away or commit them first"),
    ("you need to resolve your current index", "finish or abort first what is in progress"),
    ("cannot switch branch while", "finish or abort first what is in progress"),
)
"""What Git says where it does not go elsewhere, and the next step."""


def checkout(worktree: Worktree, ref: str, progress: Progress = silent) -> tuple[str, ...]:
    """Go to a commit or a branch; tell of each model that stays a manifest because its weights are not to be had."""
    left: list[str] = []
    try:
        with moved(worktree, left, progress) as env:
            _go(worktree, "checkout", *_ref(ref), "--", env=env)
    except GitError as error:
        raise _with_hint(error) from None
    return tuple(left)


def checkout_files(worktree: Worktree, ref: str, names: Sequence[str], progress: Progress = silent) -> tuple[str, ...]:
    """Take files, or folders, from a commit, or from the index if there is no ``ref``.

    Where the manifest of something else lies in place of a file, as an interrupted pull may leave it of what was not
    committed, there is no other trace of that: then it is brought, and not what the index has.

    Returns
    -------
    tuple of str
        A sentence for each such file.

    Raises
    ------
    ThetaError
        If the weights of one are neither here nor on any remote.
    """
    version = [worktree.resolve(ref)] if ref else []
    only = [] if ref else _uncommitted(worktree, names)
    # All that was named may be such files; they are tracked, so Git knows the names.
    if not only or any(name not in only for name in names):
        with moved(worktree, [], progress) as env:
            spared = [f":(top,exclude,literal){name}" for name in only]
            _go(worktree, "checkout", *version, "--", *literal(names), *spared, env=env)
    # Git leaves a file alone that has not changed since; a manifest in the work tree is such a file.
    materialise(worktree, [path for path in changes.tracked(worktree) if changes.among(path, names)], progress)
    return tuple(f"{shown(name)}: what is not committed was brought; once more, and it is dropped" for name in only)


def _uncommitted(worktree: Worktree, names: Sequence[str]) -> list[str]:
    """Those of these files, or in these folders, where the manifest of something that the index does not have lies."""
    found = {name: text for name, text in _manifests(worktree).items() if changes.among(name, names)}
    index = worktree.index()
    staged = [name for name in found if 0 in index.get(name, {})]
    texts = worktree.blobs(index[name][0] for name in staged)
    return [
        name
        for name, text in zip(staged, texts, strict=True)
        if text != found[name] and changes.read(found[name]) is not None
    ]


def switch(worktree: Worktree, branch: str, start: str, progress: Progress = silent, *, create: bool) -> Message:
    """Switch to a branch, a new one (at ``start``, or here) if ``create``; ``-`` is the branch before."""
    if start and not create:
        raise RequestError("a branch that is there has no start", hint=f"git theta switch -c {branch} {start}")
    words = [*(["--create"] if create else []), *_ref(branch), *_ref(start)]
    left: list[str] = []
    try:
        with moved(worktree, left, progress) as env:
            _go(worktree, "switch", *words, env=env)
    except GitError as error:
        if error.message.startswith("invalid reference"):
            hint = f"make it with: git theta switch -c {branch}"
            raise GitError(f"there is no branch {branch!r}", hint=hint) from None
        raise _with_hint(error) from None
    now = worktree.git("branch", "--show-current").decode().strip()
    return Message(f"on {'new ' if create else ''}branch {now}", tuple(left))


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
    failed: dict[str, ThetaError] = {}
    materialise(worktree, texts, progress, failed)
    for name, error in failed.items():
        if not isinstance(error, KeptError | MissingObjectError | TransferError):
            raise error
        left.append(why(name, error))


def _manifests(worktree: Worktree) -> dict[str, bytes]:
    """Texts of manifests that lie in the places of tracked files."""
    return {name: text for name in changes.tracked(worktree) if (text := lying(worktree, name))}


def _files(worktree: Worktree, manifests: Mapping[str, bytes]) -> list[tuple[str, Manifest]]:
    """Tracked files that lie in the work tree, with the manifests that the index has for them."""
    index = worktree.index()
    names = [name for name in changes.tracked(worktree) if 0 in index.get(name, {}) and name not in manifests]
    texts = worktree.blobs(index[name][0] for name in names)
    return [(name, m) for name, text in zip(names, texts, strict=True) if (m := changes.read(text)) is not None]


def _go(worktree: Worktree, verb: str, *args: str, env: Mapping[str, str]) -> None:
    """Let Git move; that it has moved, but could not replace a file, is an error too."""
    errors: list[str] = []
    worktree.git(verb, "--quiet", *args, env={**AS_TYPED, **env}, errors=errors)
    if errors:
        hint = "the rest is done; once this is mended, bring the file with: git theta checkout -- PATH"
        raise GitError("\n".join(errors), hint=hint)


def _ref(ref: str) -> list[str]:
    if ref.startswith("-") and ref != "-":
        raise RequestError(f"{ref!r} is not a ref")
    return [ref] if ref else []


def _with_hint(error: GitError) -> GitError:
    """The same, with the next step in our words in place of Git's."""
    hint = next((hint for said, hint in _WAYS_OUT if said in error.message.lower()), "")
    if not hint:
        return error
    lines = [line for line in error.message.splitlines() if not line.startswith(("Please ", "Consider ", "Aborting"))]
    return GitError("\n".join(line.removeprefix("error: ") for line in lines), hint=hint)
