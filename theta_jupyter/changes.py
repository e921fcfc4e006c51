"""What differs: the work tree, the index and commits, seen as manifests, and compared.

A changed file of the work tree is stored as soon as it is looked at, as ``git status`` itself would have the filter
do. That gives its manifest, says to the byte what a commit will store, and makes the commit that follows immediate.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from theta_jupyter.answers import Entry, Status, entry_of
from theta_jupyter.checkpoints import locate
from theta_jupyter.diffs.pair import Pair
from theta_jupyter.diffs.report import Diff, FileDiff
from theta_jupyter.errors import GitError, ManifestError, RequestError
from theta_jupyter.git.install import is_installed, is_pushing
from theta_jupyter.git.known import Known
from theta_jupyter.git.roads import lying, store
from theta_jupyter.results import size_text
from theta_jupyter.sides import file_diff, stored_side
from theta_jupyter.storage.beside import is_beside
from theta_jupyter.storage.digest import hashed
from theta_jupyter.storage.manifest import Manifest, looks_like_manifest, parse
from theta_jupyter.storage.mapped import hold, mapped
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.contest import Said

__all__ = [
    "EMPTY",
    "INDEX",
    "WORK_TREE",
    "among",
    "changed",
    "chosen",
    "diff",
    "is_called",
    "label",
    "link",
    "manifests",
    "offered",
    "read",
    "require",
    "status",
    "stored",
    "text_of",
    "tracked",
    "whole",
]

WORK_TREE, INDEX = "", ":"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".npz")
"""Files with these endings are offered for tracking."""


def tracked(worktree: Worktree) -> list[str]:
    """Paths the filter has, in the index or new in the work tree."""
    listed = worktree.git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = dict.fromkeys(os.fsdecode(name) for name in listed.split(b"\0") if name)
    paths = [name for name in names if not is_beside(name.rpartition("/")[2])]
    found = [path for path, value in worktree.filters(paths).items() if value == "theta"]
    # A pattern may also fit a submodule, which is no file.
    modes = worktree.modes([path for path in found if (worktree.top / path).is_dir()])
    return [path for path in found if modes.get(path) != "160000"]


def changed(worktree: Worktree) -> list[str]:
    """Tracked paths whose file is not known to be what the index has: changed, new, or deleted."""
    touched = {os.fsdecode(name) for name in worktree.git("diff-files", "--name-only", "-z").split(b"\0") if name}
    index = worktree.index()
    return [path for path in tracked(worktree) if path in touched or path not in index]


def read(text: bytes) -> Manifest | None:
    """The manifest a blob holds, if it holds one."""
    try:
        return parse(text) if looks_like_manifest(text) else None
    except ManifestError:
        return None


def stored(worktree: Worktree, path: str, progress: Progress = silent, origin: str = "") -> Manifest | None:
    """Store the file a path has in the work tree, and return its manifest; None if there is no file."""
    text = text_of(worktree, path, progress, origin)
    return None if text is None else read(text)


def text_of(
    worktree: Worktree,
    path: str,
    progress: Progress = silent,
    origin: str = "",
    said: Mapping[str, Said] | None = None,
    patience: float = 0.0,
) -> bytes | None:
    """Store the file a path has in the work tree, and return the text of its manifest; None if there is no file.

    Parameters
    ----------
    origin
        Blob of a manifest the user named as where this file comes from.
    said
        What the user says was done to tensors.
    patience
        Seconds to wait for whoever is writing to it.
    """
    file = worktree.top / path
    if not file.is_file() or file.is_symlink() or worktree.is_beyond_link(path):
        return None
    known = _Anew(worktree, path, origin) if origin or said else Known(worktree, path)
    known.said = said or {}
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(hold(file, patience))
        except FileNotFoundError:
            return None  # Gone since: somebody else is at work.
        digest = held.digest()
        seen = known.content(digest)
        if seen:
            return seen.manifest
        data = held.view(stack)

        def told(what: str, done: int, total: int) -> None:
            held.check()
            progress(what, done, total)

        return store(worktree, known, data, hashed(data) if held.may_change else digest, told)


class _Anew(Known):
    """What is known, less what is only remembered: from when the origin had not been named yet."""

    def content(self, _: str) -> None:
        """Recall nothing."""

    def record(self, _: str, /) -> None:
        """Recall nothing."""


def manifests(
    worktree: Worktree, version: str, paths: Sequence[str], progress: Progress = silent
) -> dict[str, Manifest]:
    """Manifests by path in a version: a ref, the index, or the work tree; of these files and folders, or all.

    Raises
    ------
    GitError
        If the ref names no commit.
    """
    if version == WORK_TREE:
        dirty = set(changed(worktree))
        found = manifests(worktree, INDEX, paths)
        for path in tracked(worktree):
            if (path in dirty or path not in found) and among(path, paths):
                manifest = stored(worktree, path, progress)
                found.pop(path, None)
                if manifest:
                    found[path] = manifest
        return found
    if version == INDEX:
        stages = {path: of.get(0) or of.get(2) or of.get(3) for path, of in worktree.index().items()}
        blobs = {path: blob for path, blob in stages.items() if blob and among(path, paths)}
    else:
        blobs = worktree.tree(worktree.resolve(version), paths)
    # Only what may be a manifest is read: other files of the repository may be large.
    listed = {path for path, value in worktree.filters(blobs).items() if value == "theta" or path in paths}
    wanted = {path: blob for path, blob in blobs.items() if path in listed}
    texts = worktree.blobs(wanted.values())
    return {path: m for path, text in zip(wanted, texts, strict=True) if (m := read(text)) is not None}


def diff(
    worktree: Worktree,
    old: str,
    new: str,
    paths: Sequence[str],
    progress: Progress = silent,
    *,
    tensors: Sequence[str] = (),
    exact: bool = False,
) -> Diff:
    """Compare two versions; ``old`` may be :data:`EMPTY`, for a first commit's parent.

    Parameters
    ----------
    tensors
        Patterns; if any are given, only tensors with such names are compared.

    Raises
    ------
    RequestError
        If a path is not tracked in either version, or no tensor has such a name.
    """
    before = {} if old == EMPTY else manifests(worktree, old, paths, progress)
    after = manifests(worktree, new, paths, progress)
    missing = [path for path in paths if not any(among(name, [path]) for name in (*before, *after))]
    if missing:
        raise RequestError(f"{missing[0]} is not a tracked model in either version", hint="see: git theta ls-files")
    require(tensors, [*before.values(), *after.values()])
    labels = label(old), label(new)
    files, pairs = [], {}
    for path in sorted(before.keys() | after.keys()):
        a, b = before.get(path), after.get(path)
        if a == b:
            continue
        pair = _pair(worktree, path, (a, b), labels)
        found = chosen(file_diff(pair), tensors)
        if found.tensors or not tensors:
            files.append(found)
            pairs[path] = pair
    compared = Diff(*labels, tuple(files), _subject(worktree, new), pairs, _versions(worktree, old, new))
    return compared.exact(progress=progress, executor=worktree.executor) if exact else compared


EMPTY = "(nothing)"


def _versions(worktree: Worktree, old: str, new: str) -> tuple[str, str] | None:
    """What was compared, so that it means the same later on."""
    if old in {WORK_TREE, INDEX}:
        return None
    before = "" if old == EMPTY else worktree.resolve(old)
    return before, new if new in {WORK_TREE, INDEX} else worktree.resolve(new)


def _subject(worktree: Worktree, version: str) -> str:
    if version in {WORK_TREE, INDEX}:
        return ""
    commit = worktree.resolve(version)
    return worktree.git("log", "-1", "--format=%s", commit).decode(errors="replace").strip()


def require(tensors: Sequence[str], sides: Sequence[Manifest]) -> None:
    """Check that each pattern is of some tensor.

    Raises
    ------
    RequestError
        If one is not.
    """
    unmatched = [
        glob for glob in tensors if not any(is_called(name, [glob]) for side in sides for name in side.records)
    ]
    if unmatched and sides:
        raise RequestError(f"no tensor is called {unmatched[0]!r}", hint="patterns are such as 'encoder.*.weight'")


def chosen(found: FileDiff, tensors: Sequence[str]) -> FileDiff:
    """A diff of the tensors whose names match; of all, if there are no patterns."""
    if not tensors:
        return found
    kept = tuple(t for t in found.tensors if is_called(t.name, tensors) or is_called(t.old_name, tensors))
    return dataclasses.replace(found, tensors=kept)


def status(worktree: Worktree, progress: Progress = silent) -> Status:
    """Where the work tree stands; see :meth:`theta_jupyter.api.Repository.status`."""
    try:
        worktree.resolve("HEAD")
        commits = True
    except GitError:
        commits = False
    heads = manifests(worktree, "HEAD", []) if commits else {}
    index = worktree.index()
    staged = manifests(worktree, INDEX, [])
    # What HEAD alone has is deleted, and staged so.
    paths = sorted({*tracked(worktree), *heads})
    dirty = set(changed(worktree))
    entries = []
    for path in paths:
        text = lying(worktree, path)
        if path in index and 0 not in index[path]:
            entries.append(Entry(path, "conflict", _conflict(worktree, path)))
        elif path in index and path not in dirty and not os.path.lexists(worktree.top / path):
            continue  # Outside of a sparse checkout.
        elif (worktree.top / path).is_symlink():
            entries += _linked(worktree, path, is_dirty=path in dirty, is_new=path not in heads)
        elif text is None:
            count = len(heads[path].records) if path in heads else 0
            entries.append(Entry(path, "deleted", "", count, staged=path not in index))
        elif text and path in staged and read(text) in (None, staged[path]):
            entries.append(Entry(path, "manifest", "its manifest lies in place of the file"))
        elif path in dirty or staged.get(path) != heads.get(path):
            present = stored(worktree, path, progress) if path in dirty else staged.get(path)
            entries += _differing(worktree, path, (heads.get(path), staged.get(path), present), text)
    entries += [Entry(path, "untracked", "a checkpoint that is not tracked") for path in offered(worktree)]
    branch = worktree.git("branch", "--show-current").decode().rstrip("\n")
    where = branch or worktree.resolve("HEAD")[:7]
    return Status(where, commits, tuple(entries), is_installed(worktree), not branch, not heads or is_pushing(worktree))


def _linked(worktree: Worktree, path: str, *, is_dirty: bool, is_new: bool) -> list[Entry]:
    """A link in the place of a model, unless it is just as it was committed."""
    if is_new and not is_dirty:
        return []
    what = "a link to what is not tracked: no weights" if link(worktree, path) else "a link to another model"
    return [Entry(path, "new" if is_new else "changed" if is_dirty else "staged", what, staged=not is_dirty)]


def _differing(
    worktree: Worktree, path: str, versions: tuple[Manifest | None, Manifest | None, Manifest | None], text: bytes
) -> list[Entry]:
    """A model that is not, or may not be, as in HEAD; its versions there, in the index and in the work tree."""
    head, staged, present = versions
    if present is None or present == head:
        return []
    found = file_diff(_pair(worktree, path, (head, present), ("HEAD", "work tree")))
    ready = present == staged
    entry = entry_of(found, "new" if head is None else "staged" if ready else "changed", staged=ready)
    return [_explained(worktree, entry, text) if found.opaque or text else entry]


def _explained(worktree: Worktree, entry: Entry, text: bytes) -> Entry:
    """Say why a file is kept whole; or that it is not there, only its manifest."""
    if text:
        return dataclasses.replace(entry, summary=f"{entry.summary}; its manifest lies in place of the file")
    summary = f"{whole(worktree, entry.path)}; will store {size_text(entry.stores)}"
    return dataclasses.replace(entry, summary=summary)


def whole(worktree: Worktree, path: str) -> str:
    """Say why a file is kept whole."""
    with mapped(worktree.top / path) as data:
        _, reason = locate(data)
    return f"kept whole ({reason})"


def _pair(
    worktree: Worktree, path: str, versions: tuple[Manifest | None, Manifest | None], labels: tuple[str, str]
) -> Pair:
    old, new = (stored_side(worktree, path, of, at) if of else None for of, at in zip(versions, labels, strict=True))
    return Pair(path, old, new, labels)


def _conflict(worktree: Worktree, path: str) -> str:
    text = lying(worktree, path)
    if text is None:
        return "one side deleted it, the other changed it"
    if text:
        return "both sides changed it; in its place lies a manifest that Git merged as text"
    return "both sides changed it; the file has ours where undecided"


def link(worktree: Worktree, path: str) -> bool:
    """Whether a path is a link to what no version has: a commit would have the link, and no weights."""
    place = worktree.top / path
    if not place.is_symlink():
        return False
    try:
        return worktree.relative(place.resolve()) not in tracked(worktree)
    except (GitError, OSError, RuntimeError):
        return True  # It leads out, or in a circle.


def offered(worktree: Worktree) -> list[str]:
    """Checkpoints, by the ends of their names, that nobody tracks and nobody ignores."""
    listed = worktree.git("ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
    paths = [path for path in map(os.fsdecode, listed) if path.lower().endswith(SUFFIXES)]
    paths = [path for path in paths if not is_beside(path.rpartition("/")[2])]
    return [path for path, value in worktree.filters(paths).items() if not value]


def among(path: str, paths: Sequence[str]) -> bool:
    """Whether a path is one of these, or in a folder that is; of none, all are meant."""
    return not paths or any(name in {path, "."} or path.startswith(f"{name}/") for name in paths)


def is_called(name: str, globs: Sequence[str]) -> bool:
    """Whether a tensor has one of these names, or a name like one of these patterns; of none, all are meant."""
    return not globs or (bool(name) and any(name == glob or fnmatchcase(name, glob) for glob in globs))


def label(version: str) -> str:
    """What to call a version: refs as they were given, hashes cut short."""
    if version in {WORK_TREE, INDEX}:
        return {"": "work tree", ":": "index"}[version]
    if len(version) == 40 and all(char in "0123456789abcdef" for char in version):
        return version[:7]
    return version
