"""Which keys a schema has, and which values each can have."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic.fields import FieldInfo

from mmf_muvla.options.kinds import LITERAL

_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class Key:
    """What is known of a key."""

    name: str  # dotted; elements of lists are ``losses[]``
    is_group: bool = False  # whether it has further keys below it
    may_be_null: bool = False
    bounds: tuple[float | None, float | None] = (None, None)  # the lowest and the highest value, if there are any
    above: bool = False  # whether values must be above the lowest one
    kind: Any = None  # the type, without its constraints
    is_literal: bool = False  # see LITERAL


def general(name: str) -> str:
    """``losses[0].type`` as ``losses[].type``."""
    return _INDEX.sub("[]", name)


def parent(name: str) -> str:
    """The name of the group or the list that a key is in; empty at the top."""
    return name[: max(name.rfind("."), name.rfind("["), 0)]


def at(content: Any, name: str, absent: Any = None) -> Any:
    """The value at a dotted name; ``absent`` if there is none."""
    for part in name.replace("[", ".").replace("]", "").split("."):
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return absent
    return content


def _keys_of(schema: Any, prefix: str = "") -> Mapping[str, Key]:
    hints = typing.get_type_hints(schema, include_extras=True)
    fields = dataclasses.fields(schema)
    return {key.name: key for it in fields for key in _keys_at(prefix + it.name, hints[it.name])}


# All keys of a schema by name, below a prefix, groups before what they contain.
keys_of: Callable[..., Mapping[str, Key]] = cache(_keys_of)


def _keys_at(name: str, hint: Any) -> Iterator[Key]:
    kind, metadata, may_be_null = _unwrapped(hint)
    origin, element = typing.get_origin(kind), (*typing.get_args(kind), None)[0]
    if dataclasses.is_dataclass(kind):
        yield Key(name, is_group=True, may_be_null=may_be_null)
        yield from keys_of(kind, f"{name}.").values()
        return
    low, high, above = _bounds(metadata)
    literal = LITERAL in metadata
    yield Key(name, may_be_null=may_be_null, bounds=(low, high), above=above, kind=kind, is_literal=literal)
    if origin in (list, tuple) and element is not str:
        yield from _keys_at(f"{name}[]", element)


def _unwrapped(hint: Any) -> tuple[Any, list[Any], bool]:
    """The type itself, the constraints around it, and whether it may be ``None``."""
    field = FieldInfo.from_annotation(hint)
    options = typing.get_args(field.annotation)
    if typing.get_origin(field.annotation) not in (typing.Union, types.UnionType) or type(None) not in options:
        return field.annotation, field.metadata, False
    others = [option for option in options if option is not type(None)]
    kind, metadata, _ = _unwrapped(others[0]) if len(others) == 1 else (hint, [], True)
    return kind, [*field.metadata, *metadata], True


def _bounds(metadata: list[Any]) -> tuple[float | None, float | None, bool]:
    """The lowest and the highest value, and whether values must be above the lowest."""
    low = high = None
    above = False
    for constraint in metadata:
        low = getattr(constraint, "ge", low)
        if (bound := getattr(constraint, "gt", None)) is not None:
            low, above = bound, True
        high = getattr(constraint, "le", getattr(constraint, "lt", high))
    return low, high, above


def entries(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a configuration by its dotted name, groups before what they contain."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            # OmegaConf makes keys "0", "1" of the indices on a command line.
            name = str(key) if not prefix else f"{prefix}[{key}]" if str(key).isdecimal() else f"{prefix}.{key}"
            yield name, value
            yield from entries(value, name)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            if isinstance(value, Mapping | list):
                yield f"{prefix}[{number}]", value
                yield from entries(value, f"{prefix}[{number}]")
