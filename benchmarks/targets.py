"""What was promised, beside what was measured.

A goal is judged by the worst of what belongs to it: of the steps, the roads, the histories. Where something was not
measured, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median
from typing import TYPE_CHECKING

from benchmarks.peers import GitTheta, Lfs, ThetaCommand, ThetaFilter
from benchmarks.rounds import ADD, AGAIN, CHECKOUT, TOUCHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.records import Part, Share

__all__ = ["Goal", "goals"]

ROADS = (ThetaFilter.name, ThetaCommand.name)
WINDOW = 20
"""Commits at the beginning and at the end of a long history that are compared."""
FLAT = 1.25
"""What counts as flat, or as linear: so much may come from the machine."""


@dataclass(frozen=True)
class Goal:
    """One promise.

    Parameters
    ----------
    what
        Of what.
    target, measured
        In words.
    met
        None if it was not measured.
    """

    what: str
    target: str
    measured: str = "not measured"
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "met", False: "**missed**", None: "-"}[self.met]


def goals(parts: Mapping[str, Part]) -> list[Goal]:
    """All of them."""
    shares = {(s.name, s.of): s for s in parts["cases"].last.shares} if "cases" in parts else {}
    return [*_bytes(shares), *_histories(parts), *_times(parts), *_growth(parts)]


# ---------------------------------------------------------------- bytes


def _bytes(shares: Mapping[tuple[str, str], Share]) -> Iterator[Goal]:
    def of_raw(what: str, limit: float, of: str = "the file") -> Goal:
        share = shares.get((what, of))
        goal = f"<= {limit:g} of raw"
        label = what if of == "the file" else f"{what}: {of}"
        if share is None:
            return Goal(label, goal)
        ratio = share.stored / share.raw
        moved = "" if share.changed is None else f" ({share.changed:.1%} of the values changed)"
        return Goal(label, goal, f"{ratio:.3f}{moved}", ratio <= limit)

    def of_bitx(what: str, limit: float, of: str = "the file") -> Goal:
        share = shares.get((what, of))
        label = f"{what}: {of}, beside BitX"
        if share is None or not share.bitx:
            return Goal(label, f"<= {limit:g} of BitX")
        ratio = share.stored / share.bitx
        return Goal(
            label, f"<= {limit:g} of BitX", f"{ratio:.3f} (BitX: {share.bitx / share.raw:.3f} of raw)", ratio <= limit
        )

    yield of_raw("first version, bf16", 0.70)
    yield of_raw("first version, fp32", 0.85)
    yield of_raw("dense fine-tune, fp32", 0.36)
    yield of_bitx("dense fine-tune, fp32", 0.83)
    yield of_raw("dense fine-tune, fp32", 0.60, "encoder.*")
    yield of_bitx("dense fine-tune, fp32", 0.93, "encoder.*")
    yield of_raw("LoRA folded in, fp32, unaided", 0.12, "tensors that were touched")
    yield of_raw("LoRA folded in, bf16, unaided", 0.14, "tensors that were touched")
    for how in ("given", "applied"):
        label, target = f"LoRA folded in, fp32, adapter {how}", "<= the adapter + 0.02 of raw"
        if (share := shares.get((label, "the file"))) is None:
            yield Goal(label, target)
        else:
            beyond = (share.stored - share.allowance) / share.raw
            yield Goal(label, target, f"the adapter {beyond:+.3f} of raw", beyond <= 0.02)
    for merge in ("average", "task arithmetic"):
        for kind in ("fp32", "bf16"):
            yield of_raw(f"{merge} of two, {kind}", 0.02)
    for what in (
        "embeddings without unused rows",
        "embeddings trimmed to a task",
        "embeddings extended",
        "bf16 copy beside fp32",
        "fp16 copy beside fp32",
        "all tensors renamed",
        "second file with the same tensors",
    ):
        yield of_raw(what, 0.01)


def _histories(parts: Mapping[str, Part]) -> Iterator[Goal]:
    workflows = {name: part for name, part in parts.items() if name.startswith("seeds")}
    for rival, limit in ((Lfs.name, 0.32), (GitTheta.name, 0.45)):
        ratios = {name: _totals(part, rival) for name, part in workflows.items()}
        known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        yield _at_most(f"the workflow, six versions, beside {rival}", limit, known, f"of {rival}")
    most, average = {}, {}
    for name, part in parts.items():
        shares = [
            part.fetched(version.name)[ThetaCommand.name] / version.raw
            for version in part.versions
            if ThetaCommand.name in part.fetched(version.name)
        ]
        if shares:
            most[name], average[name] = max(shares), mean(shares)
    yield _at_most("bytes to fetch any one version", 1.6, most, "of raw")
    yield _at_most("bytes to fetch one version, average over a history", 1.2, average, "of raw")


def _totals(part: Part, rival: str) -> float | None:
    stored = [part.stored(version.name) for version in part.versions]
    if not stored or any(rival not in of or ThetaFilter.name not in of for of in stored):
        return None
    return sum(of[ThetaFilter.name] for of in stored) / sum(of[rival] for of in stored)


# ---------------------------------------------------------------- times and memory


def _times(parts: Mapping[str, Part]) -> Iterator[Goal]:
    small, large = parts.get("seeds"), parts.get("large")
    command, filtered = (ThetaCommand.name,), ROADS

    def beside_lfs(
        what: str, limit: float, part: Part | None, labels: Callable[[str], bool], roads: Sequence[str]
    ) -> Goal:
        found = {
            f"{road}, {label.partition(': ')[2] or label}": seconds[road] / seconds[Lfs.name]
            for label, seconds in _steps(part, labels)
            for road in roads
            if road in seconds and Lfs.name in seconds
        }
        return _at_most(what, limit, found, "of Git LFS")

    first = large.versions[0].name if large else ""
    add_first = f"{ADD}: {first}"
    yield beside_lfs("add and commit, 2 GB bf16: first version", 0.6, large, lambda at: at == add_first, command)
    yield beside_lfs(
        "add and commit, 2 GB bf16: 2 of 16 layers changed",
        0.2,
        large,
        lambda at: at.startswith(ADD) and at != add_first,
        command,
    )
    yield beside_lfs("add and commit, 91 MB", 1.25, small, lambda at: at.startswith(ADD), filtered)
    yield beside_lfs("checkout, 91 MB", 1.25, small, lambda at: at.startswith(CHECKOUT), filtered)
    yield beside_lfs("checkout, 2 GB bf16", 0.6, large, lambda at: at.startswith(CHECKOUT), command)
    for size, part in (("91 MB", small), ("2 GB", large)):
        yield beside_lfs(f"status after touch, {size}", 0.5, part, lambda at: at == TOUCHED, filtered)
        yield beside_lfs(f"add of the unchanged file, {size}", 0.5, part, lambda at: at == AGAIN, filtered)
    for step in (ADD, CHECKOUT):
        faster = {
            f"{road}, {label.partition(': ')[2]}": seconds[GitTheta.name] / seconds[road]
            for label, seconds in _steps(small, lambda at, step=step: at.startswith(step))  # type: ignore[misc]
            for road in ROADS
            if road in seconds and GitTheta.name in seconds
        }
        what, target = f"{step}, 91 MB, beside git-theta", ">= 8 times faster"
        if faster:
            name, ratio = min(faster.items(), key=lambda item: item[1])
            yield Goal(what, target, f"{ratio:.1f} to {max(faster.values()):.1f} ({name} is worst)", ratio >= 8)
        else:
            yield Goal(what, target)
    held = large.memory("").get(ThetaCommand.name) if large else None
    what = "peak memory, 2 GB file, git theta"
    if held is None or not held.anonymous:
        yield Goal(what, "< 1 GB")
    else:
        measured = f"{held.anonymous / 1e9:.2f} GB ({held.all / 1e9:.2f} GB with mapped files)"
        yield Goal(what, "< 1 GB", measured, held.anonymous < 1e9)


def _steps(part: Part | None, labels: Callable[[str], bool]) -> Iterator[tuple[str, dict[str, float]]]:
    for label in part.labels if part else ():
        if labels(label) and part:
            yield label, part.seconds(label)


# ---------------------------------------------------------------- growth


def _growth(parts: Mapping[str, Part]) -> Iterator[Goal]:
    if (part := parts.get("commits")) is None:
        yield Goal("time and memory of a commit, 200 commits", f"flat (<= {FLAT:g} times)")
    else:
        # The first has nothing before it, and is another matter.
        labels = [f"{ADD}: {version.name}" for version in part.versions[1:]]
        window = min(WINDOW, len(labels) // 2)
        time, memory = {}, {}
        for road in ROADS:
            if not any(road in part.seconds(label) for label in labels):
                continue  # Nobody has gone it.
            early, late = (
                median([part.seconds(label)[road] for label in of if road in part.seconds(label)])
                for of in (labels[:window], labels[-window:])
            )
            time[road] = late / early
            weights = [held[road].anonymous for label in labels if road in (held := part.last.memory.get(label, {}))]
            if len(weights) > 1 and weights[0]:
                memory[road] = weights[-1] / weights[0]
        yield _at_most(f"time of a commit, the last {window} of 200 beside the first", FLAT, time, "times", "flat: ")
        yield _at_most("memory of a commit, the last of 200 beside the first", FLAT, memory, "times", "flat: ")
    sizes = [
        (count, parts.get(name)) for count, name in ((1e3, "tensors-1k"), (1e4, "tensors-10k"), (1e5, "tensors-100k"))
    ]
    known = [(count, part) for count, part in sizes if part is not None]
    most = max((count for count, _ in known), default=1e5)
    time, memory = {}, {}
    for (few, before), (many, after) in pairwise(known):
        for road in ROADS:
            for label in after.labels:
                old, new = before.seconds(label), after.seconds(label)
                if label.startswith((ADD, CHECKOUT)) and road in old and road in new:
                    time[f"{road}, {label}, {few:,.0f} to {many:,.0f}"] = new[road] / old[road] / (many / few)
            old_held, new_held = (each.memory("").get(road) for each in (before, after))
            if old_held and new_held and old_held.anonymous:
                of_road = f"{road}, {few:,.0f} to {many:,.0f}"
                memory[of_road] = new_held.anonymous / old_held.anonymous / (many / few)
    yield _at_most(f"time per tensor, up to {most:,.0f} tensors", FLAT, time, "times", "linear: ")
    yield _at_most(f"memory per tensor, up to {most:,.0f} tensors", FLAT, memory, "times", "linear: ")


def _at_most(what: str, limit: float, found: Mapping[str, float], unit: str, words: str = "") -> Goal:
    target = f"{words}<= {limit:g} {unit}"
    if not found:
        return Goal(what, target)
    name, worst = max(found.items(), key=lambda item: item[1])
    least = min(found.values())
    span = f"{worst:.2f}" if len(found) == 1 else f"{least:.2f} to {worst:.2f} ({name} is worst)"
    return Goal(what, target, span, worst <= limit)
