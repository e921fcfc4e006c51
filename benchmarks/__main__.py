"""``python -m benchmarks``: measure, print the table, and write it down if asked to."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import versions
from benchmarks.joining import join
from benchmarks.looking import look
from benchmarks.measure import Bystanders, machine
from benchmarks.panel import panel
from benchmarks.report import Report, report
from benchmarks.rounds import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> Report:
    """Run the benchmark and return what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is done (3)")
    parser.add_argument("--quick", action="store_true", help="on tiny versions: says that it works, not how fast")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench", help="where to work (build/bench)")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if given.quick and given.write:
        parser.error("what --quick measures is not worth writing down")

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    given.folder.mkdir(parents=True, exist_ok=True)
    say("making the versions")
    made = (versions.quick if given.quick else versions.real)(given.folder)
    greetings = 3 if given.quick else 20
    bystanders = Bystanders()
    results = measure(made, given.folder, rounds=given.rounds, quick=given.quick, greetings=greetings, say=say)
    looks = look(given.folder, rounds=given.rounds, quick=given.quick, say=say)
    joins = join(given.folder, rounds=given.rounds, quick=given.quick, say=say)
    where = machine() | {"other work during the run": f"{bystanders.share():.0%} of the processors' time"}
    found = report(results, made, where, rounds=given.rounds, greetings=greetings)
    seen = panel(given.folder, rounds=given.rounds, quick=given.quick, say=say)
    found = replace(found, facts=(*found.facts, *looks, *joins, *seen))
    print(found.text())
    if given.write:
        PAGE.write_text(found.markdown(), encoding="utf-8")
        say(f"written to {PAGE.relative_to(ROOT)}")
    return found


if __name__ == "__main__":
    main()
