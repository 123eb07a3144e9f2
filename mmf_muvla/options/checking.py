"""Checks configurations, and says of the first mistake where it is, what is wrong, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mmf_muvla.errors import InputError
from mmf_muvla.options.schema import Key, entries, general, keys_of, parent

T = TypeVar("T")
Source = Callable[[str], str]
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_RANGES = ("greater_than_equal", "greater_than", "less_than_equal", "less_than", "finite_number")
_validator_of: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def check(schema: type[T], content: Mapping[str, Any], source: Source, prefix: str = "", missing: str = "") -> T:
    """The options of a configuration, each of its kind and in its range.

    Args:
        schema: a dataclass that derives from :class:`~mmf_muvla.options.kinds.Options`.
        content: plain Python.
        source: says where the value of a key comes from: a file, the command line.
        prefix: what comes before the keys of this schema, with a period at the end.
        missing: what to say of a missing key, instead of ``KEY not given``.

    Raises:
        InputError: a key is unknown or missing, or its value cannot be used.
    """
    try:
        checked: T = _validator_of(schema).validate_python(content)
    except ValidationError as error:
        raise _explained(error, keys_of(schema, general(prefix)), source, prefix.rstrip("."), missing) from None
    return checked


def _explained(error: ValidationError, known: Mapping[str, Key], source: Source, top: str, missing: str) -> InputError:
    """Pydantic's first finding as an error; unknown keys come first, since they explain others."""
    mistakes = error.errors(include_url=False)
    mistake = next((it for it in mistakes if it["type"] in _UNKNOWN), mistakes[0])
    kind, value = mistake["type"], mistake["input"]
    name = _name(top, mistake["loc"], known, kind in _UNKNOWN)
    where = source(name)
    if name == top or kind in ("dataclass_type", "dataclass_exact_type"):
        return not_a_group(where, name, value, known)
    if kind in _UNKNOWN:
        return unknown_key(where, name, known)
    if kind == "missing":
        absent = [_name(top, it["loc"], known, True) for it in mistakes if it["type"] == "missing"]
        problem = missing or f"{', '.join(absent)} not given"
        return InputError(where, problem, f"Add {absent[0]}=… to the command or the file")
    problem, remedy = _complaint(mistake, known.get(general(name), Key(name)))
    at = f"{name}={shown(value)}"
    return InputError(f"{where}: {at}" if where else at, problem, remedy)


def shown(value: Any) -> str:
    """A value as it is written on a command line, shortened if it is long."""
    if isinstance(value, list):
        value = f"[{','.join(map(str, value))}]"
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _complaint(mistake: ErrorDetails, key: Key) -> tuple[str, str]:
    """What is wrong with a value, and what to write instead."""
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "misfit":
        return context["problem"], context["remedy"]
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "")
        near = difflib.get_close_matches(str(mistake["input"]), choices.split(", "), n=1)
        return "unknown value", f"Use one of {choices}" + (f"; did you mean {near[0]}?" if near else "")
    if kind in _RANGES and None not in key.bounds and not key.above:
        return "must be between {:g} and {:g}".format(*key.bounds), f"Give {_wanted(key)}"
    if kind in _RANGES or kind.startswith(("int", "float")):
        return f"is not {_wanted(key)}", "Give one"
    if kind.startswith("bool"):
        return "is neither true nor false", "Write true or false"
    if kind == "multiple_of":
        return f"not a multiple of {context['multiple_of']}", "Give one"
    if kind == "string_too_short":
        return "is empty", "Name something, or leave the option out"
    if kind.startswith("string"):
        return "is not a text", "Write a text; put it into quotes where YAML takes it for something else"
    if kind.startswith(("list", "tuple")):
        return "is not a list", "Write a list: [a,b]"
    if kind.startswith(("dict", "mapping")):
        return "is not a group of keys and values", "Write {key: value}"
    return mistake["msg"], "Correct the value"


def _wanted(key: Key) -> str:
    what = "a whole number" if key.kind is int else "a number"
    low, high = key.bounds
    if low is None:
        return what
    if high is None:
        return f"{what} above {low:g}" if key.above else f"{what} from {low:g}"
    first, last = (bound if key.kind is int else float(bound) for bound in (low, high))
    return f"{what} above {first}, up to {last}" if key.above else f"{what} from {first} to {last}"


def _name(top: str, loc: tuple[int | str, ...], known: Mapping[str, Key], whole: bool) -> str:
    """Where pydantic found something, as a dotted name; without what it adds if a value may be of several kinds."""
    name = top
    for part in loc:
        longer = f"{name}[{part}]" if isinstance(part, int) else f"{name}.{part}" if name else str(part)
        group = known.get(general(name))
        if general(longer) not in known and not (whole and (group is None or group.is_group)):
            break
        name = longer
    return name


def check_keys(content: Mapping[str, Any], known: Mapping[str, Key], where: str) -> None:
    """Refuse keys of a file or a command line that are unknown, and values where there should be groups.

    Raises:
        InputError: the first of them.
    """
    _refuse_periods("", content, known, where)
    for name, value in entries(content):
        key = known.get(general(name))
        if key is None and not _is_below_a_value(name, known):
            raise unknown_key(where, name, known)
        may_be_value = key is None or not key.is_group or (value is None and key.may_be_null)
        if not may_be_value and not isinstance(value, Mapping):
            raise not_a_group(where, name, value, known)
        _refuse_periods(f"{name}.", value, known, where)


def _refuse_periods(prefix: str, group: Any, known: Mapping[str, Key], where: str) -> None:
    """``training.seed: 5`` in a file is a key of its own, and not the seed of the training."""
    for key in map(str, group if isinstance(group, Mapping) else ()):
        if "." in key and general(prefix + key) in known:
            nested = key.replace(".", ": {") + ": …" + "}" * key.count(".")
            raise InputError(where, f"the key '{key}' has a period in it", f"Write it as {nested}, or in lines")


def _is_below_a_value(name: str, known: Mapping[str, Key]) -> bool:
    """Whether the nearest key above it is no group: it admits anything below it, or its value is what is wrong."""
    while name and general(name) not in known:
        name = parent(name)
    return bool(name) and not known[general(name)].is_group and f"{general(name)}[]" not in known


def unknown_key(where: str, name: str, known: Collection[str]) -> InputError:
    """The error for a key that does not exist, with the nearest right ones."""
    return InputError(where, f"unknown key '{name}'", suggest(name, known))


def not_a_group(where: str, name: str, value: Any, known: Collection[str]) -> InputError:
    """The error for a value where further keys belong."""
    below = [key for key in known if key.startswith((f"{general(name)}.", f"{name}."))]
    return InputError(
        where, f"'{name}' is a group of options, not a value ({shown(value)})", f"Set one of {', '.join(below[:12])}"
    )


def suggest(name: str, known: Collection[str]) -> str:
    """The nearest right keys, as a question; if none is near, the keys at the top."""
    group, _, last = name.rpartition(".")
    # A key that was put into the wrong group is a near match as well.
    near = [key for key in known if key.rpartition(".")[2] == last][:3]
    beside = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == general(group)}
    near += [f"{group}.{key}" if group else key for key in difflib.get_close_matches(last, beside, n=1)]
    near = near or difflib.get_close_matches(name, known, n=3)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known keys: {', '.join(key for key in known if '.' not in key and '[' not in key)}"


def check_name(where: str, option: str, name: str, known: Collection[str], kind: str) -> None:
    """Refuse the name of something that does not exist, and name the nearest right one."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    there_are = f"{hint}There are {', '.join(sorted(known)[:20])}{more}"
    raise InputError(f"{where}: {option}={shown(name)}", f"there is no such {kind}", there_are)
