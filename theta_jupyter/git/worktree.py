"""A Git work tree, read and driven through the user's own ``git``.

Only plumbing that is safe while Git holds its index lock is used for reading, and optional locks are off, so everything
here may be called from a filter. Paths are relative to the top of the work tree, with forward slashes, and always reach
Git behind ``--`` and as literals: a file called ``-f`` or ``:(glob)*`` is a file.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from theta_jupyter.errors import GitError, NotARepositoryError
from theta_jupyter.storage.cache import Cache
from theta_jupyter.storage.nearby import Nearby
from theta_jupyter.storage.objects import ObjectStore
from theta_jupyter.storage.pool import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

__all__ = ["AS_TYPED", "CHOICES", "LATER", "LAZY", "SKIP", "STAGES", "Worktree", "elsewhere", "literal", "run", "shown"]

AS_TYPED = {"GIT_LITERAL_PATHSPECS": "0"}
"""Set for Git where words are the user's own, and where hooks of theirs run, which may ask it for patterns."""

_NO_REPOSITORY = ("not a git repository", "must be run in a work tree")
"""What Git says where there is none."""
_NAMING = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_IMPLICIT_WORK_TREE", "GIT_SHALLOW_FILE", "GIT_INTERNAL_SUPER_PREFIX"),
)
"""What names a repository in the environment: of ``git rev-parse --local-env-vars``, all but its configuration."""

_FOLDERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR")

MANIFEST = b"theta manifest "
"""How manifests of every version begin; enough to tell one from a checkpoint, and nothing need be imported for it."""
CHOICES = "THETA_MERGE"
"""File in the work tree's Git folder, beside MERGE_HEAD: what was chosen in a merge."""
LATER = "THETA_LATER"
"""Environment variable; where it is 1, Git writes manifests in place of files, and whoever started it puts files there
afterwards: written by Git, each would be held in memory as a whole."""
SKIP = "GIT_THETA_SKIP_SMUDGE"
"""Environment variable; where it is 1, manifests stay in the work tree."""
LAZY = "theta.lazy"
"""Configuration that says the same of a repository."""
_PACE, _GRACE = 0.1, 5.0
"""Seconds between two looks at what git is doing, and what it has to end what it has started."""
STAGES = (0, 2, 3, 1)
"""Index stages in the order in which a file's own manifest is likeliest: merged, ours, theirs, base."""


@dataclass(frozen=True)
class Worktree:
    """One work tree of a repository.

    Parameters
    ----------
    top
        The folder that holds the files.
    git_dir
        Git's folder for this work tree.
    common_dir
        Git's folder for the repository, shared by all its work trees.
    progress
        Told how far objects have come from a remote, or gone to one, whatever the work that needs them.
    executor
        Where tensors are measured, merged and checked; None for threads of this process.
    """

    top: Path
    git_dir: Path
    common_dir: Path
    progress: Progress = field(default=silent, compare=False)
    executor: Executor | None = field(default=None, compare=False)

    def __reduce__(self) -> tuple[type[Worktree], tuple[Path, Path, Path]]:
        """Elsewhere it is the same folders, with nobody to tell."""
        return Worktree, (self.top, self.git_dir, self.common_dir)

    @classmethod
    def find(cls, path: Path | str = ".", *, bare: bool = False) -> Worktree:
        """Find the work tree around a folder.

        Parameters
        ----------
        bare
            Be content with a repository that has none, as ``git archive`` and ``git push`` are; ``top`` is then Git's
            folder.

        Raises
        ------
        NotARepositoryError
            If there is none.
        """
        folder = Path(path)
        folder = folder if folder.is_dir() else folder.parent
        what = ["--absolute-git-dir", "--git-common-dir"]
        try:
            try:
                out = run(["rev-parse", "--show-toplevel", *what], cwd=folder)
            except GitError:
                if not bare:
                    raise
                out = run(["rev-parse", "--absolute-git-dir", *what], cwd=folder)
        except (GitError, NotADirectoryError, FileNotFoundError) as error:
            if isinstance(error, GitError) and not any(words in error.message for words in _NO_REPOSITORY):
                raise  # There is one, and Git says why it cannot be used.
            raise NotARepositoryError(
                f"{folder.resolve()} is not in the work tree of a Git repository",
                hint="make one here with: git theta init",
            ) from error
        top, git_dir, common_dir = (os.fsdecode(line) for line in out.rstrip(b"\n").split(b"\n"))
        return cls(Path(top), Path(git_dir), (folder / common_dir).resolve())

    @property
    def theta(self) -> Path:
        """Where all that is ours lies."""
        return self.common_dir / "theta"

    @property
    def store(self) -> ObjectStore:
        """The objects of this repository."""
        return ObjectStore(self.theta, self.nearby)

    @cached_property
    def nearby(self) -> Nearby:
        """Tensors that lie at hand while a merge lasts."""
        return Nearby()

    @property
    def cache(self) -> Cache:
        """What this repository remembers."""
        return Cache(self.theta / "cache")

    @cached_property
    def is_lazy(self) -> bool:
        """Whether manifests stay in the places of files until the files are asked for."""
        return os.environ.get(SKIP) == "1" or self.is_on(LAZY)

    def git(
        self,
        *args: str,
        data: bytes | None = None,
        env: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (0,),
        meanwhile: Callable[[], object] | None = None,
        errors: list[str] | None = None,
    ) -> bytes:
        """Run git at the top of the work tree and return what it prints.

        Parameters
        ----------
        fine
            Exit statuses that are no failure.
        meanwhile
            Called every tenth of a second. Whatever it raises ends git.
        errors
            Gets the errors that git tells of and is not stopped by, such as a file that it cannot replace.

        Raises
        ------
        GitError
            With git's own words, if it fails.
        """
        return run(args, cwd=self.top, data=data, env=env, fine=fine, meanwhile=meanwhile, errors=errors)

    def stages(self, path: str) -> dict[int, str]:
        """Blob of a path in each index stage it has: 0 when merged; 1 base, 2 ours, 3 theirs in a conflict."""
        found = {}
        for line in _records(self.git("ls-files", "-s", "-z", "--", path)):
            info, _, name = line.partition(b"\t")
            mode, blob, stage = info.split()
            if os.fsdecode(name) == path and mode.startswith(b"100"):
                found[int(stage)] = blob.decode()
        return found

    def tree(self, ref: str, paths: Iterable[str] = ()) -> dict[str, str]:
        """Blob of each file in a commit, of these paths or all; empty if there is no such commit."""
        try:
            out = self.git("ls-tree", "-r", "-z", "--full-tree", self.resolve(ref), "--", *paths)
        except GitError:
            return {}
        found = {}
        for line in _records(out):
            info, _, name = line.partition(b"\t")
            _, kind, blob = info.split()
            if kind == b"blob":
                found[os.fsdecode(name)] = blob.decode()
        return found

    def index(self) -> dict[str, dict[int, str]]:
        """Blob of every file in the index, by stage."""
        found: dict[str, dict[int, str]] = {}
        for line in _records(self.git("ls-files", "-s", "-z")):
            info, _, name = line.partition(b"\t")
            mode, blob, stage = info.split()
            if (mode, stage) != (b"160000", b"0"):  # A submodule is a commit of another repository, and no blob.
                found.setdefault(os.fsdecode(name), {})[int(stage)] = blob.decode()
        return found

    def resolve(self, ref: str) -> str:
        """The commit a ref names.

        Raises
        ------
        GitError
            If it names none.
        """
        try:
            out = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        except GitError:
            raise GitError(
                f"{ref!r} is not a commit, branch or tag here", hint="see them with: git theta log"
            ) from None
        return out.decode().strip()

    def is_remote_branch(self, name: str) -> bool:
        """Whether a remote has a branch of this name."""
        names = self.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes").decode(errors="replace")
        return name in names.split("\n")[:-1]

    def has_blob(self, data: bytes) -> bool:
        """Whether Git has a blob of this content."""
        blob = self.git("hash-object", "--no-filters", "--stdin", data=data).decode().strip()
        return self.git("cat-file", "--batch-check", data=f"{blob}\n".encode()).endswith(b" blob %d\n" % len(data))

    def blobs(self, ids: Iterable[str]) -> list[bytes]:
        """Contents of blobs.

        Raises
        ------
        GitError
            If one is not here.
        """
        wanted = list(ids)
        if not wanted:
            return []
        out = self.git("cat-file", "--batch", data="".join(f"{blob}\n" for blob in wanted).encode())
        contents, position = [], 0
        for blob in wanted:
            end = out.index(b"\n", position)
            fields = out[position:end].split()
            if len(fields) != 3:
                raise GitError(f"blob {blob[:12]} is not in this repository")
            size = int(fields[2])
            contents.append(out[end + 1 : end + 1 + size])
            position = end + 1 + size + 1
        return contents

    def manifests(self, ids: Iterable[str], env: Mapping[str, str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Those of these blobs that begin as a manifest does, with their texts.

        The others, which may be checkpoints of any size, are passed over without being held in memory.

        Parameters
        ----------
        env
            Set for git.

        Raises
        ------
        GitError
            If a blob is not here.
        """
        wanted = list(ids)
        if not wanted:
            return
        with subprocess.Popen(
            ["git", "cat-file", "--batch", "--buffer"],
            cwd=self.top,
            env={**_environment(), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            source, sink = cast("BinaryIO", process.stdout), cast("BinaryIO", process.stdin)
            # Written beside the reading: pipes are short.
            feed = threading.Thread(target=_feed, args=(sink, wanted))
            feed.start()
            try:
                for blob in wanted:
                    fields = source.readline().split()
                    if len(fields) != 3:
                        raise GitError(f"blob {blob[:12]} is not in this repository")
                    left = int(fields[2])
                    head = source.read(min(left, len(MANIFEST)))
                    left -= len(head)
                    if head == MANIFEST:
                        yield blob, head + source.read(left)
                        left = 0
                    while left:
                        left -= len(source.read(min(left, 1 << 20))) or left
                    source.read(1)
            finally:
                process.kill()
                feed.join()

    def filters(self, paths: Iterable[str]) -> dict[str, str]:
        """The ``filter`` attribute of each path; empty where there is none."""
        found = self.attributes(paths, ["filter"])
        return {path: "" if value in {"unspecified", "unset"} else value for path, (value,) in found.items()}

    def attributes(self, paths: Iterable[str], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Values of these attributes for each path, as Git says them: ``unspecified``, ``unset``, ``set``, a text."""
        listed = list(paths)
        if not listed:
            return {}
        out = self.git("check-attr", "-z", "--stdin", *names, data=b"".join(os.fsencode(p) + b"\0" for p in listed))
        values = [value.decode(errors="replace") for value in out.split(b"\0")[2:-1:3]]
        count = len(names)
        return {path: tuple(values[count * n : count * (n + 1)]) for n, path in enumerate(listed)}

    def modes(self, paths: Sequence[str]) -> dict[str, str]:
        """Mode of each of these paths that the index has and that is not in conflict."""
        found = {}
        for line in _records(self.git("ls-files", "-s", "-z", "--", *paths)) if paths else ():
            info, _, name = line.partition(b"\t")
            mode, _, stage = info.split()
            if stage == b"0":
                found[os.fsdecode(name)] = mode.decode()
        return found

    def config(self, key: str, file: str = "") -> str:
        """A configuration value, of a file at the top if one is named, or empty."""
        try:
            return self.git("config", *(["--file", file] if file else []), "--get", key).decode().rstrip("\n")
        except GitError:
            return ""

    def is_on(self, key: str) -> bool:
        """Whether a configuration value is set to true."""
        try:
            return self.git("config", "--type=bool", "--get", key).strip() == b"true"
        except GitError:
            return False

    def is_beyond_link(self, name: str) -> bool:
        """Whether a folder on the way to a path is a link: nothing there is of this work tree."""
        return any((self.top / parent).is_symlink() for parent in PurePosixPath(name).parents)

    def relative(self, path: str | Path) -> str:
        """Write a path, given from the current folder, as Git does: from the top, with forward slashes.

        Raises
        ------
        GitError
            If it lies outside the work tree.
        """
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link that Git tracks as a link
        for top in (self.top, self.top.resolve()):
            if absolute.is_relative_to(top):
                return absolute.relative_to(top).as_posix()
        resolved = absolute.parent.resolve() / absolute.name
        if resolved.is_relative_to(self.top.resolve()):
            return resolved.relative_to(self.top.resolve()).as_posix()
        raise GitError(f"{path} is outside the repository {self.top}")


def run(
    args: Iterable[str],
    *,
    cwd: Path | None = None,
    data: bytes | None = None,
    env: Mapping[str, str] | None = None,
    fine: tuple[int, ...] = (0,),
    meanwhile: Callable[[], object] | None = None,
    errors: list[str] | None = None,
) -> bytes:
    """Run git and return what it prints; see :meth:`Worktree.git`."""
    try:
        process = subprocess.Popen(
            ["git", *args],
            cwd=cwd,
            env={**_environment(), **(env or {})},
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise
        raise GitError("git is not installed, or not on PATH", hint="install git") from error
    out, err = _ended(process, data, meanwhile)
    if process.returncode not in fine:
        said = (text.decode(errors="replace").strip() for text in (err, out))
        words = next(filter(None, said), f"git {' '.join(args)} failed")
        for spelling in (":(top,literal)", ":(top)"):  # As literal() writes paths.
            words = words.replace(spelling, "")
        raise GitError(words.removeprefix("fatal: ").removeprefix("error: "))
    if errors is not None:
        lines = err.decode(errors="replace").splitlines()
        errors += [line.removeprefix("error: ") for line in lines if line.startswith("error: unable to ")]
    return out


def _ended(
    process: subprocess.Popen[bytes], data: bytes | None, meanwhile: Callable[[], object] | None
) -> tuple[bytes, bytes]:
    """Wait for the end of a process, or end it; return what it wrote."""
    with process:
        try:
            while True:
                try:
                    return process.communicate(data, timeout=_PACE if meanwhile else None)
                except subprocess.TimeoutExpired:
                    data = None  # What is left of it goes on being sent.
                    if meanwhile:
                        meanwhile()
        except BaseException:  # An interruption above all: whoever gives up must not leave git at work.
            # Not killed at once: git ends what it has started, too.
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_GRACE)
            process.kill()
            raise


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Let Git find the repository of a folder, whichever one the environment names, as it does in a hook."""
    named = {name: os.environ.pop(name) for name in _NAMING if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(named)


def literal(paths: Iterable[str]) -> list[str]:
    """Paths from the top, for a Git that would take them for patterns (:data:`AS_TYPED`)."""
    return [":(top)" if path == "." else f":(top,literal){path}" for path in paths]


def shown(text: str) -> str:
    """Write a path or a name so that it stays on its line, and a terminal takes no orders from it."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _environment() -> dict[str, str]:
    # Git runs at the top, and they are meant from here.
    here = {name: os.path.abspath(os.environ[name]) for name in _FOLDERS if os.environ.get(name)}  # noqa: PTH100 - links stay
    return {
        **os.environ,
        **here,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "",
    }


def _feed(sink: BinaryIO, ids: list[str]) -> None:
    with contextlib.suppress(BrokenPipeError), sink:
        sink.write("".join(f"{blob}\n" for blob in ids).encode())


def _records(out: bytes) -> Iterator[bytes]:
    return iter(out.split(b"\0")[:-1])
