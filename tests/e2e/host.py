"""A real server of Git LFS (giftless), behind something that counts what passes, and can be told to misbehave."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any

from werkzeug.serving import make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["Host", "serving"]


class Host:
    """A host, while it serves.

    Attributes
    ----------
    url
        What to set ``lfs.url`` to.
    log
        ``GET id`` or ``PUT id`` of every object that was asked for or sent, in order.
    received, sent
        Bytes of objects that came in and went out.
    over
        Set when it stops.
    faults
        What answers in the server's place, tried in order, once each: given the request, an answer, or None to pass.
    """

    def __init__(self, folder: Path) -> None:
        from giftless.app import init_app

        self.folder = folder
        # Made here, because giftless stumbles over itself where two objects arrive at once.
        (folder / "team" / "models").mkdir(parents=True)
        self.log: list[str] = []
        self.received = self.sent = 0
        self.over = threading.Event()
        self.faults: list[Callable[[dict[str, Any], Any], Iterable[bytes] | None]] = []
        store = {
            "storage_class": "giftless.storage.local_storage:LocalStorage",
            "storage_options": {"path": str(folder)},
        }
        basic = {"factory": "giftless.transfer.basic_streaming:factory", "options": store}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._app = init_app(
                additional_config={
                    "PRE_AUTHORIZED_ACTION_PROVIDER": {
                        "options": {"private_key": "a key that is long enough for SHA-256"}
                    },
                    "AUTH_PROVIDERS": ["giftless.auth.allow_anon:read_write"],
                    "TRANSFER_ADAPTERS": {"basic": basic},
                }
            )
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/team/models"

    @property
    def objects(self) -> set[str]:
        """Ids of the objects that are there."""
        return {path.name for path in (self.folder / "team" / "models").iterdir()}

    def path(self, name: str) -> Path:
        """The file of an object."""
        return self.folder / "team" / "models" / name

    def forget(self) -> None:
        """Count from here."""
        self.log.clear()
        self.received = self.sent = 0

    def serve(self) -> None:
        """Answer until :meth:`stop`."""
        self._server.serve_forever(poll_interval=0.02)

    def stop(self) -> None:
        """Stop serving."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        for fault in self.faults:
            answer = fault(environ, start)
            if answer is not None:
                self.faults.remove(fault)
                return answer
        method, name = environ["REQUEST_METHOD"], environ["PATH_INFO"].rpartition("/")[2]
        if method not in {"GET", "PUT"}:
            return self._app(environ, start)  # type: ignore[no-any-return]
        self.log.append(f"{method} {name}")
        if method == "PUT":
            self.received += int(environ["CONTENT_LENGTH"])
            return self._app(environ, start)  # type: ignore[no-any-return]
        return self._counted(self._app(environ, start))

    def _counted(self, answer: Iterable[bytes]) -> Iterator[bytes]:
        with contextlib.closing(answer):  # type: ignore[type-var]
            for piece in answer:
                self.sent += len(piece)
                yield piece


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Host]:
    """Serve objects from a folder, for the length of a block."""
    for name in ("werkzeug", "giftless"):
        logging.getLogger(name).setLevel(logging.ERROR)
    host = Host(folder)
    thread = threading.Thread(target=host.serve, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.stop()
        thread.join()
