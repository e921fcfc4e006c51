"""A history, written anew: commit by commit, each after its parents, with manifests in the places of files.

A version is converted once and its manifest is used wherever the version stands again, if that commit's own ancestors
have what the manifest rests on: pushing one line of a history must not upload another. A commit whose tree and parents
come out as they were is the commit that it was. All that is written are objects that nothing refers to; who is
interrupted has lost nothing but time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from theta_jupyter.checkpoints import locate
from theta_jupyter.git import commits
from theta_jupyter.git.commits import Commit
from theta_jupyter.git.known import others, remember
from theta_jupyter.git.trees import Leaf, Trees
from theta_jupyter.migration import attributes
from theta_jupyter.migration.ancestry import Ancestry
from theta_jupyter.migration.files import opened
from theta_jupyter.storage import snapshot
from theta_jupyter.storage.digest import hashed
from theta_jupyter.storage.manifest import OPAQUE, dump, parse
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from theta_jupyter.git.trees import Objects
    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.migration.scan import Scan, Source

__all__ = ["Made", "Rewriter"]

_EARLIER = 16
"""Versions of a file that are looked back at."""


@dataclass(frozen=True)
class Made:
    """The manifest of a version.

    Parameters
    ----------
    blob
        What Git has now.
    number
        Counts them.
    rests
        Whether its objects hold values of other versions, too.
    places
        Size by id of the objects it needs.
    opaque
        Why it is kept whole; empty if it is not.
    """

    blob: str
    number: int
    rests: bool
    places: Mapping[str, int]
    opaque: str = ""


class _State(NamedTuple):
    """What a commit has, once it is rewritten.

    Parameters
    ----------
    commit
        What it is called now.
    files
        Blobs of the manifests that each file has and had, the newest first.
    seen
        A bit for each version that it or an ancestor has.
    """

    commit: str
    files: Mapping[str, tuple[str, ...]]
    seen: int


@dataclass
class Rewriter:
    """Writes a history anew.

    Parameters
    ----------
    worktree, objects
        Of the repository.
    scan
        What there is to do.
    progress
        Told how many bytes of versions are done.
    """

    worktree: Worktree
    objects: Objects
    scan: Scan
    progress: Progress = silent
    made: dict[tuple[str, str], list[Made]] = field(default_factory=dict)
    """Manifests of each version, by blob and path; one, but where lines of the history met it apart."""
    rewritten: int = 0
    """Commits that are other ones now."""
    _states: dict[str, _State] = field(default_factory=dict)
    _texts: dict[tuple[tuple[tuple[str, str], ...], tuple[str, ...]], dict[str, Leaf]] = field(default_factory=dict)
    _done: int = 0
    _number: int = 0

    def run(self) -> str:
        """Write all of it, and return the last commit.

        Raises
        ------
        ThetaError
            If a version cannot be had, or not be stored.
        """
        self._trees = Trees(self.worktree, self.objects, self.scan.paths | self.scan.attributes)
        self._total = sum(source.size for source in self.scan.sources.values())
        for name in self.scan.commits:
            state = self._rewrite(name, Commit.parse(self.objects.read(name)))
            self._states[name] = state
            self.rewritten += state.commit != name
        return self._states[self.scan.commits[-1]].commit

    def _rewrite(self, name: str, commit: Commit) -> _State:
        parents = [self._states[parent] for parent in commit.parents]
        found = self._trees.find(commit.tree)
        files = {path: leaf for path, leaf in found.items() if path in self.scan.paths}
        seen = 0
        for parent in parents:
            seen |= parent.seen
        after: dict[str, Leaf] = {}
        now: dict[str, tuple[str, ...]] = {}
        for path, leaf in files.items():
            blob = leaf.blob
            earlier = _joined(parent.files.get(path, ()) for parent in parents)
            if blob in self.scan.sources:
                made = self._manifest(path, blob, files, parents, now, seen)
                seen |= 1 << made.number
                blob = made.blob
                after[path] = Leaf(leaf.mode, blob)
            now[path] = _joined([(blob,), earlier])[:_EARLIER]
        ids = [parent.commit for parent in parents]
        if after or ids != [*commit.parents]:
            after |= self._attributes(found, sorted(files))
        tree = self._trees.replaced(commit.tree, after)
        # One for all commits that do not touch a model.
        history = parents[0].files if parents and now == parents[0].files else now
        is_same = tree == commit.tree and ids == [*commit.parents]
        return _State(name if is_same else commits.write(self.worktree, commit.moved(tree, ids)), history, seen)

    def _manifest(
        self,
        path: str,
        blob: str,
        files: Mapping[str, Leaf],
        parents: Sequence[_State],
        now: Mapping[str, tuple[str, ...]],
        seen: int,
    ) -> Made:
        """The manifest of a version: that of a parent, one that may be used again, or a new one."""
        source = self.scan.sources[blob]
        # Where git-theta keeps an update, the path says of what.
        known = self.made.setdefault((blob, path if source.kind == "git-theta" else ""), [])
        usable = [made for made in known if not made.rests or seen >> made.number & 1]
        before = [parent.files[path][0] for parent in parents if path in parent.files]
        if usable:
            # What the first parent has, so that nothing seems to have changed.
            return min(usable, key=lambda made: [*before, made.blob].index(made.blob))
        # A file that is new here may be one that is no longer where it was.
        gone = [of[0] for parent in parents for other, of in parent.files.items() if other not in files]
        beside = _joined([*(of[:1] for parent in parents for of in parent.files.values()), *now.values()])
        earlier = _joined(parent.files.get(path, ()) for parent in parents)
        made = self._convert(source, path, Ancestry(self.worktree, path, before or gone, beside, earlier))
        known.append(made)
        return made

    def _convert(self, source: Source, path: str, known: Ancestry) -> Made:
        def told(what: str, done: int, total: int) -> None:
            if what == "storing" and self._done < self._total:
                self.progress("migrating", self._done + source.size * done // max(total, 1), self._total)

        with opened(self.worktree, source, path) as data:
            digest = hashed(data)
            recalled = known.content(digest)
            if recalled:
                text, manifest = recalled.manifest, parse(recalled.manifest)
            else:
                manifest = snapshot.take(data, known, self.worktree.store, told)
                text = known.text_of(manifest) or dump(manifest)
                remember(self.worktree, digest, manifest, text, known.texts)
            opaque = locate(data)[1] if manifest.header.format == OPAQUE else ""
        self._done = min(self._done + source.size, self._total)
        self.progress("migrating", self._done, self._total)
        self._number += 1
        rests = bool(others(manifest.records.values()))
        return Made(attributes.store(self.worktree, text), self._number, rests, manifest.places(), opaque)

    def _attributes(self, found: Mapping[str, Leaf], files: Sequence[str]) -> dict[str, Leaf]:
        """Files of attributes that have to be other ones, for these files to be ours."""
        blobs = {path: leaf.blob for path, leaf in found.items() if path in self.scan.attributes}
        key = tuple(sorted(blobs.items())), tuple(files)
        if key not in self._texts:
            texts = {path: self.objects.read(blob) for path, blob in blobs.items()}
            changed = attributes.claimed(self.worktree, texts, self.scan.patterns, files)
            self._texts[key] = {
                path: Leaf("100644", attributes.store(self.worktree, changed[path])) for path in changed
            }
        return self._texts[key]


def _joined(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All of them, each once."""
    return tuple(dict.fromkeys(blob for of in lists for blob in of))
