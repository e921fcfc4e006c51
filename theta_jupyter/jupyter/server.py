"""The extension of the Jupyter server: HTTP to questions, and nothing else.

Every request is authenticated and authorized as the server's own are, and one that is not a GET needs the XSRF header
or a token. What is asked runs beside the server (:mod:`.tasks`), so that neither it nor any other tab ever waits.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from theta_jupyter.commands import explain
from theta_jupyter.errors import ThetaError
from theta_jupyter.jupyter.asked import Asked, UnknownError, Views
from theta_jupyter.jupyter.tasks import Task, Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jupyter_server.serverapp import ServerApp

    from theta_jupyter.storage.pool import Progress

__all__ = ["load"]

AT_ONCE = 0.25
"""Seconds after which an answer that is not there is a task to be asked about."""
A_WHILE = 1.0
"""Seconds that a request waits for such a task."""


class _Somewhere(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str


def _guarded(method: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None] | None]:
    """For whoever is logged in and may; whatever goes wrong is told as ``{message, hint}``."""

    @web.authenticated
    @authorized
    @functools.wraps(method)
    async def guarded(self: _Handler, *args: str) -> None:
        try:
            await method(self, *args)
        except web.HTTPError:
            raise
        except Exception as error:  # noqa: BLE001 - the page must be told
            await self.fail(error)

    return guarded


class _Handler(APIHandler):
    """What all of them share."""

    auth_resource = "theta"

    def initialize(self, views: Views, tasks: Tasks) -> None:
        """Take what is shared by all requests."""
        self.views, self.tasks = views, tasks

    async def fail(self, error: BaseException) -> None:
        """Say what went wrong, and what to do about it."""
        known = isinstance(error, ThetaError)
        status = 404 if isinstance(error, UnknownError) else 400 if isinstance(error, msgspec.MsgspecError) else 409
        message, hint = f"{type(error).__name__}: {error}", ""
        if known or status == 400:
            message, hint, _ = explain(error) if known else (f"this is not what is asked here: {error}", "", 0)
        else:
            status = 500
            self.log.error("theta: %s", error, exc_info=error)
        await self.send(status, {"message": message, "hint": hint})

    def read(self, kind: type[Any]) -> Any:
        """What the request says.

        Raises
        ------
        msgspec.MsgspecError
            If it is not of this kind.
        """
        return msgspec.json.decode(self.request.body or b"{}", type=kind)

    async def tell(self, task: Task, seconds: float) -> None:
        """Answer with the end of a task, or with how far it is."""
        if await task.wait(seconds):
            self.tasks.forget(task)
            await self.send(200, {"result": task.result()})
        else:
            far = {} if task.far is None else {"progress": task.far._asdict()}
            await self.send(202, {"task": task.id, **far})

    async def send(self, status: int, body: Any) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        await self.finish(msgspec.json.encode(body))

    async def start(self, work: Callable[[Progress], Any]) -> None:
        """Begin something, and answer with its end, or its number."""
        await self.tell(self.tasks.start(work), AT_ONCE)


class _Find(_Handler):
    @_guarded
    async def post(self) -> None:
        """Find the repository around a folder or a file."""
        path = self.read(_Somewhere).path
        await self.start(lambda _: self.views.find(path))


class _Init(_Handler):
    @_guarded
    async def post(self) -> None:
        """Make a repository, or set one up."""
        path = self.read(_Somewhere).path
        await self.start(lambda progress: self.views.init(path, progress))


class _Ask(_Handler):
    @_guarded
    async def post(self, view: str, question: str) -> None:
        """Ask a view a question."""
        asked = self.read(Asked)
        await self.start(lambda progress: self.views.ask(view, question, asked, progress))


class _Tasks(_Handler):
    @_guarded
    async def get(self, number: str) -> None:
        """Wait a while for a task."""
        await self.tell(self._task(number), A_WHILE)

    @_guarded
    async def delete(self, number: str) -> None:
        """Give a task up."""
        self._task(number).cancel()
        self.set_status(204)
        await self.finish()

    def _task(self, number: str) -> Task:
        task = self.tasks.get(number)
        if task is None:
            raise UnknownError("nothing of that number is being worked on", hint="ask again")
        return task


def load(app: ServerApp) -> None:
    """Add our addresses to a server: what the server calls when it starts."""
    root = Path(getattr(app.contents_manager, "root_dir", "") or app.root_dir)
    shared = {"views": Views(root), "tasks": Tasks()}
    base = app.web_app.settings["base_url"]
    app.web_app.add_handlers(  # type: ignore[no-untyped-call]
        ".*$",
        [
            (url_path_join(base, "theta", "find"), _Find, shared),
            (url_path_join(base, "theta", "init"), _Init, shared),
            (url_path_join(base, "theta", "ask", "([a-z]+)", "([a-z_]+)"), _Ask, shared),
            (url_path_join(base, "theta", "tasks", r"([\w-]+)"), _Tasks, shared),
        ],
    )
    app.log.info("theta-jupyter: models below %s", root)
