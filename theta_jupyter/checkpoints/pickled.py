"""Read a pickle without doing what it says.

A pickle is a program for a small stack machine, and its instructions can call any function. Here the machine runs,
but nothing is imported and nothing is called: a function is only its name (:class:`Global`), and a call is only a
note of what would have been called with what (:class:`Call`). Whoever reads the result decides which calls mean
something.

Dicts and sets are calls too, with what was put into them. Real ones would hash their keys, and a pickle can make keys
that take forever to hash.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from theta_jupyter.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Call", "Global", "Persistent", "load"]

MAX_OPCODES = 5_000_000
"""A few seconds' work. The checkpoint of a model with thousands of tensors needs a few hundred thousand."""


@dataclass(frozen=True, slots=True, repr=False)
class Global:
    """The name of a function, a class or a constant."""

    module: str
    name: str

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """An object that calling something would make, and what would then be put into it.

    Parameters
    ----------
    function
        What would be called: a :class:`Global`, unless the pickle is an odd one.
    args
        A tuple, unless the pickle is an odd one.
    elements
        What would be appended or added to it.
    items
        Keys and values that would be set in it.
    state
        What its ``__setstate__`` would be given; mostly the table of its attributes.
    """

    function: Any
    args: Any = ()
    elements: list[Any] = field(default_factory=list)
    items: list[tuple[Any, Any]] = field(default_factory=list)
    state: Any = None

    def __repr__(self) -> str:
        return f"{self.function!r}{self.args or ()!r}{self.elements or ''}{self.items or ''}"


@dataclass(frozen=True, slots=True, eq=False)
class Persistent:
    """A reference to something that lies outside the pickle, such as the storage of a tensor."""

    id: Any


DICT = Global("builtins", "dict")
SET = Global("builtins", "set")
FROZENSET = Global("builtins", "frozenset")


def load(data: bytes | memoryview) -> tuple[Any, int]:
    """Read the first pickle in some bytes.

    Returns
    -------
    root
        Numbers, strings, bytes, None, lists and tuples as they are; anything else as :class:`Global`, :class:`Call` or
        :class:`Persistent`. It may be cyclic, and may hold one part many times over.
    steps
        How many instructions made it.

    Raises
    ------
    CheckpointError
        If it is not a pickle, or does what no checkpoint does.
    """
    machine = _Machine()
    steps, name = 0, "start"
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            name = opcode.name
            _INSTRUCTIONS[name](machine, argument)
            steps += 1
            if steps > MAX_OPCODES:
                raise CheckpointError(f"its pickle has more than {MAX_OPCODES:,} instructions")
        return machine.stack.pop(), steps
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(f"its pickle is damaged or unusual, at {name}: {error}") from None


class _Machine:
    """The stack, the stacks set aside at each mark, and the memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marked.pop()
        return values

    def pop(self, _: Any) -> None:
        # Popping an empty stack takes away the mark.
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("too few values")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        (target.elements if isinstance(target, Call) else target).extend(values)

    def set_items(self, values: list[Any]) -> None:
        self.stack[-1].items.extend(zip(values[::2], values[1::2], strict=True))

    def make_dict(self, values: list[Any]) -> None:
        self.push(Call(DICT))
        self.set_items(values)

    def pop_last(self, count: int) -> list[Any]:
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        self.stack[-1].state = state

    def call(self, _: Any) -> None:
        args = self.stack.pop()
        self.push(Call(self.stack.pop(), args))

    def call_marked(self, name: str | None) -> None:
        function, *args = ([_global(name)] if name else []) + self.since_mark()
        self.push(Call(function, tuple(args)))

    def call_with_keywords(self, _: Any) -> None:
        keywords = self.stack.pop()
        args = self.stack.pop()
        self.push(Call(self.stack.pop(), (*args, keywords)))

    def stack_global(self, _: Any) -> None:
        name = self.stack.pop()
        self.push(Global(_text(self.stack.pop()), _text(name)))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.push(self.memo[index])


def _global(argument: str) -> Global:
    return Global(*argument.split(" ", 1))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name must be text")
    return value


# Instructions that push the value they carry.
_LITERALS = {"int", "int_or_bool", "float", "str", "bytes_or_str", "bytes", "bytearray"}
_VALUES = [
    code.name for code in pickletools.opcodes if code.arg and {kind.name for kind in code.stack_after} & _LITERALS
]

# Extension codes and out-of-band buffers are left out: they mean nothing without the process that wrote them.
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(_VALUES, _Machine.push),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda _machine, _: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.call),
    **dict.fromkeys(("INST", "OBJ"), _Machine.call_marked),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "EMPTY_DICT": lambda machine, _: machine.push(Call(DICT)),
    "DICT": lambda machine, _: machine.make_dict(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop_last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "EMPTY_SET": lambda machine, _: machine.push(Call(SET)),
    "ADDITEMS": lambda machine, _: machine.append(machine.since_mark()),
    "FROZENSET": lambda machine, _: machine.push(Call(FROZENSET, elements=machine.since_mark())),
    "GLOBAL": lambda machine, name: machine.push(_global(name)),
    "STACK_GLOBAL": _Machine.stack_global,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "BUILD": _Machine.build,
    "PERSID": lambda machine, name: machine.push(Persistent(name)),
    "BINPERSID": lambda machine, _: machine.push(Persistent(machine.stack.pop())),
}
