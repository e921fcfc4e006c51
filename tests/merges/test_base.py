"""What a strategy's signature says, hostile values of parameters, random numbers, and the strategies installed."""

from __future__ import annotations

import inspect
import logging
import math
import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theta_jupyter.errors import RequestError
from theta_jupyter.merges import base as base_module
from theta_jupyter.merges.base import (
    Array,
    Between,
    Factor,
    Models,
    Parameter,
    Seed,
    Share,
    Statistics,
    Strategy,
    Tensor,
    Weights,
    find,
    installed,
    strategy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAMES = [
    *("base", "breadcrumbs", "dare_linear", "dare_ties", "della", "fisher", "linear", "model_stock", "multislerp"),
    *("ours", "regmean", "sce", "slerp", "task_arithmetic", "theirs", "ties"),
]


@strategy(elementwise=True)
def everything(
    models: Models,
    base: Array | None = None,
    *,
    tensor: Tensor,
    weight: Weights = 1,
    heavy: Annotated[Weights, Between(low=0)] = 1.0,
    lambda_: Factor = 0.5,
    share: Share = 0.25,
    seed: Seed = 7,
    steps: int = 3,
    free: float = 2.5,
    kind: Literal["mild", "hot"] = "mild",
    fast: bool = False,
    facts: Statistics,
) -> Array:
    """Do everything. And more.

    In two paragraphs.

    Parameters
    ----------
    weight, heavy
        How heavy
        they are.
    lambda_
        How far.

    Returns
    -------
    kind
        Not the help of that parameter.
    """
    del base, weight, heavy, lambda_, share, seed, steps, free, kind, fast, facts
    return models[0] + tensor.start


def test_signature_is_read() -> None:
    assert everything.name == "everything"
    assert everything.summary == "Do everything. And more."
    assert (everything.base, everything.pairs, everything.elementwise, everything.takes) == ("use", False, True, "")
    assert everything.wants_tensor
    assert [(p.name, p.keyword, p.kind, p.default, p.low, p.high) for p in everything.parameters] == [
        ("weight", "weight", "weights", 1.0, None, None),
        ("heavy", "heavy", "weights", 1.0, 0, None),
        ("lambda", "lambda_", "number", 0.5, -10, 10),
        ("share", "share", "number", 0.25, 0, 1),
        ("seed", "seed", "whole", 7, 0, 2**32 - 1),
        ("steps", "steps", "whole", 3, None, None),
        ("free", "free", "number", 2.5, None, None),
        ("kind", "kind", "choice", "mild", None, None),
        ("fast", "fast", "flag", False, None, None),
        ("facts", "facts", "checkpoints", None, None, None),
    ]
    assert everything.parameter("kind").choices == ("mild", "hot")
    assert everything.parameter("lambda") is everything.parameter("lambda_")
    assert [everything.parameter(name).help for name in ("weight", "heavy", "lambda", "kind")] == [
        "How heavy they are.",
        "How heavy they are.",
        "How far.",
        "",
    ]


def test_strategy_is_still_its_function() -> None:
    assert inspect.getdoc(everything) == inspect.getdoc(everything.function)
    assert everything.__module__ == __name__
    assert inspect.signature(everything) == inspect.signature(everything.function)
    with pytest.raises(AttributeError):
        everything.name = "other"  # type: ignore[misc]
    assert hash(everything) == hash(everything)


def test_run_gives_each_function_what_it_asks_for() -> None:
    @strategy
    def pair(ours: Array, theirs: Array, base: Array) -> Array:
        return ours + 2 * theirs + 4 * base

    one = [np.array([float(value)]) for value in (1, 10, 100)]
    assert pair.pairs
    assert pair.base == "needs"
    assert pair.run(one[:2], one[2], {}, Tensor()) == 421
    values = everything.read({"facts": "a,b"})
    assert everything.run(one[:2], None, values, Tensor(start=5)) == 6
    assert pair(one[0], one[1], base=one[2]) == 421


def nothing(*, weight: Weights = 1.0) -> Array:
    raise NotImplementedError(weight)


def lonely(ours: Array) -> Array:
    return ours


def both(models: Models, ours: Array, theirs: Array) -> Array:
    return models[0] + ours + theirs


def positional(models: Models, weight: float = 1.0) -> Array:
    return weight * models[0]


def bare(models: Models, *, weight=1.0) -> Array:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return models[0] * float(weight)


def many(models: Models, **weights: float) -> Array:
    return models[0] * weights["a"]


def odd(models: Models, *, weight: bytes = b"") -> Array:
    return models[len(weight)]


def out_of_range(models: Models, *, share: Share = 2.0) -> Array:
    return share * models[0]


def one_each(models: Models, *, weight: Weights = (0.5, 0.5)) -> Array:
    return models[0] * float(np.sum(weight))


@pytest.mark.parametrize("function", [nothing, lonely, both, positional, bare, many, odd, out_of_range, one_each])
def test_what_is_no_strategy_is_refused(function: Callable[..., Array]) -> None:
    with pytest.raises(TypeError):
        strategy(function)


READ: list[tuple[str, Any, Any]] = [
    ("weight", 2, 2.0),
    ("weight", "2", 2.0),
    ("weight", "0.3, 0.7", (0.3, 0.7)),
    ("weight", [1, 0.5], (1.0, 0.5)),
    ("weight", (3,), 3.0),
    ("weight", -1, -1.0),
    ("heavy", 0, 0.0),
    ("lambda", "-1e1", -10.0),
    ("lambda_", 1, 1.0),
    ("share", "1", 1.0),
    ("seed", "12", 12),
    ("seed", 12.0, 12),
    ("seed", 2**32 - 1, 2**32 - 1),
    ("steps", "-3", -3),
    ("kind", "hot", "hot"),
    ("fast", "Yes", True),
    ("fast", "0", False),
    ("fast", True, True),
    ("facts", "a.npz, b.npz", ("a.npz", "b.npz")),
    ("facts", ["a,1.npz", "b.npz"], ("a,1.npz", "b.npz")),
]


@pytest.mark.parametrize(("name", "given", "wanted"), READ)
def test_values_are_read(name: str, given: Any, wanted: Any) -> None:
    found = everything.parameter(name).read(given, 2)
    assert found == wanted
    assert type(found) is type(wanted)


WRONG: list[tuple[str, Any]] = [
    ("weight", "1,2,3"),
    ("weight", []),
    ("weight", ""),
    ("weight", "1,"),
    ("weight", [True, 1]),
    ("weight", [[1], [2]]),
    ("heavy", -0.5),
    ("heavy", "1,-1"),
    ("lambda", 10.5),
    ("lambda", math.nan),
    ("lambda", "inf"),
    ("share", -0.1),
    ("share", None),
    ("share", True),
    ("share", {}),
    ("free", 10**400),
    ("free", "1e999"),
    ("seed", 0.5),
    ("seed", -1),
    ("seed", 2**32),
    ("seed", math.inf),
    ("seed", 10**400),
    ("seed", "1.0"),
    ("kind", "cold"),
    ("kind", ["mild"]),
    ("fast", 1),
    ("fast", "perhaps"),
    ("facts", "a.npz"),
    ("facts", "a.npz,"),
    ("facts", [1, 2]),
]


@pytest.mark.parametrize(("name", "given"), WRONG)
def test_wrong_values_are_refused_with_what_is_right(name: str, given: Any) -> None:
    with pytest.raises(RequestError, match=f"{name} cannot be") as caught:
        everything.parameter(name).read(given, 2)
    assert caught.value.hint == f"it is {everything.parameter(name).described()}"


def test_limits_of_weights_are_told() -> None:
    assert everything.parameter("heavy").described().startswith("a number of at least 0, or one for each")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.integers(10**300, 10**320) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=6,
)


@settings(deadline=None)
@given(value=ANYTHING, models=st.integers(2, 4), data=st.data())
def test_any_value_is_read_right_or_refused(value: Any, models: int, data: st.DataObject) -> None:
    parameters = [p for one in (everything, *installed().values()) for p in one.parameters]
    parameter = data.draw(st.sampled_from(parameters))
    try:
        found = parameter.read(value, models)
    except RequestError:
        return
    for one in found if isinstance(found, tuple) else (found,):
        check(parameter, one)
    assert not isinstance(found, tuple) or len(found) == models
    assert parameter.read(found, models) == found


def check(parameter: Parameter, value: Any) -> None:
    match parameter.kind:
        case "flag":
            assert isinstance(value, bool)
        case "choice":
            assert value in parameter.choices
        case "checkpoints":
            assert isinstance(value, str)
            assert value
        case kind:
            assert type(value) is (int if kind == "whole" else float)
            assert math.isfinite(value)
            assert parameter.low is None or value >= parameter.low
            assert parameter.high is None or value <= parameter.high


def test_read_fills_in_and_orders() -> None:
    values = everything.read({"facts": ["a", "b"], "lambda": 2})
    assert list(values) == [p.name for p in everything.parameters]
    assert (values["lambda"], values["weight"]) == (2.0, 1.0)
    with pytest.raises(RequestError, match="needs facts") as caught:
        everything.read({})
    assert "--set facts=" in caught.value.hint
    with pytest.raises(RequestError, match="no parameter 'wieght'") as caught:
        everything.read({"wieght": 1})
    assert "weight" in caught.value.hint


def test_refusals() -> None:
    assert "needs a base" in find("ties").refusal(2, base=False)
    assert "needs a base" in find("base").refusal(2, base=False)
    assert "two models, not 3" in find("slerp").refusal(3, base=True)
    assert not find("ties").refusal(3, base=True)
    assert not find("linear").refusal(3, base=False)
    assert not everything.refusal(2, base=False)


def test_uniform_numbers_are_pinned() -> None:
    tensor = Tensor("encoder.weight")
    assert (tensor.uniform((5,), 0) * 2.0**53).astype(np.int64).tolist() == PINNED
    assert tensor.uniform((), 0).tolist() * 2.0**53 == PINNED[0]
    assert tensor.uniform((0, 3), 0).shape == (0, 3)


PINNED = [4143230941421734, 5077784743697891, 1357435414138021, 8444625649629418, 2923501982971093]


@settings(deadline=None)
@given(start=st.integers(0, 40), count=st.integers(0, 40))
def test_uniform_numbers_do_not_depend_on_how_a_tensor_is_cut(start: int, count: int) -> None:
    whole = Tensor("w").uniform((20, 4), 3, 1).reshape(-1)
    part = Tensor("w", start=start).uniform((count,), 3, 1)
    assert np.array_equal(part, whole[start : start + count])


def test_uniform_numbers_depend_on_name_seed_and_model_only() -> None:
    streams = [
        tuple(Tensor(name, dtype).uniform((8,), seed, which))
        for name in ("a", "b")
        for seed in (0, 1)
        for which in (0, 1)
        for dtype in ("F32", "BF16")
    ]
    assert len(set(streams)) == 8
    many = Tensor("a").uniform((100_000,), 0)
    assert many.min() >= 0
    assert many.max() < 1
    assert abs(many.mean() - 0.5) < 0.005
    assert abs(many.std() - math.sqrt(1 / 12)) < 0.005


def test_all_of_ours_are_installed() -> None:
    assert sorted(name for name, one in installed().items() if one.function.__module__.startswith("theta_")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_explains_itself(name: str) -> None:
    one = find(name)
    assert one.name == name
    assert one.summary.endswith(".")
    for parameter in one.parameters:
        assert parameter.help.endswith("."), parameter.name
        assert ". " not in parameter.help, "one sentence"
        assert "`" not in parameter.help, "it is shown as plain text"
    assert one.takes or "References\n----" in inspect.cleandoc(one.__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_every_default_can_be_used(name: str) -> None:
    one = find(name)
    needed = {p.name: "a,b" for p in one.parameters if p.default is None}
    assert set(needed) == {"fisher": {"fisher"}, "regmean": {"gram"}}.get(name, set())
    values = one.read(needed)
    assert one.read({key: value for key, value in values.items() if key not in needed} | needed) == values


def test_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="no strategy 'tise'") as caught:
        find("tise")
    assert caught.value.hint == "did you mean ties?"


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_and_parameter_is_in_the_docs(name: str) -> None:
    one = find(name)
    text = (DOCS / "strategies.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{name}` +\|[^|]+\| (\w+) +\| (\w+) +\| (\w+) +\|$", text, re.MULTILINE)
    assert row is not None
    needs = {"no": "no", "needs": "needs"}[one.base]
    assert row.groups() == (needs, "two" if one.pairs else "any", "yes" if one.elementwise else "no")
    if one.parameters:
        own = re.split(rf"^### .*`{name}`.*$", text, flags=re.MULTILINE)[1].partition("\n### ")[0]
        common = text.partition("\n## Changes")[2].partition("\n### ")[0]
        for parameter in one.parameters:
            default = "required" if parameter.default is None else str(parameter.default).lower().removesuffix(".0")
            line = rf"^\| `{parameter.name}` +\| {default} +\|"
            assert re.search(line, own, re.MULTILINE) or re.search(line, common, re.MULTILINE), parameter.name


def test_the_strategy_in_the_docs_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "writing-a-strategy.md").read_text(encoding="utf-8")
    module, tests = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "cautious.py").write_text(module)
    (tmp_path / "test_cautious.py").write_text(tests)
    monkeypatch.syspath_prepend(tmp_path)
    names = runpy.run_path(str(tmp_path / "test_cautious.py"))
    checks = [value for name, value in names.items() if name.startswith("test_")]
    assert len(checks) == 2
    for one in checks:
        one()
    cautious = names["cautious"]
    assert [(p.kind, p.default, p.choices) for p in cautious.parameters] == [
        ("number", 1.0, ()),
        ("choice", "all", ("all", "any")),
    ]
    assert all(p.help for p in cautious.parameters)
    assert cautious([np.array([2.0]), np.array([0.0])], np.array([0.0]), quorum="any").tolist() == [2]


class Entry:
    """An entry point of somebody's."""

    def __init__(self, name: str, value: str, loaded: Any) -> None:
        self.name, self.value, self.loaded = name, value, loaded

    def load(self) -> Any:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def test_plug_ins_are_named_by_their_entry_and_broken_ones_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries: Sequence[Entry] = [
        Entry("all", "mine:everything", everything),
        Entry("linear", "mine:linear", everything),
        Entry("bad", "mine:bad", ImportError("no such thing")),
        Entry("plain", "mine:plain", len),
        Entry("linear", "theta_jupyter.merges.strategies.means:linear", find("linear")),
    ]
    monkeypatch.setattr(base_module, "entry_points", lambda **_: entries)
    installed.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            found = installed()
        assert sorted(found) == ["all", "linear"]
        assert isinstance(found["all"], Strategy)
        assert found["all"].name == "all"
        assert found["linear"].function is not everything.function, "ours come first"
        assert "no such thing" in caplog.text
        assert "not decorated" in caplog.text
    finally:
        installed.cache_clear()
