"""What a merge strategy is: a pure function from the versions of one tensor to one tensor.

Its signature says all there is to know about it, and everything else is read from there::

    @strategy(elementwise=True)
    def task_arithmetic(models: Models, base: Array, *, weight: Weights = 1.0, lambda_: Factor = 1.0) -> Array:
        '''Add what every model learned to the base. ...'''

* ``models`` are the versions, ours first: any number of at least two. With ``ours`` and ``theirs`` in its place there
  are two.
* ``base`` is their common ancestor. Without a default the strategy needs one; with ``base=None`` it can do without.
* ``tensor``, where it is wanted, says which tensor this is, and gives random numbers that depend on nothing else.
* ``seen``, where it is wanted, is what ``look`` gave: an elementwise strategy is called with a tensor in parts, one
  after the other, and before that its look is called with all of it, which it goes through in parts, too.
* All else is keyword-only, and a parameter: its annotation gives the control that is shown (a slider, a box, a
  choice), its default what is used, the docstring its help. A trailing underscore is dropped from the name.

Arrays are float32 or float64, all of one shape, finite, and must not be written to. The result is cast once, to the
type of the tensor. A strategy is an entry point in the group ``theta_jupyter.merges``; its name there is what plans
say.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from theta_jupyter.docstrings import helps
from theta_jupyter.errors import RequestError

__all__ = [
    "Array",
    "Between",
    "Factor",
    "Models",
    "Parameter",
    "Parts",
    "Seed",
    "Share",
    "Statistics",
    "Strategy",
    "Tensor",
    "Weights",
    "find",
    "installed",
    "strategy",
]

Array = npt.NDArray[np.floating[Any]]
Models = Sequence[Array]
Parts = Callable[[], Iterable[tuple[Models, Array | None]]]
"""Models and base of a tensor, flat, part by part; from the start each time it is called."""


@dataclass(frozen=True, slots=True)
class Between:
    """The least and the greatest value of a parameter, both allowed."""

    low: float = -math.inf
    high: float = math.inf


Share = Annotated[float, Between(0, 1)]
"""A part of the whole."""
Factor = Annotated[float, Between(-10, 10)]
"""A number to multiply with."""
Seed = Annotated[int, Between(0, 2**32 - 1)]
"""Chooses the random numbers."""
Weights = float | Sequence[float]
"""One number for every model, or one for each."""
Statistics = Sequence[Array | None]
"""A tensor for each model, out of checkpoints that the user names; None where its checkpoint has no such tensor."""

Kind = Literal["number", "whole", "flag", "choice", "weights", "checkpoints"]
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a strategy, as its signature has it.

    Parameters
    ----------
    name
        As users say it.
    keyword
        As the function does.
    kind
        ``number``, ``whole`` (number), ``flag``, ``choice``, ``weights`` (a number, or one for each model) or
        ``checkpoints`` (a path for each model).
    default
        None if it must be given.
    help
        One sentence, of the docstring.
    low, high
        Limits of a number; None where there is none.
    choices
        Of a choice.
    """

    name: str
    keyword: str
    kind: Kind
    default: Any = None
    help: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def read(self, value: Any, models: int) -> Any:
        """Check a value, and give it as the function takes it.

        Parameters
        ----------
        value
            Of JSON or YAML; or text, as in ``--set density=0.3``.
        models
            How many there are.

        Raises
        ------
        RequestError
            If it is not such a value.
        """
        try:
            return self._read(value, models)
        except (ValueError, TypeError, OverflowError) as error:
            words = f": {error}" if isinstance(error, _WrongValueError) and str(error) else ""
            raise RequestError(f"{self.name} cannot be {value!r}{words}", hint=f"it is {self.described()}") from None

    def described(self) -> str:
        """Say what values it takes."""
        limits = ""
        if self.low is not None and self.high is not None:
            limits = f" from {self.low:g} to {self.high:g}"
        elif self.low is not None:
            limits = f" of at least {self.low:g}"
        return {
            "number": f"a number{limits}",
            "whole": f"a whole number{limits}",
            "flag": "true or false",
            "choice": f"one of {', '.join(self.choices)}",
            "weights": f"a number{limits}, or one for each model, as in 0.3,0.7",
            "checkpoints": "a checkpoint for each model, as in a.safetensors,b.safetensors",
        }[self.kind]

    def _read(self, value: Any, models: int) -> Any:
        match self.kind:
            case "flag":
                return _flag(value)
            case "choice" if value in self.choices:
                return value
            case "choice":
                raise _WrongValueError
            case "checkpoints":
                paths = _parts(value)
                if len(paths) != models or not all(isinstance(path, str) and path for path in paths):
                    raise _WrongValueError(f"there are {models} models")
                return tuple(paths)
            case "weights":
                parts = _parts(value)
                if len(parts) == 1:
                    return self._number(parts[0])
                if len(parts) != models:
                    raise _WrongValueError(f"there are {models} models")
                return tuple(map(self._number, parts))
        return self._number(value)

    def _number(self, value: Any) -> float | int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _WrongValueError
        number: float | int = int(value) if self.kind == "whole" and not isinstance(value, float) else float(value)
        if self.kind == "whole" and number != int(number):
            raise _WrongValueError
        number = int(number) if self.kind == "whole" else number
        if not math.isfinite(number):
            raise _WrongValueError
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise _WrongValueError
        return number


class _WrongValueError(ValueError):
    pass


def _flag(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    found = words.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise _WrongValueError
    return found


def _parts(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


@dataclass(frozen=True, slots=True)
class Tensor:
    """Which tensor, or which part of one, a strategy is given.

    Parameters
    ----------
    name
        Its name.
    dtype
        Its type in the file, a key of :data:`theta_jupyter.dtypes.DTYPES`.
    start
        Index, in C order, of the first value given: an elementwise strategy sees a tensor in parts.
    """

    name: str = ""
    dtype: str = "F32"
    start: int = 0

    def uniform(self, shape: Sequence[int], seed: int, which: int = 0) -> npt.NDArray[np.float64]:
        """Random numbers in [0, 1), one for each value; the same for the same tensor, seed and ``which``, everywhere.

        They are the bits of Philox-4x64, whose stream NumPy promises never to change, keyed by BLAKE3 of the name.
        """
        from blake3 import blake3

        key = int.from_bytes(blake3(f"theta merge\0{seed}\0{which}\0{self.name}".encode()).digest(16), "little")
        count = math.prod(shape)
        stream = np.random.Philox(key=key)
        stream.advance(self.start // 4)  # Four numbers a step.
        skipped = self.start % 4
        words = stream.random_raw(count + skipped)[skipped:]
        found: npt.NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return found.reshape(tuple(shape))


@dataclass(frozen=True)
class Strategy:
    """A way to merge, with what its signature says.

    Parameters
    ----------
    name
        What plans and people call it.
    summary
        First line of the docstring.
    function
        The function itself.
    parameters
        In the order of the signature.
    base
        Whether it ``needs`` a base, can ``use`` one, or does without (``no``).
    pairs
        Whether it takes just two models.
    elementwise
        Whether each value of the result depends only on the values in its place, so that a tensor may be worked on
        in parts.
    takes
        Which version it simply takes, of ``ours``, ``theirs`` and ``base``; empty for one that computes.
    wants_tensor
        Whether it asks which tensor it is given.
    look
        Looks at a whole tensor, given its :data:`Parts` and the strategy's parameters, before an elementwise strategy
        is called; None where there is no need. What it returns is ``seen`` by each call, the first part first.
    """

    name: str
    summary: str
    function: Callable[..., Array] = field(repr=False, compare=False)
    parameters: tuple[Parameter, ...] = ()
    base: Literal["no", "use", "needs"] = "no"
    pairs: bool = False
    elementwise: bool = False
    takes: str = ""
    wants_tensor: bool = False
    look: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # What `functools.wraps` would do, were it not frozen: `help()` and `inspect` see the function.
        vars(self).update(__doc__=self.function.__doc__, __module__=self.function.__module__, __wrapped__=self.function)

    def __call__(self, *args: Any, **options: Any) -> Array:
        """Call the function as it is."""
        return self.function(*args, **options)

    def parameter(self, name: str) -> Parameter:
        """Find a parameter.

        Raises
        ------
        RequestError
            If there is none of that name.
        """
        for parameter in self.parameters:
            if name in {parameter.name, parameter.keyword}:
                return parameter
        known = ", ".join(parameter.name for parameter in self.parameters) or "none"
        raise RequestError(f"{self.name} has no parameter {name!r}", hint=f"its parameters: {known}")

    def read(self, given: Mapping[str, Any], models: int = 2) -> dict[str, Any]:
        """Check parameters and fill in defaults.

        Returns
        -------
        dict
            Values by name, in the order of the signature.

        Raises
        ------
        RequestError
            If one is unknown, or wrong, or not given and has no default.
        """
        values = {self.parameter(name).name: self.parameter(name).read(value, models) for name, value in given.items()}
        missing = [p for p in self.parameters if p.default is None and p.name not in values]
        if missing:
            first = missing[0]
            hint = f"it is {first.described()}: --set {first.name}=..."
            raise RequestError(f"{self.name} needs {first.name}", hint=hint)
        return {p.name: values.get(p.name, p.default) for p in self.parameters}

    def refusal(self, models: int, *, base: bool) -> str:
        """Say why it cannot merge so many models, with or without a base; empty if it can."""
        if self.base == "needs" and not base:
            return "it needs a base, and the tensor was added on both sides"
        if self.pairs and models != 2:
            return f"it merges two models, not {models}"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """What there is to know, ready for JSON."""
        names = ("name", "summary", "base", "pairs", "takes")
        return {**{name: getattr(self, name) for name in names}, "parameters": [asdict(p) for p in self.parameters]}

    def looked(self, parts: Parts, values: Mapping[str, Any]) -> Any:
        """What a look at a whole tensor gives, to be handed to :meth:`run` for each of its parts."""
        return self.look and self.look(parts, **{p.keyword: values[p.name] for p in self.parameters})

    def run(
        self, models: Models, base: Array | None, values: Mapping[str, Any], tensor: Tensor, seen: Any = None
    ) -> Array:
        """Merge arrays with checked parameters, as :meth:`read` gives them.

        Parameters
        ----------
        seen
            What :meth:`looked` gave; None if the arrays are a whole tensor.
        """
        keywords = {p.keyword: values[p.name] for p in self.parameters}
        if self.look is not None:
            keywords["seen"] = seen
        if self.wants_tensor:
            keywords["tensor"] = tensor
        if self.base != "no":
            keywords["base"] = base
        if self.pairs:
            ours, theirs = models
            return self.function(ours=ours, theirs=theirs, **keywords)
        return self.function(models=models, **keywords)


@overload
def strategy(function: Callable[..., Array], /) -> Strategy: ...
@overload
def strategy(
    *, elementwise: bool = False, takes: str = "", look: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Array]], Strategy]: ...
def strategy(
    function: Callable[..., Array] | None = None,
    /,
    *,
    elementwise: bool = False,
    takes: str = "",
    look: Callable[..., Any] | None = None,
) -> Any:
    """Make a strategy of a function, by its signature.

    Parameters
    ----------
    elementwise, takes, look
        As in :class:`Strategy`.

    Raises
    ------
    TypeError
        If the signature is not one of a strategy.
    """
    if function is None:
        return functools.partial(_strategy, elementwise=elementwise, takes=takes, look=look)
    return _strategy(function, elementwise=elementwise, takes=takes, look=look)


def _strategy(
    function: Callable[..., Array], *, elementwise: bool, takes: str, look: Callable[..., Any] | None
) -> Strategy:
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function, include_extras=True)
    described = helps(function.__doc__ or "")
    versions = set(signature.parameters) & {"models", "ours", "theirs"}
    if versions not in ({"models"}, {"ours", "theirs"}):
        raise TypeError(f"{function.__name__} must take models, or ours and theirs")
    if ("seen" in signature.parameters) != (look is not None) or (look is not None and not elementwise):
        raise TypeError(f"{function.__name__} is seen={look and look.__name__}: an elementwise strategy may have both")
    controls = [p for p in signature.parameters.values() if p.name not in versions | {"base", "tensor", "seen"}]
    for control in controls:
        if control.kind is not inspect.Parameter.KEYWORD_ONLY or control.name not in hints:
            raise TypeError(f"{control.name} of {function.__name__} must be keyword-only and have an annotation")
    base: Literal["no", "use", "needs"] = "no"
    if "base" in signature.parameters:
        base = "needs" if signature.parameters["base"].default is REQUIRED else "use"
    return Strategy(
        name=function.__name__.strip("_"),
        summary=(function.__doc__ or "").strip().partition("\n")[0],
        function=function,
        parameters=tuple(
            _parameter(control, hints[control.name], described.get(control.name, "")) for control in controls
        ),
        base=base,
        pairs=versions != {"models"},
        elementwise=elementwise,
        takes=takes,
        wants_tensor="tensor" in signature.parameters,
        look=look,
    )


def _parameter(parameter: inspect.Parameter, hint: Any, words: str) -> Parameter:
    made = _control(parameter.name, hint, words)
    if parameter.default is REQUIRED:
        return made
    try:
        return replace(made, default=made.read(parameter.default, 1))
    except RequestError as error:
        raise TypeError(f"{error.message}, its default: {error.hint}") from None


def _control(name: str, hint: Any, words: str) -> Parameter:
    made = functools.partial(Parameter, name.rstrip("_"), name, help=words)
    limits = Between()
    if typing.get_origin(hint) is Annotated:
        hint, *extras = typing.get_args(hint)
        limits = next((extra for extra in extras if isinstance(extra, Between)), limits)
    low = limits.low if math.isfinite(limits.low) else None
    high = limits.high if math.isfinite(limits.high) else None
    if typing.get_origin(hint) is Literal:
        return made(kind="choice", choices=typing.get_args(hint))
    if hint is bool:
        return made(kind="flag")
    if hint is int:
        return made(kind="whole", low=low, high=high)
    if hint is float:
        return made(kind="number", low=low, high=high)
    if hint == Statistics:
        return made(kind="checkpoints")
    if isinstance(hint, types.UnionType) and float in typing.get_args(hint):
        return made(kind="weights", low=low, high=high)
    raise TypeError(f"a parameter of a strategy cannot be {hint}")


_log = logging.getLogger(__name__)


@cache
def installed() -> Mapping[str, Strategy]:
    """Every strategy, ours first, then others', by name. One that cannot be loaded is left out, with a warning."""
    found: dict[str, Strategy] = {}
    entries = entry_points(group="theta_jupyter.merges")
    for entry in sorted(entries, key=lambda entry: not entry.value.startswith("theta_jupyter.")):
        try:
            loaded = entry.load()
            if not isinstance(loaded, Strategy):
                raise TypeError("it is not decorated with @strategy")
        except Exception as error:  # noqa: BLE001 - somebody's plug-in
            _log.warning("the strategy %s (%s) cannot be loaded: %s", entry.name, entry.value, error)
            continue
        found.setdefault(entry.name, replace(loaded, name=entry.name))
    return found


def find(name: str, among: Iterable[str] = ()) -> Strategy:
    """Look up a strategy.

    Raises
    ------
    RequestError
        If no installed package provides it.
    """
    if name in installed():
        return installed()[name]
    import difflib

    near = difflib.get_close_matches(name, [*installed(), *among], 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(installed())}"
    raise RequestError(f"there is no strategy {name!r}", hint=hint)
