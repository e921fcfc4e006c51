"""The file of a version, whatever keeps it: seen as memory, and gone afterwards if it was made for that.

A file that Git has is streamed out of it, one that Git LFS has is looked at where it lies, and one of git-theta's is
made. None is held in memory as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from typing import TYPE_CHECKING

from theta_jupyter.errors import CheckpointError, GitError, IntegrityError, ThetaError
from theta_jupyter.git import pointers
from theta_jupyter.git.worktree import shown
from theta_jupyter.migration import git_theta
from theta_jupyter.migration.scan import absent
from theta_jupyter.storage.mapped import mapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from theta_jupyter.git.worktree import Worktree
    from theta_jupyter.migration.scan import Source

__all__ = ["opened"]


@contextlib.contextmanager
def opened(worktree: Worktree, source: Source, path: str) -> Iterator[memoryview]:
    """See the file of a version.

    Parameters
    ----------
    path
        Where it stands in the version at hand.

    Raises
    ------
    ThetaError
        If it is damaged, or not all of it is here.
    """
    if source.kind == "lfs":
        [oid] = source.objects
        with mapped(_sound(worktree, source, oid)) as data:
            yield data
        return
    made, scratch = worktree.store.temporary(), worktree.store.temporary()
    try:
        if source.kind == "git":
            _stream(worktree, source.blob, made)
        else:
            _make(worktree, source, path, made, scratch)
        with mapped(made) as data:
            yield data
    except OSError as error:
        raise ThetaError(
            f"cannot write {shown(path)} of commit {source.commit[:12]} to a temporary file: {error.strerror}",
            hint="free some space, and try again",
        ) from error
    finally:
        made.unlink(missing_ok=True)
        scratch.unlink(missing_ok=True)


class _Origin:
    """What git-theta needs of the repository, for one file."""

    def __init__(self, worktree: Worktree, source: Source, path: str) -> None:
        self._worktree, self._source, self._path = worktree, source, path
        self._versions: dict[str, git_theta.Metadata] = {}

    def version(self, commit: str) -> git_theta.Metadata:
        """The metadata that the file had in a commit; nothing if it was not there, or not git-theta's."""
        if commit not in self._versions:
            try:
                text = self._worktree.git("cat-file", "blob", f"{commit}:{self._path}")
            except GitError:
                text = b""
            self._versions[commit] = git_theta.metadata(text) or {}
        return self._versions[commit]

    def object(self, parameter: git_theta.Parameter) -> bytes:
        """An object of Git LFS."""
        # That of an older version may be in no version of this history.
        if pointers.fetch(self._worktree, {parameter.oid: parameter.size}):
            raise absent(self._source, parameter.oid)
        return _sound(self._worktree, self._source, parameter.oid).read_bytes()


def _make(worktree: Worktree, source: Source, path: str, made: Path, scratch: Path) -> None:
    found = git_theta.metadata(worktree.git("cat-file", "blob", source.blob)) or {}
    try:
        git_theta.write(found, path, _Origin(worktree, source, path), made, scratch)
    except CheckpointError as error:
        raise CheckpointError(f"{shown(path)} of commit {source.commit[:12]}: {error.message}") from None


def _sound(worktree: Worktree, source: Source, oid: str) -> Path:
    """Where an object of Git LFS lies, which has its hash."""
    place = pointers.place(worktree, oid)
    try:
        with place.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise absent(source, oid) from None
    if found != oid:
        raise IntegrityError(
            f"object {oid} of Git LFS, of {shown(source.path)} in commit {source.commit[:12]}, is damaged",
            hint=f"remove {place}, and fetch it again with: git lfs fetch --all",
        )
    return place


def _stream(worktree: Worktree, blob: str, path: Path) -> None:
    with path.open("wb") as file:
        command = ["git", "cat-file", "blob", blob]
        process = subprocess.run(command, cwd=worktree.top, stdout=file, stderr=subprocess.PIPE, check=False)
    if process.returncode:
        raise GitError(process.stderr.decode(errors="replace").strip() or f"blob {blob[:12]} cannot be read")
