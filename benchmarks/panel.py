"""How quickly the panel in JupyterLab is there, and whether it stays quick with a long history and many tensors.

In a real Chromium; the clock is the page's own. From the last answer of the server that a view needs to the first
frame that shows it is what the view takes; the longest stretch without a frame, while somebody scrolls, is how it
feels.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from playwright.sync_api import sync_playwright
from safetensors.torch import save_file

from benchmarks.records import Fact
from tests.ui.running import QUIET, running
from theta_jupyter import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from playwright.sync_api import Page

__all__ = ["panel"]

COMMITS, TENSORS = 10_000, 10_000
HEATMAP = "the heatmap of the diff"
PAINT, FROZEN = 0.3, 0.3
"""Seconds that are promised: to the first frame, and the longest without a reaction."""

WATCH = """
window.thetaFrozen = () => new Promise(done => {
  let longest = 0, last = performance.now(), end = last + 2000;
  const frame = now => {
    longest = Math.max(longest, now - last);
    last = now;
    now < end ? requestAnimationFrame(frame) : done(longest / 1000);
  };
  requestAnimationFrame(frame);
});
window.thetaShown = (selector, asked) => new Promise((done, fail) => {
  const begun = performance.now();
  const look = now => {
    const answers = performance.getEntriesByType('resource').filter(({ name }) => asked.some(a => name.includes(a)));
    if (document.querySelector(selector) && answers.length) {
      // What was there before it was asked for, is there from then on.
      const there = Math.max(begun, ...answers.map(({ responseEnd }) => responseEnd));
      requestAnimationFrame(now => done(Math.max(0, now - there) / 1000));
    } else if (now - begun > 60000) {
      fail(new Error(`${selector} did not appear`));
    } else {
      requestAnimationFrame(look);
    }
  };
  requestAnimationFrame(look);
});
performance.setResourceTimingBufferSize(10000);
"""


def panel(folder: Path, *, rounds: int, quick: bool, say: Callable[[str], None]) -> tuple[Fact, ...]:
    """Measure.

    Parameters
    ----------
    folder
        Where to work; nothing is left there.
    quick
        With few commits and tensors: says that it works, not how fast.
    """
    commits, tensors = (COMMITS // 100, TENSORS // 100) if quick else (COMMITS, TENSORS)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        return (Fact("the panel", 0.0, "not measured: there is no Chromium"),)
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="panel-", dir=folder) as name, running(Path(name)) as lab:
        say(f"a history of {commits:,} commits and a model of {tensors:,} tensors")
        _made(lab.root / "models", commits, tensors)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
            for turn in range(rounds):
                say(f"looking at them, {turn + 1} of {rounds}")
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.goto(f"{lab.url}/lab/tree/models?reset&token={lab.token}")
                page.wait_for_function("() => 'jupyterapp' in window")
                page.evaluate("() => window.jupyterapp.restored.then(() => true)")
                page.locator("#jupyterlab-splash").wait_for(state="detached")
                page.evaluate(WATCH)
                for label, seconds in _looked(page).items():
                    samples.setdefault(label, []).append(seconds)
                page.close()
            browser.close()
    return tuple(_fact(label, median(of), commits, tensors) for label, of in samples.items())


def _looked(page: Page) -> dict[str, float]:
    """Open the panel and a diff, and scroll in both."""

    def shown(action: str, selectors: Sequence[str], *asked: str) -> list[float]:
        act = f"const found = selectors.map(of => window.thetaShown(of, asked)); {action}; return Promise.all(found);"
        code = f"async ([selectors, asked]) => {{ {act} }}"
        return list(map(float, page.evaluate(code, [list(selectors), list(asked)])))

    def scrolled(selector: str) -> float:
        page.locator(selector).first.hover()
        page.evaluate("() => { window.thetaLongest = window.thetaFrozen(); }")
        for _ in range(20):
            page.mouse.wheel(0, 2000)
        return float(page.evaluate("() => window.thetaLongest"))

    run = "void window.jupyterapp.commands.execute"
    row = '[data-testid="theta-history-row"]'
    found: dict[str, Any] = {}
    (found["panel"],) = shown(f"{run}('theta:show')", [row], "theta/ask/panel/history")
    found["scrolling the history"] = scrolled(row)
    diff = '[data-testid="theta-diff"][data-ready="true"]'
    both = [diff, f"{diff} .heatmaplayer image"]
    found["diff"], found[HEATMAP] = shown(f"{run}('theta:diff')", both, "theta/ask/diff/file", "theta/tasks")
    found["scrolling the tensors"] = scrolled('[data-testid="theta-diff"] [role="row"]')
    return found


def _fact(label: str, seconds: float, commits: int, tensors: int) -> Fact:
    of = f"{commits:,} commits" if label in {"panel", "scrolling the history"} else f"{tensors:,} tensors"
    if label == HEATMAP:
        return Fact(f"panel, {label}, {of}: from its data to the frame that shows it", seconds, "drawn after the rest")
    limit = FROZEN if label.startswith("scrolling") else PAINT
    what = "longest without a frame" if label.startswith("scrolling") else "from its data to the first frame"
    remark = f"{'within' if seconds <= limit else 'BEYOND'} the {limit * 1e3:.0f} ms promised"
    return Fact(f"panel, {label}, {of}: {what}", seconds, remark)


def _made(place: Path, commits: int, tensors: int) -> None:
    """A repository with a long history of a small model, and a large model that was changed."""
    place.mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", place], check=True)
    repository, _ = Repository.init(place)
    git = repository.worktree.git
    git("config", "user.name", "Benchmark")
    git("config", "user.email", "benchmark@example.invalid")
    (place / ".gitattributes").write_text("*.safetensors filter=theta diff=theta merge=theta -text\n")
    generator = torch.Generator().manual_seed(0)

    def values(count: int, size: int) -> dict[str, torch.Tensor]:
        return {
            f"layers.{i // 10}.k{i % 10}.weight": torch.randn(size, size, generator=generator) for i in range(count)
        }

    blobs = []
    large = values(tensors, 64)
    save_file(large, place / "large.safetensors")
    for number in range(2):
        save_file(values(10, 64), place / "small.safetensors")
        repository.worktree.git("add", "--all")
        git("commit", "--quiet", "--message", f"version {number}")
        blobs.append(git("rev-parse", "HEAD:small.safetensors").decode().strip())
    head = git("rev-parse", "HEAD").decode().strip()
    lines = []
    for number in range(commits):
        text = f"step {number}"
        lines.append(
            f"commit refs/heads/main\ncommitter Benchmark <b@example.invalid> {1_700_000_000 + number} +0000\n"
            f"data {len(text)}\n{text}\n" + (f"from {head}\n" if not number else "")
        )
        lines.append(f"M 100644 {blobs[number % 2]} small.safetensors\n\n")
    git("fast-import", "--quiet", data="".join(lines).encode())
    git("reset", "--quiet", "--hard", "main")
    changed = {name: value * 1.001 for name, value in large.items()}
    save_file(changed, place / "large.safetensors")
    subprocess.run([sys.executable, "-P", "-m", "theta_jupyter", "status"], cwd=place, check=True, capture_output=True)
