"""What is done, by whom, in which order.

A round makes fresh repositories and takes every step with each peer in turn, another one first in each round, so that
whatever else happens on the machine happens to all of them. A last round is off the clock and weighs memory. After
every step it is checked that what came out is right: a wrong result is an error, not a time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Memory, bare_python, handshake, peak, timed
from benchmarks.peers import PEERS, GitPeer, Peer, ThetaFilter
from theta_jupyter import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.versions import Version

__all__ = ["Results", "measure"]

ADD, CHECKOUT = "add and commit", "checkout"
TOUCHED, REWRITTEN, AGAIN = "status after touch", "status after saving the same bytes", "add of the unchanged file"
HANDSHAKE, PYTHON = "filter handshake", "a Python that does nothing"
DIFF, DIFF_COMMAND = "diff from manifests", "the same, by git theta diff"


@dataclass
class Results:
    """Everything that was measured.

    Parameters
    ----------
    times
        Seconds, by step, then by peer.
    stored
        Bytes a version added, by version, then by peer.
    memory
        The most held in any such step, by step, then by peer.
    alone
        Seconds of what only some can do, by label.
    """

    times: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    stored: dict[str, dict[str, int]] = field(default_factory=dict)
    memory: dict[str, dict[str, Memory]] = field(default_factory=dict)
    alone: dict[str, list[float]] = field(default_factory=dict)


def measure(
    versions: Sequence[Version], folder: Path, *, rounds: int, quick: bool, greetings: int, say: Callable[[str], None]
) -> Results:
    """Measure all peers on these versions.

    Parameters
    ----------
    folder
        Where repositories are made; nothing is left there.
    quick
        Weigh memory on the clock, instead of in a round of its own.
    greetings
        How many handshakes.
    say
        Told what is being done.
    """
    results = Results()
    for number in range(rounds + (not quick)):
        clock = number < rounds
        say(f"round {number + 1} of {rounds}" if clock else "weighing memory")
        with tempfile.TemporaryDirectory(prefix="round-", dir=folder) as name:
            shift = number % len(PEERS)
            peers = [peer(Path(name) / peer.__name__) for peer in (*PEERS[shift:], *PEERS[:shift])]
            for label, steps in _steps(peers, versions, results):
                for peer, action in steps:
                    act = partial(_weigh, results, label, peer, action) if quick or not clock else action
                    if clock:
                        results.times.setdefault(label, {}).setdefault(peer.name, []).append(timed(act))
                    else:
                        act()
            if clock:
                _diffs(next(peer for peer in peers if isinstance(peer, ThetaFilter)), versions, results)
            if number == 0:
                say("shaking hands")
                _handshakes([peer for peer in peers if isinstance(peer, GitPeer)], greetings, results)
    return results


Step = tuple[Peer, "Callable[[], object]"]


def _steps(peers: list[Peer], versions: Sequence[Version], results: Results) -> Iterator[tuple[str, Iterator[Step]]]:
    """Steps to take with each peer; what is done before and after an action is yielded is off the clock."""

    def add(version: Version) -> Iterator[Step]:
        for peer in peers:
            peer.place(version)
            before = peer.stored()
            yield peer, partial(peer.record, version)
            peer.recorded(version)
            peer.clean()
            results.stored.setdefault(version.name, {})[peer.name] = peer.stored() - before

    def checkout(version: Version) -> Iterator[Step]:
        for peer in peers:
            peer.settle()
            yield peer, partial(peer.checkout, version)
            peer.holds(version)
            peer.clean()

    def unchanged(disturb: Callable[[Peer], object], act: Callable[[Peer], object]) -> Iterator[Step]:
        for peer in peers:
            peer.settle()
            disturb(peer)
            yield peer, partial(act, peer)
            peer.clean()
            peer.holds(versions[-1])

    for version in versions:
        yield f"{ADD}: {version.name}", add(version)
    for version in (*versions[-2::-1], versions[-1]):
        yield f"{CHECKOUT}: {version.name}", checkout(version)
    yield TOUCHED, unchanged(lambda peer: os.utime(peer.file), lambda peer: peer.status())
    yield REWRITTEN, unchanged(lambda peer: shutil.copyfile(versions[-1].path, peer.file), lambda peer: peer.status())
    yield AGAIN, unchanged(lambda peer: os.utime(peer.file), lambda peer: peer.add_again())


def _handshakes(peers: list[GitPeer], count: int, results: Results) -> None:
    # Two roads of ours share one filter.
    commands = {peer.process(): peer for peer in reversed(peers)}
    for _ in range(count):
        for command, peer in commands.items():
            label = f"{HANDSHAKE}: {'theta' if isinstance(peer, ThetaFilter) else peer.name}"
            results.alone.setdefault(label, []).append(handshake(command, peer.folder, peer.environment))
        results.alone.setdefault(PYTHON, []).append(bare_python())


def _diffs(peer: ThetaFilter, versions: Sequence[Version], results: Results) -> None:
    repository = Repository(peer.folder)
    for old, new in pairwise(versions):
        a, b = peer.commits[old.name], peer.commits[new.name]
        found = repository.diff(a, b)
        assert any(tensor.status == "M" for file in found.files for tensor in file.tensors)
        what = f"{old.name} to {new.name}"
        results.alone.setdefault(f"{DIFF}: {what}", []).append(timed(partial(repository.diff, a, b)))
        results.alone.setdefault(f"{DIFF_COMMAND}: {what}", []).append(
            timed(partial(peer.run, "git", "theta", "diff", a, b))
        )


def _weigh(results: Results, label: str, peer: Peer, action: Callable[[], object]) -> None:
    of_step = results.memory.setdefault(label.partition(":")[0], {})
    before, now = of_step.get(peer.name, Memory()), peak(action)
    of_step[peer.name] = Memory(max(before.all, now.all), max(before.anonymous, now.anonymous))
