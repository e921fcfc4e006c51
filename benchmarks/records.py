"""What was measured, as data: a part at a time, a round at a time, so that a long run may be done in pieces.

A part is a history, or one of the other measurements. Each of its rounds is a line of JSON in a file of the part's
name. Whoever writes the page reads all of them, whenever they were measured; each says when, and what else went on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.measure import Memory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Fact", "Note", "Part", "Round", "Share", "append", "forget", "read"]


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


@dataclass(frozen=True)
class Share:
    """What a single step took.

    Parameters
    ----------
    name
        What was done.
    of
        Which tensors count, in words.
    raw
        Their bytes.
    stored
        Bytes added for them.
    changed
        Share of the values that changed; None for a first version.
    bitx
        Bytes by BitX, if that was asked.
    allowance
        Bytes that may be needed besides: the adapter's.
    """

    name: str
    of: str
    raw: int
    stored: int
    changed: float | None = None
    bitx: int | None = None
    allowance: int = 0


@dataclass(frozen=True)
class Note:
    """A version, as the page needs it.

    Parameters
    ----------
    name, size, changed
        As in :class:`~benchmarks.histories.Version`.
    raw
        Bytes of all files where it is.
    """

    name: str
    size: int
    changed: float | None
    raw: int


@dataclass
class Round:
    """What came out of one round.

    Parameters
    ----------
    part, title
        Its name, and that for the page.
    when
        Day and time, in UTC.
    machine
        Where.
    noise
        Share of the processors' time that went to other work.
    seconds
        How long the round took.
    versions
        Of a history.
    times
        Seconds, by step, then by peer.
    memory
        The most held, by step, then by peer.
    stored
        Bytes that a version added, by version, then by peer.
    fetched
        Bytes that somebody needs who wants one version, by version, then by peer.
    kept
        What of the files came back, by peer: :class:`~benchmarks.peers.Kept`, as a number.
    left_out
        Why somebody did not take part, or not to the end, by peer.
    facts
        What only some can do.
    shares
        Single steps.
    """

    part: str
    title: str
    when: str
    machine: dict[str, str]
    noise: float = 0.0
    seconds: float = 0.0
    versions: list[Note] = field(default_factory=list)
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    memory: dict[str, dict[str, Memory]] = field(default_factory=dict)
    stored: dict[str, dict[str, int]] = field(default_factory=dict)
    fetched: dict[str, dict[str, int]] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """All rounds of a part, summed up; there is one at least.

    Parameters
    ----------
    rounds
        In their order.
    """

    rounds: tuple[Round, ...]

    @property
    def last(self) -> Round:
        """The latest: what does not vary is taken from it."""
        return self.rounds[-1]

    @property
    def clocked(self) -> int:
        """Rounds with a clock."""
        return sum(bool(each.times) for each in self.rounds)

    @property
    def labels(self) -> list[str]:
        """Steps that were on the clock."""
        return list(dict.fromkeys(label for each in self.rounds for label in each.times))

    @property
    def versions(self) -> list[Note]:
        """The versions."""
        return self.last.versions

    def seconds(self, label: str) -> dict[str, float]:
        """Median by peer."""
        return {peer: median(samples) for peer, samples in self._samples(label).items()}

    def spread(self, label: str) -> float | None:
        """Largest difference between two samples of a peer, as a share of its median; None if there is but one."""
        samples = [of for of in self._samples(label).values() if len(of) > 1]
        return max(((max(of) - min(of)) / median(of) for of in samples), default=None)

    def memory(self, prefix: str) -> dict[str, Memory]:
        """The most held in all steps of a kind, by peer."""
        found: dict[str, Memory] = {}
        for each in self.rounds:
            for label, held in each.memory.items():
                if label.startswith(prefix):
                    for peer, now in held.items():
                        before = found.get(peer, Memory())
                        found[peer] = Memory(max(before.all, now.all), max(before.anonymous, now.anonymous))
        return found

    def stored(self, version: str) -> dict[str, int]:
        """Bytes that a version added, by peer."""
        return self._latest("stored", version)

    def fetched(self, version: str) -> dict[str, int]:
        """Bytes to fetch a version, by peer."""
        return self._latest("fetched", version)

    @property
    def left_out(self) -> dict[str, str]:
        """Why somebody is missing, by peer."""
        return {peer: why for each in self.rounds for peer, why in each.left_out.items()}

    @property
    def kept(self) -> dict[str, int]:
        """The least that came back, in all rounds, by peer."""
        peers = dict.fromkeys(peer for each in self.rounds for peer in each.kept)
        return {peer: min(each.kept[peer] for each in self.rounds if peer in each.kept) for peer in peers}

    def _samples(self, label: str) -> dict[str, list[float]]:
        samples: dict[str, list[float]] = {}
        for each in self.rounds:
            for peer, seconds in each.times.get(label, {}).items():
                samples.setdefault(peer, []).append(seconds)
        return samples

    def _latest(self, what: str, version: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for each in self.rounds:
            found |= getattr(each, what).get(version, {})
        return found


def append(folder: Path, result: Round) -> None:
    """Write a round down."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{result.part}.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(result) + b"\n")


def forget(folder: Path, part: str) -> None:
    """Drop what was measured of a part before."""
    (folder / f"{part}.jsonl").unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Part]:
    """All parts by name."""
    decoder = msgspec.json.Decoder(Round)
    return {
        path.stem: Part(tuple(decoder.decode(line) for line in path.read_bytes().splitlines()))
        for path in sorted(folder.glob("*.jsonl"))
    }
