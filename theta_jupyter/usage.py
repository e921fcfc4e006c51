"""What versions, branches and tensors take on disk, and would take as whole files.

An object may be needed by many versions. So each number says which it is: what came with something, what must be
fetched to have it, and what part of that others need as well. What came with each, over a whole history, adds up to
what all of it takes. It is all in the manifests: no weight is read, and none need be here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from theta_jupyter import changes
from theta_jupyter.errors import GitError, RequestError
from theta_jupyter.git.needed import indexed, manifests, sizes_of
from theta_jupyter.history import branches, headings, touched
from theta_jupyter.storage.collect import folder_size
from theta_jupyter.storage.pool import Progress, silent
from theta_jupyter.upkeep import Usage, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.manifest import Manifest, Place

__all__ = ["By", "du"]

By = Literal["version", "branch", "tensor"]

_REST = ""
"""Stands for what of a file is not tensors, where the name of one could."""


class _Part(NamedTuple):
    """A part of an object."""

    object: str
    offset: int
    stored: int


class _File(NamedTuple):
    """A version of a file: its size, the objects it needs, and, if that is asked for, what its tensors need of them."""

    size: int
    places: Mapping[str, int]
    parts: Mapping[str, tuple[frozenset[_Part], int]]


class _Made(NamedTuple):
    """A commit, and what it put at each path: blobs, not all of which are manifests."""

    commit: str
    blobs: Mapping[str, str]


def du(
    worktree: Worktree,
    refs: Sequence[str] = (),
    paths: Sequence[str] = (),
    *,
    by: By = "version",
    limit: int = 20,
    progress: Progress = silent,
) -> Usage:
    """Measure; see :meth:`theta_jupyter.api.Repository.du`."""
    asked = [worktree.resolve(ref) for ref in refs]
    seen = _seen(worktree, asked, paths)
    wanted = dict.fromkeys(blob for found in seen.values() for blob in found.values())
    if not refs:
        staged = indexed(worktree).items()
        wanted |= dict.fromkeys(blob for blob, at in staged if any(changes.among(path, paths) for path in at))
    files = _files(worktree, wanted, progress, parts=by == "tensor")
    if paths and not files:
        raise RequestError(f"{paths[0]} was never a model here", hint="what is: git theta ls-files")

    def history(starts: Sequence[str]) -> list[_Made]:
        """Commits that made a version, the oldest first."""
        every = (_Made(commit, seen.get(commit, {})) for commit in _commits(worktree, starts))
        return [made for made in every if not files.keys().isdisjoint(made.blobs.values())]

    if by == "branch":
        uses = _branches(worktree, dict(zip(refs, asked, strict=True)), history, files)
    else:
        try:
            made = history(asked or [worktree.resolve("HEAD")])
        except GitError:
            made = []  # No commit yet.
        uses = _versions(made, files) if by == "version" else _tensors(made, files)
    here = {object_id: status.st_size for object_id, status in worktree.store.found()}
    needed = _places(files.values())
    listed = uses if by == "branch" else uses[:limit]
    return Usage(
        by=by,
        uses=_titled(worktree, listed) if by == "version" else tuple(listed),
        more=len(uses) - len(listed),
        versions=len(files),
        whole=sum(file.size for file in files.values()),
        needed=sum(needed.values()),
        absent=sum(size for name, size in needed.items() if name not in here),
        objects=len(here),
        disk=sum(here.values()),
        cache=folder_size(worktree.theta / "cache"),
    )


def _commits(worktree: Worktree, starts: Sequence[str]) -> list[str]:
    """Commits from these back, the oldest first."""
    return worktree.git("rev-list", "--reverse", "--topo-order", *starts).decode().split() if starts else []


def _seen(worktree: Worktree, asked: Sequence[str], paths: Sequence[str]) -> dict[str, dict[str, str]]:
    """What every commit put at each path, from these back, or from all references."""
    found = touched(worktree, _commits(worktree, asked or ["--all"]), paths)
    return {commit: {change.path: change.new for change in of if change.new} for commit, of in found.items()}


def _files(worktree: Worktree, blobs: Iterable[str], progress: Progress, *, parts: bool) -> dict[str, _File]:
    """Those of these blobs that are manifests, read."""
    found = {}
    for blob, text in manifests(worktree, sizes_of(worktree, blobs), progress):
        manifest = changes.read(text)
        if manifest:
            found[blob] = _File(manifest.header.size, manifest.places(), _parts(manifest) if parts else {})
    return found


def _parts(manifest: Manifest) -> dict[str, tuple[frozenset[_Part], int]]:
    """What each tensor that owns a storage needs of objects, and its bytes; and what the rest of the file does."""
    owners = {name: record for name, record in manifest.records.items() if not record.of}
    rest = manifest.header.size - sum(record.nbytes for record in owners.values())
    found = {name: (frozenset(map(_part, record.objects)), record.nbytes) for name, record in owners.items()}
    return {**found, _REST: (frozenset([_part(manifest.header.skeleton)]), rest)}


def _part(place: Place) -> _Part:
    return _Part(place.object, place.offset, place.stored)


def _places(files: Iterable[_File]) -> dict[str, int]:
    """Size by id of the objects that any of them needs."""
    found: dict[str, int] = {}
    for file in files:
        found |= file.places
    return found


def _versions(made: Sequence[_Made], files: Mapping[str, _File]) -> list[Use]:
    """What each commit takes, the newest first."""
    needed = {one.commit: _places(files[blob] for blob in one.blobs.values() if blob in files) for one in made}
    times = Counter(name for places in needed.values() for name in places)
    before: set[str] = set()
    uses = []
    for one in made:
        places = needed[one.commit]
        models = {path: files[blob] for path, blob in one.blobs.items() if blob in files}
        uses.append(
            Use(
                name=one.commit,
                title="",
                models=tuple(sorted(models)),
                versions=len(models),
                stored=sum(size for name, size in places.items() if name not in before),
                needed=sum(places.values()),
                shared=sum(size for name, size in places.items() if times[name] > 1),
                whole=sum(file.size for file in models.values()),
            )
        )
        before |= places.keys()
    return uses[::-1]


def _branches(
    worktree: Worktree,
    asked: Mapping[str, str],
    history: Callable[[Sequence[str]], list[_Made]],
    files: Mapping[str, _File],
) -> list[Use]:
    """What each branch takes, or each of the refs that were asked for."""
    every = {branch.name: branch.commit for branch in branches(worktree).branches}
    tips = {**every, **asked}
    made = {name: history([commit]) for name, commit in tips.items()}
    blobs = {name: {b for one in of for b in one.blobs.values() if b in files} for name, of in made.items()}
    needed = {name: _places(files[blob] for blob in found) for name, found in blobs.items()}
    tagged = _places(files[b] for one in history(["--tags"]) for b in one.blobs.values() if b in files)
    times = Counter(name for branch in {*every, *asked} for name in needed[branch])
    subjects = {heading.id: heading.subject for heading in headings(worktree, set(tips.values()))}
    uses = []
    for name in sorted(asked or every):
        own = sum(size for part, size in needed[name].items() if times[part] == 1 and part not in tagged)
        total = sum(needed[name].values())
        uses.append(
            Use(
                name=name,
                title=subjects[tips[name]],
                models=tuple(sorted({path for one in made[name] for path, b in one.blobs.items() if b in files})),
                versions=len(blobs[name]),
                stored=own,
                needed=total,
                shared=total - own,
                whole=sum(files[blob].size for blob in blobs[name]),
            )
        )
    return uses


def _tensors(made: Sequence[_Made], files: Mapping[str, _File]) -> list[Use]:
    """What each tensor takes over all versions, the one for which most was stored first."""
    versions: dict[tuple[str, str], int] = Counter()
    whole: dict[tuple[str, str], int] = Counter()
    stored: dict[tuple[str, str], int] = Counter()
    newest: dict[tuple[str, str], frozenset[_Part]] = {}
    users: dict[_Part, set[tuple[str, str]]] = {}
    counted = dict.fromkeys((path, blob) for one in made for path, blob in one.blobs.items() if blob in files)
    for path, blob in counted:
        for name, (parts, size) in files[blob].parts.items():
            tensor = (path, name)
            stored[tensor] += sum(part.stored for part in parts if part not in users)
            versions[tensor] += 1
            whole[tensor] += size
            newest[tensor] = parts
            for part in parts:
                users.setdefault(part, set()).add(tensor)
    uses = [
        Use(
            name=tensor[1],
            title=tensor[0],
            models=(tensor[0],),
            versions=versions[tensor],
            stored=stored[tensor],
            needed=sum(part.stored for part in parts),
            shared=sum(part.stored for part in parts if len(users[part]) > 1),
            whole=whole[tensor],
        )
        for tensor, parts in newest.items()
    ]
    return sorted(uses, key=lambda use: (-use.stored, use.title, use.name))


def _titled(worktree: Worktree, uses: Sequence[Use]) -> tuple[Use, ...]:
    """Commits with their subjects."""
    found = headings(worktree, [use.name for use in uses])
    return tuple(replace(use, title=heading.subject) for use, heading in zip(uses, found, strict=True))
