"""``python -m benchmarks``: measure, print the tables, and write them down if asked to.

A run may be done in parts: ``--only seeds`` measures one, and what was measured of the others is kept. The page is
written from all there is.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import records, report
from benchmarks.cases import cases, measure_cases
from benchmarks.histories import Shelf
from benchmarks.installing import install
from benchmarks.joining import join
from benchmarks.looking import look
from benchmarks.measure import Bystanders, machine
from benchmarks.panel import panel
from benchmarks.peers import PEERS
from benchmarks.plots import draw
from benchmarks.recipes import RECIPES
from benchmarks.rounds import facts, measure, rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.records import Part, Round

__all__ = ["OTHERS", "main"]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
OTHERS = {
    "cases": "Single steps",
    "diff": "Diffs, and how quickly filters start",
    "merges": "Merges of large models",
    "panel": "The panel in JupyterLab",
}
"""Parts that are no history."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Part]:
    """Run the benchmark and return all that was measured, now and before."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=[*RECIPES, *OTHERS], help="a part, instead of all; repeatable"
    )
    parser.add_argument(
        "--peer", action="append", choices=[p.name for p in PEERS], help="a peer, instead of all; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is done (3)")
    parser.add_argument(
        "--more", action="store_true", help="add rounds to those measured before, instead of in their place"
    )
    parser.add_argument("--prepare", action="store_true", help="only make files and install peers")
    parser.add_argument("--quick", action="store_true", help="on tiny versions: says that it works, not how fast")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--no-run", action="store_true", help="measure nothing: print, or write, what is there")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench", help="where to work (build/bench)")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if given.quick and given.write:
        parser.error("what --quick measures is not worth writing down")

    given.folder.mkdir(parents=True, exist_ok=True)
    results = given.folder / ("quick" if given.quick else ".") / "results"
    if not given.quick and not given.no_run:
        install(given.folder / "peers", _say)
    if given.prepare:
        _prepare(given)
        return {}
    if not given.no_run:
        for part in given.only or [*RECIPES, *OTHERS]:
            before = records.read(results).get(part) if given.more else None
            fresh = before is None
            for result in _measured(part, given, begun=0 if before is None else before.clocked):
                if fresh:
                    records.forget(results, part)
                    fresh = False
                records.append(results, result)
    found = records.read(results)
    print(report.text(found))
    if given.write:
        pictures = draw(found, PAGE.parent / "images")
        PAGE.write_text(report.markdown(found, pictures), encoding="utf-8")
        _say(f"written to {PAGE.relative_to(ROOT)}")
    return found


def _measured(part: str, given: argparse.Namespace, *, begun: int) -> Iterator[Round]:
    shelf = Shelf(given.folder, quick=given.quick)
    if part in RECIPES:
        history = RECIPES[part].history(part, shelf)
        count = 1 if history.once else given.rounds
        peers = given.peer or ()
        if given.quick:
            yield measure(history, given.folder, both=True, only=peers, say=_say)
        else:
            yield from rounds(history, given.folder, count=count, begun=begun, only=peers, say=_say)
        return
    result = records.Round(part, OTHERS[part], f"{datetime.now(UTC):%Y-%m-%d %H:%M}", machine())
    bystanders, start = Bystanders(), time.perf_counter()
    if part == "cases":
        result.shares = list(measure_cases(cases(shelf), given.folder, _say))
    else:
        result.facts = _facts(part, shelf, given)
    result.noise, result.seconds = bystanders.share(), time.perf_counter() - start
    yield result


def _facts(part: str, shelf: Shelf, given: argparse.Namespace) -> list[records.Fact]:
    acts: dict[str, Callable[..., tuple[records.Fact, ...]]] = {"diff": look, "merges": join, "panel": panel}
    found = list(acts[part](given.folder, rounds=given.rounds, quick=given.quick, say=_say))
    if part == "diff":
        history = RECIPES["seeds"].history("seeds", shelf)
        greetings = 3 if given.quick else 20
        found = [*facts(history, given.folder, count=given.rounds, greetings=greetings, say=_say), *found]
    return found


def _prepare(given: argparse.Namespace) -> None:
    shelf = Shelf(given.folder, quick=given.quick)
    for part in given.only or [*RECIPES, "cases"]:
        _say(f"making {part}")
        if part in RECIPES:
            RECIPES[part].history(part, shelf)
        elif part == "cases":
            cases(shelf)


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
