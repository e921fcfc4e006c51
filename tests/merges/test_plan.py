"""A plan says the same wherever it is kept, and a text that is no plan is told so, whatever it holds."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theta_jupyter.errors import RequestError
from theta_jupyter.merges import plan as plans
from theta_jupyter.merges.plan import LIMIT, MOST_RULES, Plan, Rule, depths, escape, read

if TYPE_CHECKING:
    from pathlib import Path

# Any text that a tensor's name may hold.
NAMES = st.text(max_size=20) | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "So"]), max_size=5)
NUMBERS = st.floats(allow_nan=False) | st.integers()
VALUES = NUMBERS | st.booleans() | NAMES
RULES = st.builds(
    Rule,
    NAMES,
    NAMES,
    st.dictionaries(NAMES, VALUES | st.lists(VALUES | st.lists(VALUES, max_size=3), max_size=3), max_size=3),
    NAMES,
)
PLANS = st.builds(Plan, st.lists(RULES, max_size=4).map(tuple), st.booleans())


# Kept, and read again.


def exactly(plan: Plan) -> str:
    """Tell apart what compares equal, as 1, 1.0 and true do."""
    return repr(plan)


@settings(deadline=None)
@given(PLANS)
def test_a_plan_comes_back(plan: Plan) -> None:
    assert exactly(read(plan.text())) == exactly(plan)
    assert exactly(read(plan.line())) == exactly(plan)
    assert exactly(read(json.dumps(plan.to_dict(), indent=2))) == exactly(plan)
    assert "\n" not in plan.line()
    assert plan.line().isascii()


def test_as_people_write_it(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes(
        b"\xef\xbb\xbf# A comment.\nall: true\nrules:\n- strategy: linear\n"
        b"- tensors: encoder.*\n  file: '*.safetensors'\n  strategy: ties\n  parameters:\n    density: [2e-1, 0.8]\n"
        b"    weight: 1e-3\n  # Nothing:\n- {tensors: x, strategy: ours, parameters: }\n"
    )
    ties = Rule("encoder.*", "ties", {"density": ["2e-1", 0.8], "weight": "1e-3"}, "*.safetensors")
    assert read(file) == Plan((Rule("*", "linear"), ties, Rule("x", "ours")), all=True)
    assert read(file).checked().rules[1].parameters == {"density": [0.2, 0.8], "weight": 0.001}
    assert read("- strategy: linear") == read("rules: [{strategy: linear}]") == read("rules: [\n{strategy: linear}]")
    assert read("rules: []") == read("[]") == Plan()


def test_rules_in_words() -> None:
    rule = Rule("a.*", "ties", {"density": [0.2, 0.8], "weight": [1, 2.5], "normalize": True}, "m.pt")
    assert rule.described() == "m.pt: a.* -> ties(density=[0.2, 0.8], weight=[1, 2.5], normalize=true)"
    assert Rule("*", "ours").described() == "* -> ours"


# What is no plan.

HOSTILE: dict[str, tuple[str, str]] = {
    "nothing": ("", "is not a plan"),
    "a word": ("linear", "is not a plan"),
    "a number": ("7", "is not a plan"),
    "null": ("null", "is not a plan"),
    "no rules": ("all: true", "is not a plan"),
    "rules that are none": ("rules: 7", "is not a plan"),
    "rules by name": ("rules: {a: linear}", "is not a plan"),
    "an unknown key": ("rules: []\nrule: []", "has 'rule', which is nothing"),
    "a key of another kind": ("rules: []\n7: []", "has 7, which is nothing"),
    "a key that is a list": ("? [a]\n: 1", "cannot be read"),
    "all that is no truth": ("rules: []\nall: 1", "all is true or false"),
    "a rule that is a word": ("- linear", "rule 1 of the plan is not one"),
    "a rule that is a list": ("- strategy: linear\n- [linear]", "rule 2 of the plan is not one"),
    "a misspelt key": ("- {strategy: linear, paramaters: {weight: 1}}", "rule 1 of the plan has 'paramaters'"),
    "no strategy": ("- {tensors: a}", "rule 1 of the plan has no strategy"),
    "a strategy that is a number": ("- {strategy: 7}", "has no strategy"),
    "a strategy that is null": ("- {strategy: }", "has no strategy"),
    "tensors that are a date": ("- {strategy: linear, tensors: 2020-01-01}", "something that is not text"),
    "a file that is a list": ("- {strategy: linear, file: [a]}", "something that is not text"),
    "parameters that are a number": ("- {strategy: linear, parameters: 0}", "parameters of rule 1 of the plan"),
    "parameters that are a list": ("- {strategy: linear, parameters: []}", "parameters of rule 1 of the plan"),
    "a parameter of no name": ("- {strategy: linear, parameters: {1: 2}}", "parameters of rule 1 of the plan"),
    "a parameter that is null": ("- {strategy: linear, parameters: {weight: }}", "parameters of rule 1"),
    "a parameter that is a date": ("- {strategy: linear, parameters: {weight: 2020-01-01}}", "parameters of rule 1"),
    "a parameter that is a dictionary": ("- {strategy: linear, parameters: {weight: {a: 1}}}", "parameters of rule 1"),
    "lists of lists of lists": ("- {strategy: linear, parameters: {weight: [[[1]]]}}", "parameters of rule 1"),
    "an alias": ("rules: [&a {strategy: linear}, *a]", "aliases"),
    "laughs": (
        "a: &a [x]\n"
        + "\n".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "aliases",
    ),
    "itself": ("&a [*a]", "aliases"),
    "a merge key": ("- &a {strategy: linear}\n- {<<: *a}", "aliases"),
    "python": ("!!python/object/apply:os.system ['exit 1']", "tags"),
    "python in a value": ("- {strategy: !!python/name:os.system }", "tags"),
    "python as a key": ("- {!!python/tuple [a]: linear}", "tags"),
    "a tag of its own": ("- {strategy: !mine linear}", "tags"),
    "an integer that is none": ("- {strategy: linear, parameters: {weight: !!int ''}}", "tags"),
    "a float that is none": ("- {strategy: linear, parameters: {weight: !!float ''}}", "tags"),
    "a truth that is none": ("- {strategy: linear, parameters: {weight: !!bool x}}", "tags"),
    "a time that is none": ("- {strategy: linear, parameters: {weight: !!timestamp x}}", "tags"),
    "bytes": ("- {strategy: !!binary bGluZWFy}", "tags"),
    "a day that is none": ("- {strategy: 2020-99-99}", "cannot be read"),
    "digits of nothing": ("- {strategy: 0x_}", "cannot be read"),
    "a number of many digits": (f"- {{strategy: {'9' * 5000}}}", "cannot be read"),
    "a number of many digits, in JSON": (f'[{{"strategy": {"9" * 5000}}}]', "cannot be read"),
    "deep": ("[" * 100_000, "cannot be read"),
    "deep, and closed": ("[" * 100_000 + "]" * 100_000, "cannot be read"),
    "deep dictionaries": ('{"a":' * 100_000 + "1" + "}" * 100_000, "cannot be read"),
    "deep blocks": ("- " * 5_000 + "a", "cannot be read"),
    "long": ("# " + "x" * LIMIT, "longer than a plan"),
    "long JSON": (json.dumps([{"strategy": "x" * LIMIT}]), "longer than a plan"),
    "many rules": (json.dumps([{"strategy": "ours"}] * (MOST_RULES + 1)), "at most 10000"),
    "two documents": ("[]\n---\n[]", "cannot be read (line 2)"),
    "a control character": ("- {strategy: a\0b}", "cannot be read"),
    "a tabulator": ("rules:\n\t- strategy: linear", "cannot be read (line 2)"),
    "half a dictionary": ("rules: [{", "cannot be read (line 1)"),
    "a directive": ("%YAML 9.9\n--- []", "cannot be read"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_plan(what: str) -> None:
    text, words = HOSTILE[what]
    with pytest.raises(RequestError) as caught:
        read(text)
    assert words in caught.value.message
    assert caught.value.message.startswith(("the plan ", "rule ", "the parameters of rule "))
    assert len(str(caught.value)) < 300


PIECES = [
    *"-:,&*!|>'#%@`?~=a\"\\\n\t\ufeff\x85\u2028\ud800",
    *("{}", "[]", "!!", "<<", "&a", "*a", "---", "...", "rules", "strategy", "parameters", "tensors"),
    *(
        f"!!{tag}"
        for tag in ("int", "float", "bool", "null", "map", "seq", "set", "omap", "pairs", "timestamp", "binary")
    ),
    *("1", "1.5", "0x", "0b_", "1:60", ".inf", "2020-13-01", "true"),
]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from(PIECES),
        max_size=14,
    ).map(" ".join)
    | st.text()
)
def test_any_text_is_a_plan_or_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(RequestError):
        found = read(text)
        assert exactly(read(found.text())) == exactly(found)
    with contextlib.suppress(RequestError):
        read(f"- strategy: linear\n  parameters: {{weight: {text}}}").checked()


@settings(deadline=None)
@given(
    st.recursive(st.none() | VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9)
)
def test_any_json_is_a_plan_or_an_error_of_ours(value: Any) -> None:
    for text in (
        json.dumps(value),
        json.dumps([value]),
        json.dumps([{"strategy": "linear", "parameters": value}]),
        json.dumps([{"strategy": "dare_ties", "parameters": {"seed": value, "density": value, "weight": value}}]),
        json.dumps([{"strategy": "dare_ties", "parameters": {"weight": [value, [value]]}}]),
    ):
        with contextlib.suppress(RequestError):
            checked = read(text).checked()
            for rule in checked.rules:
                assert [rule.values(depth / 7, 2) for depth in range(8)]
            assert exactly(checked.checked()) == exactly(checked)
            assert exactly(read(checked.line())) == exactly(checked)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    binary, long = tmp_path / "model.pt", tmp_path / "long.yaml"
    binary.write_bytes(b"\x80\x02\xff")
    long.write_bytes(b"#" * (LIMIT + 1))
    for path, words in [
        (tmp_path / "no.yaml", "there is no plan"),
        (tmp_path, "cannot be read"),
        (binary, "not text"),
        (long, "longer than a plan"),
    ]:
        with pytest.raises(RequestError, match=words) as caught:
            read(path)
        assert str(path) in caught.value.message
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("- {tensors: a, strategy: linear}\n- {tensors: b}")
    with pytest.raises(RequestError, match=r"rule 2 of .*wrong\.yaml has no strategy"):
        read(wrong)


# Which rule speaks.


def test_the_last_rule_wins() -> None:
    plan = Plan((Rule("*", "linear"), Rule("a.*", "ours"), Rule("*.bias", "theirs"), Rule("b?[xy]", "ties")))
    found = {name: plan.rule_for(name) for name in ("x", "a.weight", "a.bias", "bias", "b1x", "b1z", "A.weight", "")}
    assert found == {"x": 0, "a.weight": 1, "a.bias": 2, "bias": 0, "b1x": 3, "b1z": 0, "A.weight": 0, "": 0}
    assert Plan().rule_for("x") is None
    assert Plan((Rule("a", "ours"),)).rule_for("ab") is None


def test_a_rule_may_be_for_some_files() -> None:
    plan = Plan((Rule("*", "linear"), Rule("a", "ours", file="models/*.pt"), Rule("a", "theirs", file="x[12].pt")))
    assert plan.rule_for("a", "models/deep/m.pt") == 1
    assert plan.rule_for("a", "x2.pt") == 2
    assert plan.rule_for("a", "x3.pt") == 0
    assert plan.rule_for("b", "x2.pt") == 0
    assert plan.rule_for("a") == 2, "where there is but one file, all rules are for it"


@settings(deadline=None)
@given(NAMES, NAMES)
def test_an_escaped_name_matches_just_itself(name: str, other: str) -> None:
    assert Rule(escape(name), "ours").matches(name)
    assert Rule(escape(name), "ours").matches(other) == (name == other)
    assert Rule("*", "ours", file=escape(name)).matches("x", other) == (name == other or not name or not other)


GLOBS = st.text("[]*?!-ab^\\\n", max_size=8)


@settings(deadline=None)
@given(GLOBS, GLOBS)
def test_an_escaped_glob_matches_just_itself(name: str, other: str) -> None:
    assert Rule(escape(name), "ours").matches(name)
    assert Rule(escape(name), "ours").matches(other) == (name == other)


@settings(deadline=None, max_examples=500)
@given(GLOBS, GLOBS)
def test_globs_are_those_of_fnmatch(glob: str, name: str) -> None:
    assert Rule(glob, "ours").matches(name) == fnmatch.fnmatchcase(name, glob)


def test_many_stars_take_no_time() -> None:
    assert not Rule("*a" * 40 + "b", "ours").matches("a" * 5000)


def test_a_rule_for_each_tensor_is_made_ready_once() -> None:
    plan = Plan(tuple(Rule(f"layer.{number}.*", "ours") for number in range(400)))
    plans._matcher.cache_clear()
    assert [plan.rule_for(f"layer.{number}.weight") for number in range(400)] == list(range(400))
    assert plans._matcher.cache_info().misses == 400


def test_rules_that_were_used() -> None:
    rules = (Rule("*", "linear"), Rule("a", "ours"), Rule("b", "ours"), Rule("a", "theirs", file="x.pt"))
    plan = Plan(rules, all=True)
    assert plan.used([("y.pt", "a"), ("x.pt", "a"), ("y.pt", "c")]) == Plan((rules[0], rules[1], rules[3]), all=True)
    assert plan.used([("x.pt", "a")]).rules == (rules[3],)
    assert plan.used([]) == Plan(all=True)
    assert Plan(rules[1:]).used([("y.pt", "c")]) == Plan()


# Parameters.


def test_parameters_are_checked() -> None:
    given_, read_ = (
        {"density": "0.3", "weight": "0.3, 0.7", "lambda_": 1, "seed": "7"},
        {"density": 0.3, "weight": [0.3, 0.7], "lambda": 1.0, "seed": 7},
    )
    checked = Plan((Rule("a", "dare_ties", given_, "f"),), all=True).checked()
    assert exactly(checked) == exactly(Plan((Rule("a", "dare_ties", read_, "f"),), all=True))
    assert exactly(checked.checked()) == exactly(checked)


@pytest.mark.parametrize(
    ("strategy", "parameters", "words"),
    [
        ("tie", {}, "there is no strategy 'tie'"),
        ("ties", {"densty": 1}, "ties has no parameter 'densty'"),
        ("ties", {"density": 2}, "density cannot be 2"),
        ("ties", {"density": [0.2, 5, 0.8]}, "density cannot be 5"),
        ("ties", {"density": [0.2, "x"]}, "density cannot be"),
        ("ties", {"density": [0.2, True]}, "density cannot be"),
        ("ties", {"density": [0.2, math.inf]}, "density cannot be"),
        ("ties", {"density": [0.2, 10**400]}, "density cannot be"),
        ("ties", {"density": []}, "density cannot be"),
        ("ties", {"weight": [1, 2, 3]}, "there are 2 models"),
        ("ties", {"weight": [["a"]]}, "weight cannot be"),
        ("ties", {"weight": [[True, 1]]}, "weight cannot be"),
        ("ties", {"weight": [[], []]}, "weight cannot be"),
        ("ties", {"weight": [[1, 2], [1, 2, 3], [1, 2]]}, "different length"),
        ("ties", {"weight": [[1, 2], [1]]}, "different length"),
        ("ties", {"weight": [[1, 2], 1]}, "weight cannot be"),
        ("dare_ties", {"seed": [1, -1, 3]}, "seed cannot be -1"),
        ("linear", {"normalize": [True, False]}, "normalize cannot be"),
        ("fisher", {}, "fisher needs fisher"),
        ("fisher", {"fisher": ["a", "b", "c"]}, "there are 2 models"),
    ],
)
def test_wrong_parameters(strategy: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        Plan((Rule("*", strategy, parameters),)).checked()
    assert words in caught.value.message


def test_in_full_a_rule_means_the_same_when_defaults_change() -> None:
    plan = Plan((Rule("a", "ties", {"density": [0.2, 0.8], "lambda_": "2"}), Rule("b", "ours")), all=True)
    full = plan.full()
    assert full.rules[0].parameters == {"density": [0.2, 0.8], "weight": 1.0, "lambda": 2.0}
    assert full.rules[1] == plan.rules[1]
    assert full.all
    assert exactly(read(full.text())) == exactly(full) == exactly(full.full())
    for depth in (0.0, 0.3, 1.0):
        assert full.rules[0].values(depth, 2) == plan.rules[0].values(depth, 2)
    three = Plan((Rule("a", "linear", {"weight": "1,2,3"}),)).full(3)
    assert three.rules[0].parameters == {"weight": [1.0, 2.0, 3.0], "normalize": True}


def test_settings_as_a_command_is_given_them() -> None:
    found = plans.settings(["density = 0.3", "weight=[0.2, [1, 2]]", "fisher=a=b.pt,c.pt", "lambda=", "normalize=no"])
    assert found == {
        "density": "0.3",
        "weight": [0.2, [1, 2]],
        "fisher": "a=b.pt,c.pt",
        "lambda": "",
        "normalize": "no",
    }
    assert plans.settings(["a=1", "a=2"]) == {"a": "2"}
    for text in ("density", "=3", " = 3", "a=[1", "a=[x]", "a=" + "[" * 100_000):
        with pytest.raises(RequestError, match="cannot read"):
            plans.settings([text])


# Gradients over the depth of the model.


def at(parameters: dict[str, Any], depth: float, strategy: str = "dare_ties", models: int = 2) -> dict[str, Any]:
    return Rule("*", strategy, parameters).values(depth, models)


def test_a_gradient_goes_through_its_points() -> None:
    points = [0.2, 0.5, 0.8]
    found = [at({"density": points}, depth)["density"] for depth in (0, 0.25, 0.5, 0.75, 1)]
    assert found == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8])
    assert [found[0], found[2], found[4]] == points
    assert at({"density": [0.7]}, 0.3)["density"] == 0.7
    # Where rounding would lead beside the points.
    assert at({"density": [0.03, 0.29]}, 1)["density"] == 0.29
    assert at({"density": [0.3, 0.3]}, 0.1)["density"] == 0.3
    assert [at({"seed": [0, 10]}, depth)["seed"] for depth in (0, 0.26, 1)] == [0, 3, 10]
    assert isinstance(at({"seed": [0, 10]}, 0.26)["seed"], int)


def test_weights_of_each_model_have_gradients_too() -> None:
    points = [[1, 0], [0.5, 0.5], [0, 1]]
    assert [at({"weight": points}, depth)["weight"] for depth in (0, 0.25, 0.5, 1)] == [
        (1, 0),
        (0.75, 0.25),
        (0.5, 0.5),
        (0, 1),
    ]
    # One number for all models, which changes over depth; a plain list is one for each.
    assert at({"weight": [[0], [2]]}, 0.25)["weight"] == 0.5
    assert at({"weight": [0, 2]}, 0.25)["weight"] == (0, 2)
    assert exactly(Plan((Rule("*", "ties", {"weight": [["0"], [2]]}),)).checked()) == exactly(
        Plan((Rule("*", "ties", {"weight": [[0.0], [2.0]]}),))
    )


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 1))
def test_a_gradient_is_piecewise_linear(points: list[float], depth: float) -> None:
    """Against fractions; and never beyond the points on its sides, which may be at a limit."""
    place = Fraction(depth) * (len(points) - 1)
    left = min(int(place), len(points) - 1)
    right = min(left + 1, len(points) - 1)
    wanted = Fraction(points[left]) * (1 - place + left) + Fraction(points[right]) * (place - left)
    found = at({"density": points}, depth)["density"]
    assert found == pytest.approx(float(wanted), rel=1e-12, abs=1e-12)
    assert min(points) <= found <= max(points)


def test_depths_of_models_that_there_are() -> None:
    bert = [
        "bert.embeddings.word_embeddings.weight",
        "bert.embeddings.LayerNorm.bias",
        *(f"bert.encoder.layer.{number}.attention.self.query.weight" for number in range(12)),
        "bert.pooler.dense.weight",
        "cls.predictions.transform.dense.weight",
    ]
    found = depths(bert)
    assert [found[name] for name in bert] == pytest.approx([0, 0, *(n / 11 for n in range(12)), 1, 1])
    gpt2 = [
        "wte.weight",
        "wpe.weight",
        "h.0.attn.c_attn.weight",
        "h.9.ln_1.weight",
        "h.10.mlp.c_fc.bias",
        "ln_f.weight",
    ]
    assert list(depths(gpt2).values()) == [0, 0, 0, 0.9, 1, 1]
    llama = [
        "model.embed_tokens.weight",
        "model.layers.15.mlp.up_proj.weight",
        "model.layers.31.x.weight",
        "lm_head.weight",
    ]
    assert list(depths(llama).values()) == pytest.approx([0, 15 / 31, 1, 1])
    t5 = ["encoder.block.5.layer.0.x.weight", "encoder.block.10.layer.1.x.weight", "decoder.block.2.layer.0.x.weight"]
    assert list(depths(t5).values()) == [0.5, 1, 1]
    plain = ["0.weight", "2.weight", "4.bias"]
    assert list(depths(plain).values()) == [0, 0.5, 1]
    mixture = ["model.layers.1.mlp.experts.7.w1.weight", "model.layers.2.mlp.experts.0.w1.weight"]
    assert list(depths(mixture).values()) == [0.5, 1]


def test_depths_of_other_models() -> None:
    assert depths([]) == {}
    assert depths(["layers.0.weight"]) == {"layers.0.weight": 0.0}
    assert depths(["conv1.weight", "layer1.0.conv2.weight", "fc.1"]) == {
        "conv1.weight": 1.0,
        "layer1.0.conv2.weight": 0.0,
        "fc.1": 1.0,
    }
    assert depths(["a/3/w", "a/6/w"]) == {"a/3/w": 0.5, "a/6/w": 1.0}
    assert depths([f"a.{'9' * 5000}.w"]) == {f"a.{'9' * 5000}.w": 1.0}


@settings(deadline=None)
@given(st.lists(st.text(".0123456789a٣²/", max_size=12) | NAMES, max_size=8))
def test_any_names_have_depths(names: list[str]) -> None:
    found = depths(names)
    assert found.keys() == set(names)
    assert all(0 <= depth <= 1 for depth in found.values())
