"""A small history made by the published git-theta, and how it was recorded.

``git_theta.tar.xz`` has it: a bundle, the objects of Git LFS, and the files that git-theta's own smudge makes of every
version. So the package is not needed to test that its histories can be read. To record it anew, with a virtual
environment that has git-theta 0.2.0 and safetensors::

    python -m tests.api.git_theta build/bench/peers/git-theta
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

__all__ = ["ARCHIVE", "PATHS", "record", "unpack"]

ARCHIVE = Path(__file__).parent / "git_theta.tar.xz"
PATHS = {"m.safetensors": "safetensors", "m.pt": "pytorch", "odd.model": "pytorch"}
"""Files of the history, and what git-theta has to be told of each."""


def unpack(folder: Path) -> None:
    """Unpack the recorded history: ``history.bundle``, ``lfs/objects``, and ``expected/COMMIT/PATH``."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")


def record(folder: Path, venv: Path) -> None:
    """Make the history in ``folder/work``, and leave in ``folder`` what :func:`unpack` would."""
    work, home = folder / "work", folder / "home"
    for made in (work, home, folder / "lfs"):
        made.mkdir(parents=True)
    who = {f"GIT_{role}_{what}": "Tester" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    when = {f"GIT_{role}_DATE": "2025-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}
    base = {
        "PATH": f"{venv.absolute() / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **who,
        **when,
    }

    def run(*args: str, data: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        done = subprocess.run(args, cwd=work, env=base | dict(env or {}), input=data, capture_output=True, check=False)
        assert done.returncode == 0, f"{args}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def commit(message: str, path: str, more: Mapping[str, str] | None = None) -> None:
        second = 1_700_000_000 + len(message)
        os.utime(work / path, (second, second))
        told = {"GIT_THETA_CHECKPOINT_TYPE": PATHS.get(path, "safetensors"), **(more or {})}
        run("git", "add", path, env=told)
        run("git", "commit", "--quiet", "-m", message)

    def update(kind: str, values: Mapping[str, npt.NDArray[Any]]) -> None:
        save_file(dict(values), folder / "update.safetensors")
        told = {"GIT_THETA_CHECKPOINT_TYPE": "safetensors"}
        data = str(folder / "update.safetensors")
        more = {"GIT_THETA_UPDATE_TYPE": kind, "GIT_THETA_UPDATE_DATA_PATH": data}
        commit(f"an update: {kind}", "m.safetensors", more)
        # The file is not changed by that, and would count as changed back.
        (work / "m.safetensors").unlink()
        run("git", "checkout", "--", "m.safetensors", env=told)
        os.utime(work / "m.safetensors", (1_700_000_000, 1_700_000_000))
        run("git", "update-index", "-q", "--refresh", env=told)

    run("git", "init", "--quiet", "--initial-branch=main")
    filters = {"clean": "git-theta-filter clean %f", "smudge": "git-theta-filter smudge %f", "required": "true"}
    for key, value in filters.items():
        run("git", "config", f"filter.theta.{key}", value)
    (work / "README.md").write_text("# a model\n")
    commit("nothing yet", "README.md")
    for path in PATHS:
        run("git", "theta", "track", path)
    rng = np.random.default_rng(0)
    tensors = _tensors(rng)
    save_file(tensors, work / "m.safetensors")
    commit("dense", "m.safetensors")
    tensors["layer.0.weight"] = tensors["layer.0.weight"] + np.float32(0.5)
    save_file(tensors, work / "m.safetensors")
    commit("dense again", "m.safetensors")
    sparse = {
        "data": np.array([1, -2.5], np.float32),
        "indices": np.array([3, 41], np.int32),
        "indptr": np.array([0, 2], np.int32),
        "shape": np.array([6, 8]),
    }
    update("sparse", {f"layer.0.weight/{name}": value for name, value in sparse.items()})
    factors = {"R": rng.standard_normal((64, 2)), "C": rng.standard_normal((2, 48))}
    update("low-rank", {f"layer.1.weight/{name}": value.astype(np.float32) for name, value in factors.items()})
    update("ia3", {"layer.0.weight/ia3": rng.standard_normal((6, 1)).astype(np.float32)})
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, work / "m.pt")
    commit("by torch", "m.pt")
    (work / "odd.model").write_bytes((work / "m.pt").read_bytes())
    commit("an odd name", "odd.model")
    _check_out(folder, run)
    run("git", "bundle", "create", "--quiet", str(folder / "history.bundle"), "main")
    (work / ".git/lfs/objects").rename(folder / "lfs/objects")


def _tensors(rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """A model; some of it compresses, and some has values of one byte."""
    return {
        "layer.0.weight": rng.standard_normal((6, 8)).astype(np.float32),
        "layer.1.weight": rng.integers(-2, 3, (64, 48)).astype(np.float32),
        "mask": rng.integers(0, 2, 4099).astype(bool),
        "double": np.arange(9, dtype=np.float64).reshape(3, 3),
    }


def _check_out(folder: Path, run: Callable[..., bytes]) -> None:
    """Keep what git-theta makes of every version."""
    for name in run("git", "rev-list", "main").decode().split():
        here = run("git", "ls-tree", "--name-only", name).decode().split()
        for path in PATHS.keys() & {*here}:
            text = run("git", "cat-file", "blob", f"{name}:{path}")
            file = folder / "expected" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            told = {"GIT_THETA_CHECKPOINT_TYPE": PATHS[path]}
            file.write_bytes(run("git-theta-filter", "smudge", path, data=text, env=told))


def _write(folder: Path) -> None:
    """Archive what was recorded, always in the same way."""
    files = [folder / "history.bundle", *(folder / "lfs").rglob("*"), *(folder / "expected").rglob("*")]
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for file in sorted(file for file in files if file.is_file()):
            data = file.read_bytes()
            info = tarfile.TarInfo(str(file.relative_to(folder)))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        record(Path(temporary) / "recorded", Path(sys.argv[1]))
        _write(Path(temporary) / "recorded")
