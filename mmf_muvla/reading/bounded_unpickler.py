"""Carries out the instructions of a pickle, each in time and memory in proportion to the pickle's length.

What comes out is plain: it ends, is not deep, and is not much larger than the pickle, however often that refers to its
parts. The instructions (``Lib/pickletools.py`` describes them) are those of Python's ``pickle._Unpickler``. The ones
that can do harm are replaced, and those that no writer of plain data uses are left out. Which values become keys of
dictionaries is only known while the instructions are carried out, so no check beforehand could do the same.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from mmf_muvla.reading import pickle_bounds
from mmf_muvla.reading.pickle_bounds import CONTAINERS, MAX_DEPTH, Limits, NoText, Record, check_keys, exceeded

# Integers fit into 128 bits, so that they can become a float, or text.
_INTEGER_BITS = 128
# An array of objects is written with two marks.
_MAX_MARKS = 2 * MAX_DEPTH
_SIZED = (str, bytes, bytearray, *CONTAINERS)
# What instructions cost, about a fourth of the bytes of memory they take; and what is worked through, a byte or item.
_CONTAINER_COST, _SET_COST, _MEMBER_COST = 16, 48, 32
_REFERRING = (*CONTAINERS, np.ndarray, Record)


@dataclass(frozen=True, eq=False)
class Builder:
    """Stands for a function or class that a pickle may call."""

    build: Callable[..., Any]  # called in its place; with work and memory in proportion to the length of its arguments
    takes_members: bool = False  # the arguments are the members of a set, or the keys and values of a dictionary


class BoundedUnpickler(pickle._Unpickler):
    """Carries out a pickle's instructions.

    Args:
        content: the pickle; what follows its end is not looked at.
        find: gives a :class:`Builder`, or the class :class:`Record`, for a module and a name, or raises.
        stateful: classes whose objects may be given a state.
        encoding, errors: how the byte strings of Python 2 become text; except for what arrays are made of, all have to.
        limits: what it may contain.
    """

    encoding: str
    errors: str
    memo: dict[int, Any]
    pop_mark: Callable[[], list[Any]]
    find_class: Callable[[str, str], Any]  # type: ignore[assignment]

    def __init__(
        self,
        content: bytes,
        find: Callable[[str, str], Any],
        stateful: tuple[type, ...],
        *,
        encoding: str,
        errors: str,
        limits: Limits,
    ):
        file = io.BytesIO(content)
        super().__init__(file, encoding=encoding, errors=errors)
        # Where a frame ends matters only to those who read a pickle in pieces: there are none here.
        self.read, self.readline = file.read, file.readline
        # What is below the marks, each of which begins a stack of its own.
        self.metastack: list[list[Any]] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        # More than one value can refer to these.
        self._shared: set[int] = set()
        self.find_class = find
        self._stateful = stateful
        self._limits = limits
        self._size = len(content)
        self._budget = limits.budget(len(content))
        self._num_containers = self._num_keys = 0

    def load(self) -> Any:
        """The pickle's value; a PickleProblem where it exceeds a bound, any Exception where it is damaged."""
        read, stop, instructions = self.read, pickle.STOP, _INSTRUCTIONS
        for _ in repeat(None, self._limits.num_instructions):
            code = read(1)
            if code == stop:
                break
            try:
                carry_out = instructions[code]
            except KeyError:
                problem = f"instruction {code!r}, which plain data do not need" if code else "it is cut off"
                raise ValueError(problem) from None
            carry_out(self)
        else:
            raise exceeded(f"more than {self._limits.num_instructions:,} instructions")
        (value,) = self.stack
        pickle_bounds.check_size(value, self._shared, self._size)
        return value

    def _spend(self, amount: int) -> None:
        self._budget -= amount
        if self._budget < 0:
            raise exceeded("more objects than a file of its size has")

    def _count_container(self, cost: int = _CONTAINER_COST) -> None:
        self._spend(cost)
        self._num_containers += 1
        if self._num_containers > self._limits.num_containers:
            raise exceeded(f"more than {self._limits.num_containers:,} lists, dictionaries and the like")

    def _count_set(self) -> None:
        self._count_container(_SET_COST)

    def _check_integer(self) -> None:
        bits = int(self.stack[-1]).bit_length()
        if bits > _INTEGER_BITS:
            raise exceeded(f"a number of {bits} bits")

    def _count_keys(self, number: int) -> None:
        self._num_keys += number
        if self._num_keys > self._limits.num_keys:
            raise exceeded(f"more than {self._limits.num_keys:,} keys of dictionaries and members of sets")

    def _as_keys(self, keys: list[Any]) -> list[Any]:
        self._count_keys(len(keys))
        check_keys(keys)
        return keys

    def _target(self, kind: type) -> Any:
        target = self.stack[-1]
        if type(target) is not kind:
            raise ValueError(f"items for a {type(target).__name__}, not a {kind.__name__}")
        return target

    # --- the instructions, where Python's would do harm

    def _decode_string(self, value: bytes) -> str | bytes:
        try:
            return value.decode(self.encoding, self.errors)
        except UnicodeDecodeError:
            return NoText(value)

    def load_frame(self) -> None:
        self.read(8)

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_mark(self) -> None:
        if len(self.metastack) == _MAX_MARKS:
            raise exceeded(pickle_bounds.TOO_DEEP)
        self.metastack.append(self.stack)
        self.stack = []
        self.append = self.stack.append

    def load_put(self) -> None:
        self._store(int(self.readline()))

    def load_long_binput(self) -> None:
        self._store(int.from_bytes(self.read(4), "little"))

    def _store(self, number: int) -> None:
        # Writers number what they store from 0 or 1; some leave numbers out.
        if not 0 <= number <= min(self._size, self._limits.num_instructions):
            raise exceeded("a reference with a number beyond any")
        self.memo[number] = self.stack[-1]

    def load_get(self) -> None:
        self._fetch(int(self.readline()))

    def load_binget(self) -> None:
        self._fetch(self.read(1)[0])

    def load_long_binget(self) -> None:
        self._fetch(int.from_bytes(self.read(4), "little"))

    def _fetch(self, number: int) -> None:
        value = self.memo[number]
        if type(value) is not str and isinstance(value, _REFERRING):
            self._shared.add(id(value))
        self.append(value)

    def load_append(self) -> None:
        item = self.stack.pop()
        self._target(list).append(item)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._target(list).extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def load_setitems(self) -> None:
        self._update(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._update(items)

    def _update(self, items: list[Any]) -> None:
        self._target(dict).update(zip(self._as_keys(items[::2]), items[1::2], strict=True))

    def load_additems(self) -> None:
        items = self.pop_mark()
        self._target(set).update(self._as_keys(items))

    def load_frozenset(self) -> None:
        members = self._as_keys(self.pop_mark())
        self.append(frozenset(members))

    def load_reduce(self) -> None:
        arguments, builder = self.stack.pop(), self.stack.pop()
        if builder is Record:
            self._new(builder, arguments)
            return
        if type(builder) is not Builder or type(arguments) is not tuple:
            raise ValueError(f"it calls a {type(builder).__name__} with a {type(arguments).__name__}")
        length = _lengths(arguments)
        self._spend(_SET_COST + length)
        if builder.takes_members:
            self._count_keys(length - len(arguments))
            self._spend(_MEMBER_COST * (length - len(arguments)))
        self.append(builder.build(*arguments))

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self._new(kind, arguments)

    def _new(self, kind: Any, arguments: Any) -> None:
        if kind is not Record or arguments != ():
            raise ValueError("it makes an object that plain data do not have")
        self._count_container()
        self.append(Record())

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, self._stateful):
            raise ValueError(f"it changes a {type(target).__name__}")
        self._spend(_CONTAINER_COST + _lengths(state if type(state) is tuple else ()))
        target.__setstate__(state)  # type: ignore[attr-defined]


def _lengths(values: tuple[Any, ...]) -> int:
    return len(values) + sum(len(value) for value in values if isinstance(value, _SIZED))


def _instruction(code: bytes, check: Callable[[BoundedUnpickler], None] | None) -> Callable[[BoundedUnpickler], None]:
    # A method has the same name in the class that replaces some of them.
    carry_out = getattr(BoundedUnpickler, pickle._Unpickler.dispatch[code[0]].__name__)
    if check is None:
        return carry_out

    def carry_out_and_check(reader: BoundedUnpickler) -> None:
        carry_out(reader)
        check(reader)

    return carry_out_and_check


_INSTRUCTIONS = {
    getattr(pickle, name): _instruction(getattr(pickle, name), check)
    for names, check in (
        ("LIST TUPLE TUPLE1 TUPLE2 TUPLE3 DICT EMPTY_LIST EMPTY_DICT", BoundedUnpickler._count_container),
        ("EMPTY_SET FROZENSET", BoundedUnpickler._count_set),
        ("INT LONG LONG1 LONG4", BoundedUnpickler._check_integer),
        ("PROTO FRAME NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 FLOAT BINFLOAT", None),
        ("STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8", None),
        ("BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_TUPLE MARK", None),
        ("APPEND APPENDS SETITEM SETITEMS ADDITEMS", None),
        ("PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD", None),
    )
    for name in names.split()
}
