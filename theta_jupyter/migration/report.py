"""What ``migrate`` answers: which files were migrated, what they took before and take now, and how to go on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theta_jupyter.results import Result, Table, size_text

if TYPE_CHECKING:
    from theta_jupyter.migration.scan import Kind

__all__ = ["MigratedFile", "Migration"]

_NAMES: dict[Kind, str] = {"git": "Git", "lfs": "Git LFS", "git-theta": "git-theta"}


@dataclass(frozen=True)
class MigratedFile(Result):
    """One file of a history.

    Parameters
    ----------
    path
        From the top of the repository.
    kinds
        What kept its versions: ``git``, ``lfs``, ``git-theta``.
    versions
        How many there are that differ.
    before
        Bytes of all of them: of the blobs, or of the objects of Git LFS, each counted once.
    after
        Bytes of the objects that they need now, each counted once; 0 in a dry run.
    opaque
        Why a version is kept whole; empty if none is.
    """

    path: str
    kinds: tuple[Kind, ...]
    versions: int
    before: int
    after: int = 0
    opaque: str = ""

    @property
    def saved(self) -> float:
        """The share of the bytes that is no longer needed; negative if more are."""
        return 1 - self.after / self.before if self.before else 0.0

    def headline(self) -> str:
        """The path, and what became of it."""
        return f"{self.path}: {size_text(self.before)} before, {size_text(self.after)} now"


@dataclass(frozen=True)
class Migration(Result):
    """What became of a history.

    Parameters
    ----------
    source
        The branch that was migrated. It is as it was.
    branch
        The new branch.
    commit
        What it is at; empty in a dry run.
    commits, rewritten
        How many commits the history has, and how many of them are other ones on the new branch.
    files
        What was migrated, by path.
    before, after
        Bytes of all of it: what several files share is counted once.
    ready
        Whether Git is set up to call us here.
    dry_run
        Whether nothing was done.
    """

    source: str
    branch: str
    commit: str
    commits: int
    rewritten: int
    files: tuple[MigratedFile, ...]
    before: int
    after: int
    ready: bool
    dry_run: bool = False

    @property
    def saved(self) -> float:
        """The share of the bytes that is no longer needed; negative if more are."""
        return 1 - self.after / self.before if self.before else 0.0

    def headline(self) -> str:
        """What was done, or would be."""
        count = sum(file.versions for file in self.files)
        what = f"{_many(count, 'version')} of {_many(len(self.files), 'file')}"
        where = f"{self.rewritten} of {_many(self.commits, 'commit')} of {self.source}"
        if self.dry_run:
            return f"would migrate {what} in {where}, {size_text(self.before)}, to the new branch {self.branch}"
        sizes = f"{size_text(self.before)} before, {size_text(self.after)} now, {_share(self.saved)}"
        return f"migrated {what} in {where} to the new branch {self.branch}: {sizes}"

    def table(self) -> Table:
        """A line a file."""
        if self.dry_run:
            rows = [(file.path, _kinds(file), str(file.versions), size_text(file.before)) for file in self.files]
            return Table(("file", "kept by", ">versions", ">size"), tuple(rows))
        lines = [
            (
                file.path,
                _kinds(file),
                str(file.versions),
                size_text(file.before),
                size_text(file.after),
                f"{file.saved:.0%}",
                f"kept whole: {file.opaque}" if file.opaque else "",
            )
            for file in self.files
        ]
        return Table(("file", "was kept by", ">versions", ">before", ">now", ">saved", ""), tuple(lines))

    def notes(self) -> tuple[str, ...]:
        """What to know, and what to do next."""
        kinds = {kind for file in self.files for kind in file.kinds}
        notes = []
        if "git-theta" in kinds:
            notes.append(
                "git-theta keeps names and values: its files are made anew, and are not the same byte for byte"
            )
            notes.append(
                "its hooks, post-commit and pre-push, know nothing of the new branch: remove them before a push"
            )
        if self.dry_run:
            return (*notes, "nothing was done; do it without --dry-run")
        notes.append(f"{self.source} is as it was")
        steps = [*([] if self.ready else ["git theta init"]), f"git theta switch {shlex.quote(self.branch)}"]
        return (*notes, f"next: {', then '.join(steps)}")

    def _records(self) -> tuple[Any, ...]:
        return self.files


def _kinds(file: MigratedFile) -> str:
    return ", ".join(_NAMES[kind] for kind in file.kinds)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _share(saved: float) -> str:
    return f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more"
