"""A merge plan: which strategy merges which tensors, as data that people write, commits keep and merges repeat.

A plan is an ordered list of rules, ``glob -> strategy(parameters)``; the last rule that matches a tensor wins. As
YAML::

    rules:
      - tensors: "*"
        strategy: linear
      - tensors: "encoder.layer.*"
        strategy: ties
        parameters:
          density: [0.2, 0.5, 0.8]

A list in place of a number is a gradient: it is interpolated over the depth of the tensor's block. In one line of JSON
the same plan is the trailer ``Theta-Plan`` of the commit that it made.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from theta_jupyter.errors import RequestError
from theta_jupyter.merges.base import find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from theta_jupyter.merges.base import Parameter, Strategy

__all__ = ["TRAILER", "Plan", "Rule", "depths", "escape", "read", "settings"]

TRAILER = "Theta-Plan"
LIMIT = 1 << 20
"""Bytes of a plan; what is longer was not written by people."""
MOST_RULES = 10_000


@dataclass(frozen=True)
class Rule:
    """One line of a plan.

    Parameters
    ----------
    tensors
        A glob of names: ``*`` any text, ``?`` one character, ``[ab]`` one of these.
    strategy
        Its name.
    parameters
        Those that are not as the strategy has them by itself.
    file
        A glob of paths; empty for every file.
    """

    tensors: str
    strategy: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""

    def matches(self, name: str, path: str = "") -> bool:
        """Whether it speaks of this tensor of this file."""
        if not _matcher(self.tensors)(name):
            return False
        return not self.file or not path or bool(_matcher(self.file)(path))

    def described(self) -> str:
        """The rule in one line."""
        where = f"{self.file}: " if self.file else ""
        return f"{where}{self.tensors} -> {self.call()}"

    def call(self) -> str:
        """The strategy with its parameters, as one would call it."""
        given = ", ".join(f"{name}={_text(value)}" for name, value in self.parameters.items())
        return f"{self.strategy}({given})" if given else self.strategy

    def checked(self, models: int = 2) -> Rule:
        """The rule with its parameters as numbers, whatever they were given as.

        Raises
        ------
        RequestError
            If there is no such strategy, or it does not take such parameters.
        """
        strategy = find(self.strategy)
        strategy.read(_at(strategy, self.parameters, 0.0), models)
        given = {strategy.parameter(name).name: value for name, value in self.parameters.items()}
        read = {name: _kept(strategy.parameter(name), value, models) for name, value in given.items()}
        return replace(self, parameters=read)

    def full(self, models: int = 2) -> Rule:
        """The rule checked, with every parameter said, so that it means the same when a default has changed."""
        return replace(self, parameters=_plain_values({**self.values(0.0, models), **self.checked(models).parameters}))

    def values(self, depth: float, models: int) -> dict[str, Any]:
        """The strategy's parameters for a tensor at this depth, defaults filled in."""
        strategy = find(self.strategy)
        return strategy.read(_at(strategy, self.parameters, depth), models)

    def to_dict(self) -> dict[str, Any]:
        """As a plan in JSON or YAML has it."""
        made: dict[str, Any] = {"tensors": self.tensors, "strategy": self.strategy}
        if self.parameters:
            made["parameters"] = _plain_values(self.parameters)
        if self.file:
            made["file"] = self.file
        return made


@dataclass(frozen=True)
class Plan:
    """Rules, in order.

    Parameters
    ----------
    rules
        The last that matches a tensor wins.
    all
        Whether they speak of every tensor that differs, and not only of conflicts.
    """

    rules: tuple[Rule, ...] = ()
    all: bool = False

    def rule_for(self, name: str, path: str = "") -> int | None:
        """Index of the rule that speaks of a tensor; None if none does."""
        for index in range(len(self.rules) - 1, -1, -1):
            if self.rules[index].matches(name, path):
                return index
        return None

    def checked(self, models: int = 2) -> Plan:
        """The same with every rule checked; see :meth:`Rule.checked`."""
        return replace(self, rules=tuple(rule.checked(models) for rule in self.rules))

    def used(self, names: Iterable[tuple[str, str]]) -> Plan:
        """Only the rules that decided one of these tensors, given as path and name."""
        used = {self.rule_for(name, path) for path, name in names}
        kept = tuple(rule for index, rule in enumerate(self.rules) if index in used)
        return replace(self, rules=kept)

    def full(self, models: int = 2) -> Plan:
        """The same with every parameter of every rule said."""
        return replace(self, rules=tuple(rule.full(models) for rule in self.rules))

    def to_dict(self) -> dict[str, Any]:
        """As JSON and YAML have it."""
        return {**({"all": True} if self.all else {}), "rules": [rule.to_dict() for rule in self.rules]}

    def line(self) -> str:
        """One line of JSON, for a trailer."""
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=True)

    def text(self) -> str:
        """YAML, to be kept and edited."""
        import yaml

        class Dumper(yaml.SafeDumper):
            """One that escapes what is not printed: left to itself it folds rare ends of lines into spaces."""

        def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
            style = None if value.isprintable() else '"'
            return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

        Dumper.add_representer(str, text)
        dumped: str = yaml.dump(
            self.to_dict(), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None
        )
        return dumped


def read(source: str | Path) -> Plan:
    """Read a plan: YAML (of which JSON is a part), as text or from a file.

    Raises
    ------
    RequestError
        If it is not one; the message names the file and the rule.
    """
    if isinstance(source, str):
        return _parsed(source, "the plan")
    try:
        with source.open("rb") as file:
            text = file.read(LIMIT + 1).decode("utf-8-sig")
    except FileNotFoundError:
        raise RequestError(f"there is no plan {source}", hint="docs/merging.md shows one") from None
    except OSError as error:
        raise RequestError(f"the plan {source} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{source} is not a plan: it is not text") from None
    return _parsed(text, str(source))


def settings(given: Iterable[str]) -> dict[str, Any]:
    """Read parameters given as ``name=value``; a value may be a list, as in ``density=[0.2, 0.8]``.

    Raises
    ------
    RequestError
        If one has no ``=``.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise RequestError(f"cannot read {text!r}", hint="parameters are given as --set density=0.3")
        value = value.strip()
        if value.startswith("["):
            try:
                found[name.strip()] = json.loads(value)
                continue
            except (ValueError, RecursionError):
                raise RequestError(f"cannot read the list {value!r}", hint="as in --set 'density=[0.2, 0.8]'") from None
        found[name.strip()] = value
    return found


def escape(name: str) -> str:
    """Write a glob that matches just this name."""
    return re.sub(r"([*?[])", r"[\1]", name)


@lru_cache(maxsize=1 << 16)
def _matcher(glob: str) -> Callable[[str], object]:
    """What tells whether a text matches; a plan may well have a rule for each tensor, and fnmatch remembers few."""
    plain = re.sub(r"\[([*?[])\]", "", glob)
    if not re.search(r"[*?[]", plain):
        return re.sub(r"\[([*?[])\]", r"\1", glob).__eq__
    return re.compile(translate(glob)).match


_BLOCK = re.compile(r"(?:^|(?<=[./]))([0-9]{1,9})(?=[./])")
_EMBEDDING = re.compile(r"emb|\bw[tp]e\b", re.IGNORECASE)


def depths(names: Iterable[str]) -> dict[str, float]:
    """Where in the model each tensor lies, from 0 (the first block) to 1 (the last).

    The first number between dots is the block, counted among the names that begin alike. Outside of blocks, embeddings
    are at 0, and all else, such as a head, at 1.
    """
    found = {name: _BLOCK.search(name) for name in names}
    last: dict[str, int] = {}
    for name, match in found.items():
        if match:
            beginning = name[: match.start()]
            last[beginning] = max(last.get(beginning, 0), int(match[1]))
    return {
        name: int(match[1]) / max(1, last[name[: match.start()]]) if match else 0.0 if _EMBEDDING.search(name) else 1.0
        for name, match in found.items()
    }


def _at(strategy: Strategy, parameters: Mapping[str, Any], depth: float) -> dict[str, Any]:
    """Parameters at a depth: gradients are interpolated, all else is as it is."""
    found = {}
    for name, value in parameters.items():
        parameter = strategy.parameter(name)
        if _is_gradient(parameter.kind, value):
            points = [[float(part) for part in (p if isinstance(p, list | tuple) else [p])] for p in value]
            if len({len(point) for point in points}) != 1:
                raise RequestError(f"the gradient of {name} has points of different length")
            place = depth * (len(points) - 1)
            left = min(int(place), max(0, len(points) - 2))
            right = min(left + 1, len(points) - 1)
            part = place - left
            # The one in the middle: rounding must not lead beyond the two points, which may be at a limit.
            mixed = [
                sorted((a, b, a * (1 - part) + b * part))[1] for a, b in zip(points[left], points[right], strict=True)
            ]
            single = not isinstance(value[0], list | tuple)
            number = round(mixed[0]) if parameter.kind == "whole" else mixed[0]
            found[name] = number if single else mixed
        else:
            found[name] = value
    return found


def _is_gradient(kind: str, value: Any) -> bool:
    if not isinstance(value, list | tuple) or not value:
        return False
    if kind == "weights":  # A plain list is one weight for each model.
        return all(isinstance(part, list | tuple) and part and all(map(_is_number, part)) for part in value)
    return kind in {"number", "whole"} and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    """Whether it is one, or the text of one: YAML takes 1e-3 for text."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (ValueError, TypeError, OverflowError):
        return False


def _kept(parameter: Parameter, value: Any, models: int) -> Any:
    if _is_gradient(parameter.kind, value):
        points = [parameter.read(point, models) for point in value]
        # One number for all models stays a list of one: without, the gradient would be a weight for each model.
        return [[point] if parameter.kind == "weights" and _is_number(point) else _plain(point) for point in points]
    return _plain(parameter.read(value, models))


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parsed(text: str, what: str) -> Plan:
    if len(text) > LIMIT:
        raise RequestError(f"{what} is longer than a plan can be")
    data = _loaded(text, what)
    if isinstance(data, list):
        data = {"rules": data}
    if not isinstance(data, dict) or not isinstance(data.get("rules"), list):
        raise RequestError(f"{what} is not a plan", hint="it has rules: a list of tensors, strategy, parameters")
    _check_keys(data, ("rules", "all"), what)
    if not isinstance(data.get("all", False), bool) or len(data["rules"]) > MOST_RULES:
        raise RequestError(f"{what} is not a plan: all is true or false, and rules are at most {MOST_RULES}")
    rules = tuple(_rule(entry, number, what) for number, entry in enumerate(data["rules"], 1))
    return Plan(rules, data.get("all", False))


def _loaded(text: str, what: str) -> Any:
    """Read JSON, which plans that are kept are in, or else YAML, which is a hundred times slower."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass  # Then it is YAML, or an error that can be told.
    import yaml

    class Loader(yaml.SafeLoader):
        """One that takes things for what they look like, and follows no aliases.

        With aliases a few lines may stand for more than memory holds; with tags, for what cannot be.
        """

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.events.AliasEvent) or getattr(event, "anchor", None):
                raise RequestError(f"{what} has anchors or aliases, which plans do not use")
            if getattr(event, "tag", None):
                raise RequestError(f"{what} has tags, such as {event.tag}, which plans do not use")
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise RequestError(f"{what} cannot be read{line}: {problem}") from None


def _check_keys(entry: Mapping[Any, Any], known: Sequence[str], what: str) -> None:
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise RequestError(f"{what} has {unknown[0]!r}, which is nothing", hint=f"it may have {', '.join(known)}")


def _rule(entry: Any, number: int, what: str) -> Rule:
    where = f"rule {number} of {what}"
    if not isinstance(entry, dict):
        raise RequestError(f"{where} is not one", hint="a rule has tensors, strategy, and maybe parameters and file")
    _check_keys(entry, ("tensors", "strategy", "parameters", "file"), where)
    tensors, strategy, file = entry.get("tensors", "*"), entry.get("strategy"), entry.get("file", "")
    parameters = {} if entry.get("parameters") is None else entry["parameters"]
    if not (isinstance(tensors, str) and isinstance(strategy, str) and isinstance(file, str)):
        raise RequestError(f"{where} has no strategy, or something that is not text", hint="strategy: linear")
    if not isinstance(parameters, dict) or not all(_is_setting(*item) for item in parameters.items()):
        raise RequestError(f"the parameters of {where} cannot be read", hint="as in parameters: {density: 0.3}")
    return Rule(tensors, strategy, dict(parameters), file)


def _is_setting(name: Any, value: Any) -> bool:
    if not isinstance(name, str):
        return False
    parts: Sequence[Any] = value if isinstance(value, list) else [value]
    flat = [inner for part in parts for inner in (part if isinstance(part, list) else [part])]
    return all(isinstance(part, str | int | float | bool) for part in flat)
