"""A real JupyterLab in folders of its own, and how Chromium is started to look at it: for tests and for benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["QUIET", "Lab", "running"]

QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # a container's root cannot have one
]
"""What Chromium is told, so that it does nothing but show the page."""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab, or Notebook.

    Parameters
    ----------
    url
        Its address, without a slash at the end.
    token
        What lets a client in.
    root
        The folder the file browser shows: a test that writes there makes a folder of its own.
    """

    url: str
    token: str
    root: Path


@contextlib.contextmanager
def running(
    home: Path,
    module: str = "jupyterlab",
    python: Path | str = sys.executable,
    *,
    environment: dict[str, str] | None = None,
) -> Iterator[Lab]:
    """Start a server, and end it.

    Parameters
    ----------
    home
        An empty folder for everything it writes.
    module, python
        ``jupyterlab`` or ``notebook``, and whose.
    environment
        Variables that it gets besides.
    """
    root = home / "root"
    root.mkdir()
    token = secrets.token_hex(16)
    app = "LabApp" if module == "jupyterlab" else "JupyterNotebookApp"
    options = {
        "ServerApp.root_dir": root,
        "ServerApp.port": 0,  # any that is free
        "IdentityProvider.token": token,
        f"{app}.expose_app_in_browser": True,
        # A test run that is killed leaves its server behind: let it end by itself.
        "MappingKernelManager.cull_idle_timeout": 300,
        "ServerApp.shutdown_no_activity_timeout": 600,
    }
    isolated = {
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    # No question about news in the corner of every picture.
    notification = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    notification.parent.mkdir(parents=True)
    notification.write_text(json.dumps({"checkForUpdates": False, "fetchNews": "false"}))
    # Nobody's account: whoever commits is asked for a name first.
    (home / "gitconfig").write_text("[init]\n\tdefaultBranch = main\n")
    log = home / "log.txt"
    folders = {name: str(home / folder) for name, folder in {**isolated, "GIT_CONFIG_GLOBAL": "gitconfig"}.items()}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *(python, "-m", module, "--no-browser", "--allow-root"),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            cwd=root,
            env=os.environ | folders | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Lab(_address(server, home / "runtime", log), token, root)
    finally:
        _end(server)


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """Wait until the server listens, and find out where."""
    info = runtime / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return f"http://localhost:{json.loads(info.read_text())['port']}"
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server, which ends its kernels; what has not ended then, is killed."""
    children = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for child in psutil.wait_procs(children, timeout=1)[1]:
        child.kill()
