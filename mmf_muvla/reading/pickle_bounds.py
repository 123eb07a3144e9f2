"""What a pickle may contain, and what its value may be, for both to be harmless to whoever reads them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_DEPTH = 64
TOO_DEEP = f"values nested more than {MAX_DEPTH} levels deep"
# Comparing longer keys of dictionaries could take hours.
_MAX_KEY = 10_000
# What hashes fast and, unless on purpose, differently. Larger integers could have the same hash by the thousand.
_INTEGER_KEYS = range(-(2**63), 2**64)
_KEYS = frozenset(
    {str, bytes, int, float, bool, type(None), np.str_, np.bytes_, np.bool_}
    | {np.dtype(f"{kind}{size}").type for kind in "iu" for size in (1, 2, 4, 8)}
)
_LEAVES = frozenset({str, bytes, bytearray, int, float, bool, type(None)})
CONTAINERS = (list, tuple, dict, set, frozenset)
# How much larger than the pickle its value may be when every reference is followed.
_BASE_WEIGHT, _WEIGHT_PER_BYTE = 2**16, 8


@dataclass(frozen=True)
class Limits:
    """What a pickle may contain, whatever its length."""

    num_instructions: int  # each makes at most one object
    num_containers: int  # lists, tuples, dictionaries, sets and objects
    # Of all dictionaries, and members of all sets; on purpose, n of them can take n² steps to put in.
    num_keys: int
    # What may be spent; what Python writes of plain data spends less.
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
    """A pickle cannot be used: why not, and what the user can do about it; the caller knows which file it is in."""

    def __init__(self, problem: str, remedy: str):
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def exceeded(what: str) -> PickleProblem:
    """A pickle contains more than plain data do."""
    remedy = "Plain data do not need that: do not use this file; get it from its source"
    return PickleProblem(f"contains {what}", remedy)


class Record:
    """Stands for an object of another program's class; ``state`` is its attributes, or whatever the pickle gave."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state


class NoText(bytes):
    """What Python 2 wrote and does not become text: the values of an array, which is then made of them."""


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys of dictionaries, and members of sets, that can take long to hash or to compare: a PickleProblem."""
    keys = list(keys)
    for kind in set(map(type, keys)) - _KEYS:
        if kind is NoText:
            raise _in_other_encoding(next(key for key in keys if type(key) is NoText))
        raise PickleProblem(f"contains a {kind.__name__} as a key", "Use text or numbers as keys")
    if not all(key in _INTEGER_KEYS for key in keys if type(key) is int):
        raise PickleProblem("contains an integer of more than 64 bits as a key", "Use text or smaller numbers as keys")
    longest = max((len(key) for key in keys if type(key) in (str, bytes)), default=0)
    if longest > _MAX_KEY:
        raise PickleProblem(f"contains a key of {longest} characters", "Use shorter keys")


def check_size(value: Any, shared: set[int], size: int) -> None:
    """Refuse a value that is deep, or much larger than its pickle for a program that follows every reference.

    ``shared`` are the ids of what more than one value can refer to; all else is met once.
    """
    limit = _BASE_WEIGHT + _WEIGHT_PER_BYTE * size
    known: dict[int, tuple[int, int]] = {}

    def weigh(value: Any, depth: int) -> tuple[int, int]:
        """Weight and height."""
        weight, height = known.get(id(value)) or weigh_parts(value, depth)
        if depth + height > MAX_DEPTH:
            raise exceeded(TOO_DEEP)
        if weight > limit:
            raise exceeded("references that would make it many times its size")
        if id(value) in shared:
            known[id(value)] = weight, height
        return weight, height

    def weigh_parts(value: Any, depth: int) -> tuple[int, int]:
        if depth > MAX_DEPTH:
            raise exceeded(TOO_DEEP)
        if type(value) is NoText:
            raise _in_other_encoding(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return 1 + value.size, 0
        parts = _parts(value)
        texts = sum(len(part) for part in parts if type(part) in (str, bytes, bytearray))
        weight, height = 1 + len(parts) + texts // 16, 0
        for part in parts:
            if type(part) not in _LEAVES:
                part_weight, part_height = weigh(part, depth + 1)
                weight += part_weight
                height = max(height, part_height + 1)
        return weight, height

    weigh(value, 0)


def _parts(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, CONTAINERS):
        return value
    if isinstance(value, Record):
        return (value.state,)
    return value.ravel() if isinstance(value, np.ndarray) else ()


def _in_other_encoding(text: bytes) -> ValueError:
    return ValueError(f"the text {bytes(text[:40])!r} of Python 2 is in another encoding")
