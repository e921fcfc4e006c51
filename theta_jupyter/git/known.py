"""What a file's manifest may reuse and rest on.

Two laws meet here. *Stable*: content gets the manifest it already has, so that is looked for where it is likeliest to
be: index stages 0, 2, 3, 1, then HEAD, then what was seen before. *Discreet*: a base comes from the history of HEAD or
from a file the user named, never from a branch that merely happens to be here, or pushing a public branch would upload
a private one. So something remembered whose objects hold values of another version counts only if HEAD's history of
this file names those objects.
"""

from __future__ import annotations

import contextlib
import os
import re
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from theta_jupyter.errors import GitError, ManifestError, MissingObjectError
from theta_jupyter.git.worktree import STAGES
from theta_jupyter.storage.cache import Remembered, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.storage.contest import Said
    from theta_jupyter.storage.likeness import Likeness
    from theta_jupyter.storage.manifest import Manifest, Record

__all__ = ["FROM", "Known", "remember"]

FROM = "THETA_FROM"
"""Environment variable with the ids of manifests the user named as origin, for the filter that Git starts."""
_OBJECT = re.compile(rb'"object":"([0-9a-f]{64})"')
_CHANGES = (
    *("diff-tree", "--stdin", "--root", "-r", "-m", "-z"),
    *("--raw", "--no-abbrev", "--no-renames", "--no-commit-id"),
)
_NEAR, _ALIKE = 0.3, 0.5
"""A namesake is near if it differs by at most this share of the tensor's norm; what else differs by at most that share
may be rested on."""
_KIN = 3
_BATCH = 16
"""Manifests of the history that are looked at in one go: the answer is usually in the newest."""


class Known:
    """What is known about one file.

    Parameters
    ----------
    path
        From the top of the work tree.
    origin
        Ids, separated by spaces, of manifests the user named as origin; by default those in :data:`FROM`.
    """

    def __init__(self, worktree: Worktree, path: str, origin: str = "") -> None:
        self.worktree, self.path = worktree, path
        self._seen: set[str] | None = None
        self._lock = Lock()
        self._recalled: list[bytes] = []
        self._parsed: dict[str, Mapping[str, Record]] = {}
        self.origin = origin or os.environ.get(FROM, "")
        self.said: Mapping[str, Said] = {}

    @cached_property
    def texts(self) -> list[bytes]:
        """Texts of the manifests this file has, and of those the user named, the likeliest first."""
        stages = self.worktree.stages(self.path)
        blobs = [stages[stage] for stage in STAGES if stage in stages]
        blobs += self.worktree.tree("HEAD", [self.path]).values()
        for commit in self._merged():
            blobs += self.worktree.tree(commit, [self.path]).values()
        blobs += self.origin.split()
        return [text for _, text in self.worktree.manifests(dict.fromkeys(blobs))]

    def _merged(self) -> list[str]:
        """While a merge is made by hand: what is merged in, and where the two parted."""
        try:
            heads = (self.worktree.git_dir / "MERGE_HEAD").read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError):
            return []
        try:
            return [*heads, *self.worktree.git("merge-base", "HEAD", *heads[:1]).decode().split()]
        except GitError:
            return heads

    @cached_property
    def _read(self) -> list[tuple[bytes, Manifest]]:
        from theta_jupyter.storage.manifest import parse

        found = []
        for text in [*self.texts, *self._recalled]:
            try:
                found.append((text, parse(text)))
            except ManifestError:
                continue
        return found

    @property
    def manifests(self) -> list[Manifest]:
        """The same, read; whatever is not valid is left out."""
        return [manifest for _, manifest in self._read]

    def text_of(self, manifest: Manifest) -> bytes | None:
        """The text that one of :attr:`manifests` was read from, however it is spelt."""
        return next((text for text, known in self._read if known is manifest), None)

    def content(self, digest: str) -> Remembered | None:
        """Recall the whole manifest of a file with this BLAKE3, if it may be reused and all of it is here.

        Two paths may have equal content and different manifests. So this is the answer only if it is what the file has,
        or if what the file has is known to be of other content; else it is one more manifest to compare with.
        """
        seen = self.worktree.cache.content(digest)
        if seen is None or self.worktree.store.missing(dict(seen.objects)) or not self._in_history(seen.bases):
            return None
        if seen.manifest not in self.texts and not seen.compared.issuperset(map(name_of, self.texts)):
            self._recalled = [seen.manifest]
            return None
        try:
            self.worktree.store.freshen(seen.objects)
        except MissingObjectError:
            return None  # Collected in between.
        return seen

    def record(self, digest: str, /) -> Record | None:
        """Recall a record of a storage with this BLAKE3, if it may be reused."""
        import msgspec

        from theta_jupyter.storage.manifest import Record

        body = self.worktree.cache.record(digest)
        if body is None:
            return None
        try:
            record = msgspec.msgpack.decode(body, type=Record)
        except msgspec.DecodeError:
            return None
        return record if self._in_history(others([record])) else None

    def kin(self, name: str, record: Record, /) -> list[Record]:
        """Find tensors of the same shape that are like this one, where its namesakes are not.

        They are sought in the other tracked files, and in what this file was not long ago.
        """
        if record.sketch is None or not record.norm:
            return []
        namesakes = (manifest.records.get(name) for manifest in self.manifests)
        if any(_are_near(record, other, _NEAR) for other in namesakes):
            return []
        with self._lock:
            scope = self._scope
        found = self._likeness.nearest(scope, record, _KIN)
        records = (self._manifest(kin.blob).get(kin.name) for kin in found if kin.distance <= _ALIKE * record.norm)
        return [other for other in records if other is not None]

    @cached_property
    def _likeness(self) -> Likeness:
        from theta_jupyter.storage.likeness import Likeness

        return Likeness(self.worktree.theta / "cache")

    @cached_property
    def _scope(self) -> list[str]:
        """Manifests of all tracked files, and the last ones of this file, each known to :attr:`_likeness`."""
        from theta_jupyter.storage.manifest import parse

        blobs = list(dict.fromkeys([*self._tracked, *self._versions[:_BATCH]]))
        for start in range(0, len(blobs), _BATCH):
            missing = self._likeness.missing(blobs[start : start + _BATCH])
            try:
                for blob, text in self.worktree.manifests(missing):
                    with contextlib.suppress(ManifestError):
                        self._likeness.add(blob, parse(text).records)
            except GitError:
                continue  # Not all of it is here, as in a partial clone.
        return blobs

    @cached_property
    def _tracked(self) -> list[str]:
        """Blobs of all tracked files, in the index and in HEAD."""
        index = {path: of.get(0, "") for path, of in self.worktree.index().items()}
        entries = [*self.worktree.tree("HEAD").items(), *index.items()]
        filters = self.worktree.filters(dict.fromkeys(path for path, _ in entries))
        return [blob for path, blob in entries if blob and filters[path] == "theta"]

    def _manifest(self, blob: str) -> Mapping[str, Record]:
        """Records of a manifest, read once."""
        from theta_jupyter.storage.manifest import parse

        with self._lock:
            if blob not in self._parsed:
                self._parsed[blob] = {}
                with contextlib.suppress(GitError, ManifestError):
                    for _, text in self.worktree.manifests([blob]):
                        self._parsed[blob] = parse(text).records
            return self._parsed[blob]

    def _in_history(self, objects: frozenset[str]) -> bool:
        """Whether manifests that HEAD's history has for this file name all these objects."""
        # Tensors are stored by several threads, and the history is read but once.
        with self._lock:
            for named in self._named():
                objects -= named
                if not objects:
                    return True
        return not objects

    def _named(self) -> Iterator[set[str]]:
        """Ids named now, those of other tracked files, then those named ever; read no further than is asked for."""
        if self._seen is None:
            self._seen = _ids(self.texts)
        yield self._seen
        while (batch := next(self._history, None)) is not None:
            self._seen |= batch
            yield batch

    @cached_property
    def _history(self) -> Iterator[set[str]]:
        """Ids named by this file's manifests in the history of HEAD, the newest first, some manifests at a time."""
        blobs = list(dict.fromkeys([*self._tracked, *self._versions]))
        for start in range(0, len(blobs), _BATCH):
            try:
                yield _ids(text for _, text in self.worktree.manifests(blobs[start : start + _BATCH]))
            except GitError:
                return  # Not all of it is here, as in a partial clone: rather encode anew than not know.

    @cached_property
    def _versions(self) -> list[str]:
        """Blobs that this file was in the history of HEAD, the newest first."""
        git = self.worktree.git
        try:
            # Plumbing, because `git log` minds settings such as log.showSignature.
            commits = git("rev-list", "HEAD", "--", self.path)
            out = git(*_CHANGES, "--", self.path, data=commits)
        except GitError:
            return []  # No commit yet.
        found = (
            field.split()[3].decode()
            for field in out.split(b"\0")
            if field.startswith(b":100") or field[8:11] == b"100"
        )
        return [blob for blob in dict.fromkeys(found) if blob.strip("0")]


def others(records: Iterable[Record]) -> frozenset[str]:
    """Objects that hold more than the values of these records: versions they rest on, or neighbours in a bundle."""
    found: set[str] = set()
    used: dict[tuple[str, int], set[tuple[int, int]]] = {}
    for record in records:
        places = list(record.objects)
        found.update(place.object for place in places[:-1])
        for last in places[-1:]:
            used.setdefault((last.object, last.size), set()).add((last.offset, last.offset + last.stored))
    for (name, size), spans in used.items():
        position = 0
        for start, stop in sorted(spans):
            position = max(position, stop) if start <= position else position
        if position < size:
            found.add(name)
    return frozenset(found)


def _are_near(record: Record, other: Record | None, share: float) -> bool:
    """Whether two tensors differ by at most this share of the first, going by their sketches."""
    from theta_jupyter.storage.sketch import distance

    if other is None or other.shape != record.shape or not record.sketch or not other.sketch or not record.norm:
        return False
    return distance(other.sketch, record.sketch) <= share * record.norm


def _ids(texts: Iterable[bytes]) -> set[str]:
    return {name.decode() for text in texts for name in _OBJECT.findall(text)}


def remember(
    worktree: Worktree, digest: str, manifest: Manifest, text: bytes, compared: Iterable[bytes] = ()
) -> Remembered:
    """Fill the cache with the manifest of a file's content.

    Parameters
    ----------
    compared
        Texts of manifests that turned out not to be of this content.
    """
    import msgspec

    unlike = frozenset(name_of(other) for other in compared if other != text)
    seen = Remembered(text, manifest.places(), others(manifest.records.values()), unlike)
    records = {record.blake3: msgspec.msgpack.encode(record) for record in manifest.records.values() if record.blake3}
    worktree.cache.remember(digest, seen, records.items())
    return seen
