"""What is done with a history, by whom, in which order.

A round makes fresh repositories and takes every step with each peer in turn, another one first in each round, so that
whatever else happens on the machine happens to all of them. A last round is off the clock and weighs memory. After
every step it is checked that what came out is right. A wrong result of ours, or of Git LFS, is an error; any other
peer's ends its part in the round, and is noted. A history too large for all of them at a time is gone through by one
peer after the other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measure import Bystanders, bare_python, handshake, machine, peak, timed
from benchmarks.peers import PEERS, GitPeer, Lfs, Peer, PeerError, ThetaFilter
from benchmarks.records import Fact, Note, Round
from theta_jupyter import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.histories import History, Version

__all__ = ["ADD", "AGAIN", "CHECKOUT", "REWRITTEN", "TOUCHED", "facts", "measure", "rounds"]

ADD, CHECKOUT = "add and commit", "checkout"
TOUCHED, REWRITTEN, AGAIN = "status after touch", "status after saving the same bytes", "add of the unchanged file"
HANDSHAKE, PYTHON = "filter handshake", "a Python that does nothing"
DIFF, DIFF_COMMAND = "diff from manifests", "the same, by git theta diff"
LIMIT = 0.25
"""Seconds within which our filter promises to shake hands."""
SAMPLE = 10


@dataclass(frozen=True)
class Step:
    """One step of every peer.

    Parameters
    ----------
    label
        For the table.
    before, act, after
        Only ``act`` is on the clock.
    weighed
        Whether this one is weighed instead, in a long history.
    """

    label: str
    before: Callable[[Peer], object]
    act: Callable[[Peer], object]
    after: Callable[[Peer], object]
    weighed: bool = False


def rounds(
    history: History,
    folder: Path,
    *,
    count: int,
    begun: int = 0,
    weigh: bool = True,
    only: Sequence[str] = (),
    say: Callable[[str], None],
) -> Iterator[Round]:
    """Measure all peers on a history, a round at a time.

    Parameters
    ----------
    folder
        Where repositories are made; nothing is left there. Peers' virtual environments are in ``peers``.
    count
        How many rounds.
    begun
        How many there were before.
    weigh
        Whether a round that weighs memory comes last.
    only
        Names of peers, if not all.
    """
    weighing = weigh and not history.sampled and history.thorough
    for number in range(begun, begun + count + weighing):
        clock = number < begun + count
        say(f"{history.name}: round {number + 1} of {begun + count}" if clock else f"{history.name}: weighing memory")
        yield measure(history, folder, turn=number, clock=clock, only=only, say=say)


def measure(
    history: History,
    folder: Path,
    *,
    turn: int = 0,
    clock: bool = True,
    both: bool = False,
    only: Sequence[str] = (),
    say: Callable[[str], None],
) -> Round:
    """One round.

    Parameters
    ----------
    turn
        Who is first.
    clock
        Whether to measure time; else memory.
    both
        Weigh memory on the clock: says that it works, not how fast.
    """
    result = Round(history.name, history.title, f"{datetime.now(UTC):%Y-%m-%d %H:%M}", machine())
    result.versions = [Note(v.name, v.size, v.changed, history.raw(v)) for v in history.versions]
    bystanders, start = Bystanders(), time.perf_counter()
    chosen = _chosen(history, folder, turn, only, result)
    for group in [chosen] if history.together else [[kind] for kind in chosen]:
        with tempfile.TemporaryDirectory(prefix="round-", dir=folder) as name:
            peers = [kind(Path(name) / kind.__name__, folder / "peers") for kind in group]
            for peer in list(peers):
                with _dropping(peer, peers, result, "setting up"):
                    peer.prepare(history)
            for step in _steps(history, result):
                for peer in list(peers):
                    with _dropping(peer, peers, result, step.label):
                        _take(step, peer, result, clock=both or clock, weigh=both or not clock)
            if not history.together:
                say(f"{history.name}: done with {group[0].name}")
    result.noise, result.seconds = bystanders.share(), time.perf_counter() - start
    return result


def _chosen(history: History, folder: Path, turn: int, only: Sequence[str], result: Round) -> list[type[Peer]]:
    """Who takes part, and who is first."""
    shift = turn % len(PEERS)
    chosen = []
    for kind in (*PEERS[shift:], *PEERS[:shift]):
        if not only or kind.name in only:
            if why := kind.missing(folder / "peers") or kind.refuses(history):
                result.left_out[kind.name] = why
            else:
                chosen.append(kind)
    return chosen


def _take(step: Step, peer: Peer, result: Round, *, clock: bool, weigh: bool) -> None:
    step.before(peer)
    act: Callable[[], object] = partial(step.act, peer)
    if step.weighed:
        clock, weigh = False, True
    if weigh:
        act = partial(_weigh, result, step.label, peer, act)
    seconds = timed(act)
    if clock:
        result.times.setdefault(step.label, {})[peer.name] = seconds
    step.after(peer)


@contextmanager
def _dropping(peer: Peer, peers: list[Peer], result: Round, label: str) -> Iterator[None]:
    """Let a peer go that fails, unless it is one that all depends on."""
    try:
        yield
    except PeerError as error:
        if peer.needed:
            raise PeerError(f"{peer.name}, {label}: {error}") from error
        peers.remove(peer)
        # Of what a program says when it fails, the beginning is the command, and the end mostly the reason.
        lines = str(error).splitlines()
        result.left_out[peer.name] = f"no further than {label}: {' ... '.join(dict.fromkeys([lines[0], lines[-1]]))}"


def _steps(history: History, result: Round) -> Iterator[Step]:
    versions, last = history.versions, history.versions[-1]
    for number, version in enumerate(versions):
        yield _add(history, version, result, weighed=history.sampled and number % SAMPLE == SAMPLE - 1)
    for version in (*versions[-2 :: -SAMPLE if history.sampled else -1], last):
        yield _checkout(history, version, result)
    if history.thorough:
        path, file = last.path, last.file
        yield _unchanged(TOUCHED, history, lambda peer: os.utime(peer.folder / file), lambda peer: peer.status())
        yield _unchanged(
            REWRITTEN, history, lambda peer: shutil.copyfile(path, peer.folder / file), lambda peer: peer.status()
        )
        yield _unchanged(AGAIN, history, lambda peer: os.utime(peer.folder / file), lambda peer: peer.add_again(last))


def _add(history: History, version: Version, result: Round, *, weighed: bool) -> Step:
    before: dict[Peer, int] = {}

    def begin(peer: Peer) -> None:
        peer.go(version)
        peer.place(version)
        before[peer] = peer.stored()

    def end(peer: Peer) -> None:
        peer.recorded(version)
        # A filter may change what it is given.
        peer.holds(history.tree(version) if peer.exact else {})
        peer.clean()
        result.stored.setdefault(version.name, {})[peer.name] = peer.stored() - before[peer]
        result.fetched.setdefault(version.name, {})[peer.name] = peer.fetched(version)

    return Step(f"{ADD}: {version.name}", begin, lambda peer: peer.record(version), end, weighed)


def _checkout(history: History, version: Version, result: Round) -> Step:
    def begin(peer: Peer) -> None:
        # What is there now is of the step before.
        files = sorted({each.file for each in history.versions})
        peer.settle([file for file in files if (peer.folder / file).exists()])
        peer.ready(version)

    def end(peer: Peer) -> None:
        kept = peer.holds(history.tree(version))
        result.kept[peer.name] = min(kept, result.kept.get(peer.name, kept))
        peer.clean()

    return Step(f"{CHECKOUT}: {version.name}", begin, lambda peer: peer.checkout(version), end)


def _unchanged(label: str, history: History, disturb: Callable[[Peer], object], act: Callable[[Peer], object]) -> Step:
    tree = history.tree(history.versions[-1])

    def begin(peer: Peer) -> None:
        peer.settle([*tree])
        disturb(peer)

    def end(peer: Peer) -> None:
        peer.clean()
        peer.holds(tree)

    return Step(label, begin, act, end)


def _weigh(result: Round, label: str, peer: Peer, action: Callable[[], object]) -> None:
    result.memory.setdefault(label, {})[peer.name] = peak(action)


# ---------------------------------------------------------------- what only some can do


def facts(history: History, folder: Path, *, count: int, greetings: int, say: Callable[[str], None]) -> list[Fact]:
    """How long filters take to start, and a diff of versions.

    Parameters
    ----------
    history
        Its first versions are compared.
    count
        How often.
    greetings
        How many handshakes.
    """
    samples: dict[str, list[float]] = {}
    versions = [version for version in history.versions if len(version.parents) < 2][:3]
    with tempfile.TemporaryDirectory(prefix="facts-", dir=folder) as name:
        say("shaking hands")
        peers: list[GitPeer] = [ThetaFilter(Path(name) / "theta"), Lfs(Path(name) / "lfs")]
        for peer in peers:
            peer.prepare()
        commands = {peer.process(): peer for peer in peers}
        for _ in range(greetings):
            for command, peer in commands.items():
                label = f"{HANDSHAKE}: {'theta' if isinstance(peer, ThetaFilter) else peer.name}"
                samples.setdefault(label, []).append(handshake(command, peer.folder, peer.environment))
            samples.setdefault(PYTHON, []).append(bare_python())
        ours = peers[0]
        for version in versions:
            ours.go(version)
            ours.place(version)
            ours.record(version)
            ours.recorded(version)
        repository = Repository(ours.folder)
        for old, new in pairwise(versions):
            say(f"a diff of {old.name} and {new.name}")
            a, b = ours.commits[old.name], ours.commits[new.name]
            found = repository.diff(a, b)
            assert any(tensor.status == "M" for file in found.files for tensor in file.tensors)
            what = f"{old.name} to {new.name}"
            for _ in range(count):
                samples.setdefault(f"{DIFF}: {what}", []).append(timed(partial(repository.diff, a, b)))
                by_command = timed(partial(ours.run, "git", "theta", "diff", a, b))
                samples.setdefault(f"{DIFF_COMMAND}: {what}", []).append(by_command)
    return [Fact(label, median(of), _remark(label, median(of))) for label, of in samples.items()]


def _remark(label: str, seconds: float) -> str:
    if label == f"{HANDSHAKE}: theta":
        return f"{'within' if seconds <= LIMIT else 'BEYOND'} the {LIMIT * 1e3:.0f} ms promised"
    if label.startswith((HANDSHAKE, PYTHON)):
        return "for scale"
    return "from sketches; only tensors too small for one are read"
