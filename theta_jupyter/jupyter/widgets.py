"""A diff, or a merge, as a widget: see it, click it, ask it.

The browser gets a loader of less than a kilobyte (``loader.js``). It takes the views from JupyterLab's extension where
that is installed, and asks the kernel for them where not, once per page. The data, too, comes when the view
asks for it. So what is saved with a notebook is small: the state of the widget, and a picture and a table for whoever
opens it without a kernel.
"""

from __future__ import annotations

import contextvars
import dataclasses
import threading
import time
import weakref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython import get_ipython

from theta_jupyter._version import __version__
from theta_jupyter.answers import Shown
from theta_jupyter.board import Board
from theta_jupyter.commands import explain
from theta_jupyter.errors import RequestError
from theta_jupyter.jupyter.board_view import BoardView
from theta_jupyter.jupyter.merge_view import MergeView
from theta_jupyter.jupyter.views import DiffView
from theta_jupyter.merge_state import Conflicts, MergeState
from theta_jupyter.merging import Merge
from theta_jupyter.results import for_notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from theta_jupyter.diffs.compare import TensorDiff
    from theta_jupyter.diffs.report import Diff
    from theta_jupyter.results import Result

__all__ = ["MIME", "BoardWidget", "DiffWidget", "MergeWidget", "ViewWidget", "announce", "bundle", "widget"]

MIME = "application/vnd.theta-jupyter.diff+json"
"""Marks an output as ours: JupyterLab's extension then shows the widget where it lives, and the picture where not. What
it holds says what could be opened in a tab of its own."""
VIEWS = Path(__file__).parent.parent / "static" / "views.js"


class ViewWidget(anywidget.AnyWidget):
    """What the widgets of all views share: a loader, and questions that are answered.

    Parameters
    ----------
    questions
        Functions by name, that take what the view sends.
    long
        Names of those that take a while. They are told ``progress`` and run beside the kernel's other work; the view
        may cancel them.
    text, static
        What to show without a kernel: text, and safe HTML.
    """

    _esm = (Path(__file__).parent / "loader.js").read_text(encoding="utf-8")
    _version = traitlets.Unicode(__version__).tag(sync=True)
    _view = traitlets.Unicode().tag(sync=True)
    _static = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        questions: Mapping[str, Callable[..., Any]],
        *,
        long: AbstractSet[str] = frozenset(),
        text: str = "",
        static: str = "",
        **traits: Any,
    ) -> None:
        self._questions, self._long, self._text = questions, long, text
        self._result: object = None
        self._cancelled: dict[str, threading.Event] = {}
        super().__init__(_static=static, **traits)
        self.on_msg(self._answer)

    def _answer(self, _: object, question: Any, __: object) -> None:
        """Answer a question of the view; whatever is wrong with it, there is an answer."""
        key = question.get("id") if isinstance(question, dict) else None
        try:
            method, parameters = question["method"], question.get("params") or {}
            if method == "cancel":
                if parameters.get("id") in self._cancelled:
                    self._cancelled[parameters["id"]].set()
                return
            if method == "bundle":
                self.send({"id": key, "result": "bundle"}, [_views()])
                return
            if method not in self._questions:
                raise RequestError(f"the view asks for {method!r}, which this version does not know")
            if method in self._long and isinstance(key, str):
                self._cancelled[key] = threading.Event()
                # With what is known of who asked, so that the answer finds its way.
                context = contextvars.copy_context()
                work = threading.Thread(target=context.run, args=(self._work, key, method, parameters), daemon=True)
                work.start()
                return
            answer = {"result": self._questions[method](**parameters)}
        except BaseException as error:  # noqa: BLE001 - the view must not wait for ever
            answer = {"error": _told(error)}
        self.send({"id": key, **answer})
        self._done(question)

    def _work(self, key: str, method: str, parameters: dict[str, Any]) -> None:
        """Answer a question that takes a while."""
        cancelled, last = self._cancelled[key], 0.0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal last
            if cancelled.is_set():
                raise KeyboardInterrupt
            now = time.monotonic()
            if now - last > 0.1:
                last = now
                self.send({"id": key, "progress": {"what": what, "done": done, "total": total}})

        try:
            answer = {"result": self._questions[method](**parameters, progress=progress)}
        except BaseException as error:  # noqa: BLE001 - the view must not wait for ever
            answer = {"error": _told(error)}
        self._cancelled.pop(key, None)
        self.send({"id": key, **answer})
        self._done({"method": method})

    def _done(self, question: Any) -> None:
        """Called after an answer."""

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Leave a picture and a table beside the widget."""
        shown = super()._repr_mimebundle_(**options)
        data, metadata = shown if isinstance(shown, tuple) else ({}, {})
        return {**data, "text/plain": self._text, "text/html": self._static, MIME: self._opens()}, metadata

    def _opens(self) -> dict[str, str]:
        """What a tab of JupyterLab's main area would show, if it could show this."""
        return {}


class DiffWidget(ViewWidget):
    """A diff to look at: a heatmap, a histogram and a table that share one selection.

    Its traits can be observed and linked like those of any widget.

    Parameters
    ----------
    diff
        What :meth:`theta_jupyter.Repository.diff` gave.
    static, text
        What to show without a kernel: safe HTML, and text.

    Attributes
    ----------
    selection : str
        The tensor selected, by name; empty for none.
    filter : str
        What names in the table contain, or a pattern such as ``*.weight``.
    hide_unchanged : bool
        Whether tensors that did not change are left out of the table.
    file : str
        The file shown, of a diff of several.
    """

    selection = traitlets.Unicode().tag(sync=True)
    filter = traitlets.Unicode().tag(sync=True)
    hide_unchanged = traitlets.Bool(default_value=True).tag(sync=True)
    file = traitlets.Unicode().tag(sync=True)

    def __init__(self, diff: Diff, *, static: str = "", text: str = "", **traits: Any) -> None:
        self._diffs = DiffView(diff)
        first = diff.files[0].path if diff.files else ""
        super().__init__(
            self._diffs.questions,
            text=text or for_notebook(diff.text()),
            static=static or diff.html(),
            **{"_view": "diff", "file": first, **traits},
        )

    @property
    def diff(self) -> Diff:
        """The diff, with what has been measured by now."""
        return self._diffs.diff

    def _opens(self) -> dict[str, str]:
        """The diff, if both versions are in the repository."""
        versions = self.diff.versions
        if versions is None:
            return {}
        files = self.diff.files
        return {
            "kind": "diff",
            "old": versions[0],
            "new": versions[1],
            "path": files[0].path if len(files) == 1 else "",
        }

    @property
    def selected(self) -> TensorDiff | None:
        """The tensor selected."""
        if not self.selection:
            return None
        return next((tensor for tensor in self.diff.file(self.file).tensors if tensor.name == self.selection), None)


class MergeWidget(ViewWidget):
    """A merge to decide: conflicts by module, strategies, previews, and the end of it.

    Parameters
    ----------
    merge
        What :meth:`theta_jupyter.Repository.merging` gave.

    Attributes
    ----------
    selection : list of str
        The tensors selected, by name.
    filter : str
        What names in the table contain, or a pattern such as ``*.weight``.
    file : str
        The file shown.
    """

    selection = traitlets.List(traitlets.Unicode()).tag(sync=True)
    filter = traitlets.Unicode().tag(sync=True)
    file = traitlets.Unicode().tag(sync=True)

    def __init__(self, merge: Merge, *, result: Result | None = None, **traits: Any) -> None:
        self._merges = MergeView(merge)
        state = merge.state()
        shown = result or state
        first = state.files[0].path if state.files else ""
        super().__init__(
            self._merges.questions,
            long=self._merges.long,
            text=for_notebook(shown.text()),
            static=shown.html(),
            **{"_view": "merge", "file": first, **traits},
        )
        _open.add(self)

    def _opens(self) -> dict[str, str]:
        """The resolver."""
        return {"kind": "merge"}

    @property
    def merge(self) -> Merge:
        """The merge, to go on with in Python."""
        return self._merges.merge

    def _done(self, question: Any) -> None:
        """Let other views of this merge ask again."""
        if isinstance(question, dict) and question.get("method") in self._merges.changing:
            announce(self.merge, but=self)


class BoardWidget(ViewWidget):
    """A scoreboard, whose rows can be taken.

    Parameters
    ----------
    board
        What :meth:`theta_jupyter.Repository.try_merge` gave.
    """

    def __init__(self, board: Board, **traits: Any) -> None:
        self._boards = view = BoardView(board)
        super().__init__(
            view.questions,
            long=view.long,
            text=for_notebook(board.text()),
            static=board.html(),
            **{"_view": "board", **traits},
        )
        self.board = board

    def _done(self, question: Any) -> None:
        """Let views of the merge ask again: it has another plan."""
        if isinstance(question, dict) and question.get("method") == "use" and self._boards.state is not None:
            merge = self._boards.state.merge
            if merge is not None:
                announce(merge)


def announce(merge: Merge, *, but: ViewWidget | None = None) -> None:
    """Let the views of a merge ask again: it was changed.

    Parameters
    ----------
    but
        The one that did it, and knows.
    """
    views = [view for view in list(_open) if view is not but and view.merge.worktree.top == merge.worktree.top]
    if views:
        revision = merge.state().revision
        for view in views:
            view.send({"event": "changed", "revision": revision})


_open: weakref.WeakSet[MergeWidget] = weakref.WeakSet()


def widget(result: Any) -> ViewWidget:
    """The widget of a diff or a merge that a notebook shows; the same one each time.

    Raises
    ------
    RequestError
        If it has none: nothing differs, no merge is in progress, or it is something else.
    """
    found = _widgets.get(id(result))
    if found is None:
        # The widget keeps the result, so that its number is not given to another while the widget lives.
        found = _widgets[id(result)] = _made(result)
        found._result = result  # noqa: SLF001 - this module's own
    return found


def _made(result: Any) -> ViewWidget:
    if isinstance(result, Merge):
        return MergeWidget(result)
    if isinstance(result, Board):
        return BoardWidget(result)
    if isinstance(result, MergeState | Conflicts):
        if result.merge is None or not result.merge.state().situation.kind:
            raise RequestError("no merge is in progress")
        return MergeWidget(result.merge, result=result)
    diff = getattr(result, "diff", result)
    if not getattr(diff, "files", None) or not hasattr(diff, "pairs"):
        raise RequestError("there is nothing to show: no file differs, or this is no diff")
    if isinstance(result, Shown):
        diff = dataclasses.replace(diff, subject=" · ".join([result.commit.subject, *result.notes()]))
    return DiffWidget(diff, static=result.html(), text=for_notebook(result.text()))


def bundle(result: Result) -> Any:
    """Show a result as its widget, or as it is where it has none: what IPython asks for."""
    if not _is_watched():
        return result._repr_mimebundle_()
    try:
        return widget(result)._repr_mimebundle_()
    except RequestError:
        return result._repr_mimebundle_()


def _told(error: BaseException) -> dict[str, str]:
    try:
        message, hint, _ = explain(error)
    except BaseException as bug:  # noqa: BLE001 - who debugs has it raised; but this is another thread
        message, hint = f"{type(bug).__name__}: {bug}", ""
    return {"message": for_notebook(message), "hint": for_notebook(hint)}


def _is_watched() -> bool:
    """Whether somebody may be there to click.

    A notebook that is run as a batch keeps the state of its widgets, and pages made of it would then show those, with
    code from a network, instead of the picture. Who runs a batch answers no question of ``input()``, and says so.
    """
    shell = get_ipython()
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", True))


_widgets: weakref.WeakValueDictionary[int, ViewWidget] = weakref.WeakValueDictionary()


@cache
def _views() -> bytes:
    try:
        return VIEWS.read_bytes()
    except FileNotFoundError:
        raise RequestError("the views are not built", hint="in a checkout: make setup") from None
