"""Who takes part: we by each of our two roads, Git LFS, the published git-theta, DVC, plain Git, and three yardsticks.

Each peer keeps the versions of some files in a folder of its own and can do the same few things. Git runs with settings
of its own, so that nobody's account has a say. What is not installed is left out, and so is who cannot take a history.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from benchmarks.histories import digest, tensors_of
from theta_jupyter.storage.manifest import Manifest, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.histories import History, Version

__all__ = [
    "PEERS",
    "Copy",
    "Dvc",
    "GitPeer",
    "GitTheta",
    "Kept",
    "Lfs",
    "Peer",
    "PeerError",
    "PlainGit",
    "Sha256",
    "ThetaCommand",
    "ThetaFilter",
    "Zstd",
]

PATTERNS = ("*.safetensors", "*.pt")
AGE = 1000
"""Seconds since the first file was saved; each was then saved a second after the one before. Git looks twice at a file
that is as young as its index, and may not look at all at one of the same second as the one before."""


class Kept(IntEnum):
    """What of a file is the same when it comes back."""

    OTHER, VALUES, BYTES = range(3)


class PeerError(AssertionError):
    """A peer gave a wrong result, or none."""


class Peer(ABC):
    """A way to keep versions of files.

    Parameters
    ----------
    folder
        Where; it is made.
    venv
        Of a peer that has one of its own.
    patience
        Seconds that one command may take.
    """

    name: ClassVar[str]
    venv: ClassVar[str] = ""
    """Name of the virtual environment."""
    command: ClassVar[str] = ""
    """What must be there."""
    needed: ClassVar[bool] = False
    """Whether a wrong result ends the benchmark, instead of the peer's part in it."""
    exact: ClassVar[bool] = True
    """Whether files come back byte for byte."""

    def __init__(self, folder: Path, venvs: Path | None = None, patience: float = 600) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.patience = patience
        self._saved = time.time() - AGE
        # Whoever uses us has the environment active that this Python is from.
        python = venvs / self.venv / "bin" if self.venv and venvs else Path(sys.executable).parent
        who = {f"GIT_{role}_{what}": "bench" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        own = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "THETA_", "DVC_"))}
        self.environment = {
            **own,
            **who,
            "PATH": os.pathsep.join([str(python), os.environ["PATH"]]),
            "HOME": str(folder.parent),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C.UTF-8",
        }

    @classmethod
    def missing(cls, venvs: Path) -> str:
        """Why it cannot take part here; empty if it can."""
        where = venvs / cls.venv / "bin" / cls.command if cls.venv else cls.command
        return "" if not cls.command or shutil.which(where) else f"{cls.command} is not installed"

    @classmethod
    def refuses(cls, history: History) -> str:
        """Why it cannot take a history; empty if it can."""
        del history
        return ""

    def place(self, version: Version) -> None:
        """Put a version where the next command finds it, as a training run would have done a while ago."""
        shutil.copyfile(version.path, self.folder / version.file)
        self._age(version.file)

    def holds(self, tree: Mapping[str, Version]) -> Kept:
        """Make sure that each file is its version; return how much of it is, where less will do."""
        least = Kept.BYTES
        for file, version in tree.items():
            if digest(self.folder / file) != version.digest:
                if self.exact:
                    raise PeerError(f"gives back something else than {version.name}")
                least = min(least, _alike(self.folder / file, version.path))
        return least

    def _age(self, *files: str) -> None:
        for file in files:
            self._saved += 1
            os.utime(self.folder / file, (self._saved, self._saved))

    @abstractmethod
    def prepare(self, history: History | None = None) -> None:
        """Set the folder up."""

    @abstractmethod
    def record(self, version: Version) -> None:
        """Add the file and commit it."""

    @abstractmethod
    def checkout(self, version: Version) -> None:
        """Bring a version back."""

    @abstractmethod
    def status(self) -> None:
        """Find out whether the files are what was recorded last."""

    @abstractmethod
    def add_again(self, version: Version) -> None:
        """Add the file as it is."""

    @abstractmethod
    def stored(self) -> int:
        """Bytes kept for all versions so far."""

    def fetched(self, version: Version) -> int:
        """Bytes that somebody needs who wants this version, and has none."""
        return version.size

    def go(self, version: Version) -> None:  # noqa: B027 - only Git has somewhere to go
        """Go where the version is to be recorded, off the clock."""

    def recorded(self, version: Version) -> None:  # noqa: B027 - only Git has something to note
        """Take note, off the clock, of what was recorded."""

    def settle(self, files: Sequence[str]) -> None:  # noqa: B027 - only Git looks at the time
        """Let some time pass since the last command, so that the next one is not the first to look at the files."""

    def ready(self, version: Version) -> None:  # noqa: B027 - only who brings nothing back
        """Do, off the clock, what a checkout cannot."""

    def clean(self) -> None:  # noqa: B027 - only Git can tell
        """Make sure that nothing counts as changed."""

    def run(self, *command: str | Path, data: str | None = None) -> str:
        """Run a command in the folder, and return what it prints."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                said, complaint = process.communicate(data, timeout=self.patience)
            except subprocess.TimeoutExpired as error:
                # With all that it has started.
                os.killpg(process.pid, signal.SIGKILL)
                raise PeerError(f"{command[0]} {command[1]} takes more than {self.patience:.0f} s") from error
        if process.returncode:
            what = " ".join(map(str, command))
            raise PeerError(f"{what} failed: {complaint.strip()[-1000:]}")
        return said.strip()


# ---------------------------------------------------------------- yardsticks


class Copy(Peer):
    """``cp``, and ``cmp`` in place of a status: what the disk can do. Nothing is hashed, checked, or synced."""

    name = "cp"
    command = "cp"
    suffix: ClassVar[str] = "copy"

    def prepare(self, history: History | None = None) -> None:
        """Nothing: a folder is enough."""

    def record(self, version: Version) -> None:
        """Copy the file away."""
        self.run("cp", version.file, self._kept(version))
        self._last = version

    def checkout(self, version: Version) -> None:
        """Copy the file back."""
        self.run("cp", self._kept(version), version.file)
        self._last = version

    def status(self) -> None:
        """Compare the file with its copy."""
        self.run("cmp", self._last.file, self._kept(self._last))

    def add_again(self, version: Version) -> None:
        """Copy the file away again."""
        self.record(version)

    def stored(self) -> int:
        """Size of what is kept."""
        return sum(path.stat().st_size for path in self.folder.glob(f"*.{self.suffix}"))

    def fetched(self, version: Version) -> int:
        """What is kept of the version."""
        return self._kept(version).stat().st_size

    def _kept(self, version: Version) -> Path:
        return self.folder / f"{version.digest}.{self.suffix}"


class Zstd(Copy):
    """``zstd`` at its usual level, on all cores."""

    name = "zstd"
    command = "zstd"
    suffix = "zst"

    def record(self, version: Version) -> None:
        """Compress the file."""
        self.run("zstd", "--quiet", "--force", "-T0", version.file, "-o", self._kept(version))
        self._last = version

    def checkout(self, version: Version) -> None:
        """Decompress it."""
        self.run("zstd", "--quiet", "--force", "--decompress", self._kept(version), "-o", version.file)
        self._last = version

    def status(self) -> None:
        """Decompress, and check."""
        self.run("zstd", "--quiet", "--test", self._kept(self._last))


class Sha256(Copy):
    """``sha256sum``: what it takes to know that a file is what it was. Nothing is kept but the hash."""

    name = "sha256sum"
    command = "sha256sum"
    suffix = "sha256"

    def record(self, version: Version) -> None:
        """Hash the file."""
        self._kept(version).write_text(self.run("sha256sum", version.file) + "\n", encoding="utf-8")
        self._last = version

    def ready(self, version: Version) -> None:
        """Bring the file back, by other means."""
        self.place(version)

    def checkout(self, version: Version) -> None:
        """Check the file."""
        self.run("sha256sum", "--check", "--quiet", self._kept(version))
        self._last = version

    def status(self) -> None:
        """Check the file."""
        self.checkout(self._last)

    def fetched(self, version: Version) -> int:
        """Nothing can be had from a hash."""
        del version
        return 0


# ---------------------------------------------------------------- Git


class GitPeer(Peer):
    """Plain ``git`` with some filter."""

    def prepare(self, history: History | None = None) -> None:
        """Make a repository in which models go through the filter."""
        del history
        self.run("git", "init", "--quiet", "--initial-branch=main")
        # Nothing is to go on in the background while somebody else is on the clock.
        self.run("git", "config", "gc.auto", "0")
        self.commits: dict[str, str] = {}
        self.set_up()
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message=set up")
        self._first = self.run("git", "rev-parse", "HEAD")

    @abstractmethod
    def set_up(self) -> None:
        """Configure the filter, for this repository alone."""

    def process(self) -> str:
        """The filter process, as Git would start it; empty if there is none that stays."""
        return ""

    def tracked(self, version: Version) -> tuple[str, ...]:
        """The files that Git itself keeps for a version."""
        return (version.file,)

    def go(self, version: Version) -> None:
        """Check out the parents; of two, begin a merge that keeps the first as it is."""
        first = self.commits[version.parents[0]] if version.parents else self._first
        if self.run("git", "rev-parse", "HEAD") != first:
            self.walk(first)
        for other in version.parents[1:]:
            self.run("git", "merge", "--quiet", "--no-commit", "--no-ff", "--strategy=ours", self.commits[other])

    def record(self, version: Version) -> None:
        """``git add``, ``git commit``."""
        self.run("git", "add", *self.tracked(version))
        self.run("git", "commit", "--quiet", f"--message={version.name}")

    def recorded(self, version: Version) -> None:
        """Note which commit the version is in, and keep it."""
        self.commits[version.name] = self.run("git", "rev-parse", "HEAD")
        self.run("git", "update-ref", f"refs/heads/kept-{len(self.commits)}", "HEAD")

    def settle(self, files: Sequence[str]) -> None:
        """Age the files, and have Git take note."""
        self._age(*files)
        self.run("git", "update-index", "-q", "--refresh")

    def checkout(self, version: Version) -> None:
        """``git checkout COMMIT``."""
        self.walk(self.commits[version.name])

    def walk(self, commit: str) -> None:
        """Go to a commit."""
        self.run("git", "checkout", "--quiet", commit)

    def status(self) -> None:
        """``git status``."""
        self.run("git", "status", "--porcelain")

    def clean(self) -> None:
        """Make sure that Git sees no change."""
        if changes := self.run("git", "status", "--porcelain"):
            raise PeerError(f"leaves changes: {changes}")

    def add_again(self, version: Version) -> None:
        """``git add``."""
        self.run("git", "add", version.file)

    def stored(self) -> int:
        """Size of objects: Git's, and the filter's. A cache that can be deleted at any time does not count."""
        folders = [self.folder / ".git" / name for name in ("objects", "theta/objects", "lfs/objects")]
        return sum(map(_size, folders))

    def fetched(self, version: Version) -> int:
        """What Git keeps of the files at the commit, and the objects these name."""
        commit = self.commits[version.name]
        listed = [line.split(None, 4) for line in self.run("git", "ls-tree", "-r", "--long", commit).splitlines()]
        blobs = {path: blob for _, _, blob, _, path in listed}
        sizes = self.run(
            "git", "cat-file", "--batch-check=%(objectsize:disk)", data="".join(f"{b}\n" for b in blobs.values())
        )
        named: dict[str, int] = {}
        for path, blob in blobs.items():
            named |= self.named(path, blob)
        return sum(map(int, sizes.split())) + sum(named.values())

    def named(self, path: str, blob: str) -> dict[str, int]:
        """Size by id of the objects that a file kept by Git names."""
        del path, blob
        return {}


class PlainGit(GitPeer):
    """Git alone, which compresses each file on its own; before ``git gc``."""

    name = "plain git"
    command = "git"

    def set_up(self) -> None:
        """Nothing."""


class Lfs(GitPeer):
    """Git LFS."""

    name = "Git LFS"
    command = "git-lfs"
    needed = True

    def set_up(self) -> None:
        """``git lfs install``, ``git lfs track``."""
        self.run("git", "lfs", "install", "--local")
        self.run("git", "lfs", "track", *PATTERNS)

    def process(self) -> str:
        """``git-lfs filter-process``."""
        return self.run("git", "config", "filter.lfs.process")

    def named(self, path: str, blob: str) -> dict[str, int]:
        """What a pointer names."""
        if not path.endswith(tuple(pattern[1:] for pattern in PATTERNS)):
            return {}
        lines = dict(line.split(None, 1) for line in self.run("git", "cat-file", "blob", blob).splitlines())
        return {lines["oid"]: int(lines["size"])}


class ThetaFilter(GitPeer):
    """Ours, by plain ``git`` commands."""

    name = "theta, by git"
    needed = True

    def set_up(self) -> None:
        """``git theta init``, ``git theta track``."""
        self.run(sys.executable, "-m", "theta_jupyter", "init")
        self.run("git", "theta", "track", *PATTERNS)

    def process(self) -> str:
        """Our filter."""
        return self.run("git", "config", "filter.theta.process")

    def named(self, path: str, blob: str) -> dict[str, int]:
        """What a manifest names."""
        return self.manifest(blob).places() if path.endswith(tuple(pattern[1:] for pattern in PATTERNS)) else {}

    def manifest(self, blob: str) -> Manifest:
        """A manifest that Git keeps."""
        return parse((self.run("git", "cat-file", "blob", blob) + "\n").encode())

    def added(self, last: Version, before: Sequence[Version], names: Iterable[str]) -> int:
        """Bytes of some tensors of a version that versions before it did not have."""
        known = set()
        for version in before:
            records = self.manifest(f"{self.commits[version.name]}:{version.file}").records.values()
            known |= {node.place for record in records for node in record.nodes}
        new = self.manifest(f"{self.commits[last.name]}:{last.file}")
        places = {node.place for name in names for node in new.owner(name).nodes}
        return sum(place.stored for place in places - known)

    def told(self, version: Version, adapter: Path, *, apply: bool) -> Version:
        """Commit the file that is there, with an adapter said to be what was done to it; return what was committed.

        Parameters
        ----------
        apply
            Do it first, to the file that is there.
        """
        options = ("--apply",) if apply else ()
        self.run("git", "theta", "add", version.file, "--update", "low-rank", "--from", adapter, *options)
        self.run("git", "commit", "--quiet", f"--message={version.name}")
        if not apply:
            return version
        kept = shutil.copyfile(self.folder / version.file, self.folder.parent / "applied.safetensors")
        return replace(version, path=kept, size=kept.stat().st_size, digest=digest(kept))


class ThetaCommand(ThetaFilter):
    """Ours, by ``git theta`` commands."""

    name = "git theta"

    def record(self, version: Version) -> None:
        """``git theta commit``."""
        # Git commits all of a merge, or nothing.
        files = () if len(version.parents) > 1 else ("--", version.file)
        self.run("git", "theta", "commit", f"--message={version.name}", *files)

    def walk(self, commit: str) -> None:
        """``git theta checkout COMMIT``."""
        self.run("git", "theta", "checkout", commit)

    def status(self) -> None:
        """``git theta status``."""
        self.run("git", "theta", "status")

    def add_again(self, version: Version) -> None:
        """``git theta add``."""
        self.run("git", "theta", "add", version.file)


class GitTheta(GitPeer):
    """The published git-theta: a checkpoint comes back with its values, but not byte for byte."""

    name = "git-theta"
    venv = "git-theta"
    command = "git-theta-filter"
    exact = False

    @classmethod
    def refuses(cls, history: History) -> str:
        """Take float32, in flat files, of not too many tensors: it starts a process for each."""
        if history.name == "tensors-100k":
            return "starts a process for each tensor"
        if "bf16" in history.name or history.name == "large":
            return "takes no bfloat16"
        return "takes flat dictionaries of tensors alone" if history.name == "training" else ""

    def prepare(self, history: History | None = None) -> None:
        """Have it read the files of this history: it is told once for all."""
        pickled = history is not None and history.versions[0].file.endswith(".pt")
        self.environment["GIT_THETA_CHECKPOINT_TYPE"] = "pytorch" if pickled else "safetensors"
        self.environment["TMPDIR"] = str(self.folder.parent)
        # As many processes as there are tensors, all at the same time, would be too many.
        self.environment["GIT_THETA_MAX_CONCURRENCY"] = "128"
        super().prepare(history)

    def set_up(self) -> None:
        """``git theta install``, but for this repository alone; ``git theta track``."""
        for key, value in {
            "filter.theta.clean": "git-theta-filter clean %f",
            "filter.theta.smudge": "git-theta-filter smudge %f",
            "filter.theta.required": "true",
            "merge.theta.driver": "git-theta-merge %O %A %B %P",
            "diff.theta.command": "git-theta-diff",
        }.items():
            self.run("git", "config", key, value)
        for pattern in PATTERNS:
            self.run("git", "theta", "track", pattern)

    def named(self, path: str, blob: str) -> dict[str, int]:
        """What its metadata names."""
        if not path.endswith(tuple(pattern[1:] for pattern in PATTERNS)):
            return {}
        found: dict[str, int] = {}

        def walk(tree: dict[str, Any]) -> None:
            for key, value in tree.items():
                if key == "lfs_metadata":
                    found[value["oid"]] = int(value["size"])
                elif isinstance(value, dict):
                    walk(value)

        walk(json.loads(self.run("git", "cat-file", "blob", blob)))
        return found


class Dvc(GitPeer):
    """DVC: the file in its cache, its hash in Git."""

    name = "DVC"
    venv = "dvc"
    command = "dvc"

    def set_up(self) -> None:
        """``dvc init``, and no word to anybody."""
        self.environment["DVC_NO_ANALYTICS"] = "1"
        self.environment["DVC_SITE_CACHE_DIR"] = str(self.folder.parent / "dvc-site")
        self.run("dvc", "init", "--quiet")
        self.run("dvc", "config", "core.check_update", "false")

    def tracked(self, version: Version) -> tuple[str, ...]:
        """A small file beside the file."""
        return (f"{version.file}.dvc", ".gitignore")

    def record(self, version: Version) -> None:
        """``dvc add``, ``git add``, ``git commit``."""
        self.run("dvc", "add", "--quiet", version.file)
        super().record(version)

    def walk(self, commit: str) -> None:
        """``git checkout``, ``dvc checkout``."""
        super().walk(commit)
        self.run("dvc", "checkout", "--quiet", "--force")

    def settle(self, files: Sequence[str]) -> None:
        """Nothing: Git does not look at the files, and DVC would hash them again."""

    def status(self) -> None:
        """``dvc status``, ``git status``."""
        self.run("dvc", "status", "--quiet")
        super().status()

    def add_again(self, version: Version) -> None:
        """``dvc add``."""
        self.run("dvc", "add", "--quiet", version.file)

    def stored(self) -> int:
        """Size of its cache besides."""
        return super().stored() + _size(self.folder / ".dvc" / "cache")

    def named(self, path: str, blob: str) -> dict[str, int]:
        """What a file of DVC's names."""
        if not path.endswith(".dvc"):
            return {}
        words = self.run("git", "cat-file", "blob", blob).replace("- ", "").split()
        values = dict(pairwise(words))
        return {values["md5:"]: int(values["size:"])}


PEERS: tuple[type[Peer], ...] = (ThetaFilter, ThetaCommand, Lfs, GitTheta, Dvc, PlainGit, Copy, Sha256, Zstd)


def _alike(path: Path, wanted: Path) -> Kept:
    found, expected = tensors_of(path), tensors_of(wanted)
    same = found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    return Kept.VALUES if same else Kept.OTHER


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
