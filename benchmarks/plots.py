"""Pictures of what was measured, for the page."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.peers import PEERS, Copy, Dvc, GitTheta, Lfs, Sha256, ThetaCommand, ThetaFilter
from benchmarks.rounds import ADD, CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.records import Part

__all__ = ["draw"]

COLOURS = dict(
    zip(
        (peer.name for peer in PEERS),
        ("#1565c0", "#64b5f6", "#e65100", "#7b1fa2", "#00897b", "#6d4c41", "#9e9e9e", "#bdbdbd", "#78909c"),
        strict=True,
    )
)
GROWTH = (ThetaFilter.name, ThetaCommand.name, Lfs.name, GitTheta.name)
RUNNING = 9


def draw(parts: Mapping[str, Part], folder: Path) -> dict[str, str]:
    """Draw what can be drawn; return the files' names, and what each shows."""
    pictures: dict[str, tuple[str, Callable[[Axes], bool]]] = {
        "benchmark-bytes.svg": ("Bytes kept after each version of the workflow", lambda axes: _bytes(axes, parts)),
        "benchmark-times.svg": ("Times of the workflow, 91 MB", lambda axes: _times(axes, parts)),
        "benchmark-commits.svg": ("Time of each of 200 commits", lambda axes: _commits(axes, parts)),
        "benchmark-tensors.svg": ("Time of a commit by number of tensors", lambda axes: _tensors(axes, parts)),
    }
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn = {}
    # The same data give the same file.
    with mpl.rc_context({"svg.hashsalt": "benchmarks", "font.size": 9}):
        for name, (title, act) in pictures.items():
            figure = Figure(figsize=(7.5, 3.6), layout="constrained", facecolor="white")
            axes = figure.add_subplot()
            axes.spines[["top", "right"]].set_visible(False)
            if act(axes):
                axes.set_title(title)
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(folder / name, metadata={"Date": None, "Creator": None})
                drawn[name] = title
    return drawn


def _bytes(axes: Axes, parts: Mapping[str, Part]) -> bool:
    if (part := parts.get("seeds")) is None:
        return False
    names = [version.name for version in part.versions]
    for peer, colour in COLOURS.items():
        kept, total = [], 0
        for name in names:
            total += part.stored(name).get(peer, 0)
            kept.append(total / 1e6)
        if peer not in {ThetaCommand.name, Copy.name, Sha256.name} and peer in part.stored(names[-1]):
            # DVC keeps as much as Git LFS, and would hide it.
            line = "--" if peer == Dvc.name else "-"
            axes.plot(range(len(names)), kept, line, marker="o", label=peer, color=colour)
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    axes.set_ylabel("MB kept")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return True


def _times(axes: Axes, parts: Mapping[str, Part]) -> bool:
    if (part := parts.get("seeds")) is None:
        return False
    steps = [label for label in part.labels if label.startswith((ADD, CHECKOUT))]
    peers = [peer for peer in COLOURS if any(peer in part.seconds(label) for label in steps)]
    for place, peer in enumerate(peers):
        heights = [part.seconds(label).get(peer, 0.0) for label in steps]
        spots = [number + (place - len(peers) / 2 + 0.5) * 0.85 / len(peers) for number in range(len(steps))]
        axes.bar(spots, heights, width=0.85 / len(peers), label=peer, color=COLOURS[peer])
    axes.set_yscale("log")
    axes.set_xticks(range(len(steps)), [label.replace(": ", "\n").replace("add and commit", "add") for label in steps])
    axes.tick_params(axis="x", labelrotation=60, labelsize=7)
    axes.set_ylabel("seconds")
    axes.legend(frameon=False, ncols=3, fontsize=7)
    return True


def _commits(axes: Axes, parts: Mapping[str, Part]) -> bool:
    if (part := parts.get("commits")) is None:
        return False
    labels = [f"{ADD}: {version.name}" for version in part.versions]
    for peer, colour in COLOURS.items():
        known = [(n, of[peer]) for n, label in enumerate(labels, 1) if peer in (of := part.seconds(label))]
        if known:
            smooth = [
                median([seconds for _, seconds in known[max(0, at - RUNNING // 2) : at + RUNNING // 2 + 1]])
                for at in range(len(known))
            ]
            axes.plot([n for n, _ in known], smooth, label=peer, color=colour)
    axes.set_yscale("log")
    axes.set_xlabel("commit")
    axes.set_ylabel(f"seconds (median of {RUNNING})")
    axes.legend(frameon=False, ncols=3, fontsize=7)
    return True


def _tensors(axes: Axes, parts: Mapping[str, Part]) -> bool:
    sizes = {1_000: "tensors-1k", 10_000: "tensors-10k", 100_000: "tensors-100k"}
    found = {count: parts[name] for count, name in sizes.items() if name in parts}
    if len(found) < 2:
        return False
    label = f"{ADD}: {next(iter(found.values())).versions[-1].name}"
    for peer in GROWTH:
        known = [(count, of[peer]) for count, part in found.items() if peer in (of := part.seconds(label))]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", label=peer, color=COLOURS[peer])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("tensors")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False)
    return True
