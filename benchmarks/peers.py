"""Who takes part: we by each of our two roads, Git LFS, and a plain copy.

Each peer keeps the versions of one file in a folder of its own and can do the same few things. Git runs with settings
of its own, so that nobody's account has a say.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchmarks.versions import digest

if TYPE_CHECKING:
    from benchmarks.versions import Version

__all__ = ["PEERS", "Copy", "GitPeer", "Lfs", "Peer", "ThetaCommand", "ThetaFilter"]

FILE = "model.safetensors"
AGE = 1000
"""Seconds since the first file was saved; each was then saved a second after the one before. Git looks twice at a file
that is as young as its index, and may not look at all at one of the same second as the one before."""


class Peer(ABC):
    """A way to keep versions of a file.

    Parameters
    ----------
    folder
        Where; it is made.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.file = folder / FILE
        self._saved = time.time() - AGE
        # Whoever uses us has the environment active that this Python is from.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        who = {f"GIT_{role}_{what}": "bench" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        own = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "THETA_"))}
        self.environment = {
            **own,
            **who,
            "PATH": path,
            "HOME": str(folder.parent),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C.UTF-8",
        }
        self.prepare()

    def place(self, version: Version) -> None:
        """Put a version where the next command finds it, as a training run would have done a while ago."""
        shutil.copyfile(version.path, self.file)
        self._age()

    def holds(self, version: Version) -> None:
        """Make sure that the file is this version, byte for byte."""
        assert digest(self.file) == version.digest, f"{self.name} gave back something else than {version.name}"

    def _age(self) -> None:
        self._saved += 1
        os.utime(self.file, (self._saved, self._saved))

    @abstractmethod
    def prepare(self) -> None:
        """Set the folder up."""

    @abstractmethod
    def record(self, version: Version) -> None:
        """Add the file and commit it."""

    @abstractmethod
    def checkout(self, version: Version) -> None:
        """Bring a version back."""

    @abstractmethod
    def status(self) -> None:
        """Find out whether the file is what was recorded last."""

    @abstractmethod
    def add_again(self) -> None:
        """Add the file as it is."""

    @abstractmethod
    def stored(self) -> int:
        """Bytes kept for all versions so far."""

    def recorded(self, version: Version) -> None:  # noqa: B027 - only Git has something to note
        """Take note, off the clock, of what was recorded."""

    def settle(self) -> None:  # noqa: B027 - only Git looks at the time
        """Let some time pass since the last command, so that the next one is not the first to look at the file."""

    def clean(self) -> None:  # noqa: B027 - only Git can tell
        """Make sure that nothing counts as changed."""

    def run(self, *command: str | Path) -> str:
        """Run a command in the folder, and return what it prints."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{self.name}: {command} failed: {done.stderr}"
        return done.stdout.strip()


class Copy(Peer):
    """``cp``, and ``cmp`` in place of a status: what the disk can do. Nothing is hashed, checked, or synced."""

    name = "cp"

    def prepare(self) -> None:
        """Nothing: a folder is enough."""

    def record(self, version: Version) -> None:
        """Copy the file away."""
        self.run("cp", FILE, self._copy(version))
        self._last = self._copy(version)

    def checkout(self, version: Version) -> None:
        """Copy the file back."""
        self.run("cp", self._copy(version), FILE)
        self._last = self._copy(version)

    def status(self) -> None:
        """Compare the file with its copy."""
        self.run("cmp", FILE, self._last)

    def add_again(self) -> None:
        """Copy the file away again."""
        self.run("cp", FILE, self._last)

    def stored(self) -> int:
        """Size of the copies."""
        return sum(path.stat().st_size for path in self.folder.glob("*.copy"))

    def _copy(self, version: Version) -> Path:
        return self.folder / f"{version.digest}.copy"


class GitPeer(Peer):
    """Plain ``git`` with some filter."""

    def prepare(self) -> None:
        """Make a repository in which the file goes through the filter."""
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.set_up()
        self.run("git", "add", ".gitattributes")
        self.run("git", "commit", "--quiet", "--message=set up")
        self.commits: dict[str, str] = {}

    @abstractmethod
    def set_up(self) -> None:
        """Configure the filter, for this repository alone."""

    @abstractmethod
    def process(self) -> str:
        """The filter process, as Git would start it."""

    def record(self, version: Version) -> None:
        """``git add``, ``git commit``."""
        self.run("git", "add", FILE)
        self.run("git", "commit", "--quiet", f"--message={version.name}")

    def recorded(self, version: Version) -> None:
        """Note which commit the version is in."""
        self.commits[version.name] = self.run("git", "rev-parse", "HEAD")

    def settle(self) -> None:
        """Age the file, and have Git take note."""
        self._age()
        self.run("git", "update-index", "--refresh")

    def checkout(self, version: Version) -> None:
        """``git checkout COMMIT``."""
        self.run("git", "checkout", "--quiet", self.commits[version.name])

    def status(self) -> None:
        """``git status``."""
        self.run("git", "status", "--porcelain")

    def clean(self) -> None:
        """Make sure that Git sees no change."""
        changes = self.run("git", "status", "--porcelain")
        assert not changes, f"{self.name} leaves changes: {changes}"

    def add_again(self) -> None:
        """``git add``."""
        self.run("git", "add", FILE)

    def stored(self) -> int:
        """Size of objects: Git's, and the filter's. A cache that can be deleted at any time does not count."""
        folders = [self.folder / ".git" / name for name in ("objects", "theta/objects", "lfs/objects")]
        return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


class Lfs(GitPeer):
    """Git LFS."""

    name = "Git LFS"

    def set_up(self) -> None:
        """``git lfs install``, ``git lfs track``."""
        self.run("git", "lfs", "install", "--local")
        self.run("git", "lfs", "track", FILE)

    def process(self) -> str:
        """``git-lfs filter-process``."""
        return self.run("git", "config", "filter.lfs.process")


class ThetaFilter(GitPeer):
    """Ours, by plain ``git`` commands."""

    name = "theta, by git"

    def set_up(self) -> None:
        """``git theta init``, ``git theta track``."""
        self.run(sys.executable, "-m", "theta_jupyter", "init")
        self.run("git", "theta", "track", FILE)

    def process(self) -> str:
        """Our filter."""
        return self.run("git", "config", "filter.theta.process")


class ThetaCommand(ThetaFilter):
    """Ours, by ``git theta`` commands."""

    name = "git theta"

    def record(self, version: Version) -> None:
        """``git theta commit``."""
        self.run("git", "theta", "commit", f"--message={version.name}", "--", FILE)

    def checkout(self, version: Version) -> None:
        """``git theta checkout COMMIT``."""
        self.run("git", "theta", "checkout", self.commits[version.name])

    def status(self) -> None:
        """``git theta status``."""
        self.run("git", "theta", "status")

    def add_again(self) -> None:
        """``git theta add``."""
        self.run("git", "theta", "add", FILE)


PEERS: tuple[type[Peer], ...] = (ThetaFilter, ThetaCommand, Lfs, Copy)
