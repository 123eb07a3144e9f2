"""Carries out the instructions of a pickle, within bounds.

Python's own reader does whatever a pickle says: nine bytes make it take any amount of memory, and a few hundred keep it
at work for years. Here every instruction takes time and memory in proportion to the pickle's length, and what comes out
is plain: it ends, is not deep, and is not much larger than the pickle, however often that refers to its parts. How much
that may be altogether depends on what is read: one image of many (:data:`ONE_IMAGE`), or a file that the user names.

The instructions are described in Python's ``Lib/pickletools.py``. Those that no writer of plain data uses are refused.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

# Integers fit into 128 bits, so that they can become a float, or text.
_INTEGER_BYTES, _INTEGER_DIGITS = 16, 40
_FLOAT_CHARACTERS = 60
_MAX_DEPTH = 64
_TOO_DEEP = f"values more than {_MAX_DEPTH} deep inside of one another"
# An array of objects is written with two marks.
_MAX_MARKS = 2 * _MAX_DEPTH
# Longer keys of dictionaries could make comparing them the work of hours.
_MAX_KEY = 10_000
# What hashes fast and, unless on purpose, differently. Larger integers could have the same hash by the thousand.
_INTEGER_KEYS = range(-(2**63), 2**64)
_KEYS = frozenset(
    {str, bytes, int, float, bool, type(None), np.str_, np.bytes_, np.bool_}
    | {np.dtype(f"{kind}{size}").type for kind in "iu" for size in (1, 2, 4, 8)}
)
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
_LEAVES = frozenset({str, bytes, bytearray, int, float, bool, type(None)})
_CONTAINERS = (list, tuple, dict, set, frozenset)
# What instructions cost, about a fourth of the bytes of memory they take; and what is worked through, a byte or item.
_CONTAINER_COST, _SET_COST, _MEMBER_COST = 16, 48, 32
_SHORT_TEXT, _TEXT, _MEMOIZE = pickle.SHORT_BINUNICODE[0], pickle.BINUNICODE[0], pickle.MEMOIZE[0]
_GET, _LONG_GET, _PUT = pickle.BINGET[0], pickle.LONG_BINGET[0], pickle.BINPUT[0]
_whole = struct.Struct("<I").unpack_from
_SMALL_INTEGER = pickle.BININT1[0]
_SMALL = 2**12
# How much larger than the pickle its value may be when every reference is followed.
_BASE_WEIGHT, _WEIGHT_PER_BYTE = 2**16, 8


@dataclass(frozen=True)
class Limits:
    """What a pickle may contain, whatever its length.

    Attributes:
        num_instructions: each makes at most one object.
        num_containers: lists, tuples, dictionaries, sets and objects.
        num_keys: keys of all dictionaries and members of all sets; on purpose, a number of them can take that number's
            square of steps to put in.
        base_budget, budget_per_byte: what may be spent; what Python writes of plain data spends less.
    """

    num_instructions: int
    num_containers: int
    num_keys: int
    base_budget: int
    budget_per_byte: int

    def budget(self, size: int) -> int:
        """What a pickle of that many bytes may spend."""
        generous = _WHOLE_BASE + _WHOLE_PER_BYTE * size
        return min(generous, self.base_budget + self.budget_per_byte * size)


_WHOLE_BASE, _WHOLE_PER_BYTE = 2**20, 12
# A file with all of the data: some have tens of millions of objects.
WHOLE_FILE = Limits(2**30, 2**30, 2**30, _WHOLE_BASE, _WHOLE_PER_BYTE)
# One of many: with up to 32 MiB it is read, or refused, within two seconds and 200 MB. To be made of text, the bytes of
# an array are worked through twice.
ONE_IMAGE = Limits(2**20, 2**18, 2**14, 2**22, 2)


class PickleProblem(Exception):
    """A pickle cannot be used; whoever knows where it comes from makes a message of it.

    Args:
        problem: why not.
        remedy: what the user can do about it.
    """

    def __init__(self, problem: str, remedy: str):
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


class Record:
    """Stands for an object of another program's class: its attributes, without its code.

    Attributes:
        state: the attributes, or whatever the pickle gave as the object's state.
    """

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _NoText(bytes):
    """What Python 2 wrote and does not become text: the values of an array, which is then made of them."""

    __slots__ = ()


_REFERRING = (*_CONTAINERS, np.ndarray, Record)


class Builder:
    """Stands for a function or class that a pickle may call.

    Args:
        name: its name.
        build: what is called in its place; its work and memory are in proportion to the length of its arguments.
        takes_members: whether these are the members of a set, or the keys and values of a dictionary.
    """

    __slots__ = ("build", "name", "takes_members")

    def __init__(self, name: str, build: Callable[..., Any], takes_members: bool = False):
        self.name = name
        self.build = build
        self.takes_members = takes_members


class PickleMachine:
    """Carries out a pickle's instructions.

    Args:
        content: the pickle; what follows its end is not looked at.
        find: gives a :class:`Builder`, or the class :class:`Record`, for a module and a name, or raises.
        stateful: classes whose objects may be given a state.
        encoding, errors: how the byte strings of Python 2 become text; but for what arrays are made of, all have to.
        limits: what it may contain.
    """

    def __init__(
        self,
        content: bytes,
        find: Callable[[str, str], Any],
        stateful: tuple[type, ...],
        encoding: str,
        errors: str,
        limits: Limits,
    ):
        self._content = content
        self._find = find
        self._stateful = stateful
        self._encoding, self._errors = encoding, errors
        self._at = 0
        self._stack: list[Any] = []
        # What is below the marks, each of which begins a stack of its own.
        self._below: list[list[Any]] = []
        self._memo: list[Any] = []
        self._shared: set[int] = set()
        self._limits = limits
        self._budget = limits.budget(len(content))
        self._num_containers = self._num_keys = 0
        self._has_no_text = False

    def run(self) -> Any:
        """The pickle's value.

        Raises:
            PickleProblem: the pickle exceeds a bound, or contains what is not admitted.
            Exception: it is damaged, which can show in any way.
        """
        content, memo, instructions, stop = self._content, self._memo, _INSTRUCTIONS, pickle.STOP[0]
        stack, at = self._stack, 0
        # The most frequent instructions are carried out here: to call them would take several times as long.
        for _ in repeat(None, self._limits.num_instructions):
            code = content[at]
            at += 1
            if code == _MEMOIZE:
                memo.append(stack[-1])
            elif code == _SHORT_TEXT or code == _TEXT:  # noqa: SIM109 (faster)
                if code == _SHORT_TEXT:
                    at, begin = at + 1 + content[at], at + 1
                else:
                    at, begin = at + 4 + _whole(content, at)[0], at + 4
                if at > len(content):
                    raise ValueError("it is cut off within a text")
                stack.append(str(content[begin:at], "utf-8", "surrogatepass"))
            elif code == _GET or code == _LONG_GET:  # noqa: SIM109
                if code == _GET:
                    value = memo[content[at]]
                    at += 1
                else:
                    value = memo[_whole(content, at)[0]]
                    at += 4
                if type(value) is not str:
                    self.note(value)
                stack.append(value)
            elif code == _SMALL_INTEGER:
                stack.append(content[at])
                at += 1
            elif code == _PUT:
                self.store(content[at])
                at += 1
            elif code == stop:
                break
            else:
                self._at = at
                instructions[code](self)
                stack, at = self._stack, self._at
        else:
            raise _exceeded(f"more than {self._limits.num_instructions:,} instructions")
        (value,) = stack
        self._check(value)
        return value

    # --- what the instructions are made of

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._content):
            raise ValueError(f"it is cut off: {end - len(self._content)} bytes are missing")
        taken = self._content[self._at : end]
        self._at = end
        return taken

    def take_sized(self, size_bytes: int) -> bytes:
        """Take bytes that are preceded by their number."""
        return self.take(self.take_number(size_bytes))

    def take_number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def take_line(self, limit: int | None = None) -> bytes:
        end = self._content.find(b"\n", self._at)
        if end < 0:
            raise ValueError("it is cut off within a line")
        line = self.take(end + 1 - self._at)[:-1]
        if limit is not None and len(line) > limit:
            raise _exceeded(f"a number of {len(line)} digits")
        return line

    def spend(self, amount: int) -> None:
        self._budget -= amount
        if self._budget < 0:
            raise _exceeded("more objects than a file of its size has")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_container(self, value: Any, cost: int = _CONTAINER_COST) -> None:
        self.spend(cost)
        self._num_containers += 1
        if self._num_containers > self._limits.num_containers:
            raise _exceeded(f"more than {self._limits.num_containers:,} lists, dictionaries and the like")
        self._stack.append(value)

    def count_keys(self, number: int) -> None:
        self._num_keys += number
        if self._num_keys > self._limits.num_keys:
            raise _exceeded(f"more than {self._limits.num_keys:,} keys of dictionaries and members of sets")

    def push_integer(self, digits: bytes) -> None:
        if len(digits) > _INTEGER_BYTES:
            raise _exceeded(f"a number of {len(digits)} bytes")
        self._stack.append(int.from_bytes(digits, "little", signed=True))

    def push_old_text(self, content: bytes) -> None:
        try:
            self._stack.append(content.decode(self._encoding, self._errors))
        except UnicodeDecodeError:
            self._has_no_text = True
            self._stack.append(_NoText(content))

    def pop(self) -> Any:
        return self._stack.pop()

    def mark(self) -> None:
        if len(self._below) == _MAX_MARKS:
            raise _exceeded(_TOO_DEEP)
        self._below.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def store(self, index: int) -> None:
        memo = self._memo
        if index == len(memo):
            memo.append(self._stack[-1])
            return
        # Writers number what they store from 0 or 1; some leave numbers out.
        if not 0 <= index <= min(len(self._content), self._limits.num_instructions):
            raise _exceeded("a reference with a number beyond any")
        memo.extend([None] * (index + 1 - len(memo)))
        memo[index] = self._stack[-1]

    def fetch(self, index: int) -> None:
        if index < 0:
            raise ValueError("a reference with a negative number")
        value = self._memo[index]
        self.note(value)
        self._stack.append(value)

    def note(self, value: Any) -> None:
        """Note that more than one can refer to a value."""
        if isinstance(value, _REFERRING):
            self._shared.add(id(value))

    def extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError(f"items for a {type(target).__name__}")
        target += items

    def update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError(f"keys and values for a {type(target).__name__}")
        keys = items[::2]
        self.count_keys(len(keys))
        check_keys(keys)
        target.update(zip(keys, items[1::2], strict=True))

    def add(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise ValueError(f"members for a {type(target).__name__}")
        self.count_keys(len(items))
        check_keys(items)
        target.update(items)

    def find(self, module: str, name: str) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        self._stack.append(self._find(module, name))

    def call(self) -> None:
        arguments, builder = self.pop(), self.pop()
        if type(arguments) is not tuple:
            raise ValueError(f"a {type(arguments).__name__} for arguments")
        if builder is Record:
            self.new(builder, arguments)
            return
        if type(builder) is not Builder:
            raise ValueError(f"it calls a {type(builder).__name__}")
        self.spend(_SET_COST + _lengths(arguments))
        if builder.takes_members:
            num_members = _lengths(arguments) - len(arguments)
            self.count_keys(num_members)
            self.spend(_MEMBER_COST * num_members)
        self.push(builder.build(*arguments))

    def new(self, kind: Any, arguments: Any) -> None:
        if kind is not Record or arguments != ():
            raise ValueError("it makes an object that plain data do not have")
        self.push_container(Record())

    def set_state(self) -> None:
        state, target = self.pop(), self._stack[-1]
        if not isinstance(target, self._stateful):
            raise ValueError(f"it changes a {type(target).__name__}")
        self.spend(_CONTAINER_COST + _lengths(state if type(state) is tuple else ()))
        target.__setstate__(state)  # type: ignore[attr-defined]

    def _check(self, value: Any) -> None:
        if (
            not self._has_no_text
            and not self._shared
            and self._num_containers <= _MAX_DEPTH
            and len(self._content) <= _SMALL
        ):
            return  # As flat as that, and nothing but short texts can be met twice.
        _Scales(self._shared, _BASE_WEIGHT + _WEIGHT_PER_BYTE * len(self._content)).weigh(value)


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys of dictionaries, and members of sets, that can take long to hash or to compare.

    Raises:
        PickleProblem: there is one.
    """
    keys = list(keys)
    for kind in set(map(type, keys)) - _KEYS:
        if kind is _NoText:
            raise _in_other_encoding(next(key for key in keys if type(key) is _NoText))
        raise PickleProblem(f"contains a {kind.__name__} as a key", "Use text or numbers as keys")
    if not all(key in _INTEGER_KEYS for key in keys if type(key) is int):
        raise PickleProblem("contains an integer of more than 64 bits as a key", "Use text or smaller numbers as keys")
    longest = max((len(key) for key in keys if type(key) in (str, bytes)), default=0)
    if longest > _MAX_KEY:
        raise PickleProblem(f"contains a key of {longest} characters", "Use shorter keys")


class _Scales:
    """Weighs values with all that they refer to, as often as they do: a program that walks over them does, too."""

    def __init__(self, shared: set[int], limit: int):
        self._shared = shared
        self._limit = limit
        # Only of what more than one can refer to; all else is met once.
        self._known: dict[int, tuple[int, int]] = {}

    def weigh(self, value: Any, depth: int = 0) -> tuple[int, int]:
        """Weight and height."""
        known = self._known.get(id(value))
        weight, height = known or self._weigh_parts(value, depth)
        if depth + height > _MAX_DEPTH:
            raise _exceeded(_TOO_DEEP)
        if weight > self._limit:
            raise _exceeded("references that would make it many times its size")
        if known is None and id(value) in self._shared:
            self._known[id(value)] = weight, height
        return weight, height

    def _weigh_parts(self, value: Any, depth: int) -> tuple[int, int]:
        if depth > _MAX_DEPTH:
            raise _exceeded(_TOO_DEEP)
        if type(value) is _NoText:
            raise _in_other_encoding(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return 1 + value.size, 0
        parts = _parts(value)
        texts = sum(len(part) for part in parts if type(part) in (str, bytes, bytearray))
        weight, height = 1 + len(parts) + texts // 16, 0
        for part in parts:
            if type(part) not in _LEAVES:
                part_weight, part_height = self.weigh(part, depth + 1)
                weight += part_weight
                height = max(height, part_height + 1)
        return weight, height


def _parts(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, _CONTAINERS):
        return value
    if isinstance(value, Record):
        return (value.state,)
    return value.ravel() if isinstance(value, np.ndarray) else ()


def _lengths(values: tuple[Any, ...]) -> int:
    return len(values) + sum(len(value) for value in values if isinstance(value, _SIZED))


def _in_other_encoding(text: bytes) -> ValueError:
    return ValueError(f"the text {bytes(text[:40])!r} of Python 2 is in another encoding")


def _exceeded(what: str) -> PickleProblem:
    return PickleProblem(
        f"contains {what}", "Plain data do not need that: do not use this file; get it from its source"
    )


# --- the instructions


def _refused(machine: PickleMachine) -> None:
    machine._at -= 1
    code = machine.take(1)
    raise ValueError(f"instruction {code!r}, which plain data do not need")


def _protocol(machine: PickleMachine) -> None:
    version = machine.take_number(1)
    if version > pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"protocol {version}")


def _frame(machine: PickleMachine) -> None:
    # Where a part of the pickle ends matters only to who reads it in parts.
    machine.take_number(8)


def _integer_line(machine: PickleMachine) -> None:
    line = machine.take_line(_INTEGER_DIGITS)
    machine.push(line == b"01" if line in (b"00", b"01") else int(line))


def _text_line(machine: PickleMachine) -> None:
    line = machine.take_line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("text without quotes")
    machine.push_old_text(codecs.escape_decode(line[1:-1])[0])


def _name_line(machine: PickleMachine) -> None:
    module, name = (machine.take_line(_MAX_KEY).decode("utf-8") for _ in range(2))
    machine.find(module, name)


def _name_on_stack(machine: PickleMachine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(module, name)


def _tuple(size: int) -> Callable[[PickleMachine], None]:
    def make(machine: PickleMachine) -> None:
        items = [machine.pop() for _ in range(size)]
        machine.push_container(tuple(reversed(items)))

    return make


def _dictionary(machine: PickleMachine) -> None:
    items = machine.pop_to_mark()
    machine.push_container({})
    machine.update(items)


def _frozen_set(machine: PickleMachine) -> None:
    items = machine.pop_to_mark()
    machine.count_keys(len(items))
    check_keys(items)
    machine.push_container(frozenset(items), _SET_COST)


def _pair(machine: PickleMachine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.update([key, value])


def _new(machine: PickleMachine) -> None:
    arguments, kind = machine.pop(), machine.pop()
    machine.new(kind, arguments)


_INSTRUCTIONS: list[Callable[[PickleMachine], None]] = [_refused] * 256
for _code, _carry_out in {
    pickle.PROTO: _protocol,
    pickle.FRAME: _frame,
    # Plain values.
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.INT: _integer_line,
    pickle.LONG: lambda machine: machine.push(int(machine.take_line(_INTEGER_DIGITS).rstrip(b"L"))),
    pickle.BININT: lambda machine: machine.push_integer(machine.take(4)),
    pickle.BININT2: lambda machine: machine.push(machine.take_number(2)),
    pickle.LONG1: lambda machine: machine.push_integer(machine.take_sized(1)),
    pickle.LONG4: lambda machine: machine.push_integer(machine.take_sized(4)),
    pickle.FLOAT: lambda machine: machine.push(float(machine.take_line(_FLOAT_CHARACTERS))),
    pickle.BINFLOAT: lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),
    pickle.UNICODE: lambda machine: machine.push(str(machine.take_line(), "raw-unicode-escape")),
    pickle.BINUNICODE8: lambda machine: machine.push(str(machine.take_sized(8), "utf-8", "surrogatepass")),
    pickle.STRING: _text_line,
    pickle.SHORT_BINSTRING: lambda machine: machine.push_old_text(machine.take_sized(1)),
    pickle.BINSTRING: lambda machine: machine.push_old_text(machine.take_sized(4)),
    pickle.SHORT_BINBYTES: lambda machine: machine.push(machine.take_sized(1)),
    pickle.BINBYTES: lambda machine: machine.push(machine.take_sized(4)),
    pickle.BINBYTES8: lambda machine: machine.push(machine.take_sized(8)),
    pickle.BYTEARRAY8: lambda machine: machine.push(bytearray(machine.take_sized(8))),
    # Containers.
    pickle.MARK: PickleMachine.mark,
    pickle.EMPTY_LIST: lambda machine: machine.push_container([]),
    pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
    pickle.EMPTY_DICT: lambda machine: machine.push_container({}),
    pickle.EMPTY_SET: lambda machine: machine.push_container(set(), _SET_COST),
    pickle.LIST: lambda machine: machine.push_container(machine.pop_to_mark()),
    pickle.TUPLE: lambda machine: machine.push_container(tuple(machine.pop_to_mark())),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.DICT: _dictionary,
    pickle.FROZENSET: _frozen_set,
    pickle.APPEND: lambda machine: machine.extend([machine.pop()]),
    pickle.APPENDS: lambda machine: machine.extend(machine.pop_to_mark()),
    pickle.SETITEM: _pair,
    pickle.SETITEMS: lambda machine: machine.update(machine.pop_to_mark()),
    pickle.ADDITEMS: lambda machine: machine.add(machine.pop_to_mark()),
    # References.
    pickle.PUT: lambda machine: machine.store(int(machine.take_line(_INTEGER_DIGITS))),
    pickle.LONG_BINPUT: lambda machine: machine.store(machine.take_number(4)),
    pickle.GET: lambda machine: machine.fetch(int(machine.take_line(_INTEGER_DIGITS))),
    # Objects.
    pickle.GLOBAL: _name_line,
    pickle.STACK_GLOBAL: _name_on_stack,
    pickle.REDUCE: PickleMachine.call,
    pickle.NEWOBJ: _new,
    pickle.BUILD: PickleMachine.set_state,
}.items():
    _INSTRUCTIONS[_code[0]] = _carry_out
