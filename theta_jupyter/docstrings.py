"""What a docstring in numpy style says of each parameter: controls, schemas and types of other languages tell it on."""

from __future__ import annotations

import inspect
import re

__all__ = ["helps"]

_HELP = re.compile(r"^(?P<names>\w+(?:, \w+)*)\n(?P<text>(?:[ ]{4}.*(?:\n|$))+)", re.MULTILINE)


def helps(doc: str) -> dict[str, str]:
    """Each parameter's description, on one line, by its name."""
    text = inspect.cleandoc(doc)
    _, _, section = text.partition("Parameters\n----------\n")
    section = re.split(r"^\w+\n-{3,}$", section, maxsplit=1, flags=re.MULTILINE)[0]
    return {
        name: " ".join(found["text"].split())
        for found in _HELP.finditer(section)
        for name in found["names"].split(", ")
    }
