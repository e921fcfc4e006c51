"""Real repositories, driven by real git, that know nothing of the account they run in."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load, save

from theta_jupyter.git import attributes, install
from theta_jupyter.git.entries import note
from theta_jupyter.git.worktree import Worktree
from theta_jupyter.storage.manifest import Manifest, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

MODEL = "m.safetensors"
LAYERS = ("a", "b", "c", "d")
TIMEOUT = 60
_seconds = itertools.count()


def weights(seed: int = 0, **changed: int) -> dict[str, npt.NDArray[Any]]:
    """A small model: four 8 x 8 layers, and one of 80 KiB; a layer named in ``changed`` has values of that seed."""

    def values(layer: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        number = changed.get(layer, seed)
        return np.random.default_rng([number, ord(layer[0])]).standard_normal(shape).astype(np.float32)

    return {layer: values(layer, (8, 8)) for layer in LAYERS} | {"wide": values("wide", (160, 128))}


def safetensors(seed: int = 0, **changed: int) -> bytes:
    """Such a model as a file."""
    return save(weights(seed, **changed))


def torch_file(seed: int = 0, **changed: int) -> bytes:
    """Such a model as a torch zip, always of the same layout."""
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(value) for name, value in weights(seed, **changed).items()}, buffer)
    return buffer.getvalue()


class Repo:
    """A repository, or a clone, in a folder of a test.

    Parameters
    ----------
    home
        The home of the user; it stays empty unless a test installs globally.
    """

    def __init__(self, top: Path, home: Path, path: str = "/usr/bin:/bin") -> None:
        self.top, self.home = top, home
        self.terminal = subprocess.DEVNULL
        self._before: tuple[str, ...] = ()
        self.env = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "PATH": path,
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(home.parent / "tmp"),
            **{f"GIT_{role}_NAME": "Tester" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "tester@example.org" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_DATE": "2025-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")},
            "GIT_EDITOR": "true",
        }
        (home.parent / "tmp").mkdir(exist_ok=True)

    def run(
        self, *args: str, data: bytes | None = None, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git, whatever comes of it; what it reads is data, :attr:`terminal`, or nothing."""
        return subprocess.run(
            [*self._before, "git", *args],
            cwd=cwd or self.top,
            env=self.env | dict(env or {}),
            input=data,
            stdin=self.terminal if data is None else None,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )

    @contextlib.contextmanager
    def at_a_terminal(self) -> Iterator[None]:
        """Let git read from a terminal, at which nobody ever types."""
        ends = pty.openpty()
        try:
            self.terminal = ends[1]
            yield
        finally:
            self.terminal = subprocess.DEVNULL
            for end in ends:
                os.close(end)

    @contextlib.contextmanager
    def forbidden(self, *folders: Path) -> Iterator[None]:
        """Let nothing be made or deleted in folders, by git and what it starts, not even for root."""
        modes = [folder.stat().st_mode for folder in folders]
        powers = "-dac_override,-dac_read_search"
        try:
            self._before = ("setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}") if os.geteuid() == 0 else ()
            for folder in folders:
                folder.chmod(0o555)
            yield
        finally:
            self._before = ()
            for folder, mode in zip(folders, modes, strict=True):
                folder.chmod(mode)

    def git(self, *args: str, data: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run git, which must work, and return what it printed."""
        done = self.run(*args, data=data, env=env)
        assert done.returncode == 0, f"git {args}: {done.stdout!r} {done.stderr.decode(errors='replace')}"
        return done.stdout.decode(errors="surrogateescape")

    def fails(self, *args: str, env: Mapping[str, str] | None = None) -> str:
        """Run git, which must fail, and return all it said."""
        done = self.run(*args, env=env)
        assert done.returncode != 0, f"git {args} worked: {done.stdout!r} {done.stderr!r}"
        return (done.stdout + done.stderr).decode(errors="replace")

    def init(self, *options: str) -> Repo:
        """Make the repository, and install."""
        self.top.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)
        self.install()
        return self

    def python(self, code: str, *, env: Mapping[str, str] | None = None) -> str:
        """Run Python in the repository, as the user git runs as."""
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=self.top,
            env=self.env | dict(env or {}),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def bare(self, name: str) -> Repo:
        """Make an empty bare repository, in a folder beside this one."""
        found = Repo(self.top.parent / name, self.home)
        found.top.mkdir()
        found.git("init", "--quiet", "--bare", "--initial-branch=main")
        return found

    def install(self) -> None:
        """Configure this repository."""
        with self.environment():
            install.install(self.worktree)
            install.install_hooks(self.worktree)

    def track(self, path: str = MODEL) -> None:
        """Track one file."""
        with self.environment():
            attributes.track(self.worktree, path=path)

    def settle(self) -> None:
        """Note every file as unchanged, after the repository was copied: git would read all of them again."""
        with self.environment():
            worktree = self.worktree
            files = {
                path: (stages[0], (self.top / path).stat()) for path, stages in worktree.index().items() if 0 in stages
            }
            note(worktree, files)

    def environment(self) -> _Environment:
        """Let code in this process see what git sees."""
        return _Environment(self.env)

    @property
    def worktree(self) -> Worktree:
        with self.environment():
            return Worktree.find(self.top, bare=True)

    @property
    def theta(self) -> Path:
        return self.worktree.theta

    @property
    def objects(self) -> set[str]:
        return set(self.worktree.store)

    def write(self, data: bytes, path: str = MODEL) -> None:
        """Write a file, each time with another second of the past: git sees a change, and need not doubt its index."""
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        second = 1_700_000_000 + next(_seconds)
        os.utime(file, (second, second))

    def read(self, path: str = MODEL) -> bytes:
        return (self.top / path).read_bytes()

    def commit(self, data: bytes | None = None, message: str = "change", path: str = MODEL) -> str:
        """Write, add and commit everything; return the commit."""
        if data is not None:
            self.write(data, path)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.head()

    def head(self, ref: str = "HEAD") -> str:
        return self.git("rev-parse", ref).strip()

    def text(self, spec: str = f"HEAD:{MODEL}") -> bytes:
        """What git stores."""
        done = self.run("cat-file", "blob", spec)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def manifest(self, spec: str = f"HEAD:{MODEL}") -> Manifest:
        return parse(self.text(spec))

    def status(self) -> str:
        return self.git("status", "--porcelain")

    def check(self, data: bytes | None = None, path: str = MODEL) -> None:
        """Check that nothing is modified, also when git looks at the content again, and that the file is this one."""
        assert self.status() == ""
        if (self.top / path).exists():
            (self.top / path).touch()
            assert self.status() == ""
        if data is not None:
            assert self.read(path) == data

    def clone(self, name: str, *options: str) -> Repo:
        """Clone by path, without installing."""
        other = Repo(self.top.parent / name, self.home, self.env["PATH"])
        done = self.run("clone", "--quiet", *options, "--", str(self.top), str(other.top), cwd=self.top.parent)
        assert done.returncode == 0, done.stderr.decode()
        return other


class _Environment:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env

    def __enter__(self) -> None:
        self.before = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.env)

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self.before)


def tensors(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a safetensors file, by the library."""
    return load(data)
