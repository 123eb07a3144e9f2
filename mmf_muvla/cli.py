"""``key=value`` options on the command line, the way MMF has them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from mmf_muvla.errors import InputError


def parse_options(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Read ``key=value`` arguments.

    Args:
        arguments: the command line without the program's name.
        defaults: every known key with its default.

    Returns:
        Every known key with its value.

    Raises:
        InputError: an argument is not ``key=value``, or its key is unknown.
    """
    options = dict(defaults)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(argument, "is not of the form key=value", f"The keys are {', '.join(defaults)}")
        if key not in options:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The keys are {', '.join(defaults)}"
            raise InputError(argument, "unknown key", hint)
        options[key] = value
    return options


def as_list(value: Any) -> list[Any]:
    """A list of a configuration; MMF's command line hands on ``[a,b]`` as a text, unless its names are in quotes."""
    if not isinstance(value, str):
        return list(value)
    names = (name.strip(" '\"") for name in value.strip("[] ").split(","))
    return [name for name in names if name]
