"""Recording: status, add, commit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from theta_jupyter.commands.base import PATHS, Session, as_json, theta
from theta_jupyter.errors import RequestError

if TYPE_CHECKING:
    from theta_jupyter.results import Result

    _ParamType = click.ParamType[str]
else:
    _ParamType = click.ParamType


class _Name(_ParamType):
    """The name of a variable of the notebook; those that hold something to save complete."""

    name = "name"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:
        """Names that begin like this."""
        session = ctx.find_object(Session) or Session()
        found = (name for name, value in session.names.items() if name.startswith(incomplete) and _has_state(value))
        # What begins with an underscore is IPython's, or meant to be left alone.
        return [CompletionItem(name) for name in found if incomplete or not name.startswith("_")]


_from = click.option(
    "--from",
    "derived_from",
    default="",
    metavar="[REF:]PATH",
    type=PATHS,
    help="The committed model that this one was made from: only differences to it are stored.",
)


@theta.command()
@as_json
@click.pass_obj
def status(session: Session) -> Result:
    """Show which models changed, how much, and what a commit would store."""
    return session.repository().status()


@theta.command()
@click.argument("paths", nargs=-1, type=PATHS)
@_from
@as_json
@click.pass_obj
def add(session: Session, paths: tuple[str, ...], derived_from: str) -> Result:
    """Stage models for the next commit.

    All that changed, if none is named. This may be left out: commit does it by itself.
    """
    return session.repository().add(paths, derived_from=derived_from)


@theta.command()
@click.argument("paths", nargs=-1, type=PATHS)
@click.option("-m", "--message", required=True, help="What this version is.")
@click.option(
    "--save",
    "saved",
    default="",
    metavar="NAME",
    type=_Name(),
    help="A variable of the notebook, such as a model: it is written to PATH first.",
)
@_from
@as_json
@click.pass_obj
def commit(session: Session, paths: tuple[str, ...], message: str, saved: str, derived_from: str) -> Result:
    """Commit models.

    Those named, or all that changed; and whatever is staged. With --from, the commit says what they were made from.
    """
    if not saved:
        return session.repository().commit(message, paths, derived_from=derived_from)
    obj = _variable(session, saved)
    if len(paths) != 1:
        raise RequestError(
            f"--save needs one PATH, not {len(paths)}",
            hint=f'git theta commit model.safetensors --save {saved} -m "..."',
        )
    return session.repository().save(obj, paths[0], message, derived_from=derived_from)


def _variable(session: Session, name: str) -> Any:
    """What a name of the notebook stands for; ``trainer.model`` is an attribute of one."""
    if not session.names:
        raise RequestError(
            "--save works in a notebook: a terminal has no models in memory",
            hint="in Python: Repository().save(model, PATH, message)",
        )
    first, *attributes = name.split(".")
    if first not in session.names:
        import difflib

        near = difflib.get_close_matches(first, [n for n in session.names if not n.startswith("_")], 1)
        raise RequestError(f"there is no variable {first!r}", hint=f"did you mean {near[0]}?" if near else "")
    obj = session.names[first]
    for attribute in attributes:
        if not hasattr(obj, attribute):
            raise RequestError(f"{name!r}: a {type(obj).__name__} has no {attribute!r}")
        obj = getattr(obj, attribute)
    return obj


def _has_state(value: Any) -> bool:
    """Whether it looks like something to save; quick to say, because somebody waits for a list of names."""
    if isinstance(value, type):
        return False
    if isinstance(value, Mapping | list | tuple):
        parts = value.values() if isinstance(value, Mapping) else value
        return any(_has_state(part) for part in itertools.islice(parts, 100) if part is not value)
    return callable(getattr(value, "state_dict", None)) or (hasattr(value, "shape") and hasattr(value, "dtype"))
