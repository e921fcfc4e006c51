from __future__ import annotations

import math
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import main
from benchmarks.joining import COPY, STRATEGIES
from benchmarks.looking import EXACT, MANY
from benchmarks.peers import ThetaFilter
from benchmarks.report import OURS, RIVALS
from benchmarks.versions import BASE, DENSE, LORA

if TYPE_CHECKING:
    from pathlib import Path

ROWS = {
    *(f"{step}: {version}" for step in ("add and commit", "checkout") for version in (BASE, LORA, DENSE)),
    "status after touch",
    "status after saving the same bytes",
    "add of the unchanged file",
    f"bytes stored: {BASE}",
    f"bytes stored: {LORA}",
    f"bytes stored: {DENSE}",
    *(f"peak memory: {step}{what}" for step in ("add and commit", "checkout") for what in ("", ", anonymous")),
}
FACTS = {
    "filter handshake: theta",
    "filter handshake: Git LFS",
    "a Python that does nothing",
    *(
        f"{how}: {pair}"
        for how in ("diff from manifests", "the same, by git theta diff")
        for pair in (f"{BASE} to {LORA}", f"{LORA} to {DENSE}")
    ),
    *(f"diff of {count:,} tensors from manifests" for count in MANY),
    *(f"{what}, {where}" for what in EXACT for where in ("from disk", "from the page cache")),
    COPY,
    *(f"merge of two by {strategy}, all tensors in conflict" for strategy in STRATEGIES),
    "panel, panel, 100 commits: from its data to the first frame",
    "panel, scrolling the history, 100 commits: longest without a frame",
    "panel, diff, 100 tensors: from its data to the first frame",
    "panel, scrolling the tensors, 100 tensors: longest without a frame",
}


@pytest.mark.skipif(not (shutil.which("git-lfs") and shutil.which("cmp")), reason="needs git-lfs and cmp")
def test_quick_run_reports_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = main(["--quick", "--rounds", "1", "--folder", str(tmp_path)])

    assert {row.label.partition(" (")[0] for row in report.rows} == ROWS
    # Without the size of a file, which is another here.
    assert {re.sub(r",? (of )?[0-9.e-]+ GB each", "", fact.label) for fact in report.facts} == FACTS
    for row in report.rows:
        ratios = [row.ratio(ours, rival) for ours in OURS for rival in RIVALS]
        if row.label.startswith("peak memory"):
            ratios = [ratio for ratio in ratios if ratio is not None]  # `cp` may be gone before it is looked at.
        assert all(ratio is not None and ratio > 0 and math.isfinite(ratio) for ratio in ratios), row
    assert all(fact.value > 0 for fact in report.facts)
    printed = capsys.readouterr().out
    labels = [row.label for row in report.rows] + [fact.label for fact in report.facts]
    for text in (printed, report.markdown()):
        assert all(label in text for label in labels)
    assert str(tmp_path) not in report.markdown()
    assert [path.name for path in tmp_path.iterdir()] == ["quick"]


def test_a_wrong_result_is_an_error(tmp_path: Path) -> None:
    from benchmarks.versions import quick

    base, lora, _ = quick(tmp_path)
    peer = ThetaFilter(tmp_path / "peer")
    peer.place(base)
    peer.holds(base)
    with pytest.raises(AssertionError, match="something else"):
        peer.holds(lora)
    with pytest.raises(AssertionError, match="leaves changes"):
        peer.clean()
