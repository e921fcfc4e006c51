"""What is asked about a repository, from a name and plain data to a call: which view, which question, which repository.

Nothing that comes over the wire is trusted: paths stay below the server's root, a repository is one whose top lies
there, questions are those a view offers, and what they are told has the types that they declare.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import threading
import typing
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from theta_jupyter.api import Repository
from theta_jupyter.changes import EMPTY
from theta_jupyter.errors import NotARepositoryError, RequestError
from theta_jupyter.git.install import is_installed
from theta_jupyter.git.worktree import Worktree
from theta_jupyter.jupyter.merge_view import MergeView
from theta_jupyter.jupyter.panel import PanelView, inside
from theta_jupyter.jupyter.panel_types import Done, Found
from theta_jupyter.jupyter.views import DiffView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from theta_jupyter.storage.pool import Progress

__all__ = ["Asked", "Of", "UnknownError", "Views", "questions", "told_type"]

_HINTS = {"Progress": object}
"""Names that annotations of questions use, and that need not be known when they run."""
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no version is named by: control characters, and halves of characters."""
MOST = 16
"""Diffs and merges that are remembered, with what was measured for them."""


class UnknownError(RequestError):
    """There is no such view, question or repository."""


class Of(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which diff: two refs, and a model or all.

    Parameters
    ----------
    old
        Empty for what was there before the first commit: nothing.
    new
        Empty for the work tree, ``:`` for the index.
    path
        From the top; empty for all.
    """

    old: str = "HEAD"
    new: str = ""
    path: str = ""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request says.

    Parameters
    ----------
    repository
        From the server's root.
    of
        Which diff is asked about.
    told
        What the question is told, by name.
    """

    repository: str
    of: Of = Of()
    told: dict[str, Any] = {}


def questions(view: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a view, in the order in which they are written."""
    return {name: method for name, method in vars(view).items() if not name.startswith("_") and callable(method)}


@cache
def told_type(method: Callable[..., Any]) -> type[msgspec.Struct]:
    """What a question has to be told, as a type that data can be held against."""
    hints = typing.get_type_hints(method, vars(inspect.getmodule(method)) | _HINTS)
    parameters = [p for p in inspect.signature(method).parameters.values() if p.name not in {"self", "progress"}]
    fields = [
        (p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], p.default) for p in parameters
    ]
    return msgspec.defstruct("Told", fields, forbid_unknown_fields=True, frozen=True)


class Views:
    """The views of all repositories below a folder.

    Parameters
    ----------
    root
        The server's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._lock = threading.Lock()
        self._diffs: OrderedDict[tuple[Path, Of], DiffView] = OrderedDict()
        self._merges: OrderedDict[Path, MergeView] = OrderedDict()
        self._changing: dict[Path, threading.Lock] = {}

    def find(self, path: str) -> Found:
        """The repository around a folder or a file."""
        folder = self.inside(path)
        while not folder.is_dir():
            folder = folder.parent
        try:
            top = Worktree.find(folder).top.resolve()
        except NotARepositoryError:
            return Found(repository=None, name=folder.name, ready=False)
        if not top.is_relative_to(self.root):
            reason = "its repository begins above the folder that this server shows: start JupyterLab there"
            return Found(repository=None, name=top.name, ready=False, reason=reason)
        place = top.relative_to(self.root).as_posix()
        ready = is_installed(Worktree.find(top))
        return Found(repository="" if place == "." else place, name=top.name, ready=ready)

    def init(self, path: str, progress: Progress) -> Done:
        """Set up the repository around a folder, or make one there."""
        folder = self.inside(path)
        if not folder.is_dir():
            raise RequestError(f"{path} is no folder")
        found = self.find(path)
        if found.reason:
            raise RequestError(found.reason)
        _, message = Repository.init(folder if found.repository is None else self.root / found.repository, progress)
        return Done(message=message.headline(), details=message.notes())

    def ask(self, view: str, question: str, asked: Asked, progress: Progress) -> Any:
        """Answer a question.

        Raises
        ------
        UnknownError
            If there is no such view, question or repository.
        RequestError
            If it was not asked rightly.
        ThetaError
            If it cannot be answered, or done.
        """
        top = self._top(asked.repository)
        make = {"panel": self._panel, "diff": self._diff, "merge": self._merge}.get(view)
        if make is None:
            raise UnknownError(f"there is no view {view!r}")
        offered, answer = make(top, question, asked.of, progress)
        if question not in offered:
            raise UnknownError(f"the view {view} does not know the question {question!r}")
        method = offered[question]
        try:
            told = msgspec.convert(asked.told, told_type(getattr(method, "__func__", method)))
        except msgspec.ValidationError as error:
            raise RequestError(f"{question} was not told what it has to be: {error}") from None
        return answer(msgspec.structs.asdict(told))

    def inside(self, path: str) -> Path:
        """A path from the root, as a path that is below it.

        Raises
        ------
        RequestError
            If it is not, also by way of a link.
        """
        if "\0" in path or ".." in path.split("/"):
            raise RequestError(f"{path!r} is no path here")
        found = (self.root / path.strip("/")).resolve()
        if not found.is_relative_to(self.root):
            raise RequestError(f"{path!r} lies outside of the folder that this server shows")
        return found

    def _top(self, repository: str) -> Path:
        top = self.inside(repository)
        try:
            if top.is_dir() and Worktree.find(top).top.resolve() == top:
                return top
        except NotARepositoryError:
            pass
        raise UnknownError(f"there is no repository at {repository or 'the root'!r}")

    def _panel(self, top: Path, question: str, _: Of, progress: Progress) -> _Offer:
        offered = questions(PanelView)

        def answer(told: dict[str, Any]) -> Any:
            with self._turn(top, progress, changing=question in PanelView.changing):
                return offered[question](PanelView(top, progress), **told)

        return offered, answer

    def _diff(self, top: Path, question: str, of: Of, progress: Progress) -> _Offer:
        key = top, of
        with self._lock:
            view = self._diffs.get(key)
        # The first thing that a view asks is which files differ: then it is looked at anew.
        if view is None or question == "diff":
            for ref in (of.old, of.new):
                if ref.startswith("-") or _CONTROL.search(ref):
                    raise RequestError(f"{ref!r} names no version")
            paths = [self.inside((top / inside(of.path)).relative_to(self.root).as_posix())] if of.path else []
            view = DiffView(Repository(top, progress).diff(of.old or EMPTY, of.new, paths))
            self._keep(self._diffs, key, view)
        offered = view.questions
        return offered, lambda told: offered[question](**told)

    def _merge(self, top: Path, question: str, _: Of, progress: Progress) -> _Offer:
        with self._lock:
            view = self._merges.get(top)
        if view is None:
            view = MergeView(Repository(top).merging())
            self._keep(self._merges, top, view)
        found, offered = view, view.questions

        def answer(told: dict[str, Any]) -> Any:
            more = {"progress": progress} if question in found.long else {}
            with self._turn(top, progress, changing=question in found.changing):
                return offered[question](**told, **more)

        return offered, answer

    def _keep(self, among: OrderedDict[Any, Any], key: Any, view: object) -> None:
        with self._lock:
            among[key] = view
            among.move_to_end(key)
            while len(among) > MOST:
                among.popitem(last=False)

    @contextlib.contextmanager
    def _turn(self, top: Path, progress: Progress, *, changing: bool) -> Iterator[None]:
        """Let one at a time change a repository; whoever waits may give up."""
        if not changing:
            yield
            return
        with self._lock:
            turn = self._changing.setdefault(top, threading.Lock())
        while not turn.acquire(timeout=0.1):
            progress("waiting for something else to end", 0, 0)
        try:
            yield
        finally:
            turn.release()


_Offer = tuple["Mapping[str, Callable[..., Any]]", "Callable[[dict[str, Any]], Any]"]
