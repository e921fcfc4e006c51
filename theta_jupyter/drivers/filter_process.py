"""The filter Git talks to: ``clean`` turns a checkpoint into its manifest, ``smudge`` a manifest into the checkpoint.

One process serves many files. It answers the handshake before anything is imported, and content it has seen before
without NumPy. Git sends all of a file before it reads an answer, so every request is read to its end first.

Under ``required`` a failure stops Git, and a smudge that fails in a merge leaves a merge that cannot be aborted. So
smudge never fails: what is no valid manifest, or cannot be rebuilt, is passed on as it is, with a warning. Clean fails
only if objects cannot be written, or when it is handed a manifest with conflict markers.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from theta_jupyter.drivers import pktline

if TYPE_CHECKING:
    from typing import BinaryIO

    from theta_jupyter.drivers.content import Content
    from theta_jupyter.git.worktree import Worktree

__all__ = ["main", "serve"]

MAX_MANIFEST = 1 << 30
VERB = {"clean": "add", "smudge": "check out"}


def main() -> None:
    """Serve Git on standard input and output until it hangs up."""
    # Ctrl-C: Git waits for us to leave.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except (BrokenPipeError, EOFError):
        # Nothing more can be said; keep Python from trying to at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Shake hands, then answer requests until the stream ends.

    Raises
    ------
    ValueError
        If the other side is not Git.
    EOFError
        When it hangs up.
    """
    if pktline.read_list(source)[:1] != ["git-filter-client"]:
        message = "this is started by git, as a filter"
        raise ValueError(message)
    # Written without a look at what Git asked for: version 2 is the only one there is.
    pktline.write_list(sink, ["git-filter-server", "version=2"])
    pktline.read_list(source)
    pktline.write_list(sink, ["capability=clean", "capability=smudge"])
    worktree = None
    while True:
        request = dict(line.partition("=")[::2] for line in pktline.read_list(source))
        from theta_jupyter.git.worktree import Worktree

        if worktree is None:
            worktree = Worktree.find(bare=True)
            worktree.store.sweep()
        _answer(request.get("command", ""), request.get("pathname", ""), worktree, source, sink)


def _answer(command: str, path: str, worktree: Worktree, source: BinaryIO, sink: BinaryIO) -> None:
    from theta_jupyter.drivers.content import Content
    from theta_jupyter.git.worktree import shown

    with Content(worktree, path if command == "clean" else "") as content:
        content.receive(pktline.read_packets(source))
        try:
            if content.failure is not None:
                raise content.failure
            answer = {"clean": clean, "smudge": smudge}[command](worktree, path, content)
        except Exception as error:  # noqa: BLE001 - whatever it is, Git gets an answer and the user a sentence
            warn(f"cannot {VERB.get(command, shown(command))} {shown(path)}: {error}")
            pktline.write_list(sink, ["status=error"])
            return
        with answer:
            pktline.write_list(sink, ["status=success"])
            pktline.write_data(sink, answer.view)
            pktline.flush(sink)


def clean(worktree: Worktree, path: str, content: Content) -> Content:
    """Turn the content of a file into its manifest."""
    from theta_jupyter.drivers.content import Content
    from theta_jupyter.git.known import Known

    known = Known(worktree, path)
    seen = known.content(content.digest)
    if seen is not None:
        return Content.of(worktree, seen.manifest)
    from theta_jupyter.git.roads import store

    return Content.of(worktree, store(worktree, known, content.view, content.digest))


def smudge(worktree: Worktree, path: str, content: Content) -> Content:
    """Turn a manifest into the file, or pass on what is none."""
    from theta_jupyter.git.worktree import LATER

    if (
        os.environ.get(LATER) == "1"
        or bytes(content.view[:15]) != b"theta manifest "
        or len(content.view) > MAX_MANIFEST
        or worktree.is_lazy
    ):
        return content.again()
    try:
        from theta_jupyter.drivers.content import Content
        from theta_jupyter.git.roads import rebuild

        return Content.at(worktree, rebuild(worktree, bytes(content.view)))
    except Exception as error:  # noqa: BLE001 - a failing smudge wrecks a merge, so the manifest stays instead
        from theta_jupyter.git.worktree import shown

        warn(f"{shown(path)}: {error}")
        return content.again()


def warn(message: str) -> None:
    """Tell the user, through Git, which passes standard error on."""
    sys.stderr.write(f"theta: {message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
