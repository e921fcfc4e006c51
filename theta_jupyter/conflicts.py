"""What is in conflict, as Git keeps it: the operation that stopped, its sides, and the files it could not merge.

Git's index has the three versions of a file in conflict, so whoever looks, and whenever, sees the same merge: a
terminal, a notebook, a kernel that was restarted. Nothing here changes anything.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from theta_jupyter import changes
from theta_jupyter.errors import GitError, ThetaError
from theta_jupyter.git.transfer import fetch_objects
from theta_jupyter.merges.blend import Part
from theta_jupyter.merges.threeway import STRUCTURE, Merged, merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.merges.threeway import Class, Side
    from theta_jupyter.storage.manifest import Manifest

__all__ = [
    "BASE",
    "OURS",
    "THEIRS",
    "Conflict",
    "Kind",
    "Named",
    "Situation",
    "conflicts",
    "merged_models",
    "named",
    "situation",
    "unmerged",
]

Kind = Literal["merge", "rebase", "cherry-pick", "revert", "stash", ""]
BASE, OURS, THEIRS = 1, 2, 3
"""Index stages."""


@dataclass(frozen=True)
class Named:
    """A version, as people know it.

    Parameters
    ----------
    name
        A branch or tag; else a short commit id, or a word.
    subject
        First line of its message.
    commit
        Its id; empty if it has none.
    """

    name: str
    subject: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Situation:
    """The operation that stopped for us.

    Parameters
    ----------
    kind
        Empty if there is none, and nothing is in conflict.
    title
        What is going on, in words.
    ours, theirs, base
        The sides. In a rebase, ours is what is rebased onto, and theirs is the commit that is replayed.
    message
        What Git would write in the commit; empty where it has a message already.
    """

    kind: Kind = ""
    title: str = ""
    ours: Named = Named("ours")
    theirs: Named = Named("theirs")
    base: Named | None = None
    message: str = ""


@dataclass(frozen=True)
class Conflict:
    """A file that Git could not merge.

    Parameters
    ----------
    path
        From the top.
    stages
        Mode and blob, by index stage: 1 base, 2 ours, 3 theirs.
    base, ours, theirs
        The manifests; None where there is none.
    merged
        What settled by itself, and what did not; None if one side has no such file, or no manifest.
    """

    path: str
    stages: dict[int, tuple[str, str]]
    base: Manifest | None
    ours: Manifest | None
    theirs: Manifest | None
    merged: Merged | None

    @property
    def is_model(self) -> bool:
        """Whether every version there is is a manifest: if not, it is somebody else's to settle."""
        sides = (self.base, self.ours, self.theirs)
        return all(side is not None for stage, side in enumerate(sides, 1) if stage in self.stages)

    @property
    def whole(self) -> bool:
        """Whether nothing can be mixed: the file is ours or theirs."""
        return self.merged is None or self.merged.whole

    @property
    def undecided(self) -> tuple[str, ...]:
        """What did not settle by itself."""
        return (STRUCTURE,) if self.merged is None or self.merged.whole else self.merged.conflicts

    def kind(self, name: str) -> Class:
        """The class of a tensor."""
        if self.merged is None:
            return "deleted and changed"
        return "both changed" if name == STRUCTURE else self.merged.classes[name]

    def parts(self, name: str) -> dict[str, Part]:
        """A tensor in each version that has it, ours first."""
        found: dict[str, Part] = {}
        if self.merged is not None and name in self.merged.versions:
            sides: tuple[tuple[Side, Manifest | None], ...] = (
                ("ours", self.ours),
                ("theirs", self.theirs),
                ("base", self.base),
            )
            for side, manifest in sides:
                own = self.merged.versions[name].on(side)
                if manifest is not None and own is not None:
                    record = manifest.records[own]
                    found[side] = Part(record, own, side, manifest.owner(own) if record.of else None)
        return found

    @property
    def mode(self) -> str:
        """The mode of the result: what one side changed it to."""
        base, ours, theirs = (self.stages.get(stage, ("", ""))[0] for stage in (BASE, OURS, THEIRS))
        return theirs if theirs and ours in {"", base} else ours

    @property
    def key(self) -> list[str]:
        """The blobs of base, ours and theirs: choices made for one conflict are not for another."""
        return [self.stages.get(stage, ("", ""))[1] for stage in (BASE, OURS, THEIRS)]


def unmerged(worktree: Worktree) -> dict[str, dict[int, tuple[str, str]]]:
    """Mode and blob by stage, of every path in conflict."""
    found: dict[str, dict[int, tuple[str, str]]] = {}
    for line in worktree.git("ls-files", "--unmerged", "-z").split(b"\0")[:-1]:
        info, _, name = line.partition(b"\t")
        mode, blob, stage = info.decode().split()
        found.setdefault(os.fsdecode(name), {})[int(stage)] = mode, blob
    return found


def conflicts(worktree: Worktree, known: dict[str, Conflict] | None = None) -> dict[str, Conflict]:
    """Every file in conflict.

    Parameters
    ----------
    known
        Of the last time: what is as it was is not merged again.
    """
    found: dict[str, Conflict] = {}
    wanted: dict[str, dict[int, tuple[str, str]]] = {}
    for path, stages in unmerged(worktree).items():
        before = (known or {}).get(path)
        if before and before.stages == stages:
            found[path] = before
        else:
            wanted[path] = stages
    blobs = {blob for stages in wanted.values() for mode, blob in stages.values() if mode.startswith("100")}
    texts = dict(worktree.manifests(blobs))
    for path, stages in wanted.items():
        base, ours, theirs = (
            changes.read(texts.get(stages.get(stage, ("", ""))[1], b"")) for stage in (BASE, OURS, THEIRS)
        )
        merged = merged_models(worktree, base, ours, theirs) if ours and theirs else None
        found[path] = Conflict(path, stages, base, ours, theirs, merged)
    return dict(sorted(found.items()))


def merged_models(worktree: Worktree, base: Manifest | None, ours: Manifest, theirs: Manifest) -> Merged:
    """Merge manifests; structures that this takes and that are not here, as after a mere fetch, come from a remote."""
    found = merge(base, ours, theirs, "ours", worktree.store)
    if STRUCTURE in found.conflicts:
        places = [version.header.skeleton for version in (base, ours, theirs) if version]
        with contextlib.suppress(ThetaError):
            if fetch_objects(worktree, {place.object: place.size for place in places}):
                return merge(base, ours, theirs, "ours", worktree.store)
    return found


def situation(worktree: Worktree) -> Situation:
    """Find out which operation stopped, and what its sides are called."""
    folder = worktree.git_dir
    here = _here(worktree)
    rebase = next((folder / name for name in ("rebase-merge", "rebase-apply") if (folder / name).is_dir()), None)
    if rebase and (rebase / "onto").is_file():
        onto, branch = (_text(rebase / name) for name in ("onto", "head-name"))
        commit = _text(folder / "REBASE_HEAD") or _text(rebase / "stopped-sha")
        target = named(worktree, onto) if onto else here
        name = branch.removeprefix("refs/heads/") if branch != "detached HEAD" else "a detached HEAD"
        ours = Named(target.name, here.subject, here.commit)
        theirs, base = _picked(worktree, commit)
        return Situation("rebase", f"Rebasing {name} onto {target.name}", ours, theirs, base)
    if (folder / "MERGE_HEAD").is_file():
        words = _text(folder / "MERGE_MSG")
        theirs = named(worktree, _text(folder / "MERGE_HEAD").split()[0], words)
        message = worktree.git("stripspace", "--strip-comments", data=words.encode()).decode(errors="replace").strip()
        base = _base(worktree, here.commit, theirs.commit)
        return Situation("merge", f"Merging {theirs.name} into {here.name}", here, theirs, base, message)
    if (folder / "CHERRY_PICK_HEAD").is_file():
        theirs, base = _picked(worktree, _text(folder / "CHERRY_PICK_HEAD"))
        return Situation("cherry-pick", f"Picking {theirs.name} onto {here.name}", here, theirs, base)
    if (folder / "REVERT_HEAD").is_file():
        undone, before = _picked(worktree, _text(folder / "REVERT_HEAD"))
        before = before or Named("before it")
        theirs = Named(f"before {undone.name}", before.subject, before.commit)
        return Situation("revert", f"Reverting {undone.name} on {here.name}", here, theirs, undone)
    found = unmerged(worktree)
    if found:
        return Situation("stash", f"Applying changes on {here.name}", here, _applied(worktree, found))
    return Situation()


def named(worktree: Worktree, commit: str, words: str = "") -> Named:
    """What people call a commit.

    Parameters
    ----------
    words
        A text that may say by which of several names it was called.
    """
    if not commit:
        return Named("unknown")
    out = worktree.git(
        *("for-each-ref", f"--points-at={commit}", "--format=%(refname:short)"),
        *("refs/heads", "refs/remotes", "refs/tags"),
    )
    names = [name for name in out.decode(errors="replace").split("\n")[:-1] if not name.endswith("/HEAD")]
    name = next((name for name in names if f"'{name}'" in words), names[0] if names else commit[:7])
    return Named(name, _subject(worktree, commit), commit)


def _here(worktree: Worktree) -> Named:
    try:
        commit = worktree.resolve("HEAD")
    except GitError:
        return Named("nothing yet")
    branch = worktree.git("branch", "--show-current").decode(errors="replace").strip()
    return Named(branch or commit[:7], _subject(worktree, commit), commit)


def _picked(worktree: Worktree, commit: str) -> tuple[Named, Named | None]:
    """A commit that is replayed, and the one before it."""
    if not commit:
        return Named("a patch"), None
    try:
        parent = worktree.resolve(f"{commit}^")
    except GitError:
        return Named(commit[:7], _subject(worktree, commit), commit), None
    before = Named(parent[:7], _subject(worktree, parent), parent)
    return Named(commit[:7], _subject(worktree, commit), commit), before


def _applied(worktree: Worktree, found: Mapping[str, Mapping[int, tuple[str, str]]]) -> Named:
    """What Git applies and keeps no note of: the last stash, if it has what is in conflict; else nobody can say."""
    try:
        commit = worktree.resolve("refs/stash")
    except GitError:
        return Named("changes")
    tree = worktree.tree(commit, found)
    if any(stages.get(THEIRS, ("", ""))[1] == tree.get(path, "-") for path, stages in found.items()):
        return Named("stash", _subject(worktree, commit), commit)
    return Named("changes")


def _base(worktree: Worktree, ours: str, theirs: str) -> Named | None:
    try:
        commit = worktree.git("merge-base", ours, theirs).decode().strip()
    except GitError:
        return None
    return Named(commit[:7], _subject(worktree, commit), commit)


def _subject(worktree: Worktree, commit: str) -> str:
    try:
        return (
            worktree.git("show", "--no-patch", "--no-show-signature", "--format=%s", commit)
            .decode(errors="replace")
            .strip()
        )
    except GitError:
        return ""


def _text(path: os.PathLike[str]) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - any path-like
            return file.read().strip()
    except OSError:
        return ""
