"""A merge as a widget, in a real JupyterLab: begun in a terminal, decided with clicks or keys, and finished."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect
from safetensors.numpy import load_file

from .test_widget import LOAD, part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    from playwright.sync_api import Locator, Page

    from .conftest import Notebook
    from .running import Lab

    Model = dict[str, npt.NDArray[Any]]

RESOLVE = "%theta resolve"
EMBEDDINGS, HEAD = "embeddings.word_embeddings.weight", "classifier.bias"
KINDS = ("attention.query.weight", "attention.value.weight", "mlp.weight")

DIVERGED = """
import sys
import numpy as np
from safetensors.numpy import save_file
from theta_jupyter import Repository

kinds = eval(sys.argv[1])
shapes = {f"encoder.layer.{layer}.{kind}": (96, 96) for layer in range(3) for kind in kinds}
shapes |= {"embeddings.word_embeddings.weight": (400, 96), "classifier.bias": (8,)}
quiet = {f"encoder.layer.{layer}.norm.weight": (96,) for layer in range(3)}


def values(seed, shapes, scale):
    random = np.random.default_rng(seed)
    # Thousandths that float32 holds as they are: half their sum is a float32, too.
    return {name: random.normal(0, scale, shape).round().astype(np.float32) / 1024 for name, shape in shapes.items()}


repo, _ = Repository.init(".")
git = repo.worktree.git
git("config", "user.name", "Demo")
git("config", "user.email", "demo@example.invalid")
git("checkout", "-q", "-b", "main")
repo.track("model.safetensors")
base = values(0, shapes | quiet, 1024)


def commit(message, seed, scale, **more):
    moved = values(seed, shapes, scale)
    save_file(base | {name: base[name] + moved[name] for name in shapes} | more, "model.safetensors")
    repo.commit(message)


save_file(base, "model.safetensors")
repo.commit("base model")
git("checkout", "-q", "-b", "rte")
commit("LoRA on rte", 1, 64, **{"encoder.layer.0.norm.weight": base["encoder.layer.0.norm.weight"] + 1})
git("checkout", "-q", "main")
commit("dense fine-tune on sts", 2, 16, **{"encoder.layer.1.norm.weight": base["encoder.layer.1.norm.weight"] + 1})
"""


def git(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run Git as in a terminal."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def stopped(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """A repository in which `git merge` has just stopped for a conflict."""
    folder = lab.root / str(request.node.name)
    folder.mkdir()
    subprocess.run([sys.executable, "-c", DIVERGED, repr(KINDS)], cwd=folder, check=True, timeout=60)
    git(folder, "merge", "rte", code=1)
    return folder


def versions(folder: Path, *refs: str) -> list[Model]:
    """The model at each of these commits, as Git gives it."""
    found = []
    for ref in refs:
        copy = folder / "copy.safetensors"
        with copy.open("wb") as out:
            subprocess.run(
                ["git", "cat-file", "--filters", f"{ref}:model.safetensors"], cwd=folder, stdout=out, check=True
            )
        found.append(load_file(copy))
        copy.unlink()
    return found


def merge_in(output: Locator) -> Locator:
    """The widget, once it is drawn."""
    found = output.locator('[data-testid="theta-merge"]')
    expect(found).to_have_attribute("data-ready", "true", timeout=60_000)
    return found


def opened(open_notebook: Callable[..., Notebook], folder: Path, *more: str) -> tuple[Notebook, Locator]:
    """The merge, opened in a notebook by the magic."""
    notebook = open_notebook(folder, "merge.ipynb", LOAD, RESOLVE, *more)
    notebook.run(0)
    notebook.run(1)
    return notebook, merge_in(notebook.output(1))


def row(merge: Locator, name: str) -> Locator:
    return part(merge, "table").locator(f'[data-name="{name}"]')


def group(merge: Locator, prefix: str) -> Locator:
    return part(merge, "table").locator(f'[data-group="{prefix}"]')


def click(line: Locator, *modifiers: Any) -> None:
    """Click a row on its name."""
    line.locator(".theta-name").click(position={"x": 60, "y": 12}, modifiers=list(modifiers))


def strategies(merge: Locator) -> dict[str, str]:
    """What was chosen for the tensors whose rows are in the page."""
    found: dict[str, str] = (
        part(merge, "table")
        .locator("[data-name]")
        .evaluate_all("rows => Object.fromEntries(rows.map(row => [row.dataset.name, row.dataset.strategy]))")
    )
    return found


def in_both_themes(
    place: Locator, name: str, use_theme: Callable[[str], None], screenshot: Callable[[str], None]
) -> None:
    """Take pictures for the documentation."""
    for theme in ("Dark", "Light"):
        use_theme(theme)
        place.evaluate("place => place.scrollIntoView()")
        screenshot(f"{name}-{theme.lower()}")


def bulk(merge: Locator, strategy: str) -> None:
    """Choose a strategy for what is selected."""
    part(merge, "bulk").get_by_role("combobox").select_option(strategy)
    part(merge, "bulk-apply").click()


def finish(merge: Locator, message: str) -> None:
    """Commit, with this message."""
    part(merge, "message").fill(message)
    part(merge, "finish").click()
    expect(part(merge, "outcome")).to_contain_text("merged rte into main", timeout=60_000)


def previewed(merge: Locator) -> dict[str, list[str]]:
    """The table of the preview, by the first word of each line, once it is there."""
    preview = part(merge, "preview")
    expect(preview).to_have_attribute("data-ready", "true", timeout=30_000)
    lines: list[list[str]] = preview.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return {line[0].strip(" ●▲◆■").split(":")[0]: line[1:] for line in lines}


def tab_to(page: Page, place: Locator, key: str = "Tab") -> None:
    """Press Tab until something has the focus."""
    for _ in range(40):
        if place.evaluate("place => place === document.activeElement"):
            return
        page.keyboard.press(key)
    pytest.fail("the Tab key does not get there")


def is_same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def test_a_merge_of_a_terminal_with_a_mouse(
    open_notebook: Callable[..., Notebook],
    stopped: Path,
    use_theme: Callable[[str], None],
    screenshot: Callable[[str], None],
    page: Page,
) -> None:
    page.set_viewport_size({"width": 1280, "height": 1180})
    _, merge = opened(open_notebook, stopped)
    expect(merge).to_contain_text("Merging rte into main")
    expect(part(merge, "left")).to_have_text("11 conflicts left of 11")
    expect(merge).to_contain_text("1 ours only, 1 theirs only, 1 unchanged")
    expect(part(merge, "finish")).to_be_disabled()
    expect(part(merge, "finish")).to_have_attribute("title", "11 conflicts are left")

    # A row, a module, a selection, a pattern.
    query, value = (f"encoder.layer.0.{kind}" for kind in KINDS[:2])
    row(merge, query).get_by_role("combobox").select_option("theirs")
    expect(part(merge, "left")).to_have_text("10 conflicts left of 11")
    group(merge, "encoder.layer.1.").get_by_role("combobox").select_option("linear")
    expect(part(merge, "left")).to_have_text("7 conflicts left of 11")
    click(row(merge, HEAD))
    click(row(merge, EMBEDDINGS), "ControlOrMeta")
    expect(part(merge, "bulk")).to_contain_text("2 selected")
    bulk(merge, "ours")
    expect(part(merge, "left")).to_have_text("5 conflicts left of 11")

    # What is previewed is what will be committed.
    mlp = "encoder.layer.2.mlp.weight"
    click(row(merge, mlp))
    assert list(previewed(merge)) == ["ours", "theirs", "base"]
    preview = part(merge, "preview")
    preview.get_by_label("Strategy to try").select_option("task_arithmetic")
    preview.locator('[data-parameter="lambda"] input[type=number]').fill("0.5")
    expect(preview.locator("tbody tr")).to_have_count(4)
    expect(row(merge, mlp)).to_have_attribute("data-strategy", "")
    shown = previewed(merge)["result"][0]
    in_both_themes(merge, "merge-widget", use_theme, screenshot)
    part(merge, "scope").select_option("pattern")
    expect(part(merge, "pattern")).to_have_attribute("placeholder", "encoder.layer.*.mlp.weight")
    part(merge, "pattern").fill("encoder.layer.[02].mlp.*")
    expect(preview).to_contain_text("2 conflicts")
    part(merge, "apply").click()
    expect(part(merge, "left")).to_have_text("3 conflicts left of 11")
    expect(part(merge, "rules")).to_contain_text("task_arithmetic(lambda=0.5)")

    # The rest, all at once.
    part(merge, "left-only").check()
    expect(part(merge, "table").locator("[data-name]")).to_have_count(3)
    part(merge, "table").focus()
    page.keyboard.press("ControlOrMeta+a")
    bulk(merge, "ours")
    expect(part(merge, "left")).to_have_text("✓ all 11 conflicts are decided")
    part(merge, "left-only").uncheck()
    chosen = strategies(merge)

    page.set_viewport_size({"width": 700, "height": 1500})
    merge.evaluate("merge => merge.scrollIntoView()")
    screenshot("merge-widget-narrow")
    finish(merge, "Take the best of both")

    assert git(stopped, "log", "-1", "--format=%s") == "Take the best of both"
    made = check_commit(stopped, chosen)
    assert (chosen[query], chosen[value], chosen[mlp]) == ("theirs", "ours", "task_arithmetic")
    assert shown == f"{np.linalg.norm(made[mlp].astype(np.float64)):.5g}"


def check_commit(folder: Path, chosen: dict[str, str]) -> Model:
    """Compare every value that was committed with what NumPy makes of the same choices."""
    assert git(folder, "status", "--porcelain", "--untracked-files=no") == ""
    made, ours, theirs, base = versions(folder, "HEAD", "HEAD^1", "HEAD^2", "HEAD~2")
    half = np.float32(0.5)
    expected: dict[str, Callable[[str], npt.NDArray[Any]]] = {
        "ours": lambda name: ours[name],
        "theirs": lambda name: theirs[name],
        "linear": lambda name: (ours[name] + theirs[name]) * half,
        "task_arithmetic": lambda name: base[name] + (ours[name] - base[name] + theirs[name] - base[name]) * half,
    }
    assert set(chosen.values()) == set(expected)
    assert made.keys() == ours.keys()
    for name, strategy in chosen.items():
        assert is_same(made[name], expected[strategy](name)), name
    assert is_same(made["encoder.layer.0.norm.weight"], theirs["encoder.layer.0.norm.weight"])
    assert is_same(made["encoder.layer.1.norm.weight"], ours["encoder.layer.1.norm.weight"])
    in_work_tree = load_file(folder / "model.safetensors")
    assert all(is_same(in_work_tree[name], made[name]) for name in made)
    return made


def test_rules_are_text_and_what_was_done_can_be_undone(
    open_notebook: Callable[..., Notebook], stopped: Path, page: Page
) -> None:
    _, merge = opened(open_notebook, stopped)
    first, second = "encoder.layer.0.mlp.weight", "encoder.layer.1.mlp.weight"
    group(merge, "encoder.layer.").get_by_role("combobox").select_option("linear")
    expect(part(merge, "left")).to_have_text("2 conflicts left of 11")
    row(merge, first).get_by_role("combobox").select_option("theirs")
    rules = part(merge, "rules").locator("li")
    expect(rules).to_contain_text(["linear", "theirs"])
    rule = merge.get_by_label("Tensors of rule 2")
    expect(rule).to_have_value(first)
    rule.fill("*.mlp.*")
    rule.press("Enter")
    expect(row(merge, second)).to_have_attribute("data-strategy", "theirs")
    expect(rules).to_contain_text(["decides 6", "decides 3"])
    # A rule for nothing is refused, and changes nothing.
    rule.fill("nothing.*")
    rule.press("Enter")
    expect(merge.get_by_role("alert")).to_contain_text("nothing.*")
    expect(rule).to_have_value("*.mlp.*")
    merge.get_by_role("button", name="Remove rule 1").click()
    expect(part(merge, "left")).to_have_text("8 conflicts left of 11")
    expect(merge.get_by_role("alert")).to_have_count(0)
    part(merge, "undo").click()
    expect(part(merge, "left")).to_have_text("2 conflicts left of 11")
    part(merge, "table").focus()
    page.keyboard.press("ControlOrMeta+z")
    expect(row(merge, second)).to_have_attribute("data-strategy", "linear")
    expect(row(merge, first)).to_have_attribute("data-strategy", "theirs")
    row(merge, first).get_by_role("combobox").select_option("fisher")
    # It needs more than a name: that is given beside the table.
    expect(part(merge, "preview")).to_have_attribute("data-strategy", "fisher")
    expect(part(merge, "apply")).to_be_disabled()
    expect(row(merge, first)).to_have_attribute("data-strategy", "theirs")


def test_with_the_keyboard_alone(open_notebook: Callable[..., Notebook], stopped: Path, page: Page) -> None:
    notebook, merge = opened(open_notebook, stopped)
    press = page.keyboard.press
    table = part(merge, "table")
    part(merge, "filter").focus()
    # Letters that are shortcuts of a notebook are letters here.
    page.keyboard.type("dd.mlp")
    press("Escape")
    page.keyboard.type("mlp")
    expect(table.locator("[data-name]")).to_have_count(3)
    expect(notebook.panel.locator(".jp-Cell")).to_have_count(2)
    tab_to(page, table)
    press("ControlOrMeta+a")
    expect(part(merge, "bulk")).to_contain_text("3 selected")
    tab_to(page, part(merge, "bulk").get_by_role("combobox"))
    page.keyboard.type("theirs")
    press("Tab")
    press("Enter")
    expect(part(merge, "left")).to_have_text("8 conflicts left of 11")
    expect(part(merge, "rules")).to_contain_text("theirs")
    # One rule, for what was filtered.
    expect(part(merge, "rules").locator("li")).to_have_count(1)
    press("ControlOrMeta+z")
    expect(part(merge, "left")).to_have_text("11 conflicts left of 11")

    part(merge, "filter").focus()
    press("Escape")
    tab_to(page, table)
    press("Home")
    press("Enter")
    expect(row(merge, HEAD)).to_have_attribute("aria-selected", "true")
    press("Shift+ArrowDown")
    expect(part(merge, "bulk")).to_contain_text("2 selected")
    # Folding, and the strategy of the module that the cursor is on.
    press("ArrowDown")
    press("ArrowDown")
    expect(group(merge, "encoder.layer.0.")).to_have_class("theta-row theta-cursor theta-group")
    press("ArrowLeft")
    expect(row(merge, "encoder.layer.0.mlp.weight")).to_have_count(0)
    press("ArrowRight")
    expect(row(merge, "encoder.layer.0.mlp.weight")).to_have_count(1)
    press("Tab")
    tab_to(page, group(merge, "encoder.layer.0.").get_by_role("combobox"))
    page.keyboard.type("linear")
    expect(part(merge, "left")).to_have_text("8 conflicts left of 11")
    # The rest.
    tab_to(page, part(merge, "all-ours"), "Shift+Tab")
    press("Enter")
    expect(part(merge, "left")).to_contain_text("all 11 conflicts are decided")
    tab_to(page, part(merge, "finish"))
    press("Enter")
    expect(part(merge, "outcome")).to_contain_text("merged rte into main", timeout=60_000)
    made, ours = versions(stopped, "HEAD", "HEAD^1")
    assert all(is_same(made[name], ours[name]) for name in made if "norm" not in name)


def test_choices_outlive_the_kernel_and_are_seen_in_every_view(
    open_notebook: Callable[..., Notebook], stopped: Path, page: Page
) -> None:
    notebook, merge = opened(open_notebook, stopped, RESOLVE, "view = _\nview")
    notebook.run(2)
    other = merge_in(notebook.output(2))
    group(merge, "encoder.layer.0.").get_by_role("combobox").select_option("ties")
    expect(part(other, "left")).to_have_text("8 conflicts left of 11")
    expect(row(other, "encoder.layer.0.mlp.weight")).to_have_attribute("data-strategy", "ties")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.wait("idle")
    notebook.run(0)
    notebook.run(1)
    again = merge_in(notebook.output(1))
    expect(part(again, "left")).to_have_text("8 conflicts left of 11")
    expect(part(again, "rules")).to_contain_text("decides 3")
    part(again, "undo").click()
    expect(part(again, "left")).to_have_text("11 conflicts left of 11")


def test_abort_asks_first(open_notebook: Callable[..., Notebook], stopped: Path) -> None:
    before = git(stopped, "rev-parse", "HEAD")
    _, merge = opened(open_notebook, stopped)
    part(merge, "all-theirs").click()
    expect(part(merge, "left")).to_contain_text("all 11 conflicts are decided")
    part(merge, "abort").click()
    part(merge, "abort-no").click()
    expect(part(merge, "finish")).to_be_enabled()
    part(merge, "abort").click()
    part(merge, "abort-yes").click()
    expect(part(merge, "outcome")).to_contain_text("as it was before")
    assert git(stopped, "rev-parse", "HEAD") == before
    assert git(stopped, "status", "--porcelain", "--untracked-files=no") == ""


def test_python_and_page_share_their_state(open_notebook: Callable[..., Notebook], stopped: Path) -> None:
    name = "encoder.layer.1.mlp.weight"
    select = f"from theta_jupyter import widget\nview = widget(_2)\nview.selection = [{name!r}]\nview.filter = 'mlp'"
    notebook, merge = opened(open_notebook, stopped, select, "view.selection, view.filter, view.file")
    expect(part(merge, "table").locator("[data-name]").first).to_be_visible()
    notebook.run(2)
    expect(part(merge, "filter")).to_have_value("mlp")
    expect(part(merge, "preview")).to_have_attribute("data-name", name)
    click(row(merge, "encoder.layer.0.mlp.weight"), "ControlOrMeta")
    notebook.run(3)
    expect(notebook.output(3)).to_contain_text(
        f"(['{name}', 'encoder.layer.0.mlp.weight'], 'mlp', 'model.safetensors')"
    )


SCORE = """
def score(model):
    return 1 / sum(float(value.abs().mean()) for name, value in model.items() if "mlp" in name)
"""


def test_the_scoreboard_makes_a_plan(
    open_notebook: Callable[..., Notebook],
    stopped: Path,
    use_theme: Callable[[str], None],
    screenshot: Callable[[str], None],
    page: Page,
) -> None:
    page.set_viewport_size({"width": 1280, "height": 760})
    board_of = "%theta merge --try linear,slerp,ties,task_arithmetic --score score"
    notebook = open_notebook(stopped, "board.ipynb", LOAD, SCORE, board_of, RESOLVE)
    for index in range(3):
        notebook.run(index)
    board = notebook.output(2).locator('[data-testid="theta-board"]')
    expect(board).to_have_attribute("data-ready", "true", timeout=60_000)
    candidates = board.locator("tbody tr:not(.theta-parent)")
    expect(candidates).to_have_count(4)
    expect(board.locator(".theta-parent")).to_have_count(2)
    expect(board.locator("[data-best=true]")).to_have_count(1)
    expect(board.locator(".js-plotly-plot")).to_have_count(1)
    in_both_themes(board, "board", use_theme, screenshot)
    best = board.locator("[data-best=true]")
    chosen = best.locator("td").first.text_content() or ""
    best.get_by_role("button").click()
    expect(best).to_contain_text("in use")
    notebook.run(3)
    merge = merge_in(notebook.output(3))
    expect(part(merge, "left")).to_contain_text("all 11 conflicts are decided")
    expect(part(merge, "rules")).to_contain_text(chosen.strip(" ■"))
