"""A diff as a widget: see it, click it, ask it.

The browser gets a loader of less than a kilobyte (``loader.js``). It takes the views from JupyterLab's extension where
that is installed, and asks the kernel for them where not, once per page. The data of a diff, too, comes when the view
asks for it. So what is saved with a notebook is small: the state of the widget, and a picture and a table for whoever
opens it without a kernel.
"""

from __future__ import annotations

import dataclasses
import weakref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython import get_ipython

from theta_jupyter._version import __version__
from theta_jupyter.answers import Shown
from theta_jupyter.commands import explain
from theta_jupyter.errors import RequestError
from theta_jupyter.jupyter.views import DiffView
from theta_jupyter.results import for_notebook

if TYPE_CHECKING:
    from theta_jupyter.diffs.compare import TensorDiff
    from theta_jupyter.diffs.report import Diff
    from theta_jupyter.results import Result

__all__ = ["MIME", "DiffWidget", "bundle", "widget"]

MIME = "application/vnd.theta-jupyter.diff+json"
"""Marks an output as ours: JupyterLab's extension then shows the widget where it lives, and the picture where not."""
VIEWS = Path(__file__).parent.parent / "static" / "views.js"


class DiffWidget(anywidget.AnyWidget):
    """A diff to look at: a heatmap, a histogram and a table that share one selection.

    Its traits can be observed and linked like those of any widget.

    Parameters
    ----------
    diff
        What :meth:`theta_jupyter.Repository.diff` gave.
    static
        What to show without a kernel: safe HTML.

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

    _esm = (Path(__file__).parent / "loader.js").read_text(encoding="utf-8")
    _version = traitlets.Unicode(__version__).tag(sync=True)
    _static = traitlets.Unicode().tag(sync=True)
    selection = traitlets.Unicode().tag(sync=True)
    filter = traitlets.Unicode().tag(sync=True)
    hide_unchanged = traitlets.Bool(default_value=True).tag(sync=True)
    file = traitlets.Unicode().tag(sync=True)

    def __init__(self, diff: Diff, *, static: str = "", **traits: Any) -> None:
        self._view = DiffView(diff)
        self._result: object = diff
        self._text = for_notebook(diff.text())
        first = diff.files[0].path if diff.files else ""
        super().__init__(_static=static or diff.html(), **{"file": first, **traits})
        self.on_msg(self._answer)

    @property
    def diff(self) -> Diff:
        """The diff, with what has been measured by now."""
        return self._view.diff

    @property
    def selected(self) -> TensorDiff | None:
        """The tensor selected."""
        if not self.selection:
            return None
        return next((tensor for tensor in self.diff.file(self.file).tensors if tensor.name == self.selection), None)

    def _answer(self, _: object, question: Any, __: object) -> None:
        """Answer a question of the view; whatever is wrong with it, there is an answer."""
        try:
            method, parameters = question["method"], question.get("params") or {}
            if method == "bundle":
                self.send({"id": question.get("id"), "result": "bundle"}, [_views()])
                return
            if method not in self._view.questions:
                raise RequestError(f"the view asks for {method!r}, which this version does not know")
            answer = {"result": self._view.questions[method](**parameters)}
        except BaseException as error:  # noqa: BLE001 - the view must not wait for ever
            answer = {"error": _told(error)}
        self.send({"id": question.get("id") if isinstance(question, dict) else None, **answer})

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Leave a picture and a table beside the widget."""
        shown = super()._repr_mimebundle_(**options)
        data, metadata = shown if isinstance(shown, tuple) else ({}, {})
        return {**data, "text/plain": self._text, "text/html": self._static, MIME: {}}, metadata


def widget(result: Any) -> DiffWidget:
    """The widget of a diff that a notebook shows; the same one each time.

    Raises
    ------
    RequestError
        If it has none: nothing differs, or it is no diff.
    """
    diff = getattr(result, "diff", result)
    if not getattr(diff, "files", None) or not hasattr(diff, "pairs"):
        raise RequestError("there is nothing to show: no file differs, or this is no diff")
    found = _widgets.get(id(result))
    if found is None:
        # The widget keeps the result, so that its number is not given to another while the widget lives.
        if isinstance(result, Shown):
            diff = dataclasses.replace(diff, subject=" · ".join([result.commit.subject, *result.notes()]))
        found = _widgets[id(result)] = DiffWidget(diff, static=result.html())
        found._result, found._text = result, for_notebook(result.text())  # noqa: SLF001 - this module's own
    return found


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


_widgets: weakref.WeakValueDictionary[int, DiffWidget] = weakref.WeakValueDictionary()


@cache
def _views() -> bytes:
    try:
        return VIEWS.read_bytes()
    except FileNotFoundError:
        raise RequestError("the views are not built", hint="in a checkout: make setup") from None
