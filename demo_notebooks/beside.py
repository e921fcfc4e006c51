"""The same versions in two repositories: what they cost with Theta, and what with Git LFS."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from IPython import get_ipython

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THETA, LFS = ("#1f77b4", "#bbbbbb")


class BesideLfs:
    """Commits what Theta has just committed with Git LFS too, and keeps the books.

    Parameters
    ----------
    file
        The model, in the repository around the current folder.
    folder
        Where a repository is made for Git LFS.
    """

    def __init__(self, file: str, folder: Path) -> None:
        self.file, self.theirs = Path(file).resolve(), folder / file
        self._ours = self.file.parent / ".git"
        self._rows: list[dict[str, object]] = []
        self._began = self._seconds = 0.0
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("config", "user.name", "Demo")
        self._git("config", "user.email", "demo@example.invalid")
        self._git("lfs", "install", "--local")
        self._git("lfs", "track", file)
        self._git("add", ".gitattributes")
        self._git("commit", "--quiet", "--message=set up")
        # So that a step can be a plain cell: each is timed as it runs.
        events = get_ipython().events
        events.register("pre_run_cell", self._begin)
        events.register("post_run_cell", self._end)
        self._before = self._stored()

    def step(self, name: str) -> pd.DataFrame:
        """Commit the file with Git LFS, and put that beside what Theta did in the cell before this one."""
        seconds = self._seconds
        shutil.copyfile(self.file, self.theirs)
        began = time.perf_counter()
        self._git("add", self.theirs.name)
        self._git("commit", "--quiet", f"--message={name}")
        spent = time.perf_counter() - began
        stored = self._stored()
        ours, theirs = (now - before for now, before in zip(stored, self._before, strict=True))
        self._before = stored
        row = {"theta, MB": ours / 1e6, "Git LFS, MB": theirs / 1e6, "theta, s": seconds, "Git LFS, s": spent}
        self._rows.append({"step": name, **row})
        return self.table().tail(1)

    def table(self) -> pd.DataFrame:
        """What each step stored, and how long it took."""
        return pd.DataFrame(self._rows).set_index("step").rename_axis(None).round(1)

    def totals(self) -> pd.DataFrame:
        """The same, with a line for all of it."""
        table = pd.DataFrame(self._rows).set_index("step").rename_axis(None)
        table.loc["together"] = table.sum()
        return table.round(1)

    def plot(self) -> Figure:
        """What each step stored, and how long it took, as bars side by side."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 0.55 * len(self._rows) + 1), layout="constrained")
        sizes, times = figure.subplots(1, 2, sharey=True)
        names = [str(row["step"]) for row in self._rows]
        for axes, unit, title in ((sizes, "MB", "stored, MB"), (times, "s", "seconds")):
            for who, color, shift in (("theta", THETA, -0.2), ("Git LFS", LFS, 0.2)):
                values = [row[f"{who}, {unit}"] for row in self._rows]
                places = [place + shift for place in range(len(names))]
                bars = axes.barh(places, values, 0.38, color=color, label=who)
                axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
            axes.set_title(title, fontsize=10)
            axes.margins(x=0.12)
            axes.spines[["top", "right"]].set_visible(False)
        sizes.set_yticks(range(len(names)), names)
        sizes.invert_yaxis()
        times.legend(frameon=False, fontsize=9)
        return figure

    def _begin(self, _: object) -> None:
        self._began = time.perf_counter()

    def _end(self, _: object) -> None:
        self._seconds = time.perf_counter() - self._began

    def _stored(self) -> tuple[int, int]:
        """Bytes that both keep: Git's objects, and the filter's."""
        ours = (self._ours / "objects", self._ours / "theta" / "objects")
        theirs = (self.theirs.parent / ".git" / "objects", self.theirs.parent / ".git" / "lfs" / "objects")
        return sum(map(_size, ours)), sum(map(_size, theirs))

    def _git(self, *words: str) -> None:
        # Git LFS is installed for this repository alone, and nobody's account has a say.
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", *words], cwd=self.theirs.parent, env=environment, check=True, capture_output=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
