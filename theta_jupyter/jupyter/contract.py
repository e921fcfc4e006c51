"""What is said between JupyterLab and the server, written down for others: TypeScript for the labextension, OpenAPI.

``python -m theta_jupyter.jupyter.contract`` writes both from the Python types, and with ``--check`` says whether they
are as they would be written; a test does that.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from theta_jupyter._version import __version__
from theta_jupyter.docstrings import helps
from theta_jupyter.jupyter import panel_types
from theta_jupyter.jupyter.asked import questions, told_type
from theta_jupyter.jupyter.panel import PanelView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FILES", "main", "openapi", "typescript"]

ROOT = Path(__file__).parent.parent.parent
_WIDTH = 120
_NAMES = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", Any: "unknown"}


def typescript() -> str:
    """The types of a panel, and its questions."""
    lines = [
        "/**",
        " * What is said between the panel and the server.",
        " *",
        " * Written by `python -m theta_jupyter.jupyter.contract` from the Python types: change those. Names, paths",
        " * and messages come from repositories that strangers made: they are shown as text, never as HTML.",
        " */",
        "",
    ]
    for name in panel_types.__all__:
        found = getattr(panel_types, name)
        if dataclasses.is_dataclass(found):
            lines += _interface(name, found)
        else:
            lines += [f"export type {name} = {_type(found)};", ""]
    lines += [
        *_comment("What a panel can ask about a repository, and have done in it."),
        "export interface PanelQuestions {",
    ]
    for name, method in questions(PanelView).items():
        hints = typing.get_type_hints(method)
        told = [
            f"{parameter.name}{'' if parameter.default is parameter.empty else '?'}: {_type(hints[parameter.name])}"
            for parameter in _parameters(method)
        ]
        given = f"{{ {'; '.join(told)} }}" if told else "Record<string, never>"
        lines += [f"  {line}" for line in _comment(_summary(method))]
        lines += [f"  {name}(told: {given}): {_type(hints['return'])};"]
    return "\n".join([*lines, "}", ""])


def openapi() -> str:
    """The server's addresses, in OpenAPI 3.1."""
    answers = {name: typing.get_type_hints(method)["return"] for name, method in questions(PanelView).items()}
    answered = [*answers.values(), panel_types.Found]
    schemas, parts = msgspec.json.schema_components(answered, ref_template="#/components/schemas/{name}")
    by_name = dict(zip(answers, schemas, strict=False))
    paths = {f"/theta/ask/panel/{name}": _asked(name, by_name[name]) for name in by_name}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "theta-jupyter",
            "version": __version__,
            "description": "What the panel in JupyterLab asks of the Jupyter server. Every request needs the server's "
            "token, or its cookie with the XSRF header. Views of diffs and merges are asked in the same way, at "
            "`/theta/ask/diff/...` and `/theta/ask/merge/...`, as their widgets ask the kernel.",
        },
        "paths": {
            **paths,
            "/theta/find": {"post": _found(schemas[-1])},
            "/theta/tasks/{task}": {"get": _waited(), "delete": _cancelled()},
        },
        "components": {"schemas": {**parts, **_SHARED}},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


_SHARED: dict[str, Any] = {
    "Failure": {
        "type": "object",
        "description": "What went wrong, and what to do about it.",
        "properties": {"message": {"type": "string"}, "hint": {"type": "string"}},
        "required": ["message", "hint"],
    },
    "Running": {
        "type": "object",
        "description": "It takes a while: ask for the task.",
        "properties": {
            "task": {"type": "string"},
            "progress": {
                "type": "object",
                "properties": {
                    "what": {"type": "string"},
                    "done": {"type": "integer"},
                    "total": {"type": "integer"},
                },
            },
        },
        "required": ["task"],
    },
}
_BAD = {
    "400": "It was not asked rightly",
    "403": "Not logged in, or without the XSRF header",
    "404": "There is no such question, repository or task",
    "409": "It cannot be done",
}


def _asked(name: str, answer: Any) -> dict[str, Any]:
    method = questions(PanelView)[name]
    told = msgspec.json.schema(told_type(method))
    body = {
        "type": "object",
        "properties": {
            "repository": {"type": "string", "description": "From the server's root."},
            "told": told["$defs"]["Told"],
        },
        "required": ["repository"],
    }
    return {
        "post": {
            "summary": _summary(method),
            "operationId": name,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": _responses(answer),
        }
    }


def _responses(answer: Any) -> dict[str, Any]:
    def content(description: str, schema: Any) -> dict[str, Any]:
        return {"description": description, "content": {"application/json": {"schema": schema}}}

    result = {"type": "object", "properties": {"result": answer}, "required": ["result"]}
    failure = {"$ref": "#/components/schemas/Failure"}
    return {
        "200": content("The answer", result),
        "202": content("It is being worked on", {"$ref": "#/components/schemas/Running"}),
        **{status: content(words, failure) for status, words in _BAD.items()},
    }


def _found(answer: Any) -> dict[str, Any]:
    body = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    return {
        "summary": "Find the repository around a folder or a file; both are from the server's root.",
        "operationId": "find",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": _responses(answer),
    }


_TASK = [{"name": "task", "in": "path", "required": True, "schema": {"type": "string"}}]


def _waited() -> dict[str, Any]:
    return {
        "summary": "Wait a moment for what is being worked on.",
        "operationId": "wait",
        "parameters": _TASK,
        "responses": _responses({}),
    }


def _cancelled() -> dict[str, Any]:
    return {
        "summary": "Give up what is being worked on; it ends with what it was, or with a failure.",
        "operationId": "cancel",
        "parameters": _TASK,
        "responses": {"204": {"description": "It was told"}},
    }


def _interface(name: str, of: Any) -> Iterator[str]:
    described = helps(of.__doc__)
    yield from _comment(inspect.cleandoc(of.__doc__).partition("\n")[0])
    yield f"export interface {name} {{"
    hints = typing.get_type_hints(of)
    for field in dataclasses.fields(of):
        if field.name in described:
            yield from (f"  {line}" for line in _comment(described[field.name]))
        yield f"  {field.name}: {_type(hints[field.name])};"
    yield "}"
    yield ""


def _comment(text: str) -> list[str]:
    """As a comment of at most so many columns, two of them for an indent."""
    text = text.replace("``", "`").replace("*/", "* /")
    line = f"/** {text} */"
    if len(line) <= _WIDTH - 2:
        return [line]
    import textwrap

    return ["/**", *textwrap.wrap(text, _WIDTH - 2, initial_indent=" * ", subsequent_indent=" * "), " */"]


def _type(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in _NAMES:
        return _NAMES[hint]
    if origin is Literal:
        return " | ".join(f"'{value}'" for value in parts)
    if origin in {types.UnionType, typing.Union}:
        return " | ".join(map(_type, parts))
    if origin in {tuple, list}:
        inner = _type(parts[0])
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if origin is dict:
        return f"Record<string, {_type(parts[1])}>"
    if dataclasses.is_dataclass(hint):
        return str(getattr(hint, "__name__", hint))
    raise TypeError(f"no TypeScript for {hint}")


def _parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(method).parameters.values())[1:]


def _summary(method: Callable[..., Any]) -> str:
    return inspect.cleandoc(method.__doc__ or "").partition("\n")[0]


FILES: dict[Path, Callable[[], str]] = {
    ROOT / "labextension" / "src" / "api" / "panel.ts": typescript,
    ROOT / "docs" / "openapi.json": openapi,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(prog="python -m theta_jupyter.jupyter.contract", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file is not as it should be"
    )
    check = parser.parse_args(arguments).check
    stale = [path for path, write in FILES.items() if not path.is_file() or path.read_text(encoding="utf-8") != write()]
    for path in stale:
        if not check:
            path.write_text(FILES[path](), encoding="utf-8")
        sys.stdout.write(f"{'stale' if check else 'wrote'} {path.relative_to(ROOT)}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
