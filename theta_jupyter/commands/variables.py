"""Names that stand for what is in a notebook's memory, such as a model: options take them, and they complete.

A terminal has no such names, and is told so.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from theta_jupyter.commands.base import Session
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    _ParamType = click.ParamType[str]
else:
    _ParamType = click.ParamType

__all__ = ["FUNCTION", "NAME", "variable"]


def variable(session: Session, name: str, option: str, otherwise: str) -> Any:
    """What a name of the notebook stands for; ``trainer.model`` is an attribute of one.

    Parameters
    ----------
    option
        That took the name.
    otherwise
        What to do in a terminal instead.

    Raises
    ------
    RequestError
        If there is no such name, or no notebook.
    """
    if not session.names:
        raise RequestError(f"{option} works in a notebook: a terminal has no models in memory", hint=otherwise)
    first, *attributes = name.split(".")
    if first not in session.names:
        import difflib

        near = difflib.get_close_matches(first, [n for n in session.names if not n.startswith("_")], 1)
        hint = f"did you mean {near[0]}?" if near else "run the cell that makes it first"
        raise RequestError(f"there is no variable {first!r}", hint=hint)
    found = session.names[first]
    for attribute in attributes:
        if not hasattr(found, attribute):
            raise RequestError(f"{name!r}: a {type(found).__name__} has no {attribute!r}")
        found = getattr(found, attribute)
    return found


class _Name(_ParamType):
    """The name of a variable of the notebook; those that hold tensors complete, or those that are functions."""

    name = "name"

    def __init__(self, *, functions: bool = False) -> None:
        self.functions = functions

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Names that begin like this, and attributes of what they stand for."""
        session = ctx.find_object(Session) or Session()
        fits = _is_function if self.functions else _has_state
        head, dot, part = incomplete.rpartition(".")
        members: Mapping[str, Any] = session.names
        for step in head.split(".") if dot else ():
            members = dict(_members(members.get(step)))
        found = (name for name, value in members.items() if name.startswith(part) and fits(value))
        # What begins with an underscore is IPython's, or meant to be left alone.
        return [CompletionItem(head + dot + name) for name in found if part or not name.startswith("_")]


NAME = _Name()
FUNCTION = _Name(functions=True)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Attributes that are simply there: nothing is computed to complete a line."""
    yield from getattr(value, "__dict__", {}).items()
    yield from getattr(value, "__dict__", {}).get("_modules", {}).items()  # A module keeps its modules apart.


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def _has_state(value: Any) -> bool:
    """Whether it looks like something to save; quick to say, because somebody waits for a list of names."""
    if isinstance(value, type):
        return False
    if isinstance(value, Mapping | list | tuple):
        parts = value.values() if isinstance(value, Mapping) else value
        return any(_has_state(part) for part in itertools.islice(parts, 100) if part is not value)
    return callable(getattr(value, "state_dict", None)) or (hasattr(value, "shape") and hasattr(value, "dtype"))
