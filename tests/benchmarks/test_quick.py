from __future__ import annotations

import math
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main
from benchmarks.joining import COPY, STRATEGIES
from benchmarks.looking import EXACT, MANY
from benchmarks.peers import Copy, Kept, Lfs, PeerError, ThetaCommand, ThetaFilter
from benchmarks.recipes import BASE, DENSE_A, DENSE_B, LORA, MERGE, TRIMMED
from benchmarks.report import text

if TYPE_CHECKING:
    from pathlib import Path

needs_lfs = pytest.mark.skipif(not (shutil.which("git-lfs") and shutil.which("cmp")), reason="needs git-lfs and cmp")

VERSIONS = (BASE, LORA, DENSE_A, DENSE_B, MERGE, TRIMMED)
STEPS = {
    *(f"{step}: {version}" for step in ("add and commit", "checkout") for version in VERSIONS),
    "status after touch",
    "status after saving the same bytes",
    "add of the unchanged file",
}
FACTS = {
    "filter handshake: theta",
    "filter handshake: Git LFS",
    "a Python that does nothing",
    *(
        f"{how}: {pair}"
        for how in ("diff from manifests", "the same, by git theta diff")
        for pair in (f"{BASE} to {LORA}", f"{LORA} to {DENSE_A}")
    ),
    *(f"diff of {count:,} tensors from manifests" for count in MANY),
    *(f"{what}, {where}" for what in EXACT for where in ("from disk", "from the page cache")),
    COPY,
    *(f"merge of two by {strategy}, all tensors in conflict" for strategy in STRATEGIES),
    "panel, panel, 100 commits: from its data to the first frame",
    "panel, scrolling the history, 100 commits: longest without a frame",
    "panel, diff, 100 tensors: from its data to the first frame",
    "panel, the heatmap of the diff, 100 tensors: from its data to the frame that shows it",
    "panel, scrolling the tensors, 100 tensors: longest without a frame",
}


@needs_lfs
def test_quick_run_of_a_history_measures_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peers = [ThetaFilter.name, Lfs.name, Copy.name]
    arguments = [word for peer in peers for word in ("--peer", peer)]

    found = main(["--quick", "--only", "seeds", *arguments, "--folder", str(tmp_path)])

    part = found["seeds"]
    assert set(part.labels) == STEPS
    for label in part.labels:
        assert part.seconds(label).keys() == set(peers)
        assert all(math.isfinite(seconds) and seconds > 0 for seconds in part.seconds(label).values())
    assert [version.name for version in part.versions] == list(VERSIONS)
    for version in part.versions:
        for known in (part.stored(version.name), part.fetched(version.name)):
            assert known.keys() == set(peers)
        assert part.stored(version.name)[Copy.name] == version.size
        assert version.size < part.stored(version.name)[Lfs.name] < version.size + 5000
        assert part.fetched(version.name)[ThetaFilter.name] > 0
        assert version.changed is None or 0 <= version.changed <= 1
    assert part.kept == dict.fromkeys(peers, Kept.BYTES)
    assert part.memory("add and commit").keys() == set(peers)
    printed = capsys.readouterr().out
    assert printed == text(found) + "\n"
    assert all(label in printed for label in STEPS)
    assert str(tmp_path) not in printed
    assert [path.name for path in tmp_path.iterdir()] == ["quick"]


def test_quick_run_by_our_commands(tmp_path: Path) -> None:
    found = main(["--quick", "--only", "tensors-1k", "--peer", ThetaCommand.name, "--folder", str(tmp_path)])

    part = found["tensors-1k"]
    assert {label.partition(":")[0] for label in part.labels} == {label.partition(":")[0] for label in STEPS}
    assert all(part.seconds(label).keys() == {ThetaCommand.name} for label in part.labels)
    assert part.kept == {ThetaCommand.name: Kept.BYTES}


@needs_lfs
def test_quick_run_of_the_rest_reports_every_fact(tmp_path: Path) -> None:
    parts = [word for part in ("diff", "merges", "panel") for word in ("--only", part)]

    found = main(["--quick", "--rounds", "1", *parts, "--folder", str(tmp_path)])

    facts = [fact for part in found.values() for fact in part.last.facts]
    # Without the size of a file, which is another here.
    assert {re.sub(r",? (of )?[0-9.e-]+ GB each", "", fact.label) for fact in facts} == FACTS
    assert all(fact.value > 0 for fact in facts)
    assert [path.name for path in tmp_path.iterdir()] == ["quick"]


def test_a_wrong_result_is_an_error(tmp_path: Path) -> None:
    from benchmarks.histories import History, Shelf
    from benchmarks.recipes import seeds

    history = History("test", "test", seeds(Shelf(tmp_path, quick=True)))
    base, lora = history.versions[:2]
    peer = ThetaFilter(tmp_path / "peer")
    peer.prepare()
    peer.place(base)
    assert peer.holds(history.tree(base)) == Kept.BYTES
    with pytest.raises(PeerError, match="something else"):
        peer.holds(history.tree(lora))
    with pytest.raises(PeerError, match="leaves changes"):
        peer.clean()
