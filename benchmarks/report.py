"""From samples to a table: medians, and how many times as much as Git LFS and as a plain copy."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.peers import PEERS, Copy, Lfs, ThetaCommand, ThetaFilter
from benchmarks.rounds import ADD, CHECKOUT, HANDSHAKE, PYTHON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Memory
    from benchmarks.rounds import Results
    from benchmarks.versions import Version

__all__ = ["Fact", "Report", "Row", "report"]

LIMIT = 0.25
"""Seconds within which our filter promises to shake hands."""
OURS, RIVALS = (ThetaFilter.name, ThetaCommand.name), (Lfs.name, Copy.name)
NAMES = tuple(peer.name for peer in PEERS)
HEAD = ("", *NAMES, *(f"{ours} / {rival}" for rival in RIVALS for ours in OURS), "spread")


@dataclass(frozen=True)
class Row:
    """One thing that every peer did.

    Parameters
    ----------
    label
        What.
    unit
        ``"s"`` or ``"B"``.
    values
        Median by peer; a peer may be missing that was gone before it could be looked at.
    spread
        Largest difference between two samples of one peer, as a share of its median; None if there is but one.
    """

    label: str
    unit: str
    values: Mapping[str, float]
    spread: float | None = None

    def ratio(self, ours: str, rival: str) -> float | None:
        """How many times as much we take; None where it is not known."""
        if ours in self.values and rival in self.values:
            return self.values[ours] / self.values[rival]
        return None

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of :data:`HEAD`."""
        ratios = [self.ratio(ours, rival) for rival in RIVALS for ours in OURS]
        return (
            self.label,
            *(_text(self.values[name], self.unit) if name in self.values else "-" for name in NAMES),
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            "" if self.spread is None else f"{self.spread:.0%}",
        )


@dataclass(frozen=True)
class Fact:
    """Seconds of something that only some can do.

    Parameters
    ----------
    label
        What.
    value
        Median.
    remark
        What it should be.
    """

    label: str
    value: float
    remark: str = ""

    def cells(self) -> tuple[str, ...]:
        """The fact as text."""
        return (self.label, f"{self.value * 1e3:.0f} ms", self.remark)


@dataclass(frozen=True)
class Report:
    """What came out.

    Parameters
    ----------
    rows
        What all peers did.
    facts
        The rest.
    machine
        Where.
    rounds
        How often.
    greetings
        How many handshakes.
    """

    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]
    machine: Mapping[str, str]
    rounds: int
    greetings: int

    def text(self) -> str:
        """For a terminal."""
        rows = _aligned([HEAD, *(row.cells() for row in self.rows)])
        facts = _aligned([fact.cells() for fact in self.facts])
        where = ", ".join(f"{key}: {value}" for key, value in self.machine.items())
        return f"{rows}\n\n{facts}\n\nmedians of {self.rounds} rounds; {where}"

    def markdown(self) -> str:
        """For the documentation."""
        return _PAGE.format(
            rows=_piped(HEAD, [row.cells() for row in self.rows]),
            facts=_piped(("", "median", ""), [fact.cells() for fact in self.facts]),
            machine="\n".join(f"- {key}: {value}" for key, value in self.machine.items()),
            rounds=self.rounds,
            greetings=self.greetings,
        )


def report(
    results: Results, versions: Sequence[Version], machine: Mapping[str, str], *, rounds: int, greetings: int
) -> Report:
    """Sum up what was measured."""
    rows = [_row(label, samples) for label, samples in results.times.items()]
    for version in versions:
        share = "" if version.changed is None else f" ({version.changed:.1%} of the values changed)"
        rows.append(Row(f"bytes stored: {version.name}{share}", "B", results.stored[version.name]))
    for step in (ADD, CHECKOUT):
        held = results.memory[step]
        rows.append(Row(f"peak memory: {step}", "B", _sizes(held, "all")))
        rows.append(Row(f"peak memory: {step}, anonymous", "B", _sizes(held, "anonymous")))
    facts = [Fact(label, median(samples), _remark(label, median(samples))) for label, samples in results.alone.items()]
    return Report(tuple(rows), tuple(facts), machine, rounds, greetings)


def _row(label: str, samples: Mapping[str, Sequence[float]]) -> Row:
    values = {name: median(of) for name, of in samples.items()}
    spreads = [(max(of) - min(of)) / values[name] for name, of in samples.items() if len(of) > 1]
    return Row(label, "s", values, max(spreads, default=None))


def _sizes(held: Mapping[str, Memory], what: str) -> dict[str, float]:
    return {name: size for name, memory in held.items() if (size := getattr(memory, what))}


def _remark(label: str, seconds: float) -> str:
    if label == f"{HANDSHAKE}: theta":
        return f"{'within' if seconds <= LIMIT else 'BEYOND'} the {LIMIT * 1e3:.0f} ms promised"
    return (
        "for scale"
        if label.startswith((HANDSHAKE, PYTHON))
        else "from sketches; only tensors too small for one are read"
    )


def _text(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def _aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in table
    )
    return "\n".join(line.rstrip() for line in lines)


def _piped(head: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *table])


_PAGE = """\
# Benchmarks

What `make bench BENCH=--write` found. The file is all-MiniLM-L6-v2 (91 MB of safetensors, float32) as it comes from
PyPI; then the same with a LoRA trained and folded in; then fine-tuned densely from there. `theta, by git` is plain
`git add`, `git commit`, `git checkout`, `git status` through our filter; `git theta` is the same by our commands.
Ratios say how many times as much we take as Git LFS, or as `cp`: below 1 we take less.

{rows}

{facts}

## How it was measured

- Each of {rounds} rounds makes fresh repositories and takes every step with each peer in turn, another one first in
  each round. Values are medians; `spread` is the largest difference between two samples of one peer, as a share of its
  median. Where the spread is large, so is the doubt; what else the machine did meanwhile stands below.
- Times are wall times of whole commands, process start included, after a sync of the disk; files are in the page cache.
- After every step the file is compared with the version, byte for byte (by BLAKE3), and `git status` must show no
  change. A wrong result stops the benchmark.
- A file was saved some minutes before it is added, and Git has looked at it since the last checkout: otherwise Git
  would look twice.
- `cp` hashes, checks and syncs nothing; its status is `cmp`. Git LFS does not sync what it stores; we do.
- Status and add of the unchanged file are answered from our cache, by the hash of what Git sends.
- Bytes stored are those of Git's objects and of the filter's; caches, which can be deleted at any time, do not count.
- Peak memory is the largest sum, over the processes of a command, of their proportional set sizes, looked at every few
  milliseconds in a round of its own. In the first figure pages of mapped files count, which the kernel may drop at any
  time; `anonymous` is what must be there. Shorter peaks may be missed.
- A diff of many tensors is of two commits, in a process that has done it before. The exact diff of large files
  (bfloat16, 32 tensors) is of two that are not tracked, in a process of its own, after they have been hashed and
  sketched. "From disk": after the kernel was told to drop them from the page cache.
- A merge is by `git theta merge`, of two fine-tunes of a bfloat16 model (32 tensors) in which every tensor is in
  conflict: theirs and the base are read from the store, ours from the work tree; the result is computed, stored,
  checked out and committed. Copying the three files by `cp` stands beside it, in turn with it. Memory is `anonymous`.
- The panel is measured in JupyterLab and Chromium: from the end of the last answer that a view needs to the first frame
  that shows it, and the longest stretch without a frame in two seconds of scrolling.
- A handshake lasts from the start of the filter process to the last word of its capabilities; median of {greetings}.

## The machine

{machine}
"""
