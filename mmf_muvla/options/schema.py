"""Which keys a schema has, and which values each can have."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic.fields import FieldInfo

_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class Key:
    """What is known of a key.

    Attributes:
        name: its dotted name; elements of lists are ``losses[]``.
        is_group: whether it has further keys below it.
        is_open: whether any key may be below it.
        may_be_null: whether it may be ``None``.
        bounds: lowest and highest value, ``None`` where there is none.
        above: whether values must be above the lowest one.
        kind: the type, without its constraints.
    """

    name: str
    is_group: bool = False
    is_open: bool = False
    may_be_null: bool = False
    bounds: tuple[float | None, float | None] = (None, None)
    above: bool = False
    kind: Any = None

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return self.kind is int


def general(name: str) -> str:
    """``losses[0].type`` as ``losses[].type``."""
    return _INDEX.sub("[]", name)


def keys_of(schema: Any) -> Mapping[str, Key]:
    """All keys of a schema by name, groups before what they contain."""
    return _keys_of(schema)


@cache
def _keys_of(schema: Hashable) -> Mapping[str, Key]:
    return {key.name: key for key in _keys(schema, "")}


def _keys(schema: Any, prefix: str) -> Iterator[Key]:
    hints = typing.get_type_hints(schema, include_extras=True)
    for entry in dataclasses.fields(schema):
        yield from _keys_at(prefix + entry.name, hints[entry.name])


def _keys_at(name: str, hint: Any) -> Iterator[Key]:
    kind, metadata, may_be_null = _unwrapped(hint)
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        yield Key(name, is_group=True, may_be_null=may_be_null)
        yield from _keys(kind, f"{name}.")
    elif origin is list and dataclasses.is_dataclass(element := _unwrapped(typing.get_args(kind)[0])[0]):
        yield Key(name, may_be_null=may_be_null)
        yield Key(f"{name}[]", is_group=True)
        yield from _keys(element, f"{name}[].")
    else:
        is_open = origin is dict or kind is dict
        low, high, above = _bounds(metadata)
        yield Key(name, False, is_open, may_be_null, (low, high), above, kind)
        if origin in (list, tuple) and (element := typing.get_args(kind)[0]) is not str:
            yield from _keys_at(f"{name}[]", element)


def _unwrapped(hint: Any) -> tuple[Any, list[Any], bool]:
    """The type itself, the constraints around it, and whether it may be ``None``."""
    metadata: list[Any] = []
    may_be_null = False
    while True:
        if typing.get_origin(hint) is Annotated:
            hint, *more = typing.get_args(hint)
            metadata += more
            continue
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            others = [option for option in typing.get_args(hint) if option is not type(None)]
            may_be_null = may_be_null or len(others) < len(typing.get_args(hint))
            if len(others) == 1:
                hint = others[0]
                continue
        return hint, metadata, may_be_null


def _bounds(metadata: list[Any]) -> tuple[float | None, float | None, bool]:
    """The lowest and the highest value, and whether values must be above the lowest."""
    low = high = None
    above = False
    for entry in metadata:
        for constraint in entry.metadata if isinstance(entry, FieldInfo) else [entry]:
            low = getattr(constraint, "ge", low)
            if (bound := getattr(constraint, "gt", None)) is not None:
                low, above = bound, True
            high = getattr(constraint, "le", getattr(constraint, "lt", high))
    return low, high, above


def entries(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a configuration by its dotted name, groups before what they contain."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            yield name, value
            yield from entries(value, name)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            name = f"{prefix}[{number}]"
            if isinstance(value, Mapping | list):
                yield name, value
                yield from entries(value, name)
