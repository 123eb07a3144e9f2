"""Values of ``key=value`` options, the way MMF has them."""

from __future__ import annotations

from typing import Any


def as_list(value: Any) -> list[Any]:
    """A list of a configuration; MMF's command line hands on ``[a,b]`` as a text, unless its names are in quotes."""
    if not isinstance(value, str):
        return list(value)
    names = (name.strip(" '\"") for name in value.strip("[] ").split(","))
    return [name for name in names if name]
