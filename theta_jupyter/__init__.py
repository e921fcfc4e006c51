"""Version control for machine-learning models, from a notebook, on top of Git.

Names are loaded when first used: Git starts parts of this package as filters, which must be quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
    from jupyter_server.serverapp import ServerApp

    from .api import Repository, load
    from .comparing import compare
    from .errors import ThetaError
    from .jupyter.widgets import DiffWidget, MergeWidget, widget
    from .training import Checkpointer

__all__ = [
    "Checkpointer",
    "DiffWidget",
    "MergeWidget",
    "Repository",
    "ThetaError",
    "__version__",
    "compare",
    "load",
    "load_ipython_extension",
    "widget",
]

_HOMES = {
    "Checkpointer": "training",
    "DiffWidget": "jupyter.widgets",
    "MergeWidget": "jupyter.widgets",
    "Repository": "api",
    "ThetaError": "errors",
    "compare": "comparing",
    "load": "api",
    "widget": "jupyter.widgets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%theta``: what ``%load_ext theta_jupyter`` calls."""
    from .jupyter.magics import register

    register(shell)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell the Jupyter server that this package has an extension for it."""
    return [{"module": "theta_jupyter"}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Add our addresses to a Jupyter server."""
    from .jupyter.server import load

    load(app)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell JupyterLab where the built labextension lies."""
    return [{"src": "labextension", "dest": "theta-jupyter"}]
