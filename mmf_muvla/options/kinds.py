"""Kinds of values. What a shell or YAML passes on as something else is taken for what it obviously is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, Strict
from pydantic_core import PydanticCustomError


class Options:
    """Base of every schema, beside ``@dataclass``: unknown keys are errors, and no number is NaN or infinite."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _number(value: Any) -> Any:
    """``"1e-4"``, which YAML 1.1 takes for text, is a number."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value


def _whole(value: Any) -> Any:
    """``1e3`` is a whole number."""
    value = _number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: Any) -> Any:
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """A folder may be called 2024."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Whole = Annotated[int, Strict(), BeforeValidator(_whole)]
Number = Annotated[float, Strict(), BeforeValidator(_number)]
Flag = Annotated[bool, Strict(), BeforeValidator(_flag)]
Text = Annotated[str, Strict(), BeforeValidator(_text)]

# At least one.
Count = Annotated[Whole, Field(ge=1)]
# Zero is allowed, too.
CountOrNone = Annotated[Whole, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Seed = Annotated[Whole, Field(ge=0, le=2**32)]
Name = Annotated[Text, Field(min_length=1)]


def misfit(problem: str, remedy: str) -> PydanticCustomError:
    """The error for a value that is not of its kind."""
    return PydanticCustomError("misfit", "{problem}", {"problem": problem, "remedy": remedy})


def kind(accepts: Callable[[Any], Any], problem: str, remedy: str) -> PlainValidator:
    """A new kind: ``accepts`` returns the value to use, or raises ValueError or TypeError."""

    def validate(value: Any) -> Any:
        try:
            return accepts(value)
        except (ValueError, TypeError):
            raise misfit(problem, remedy) from None

    return PlainValidator(validate)


def _accept(value: Any, fits: bool) -> Any:
    if not fits:
        raise ValueError
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _paths(value: Any) -> Any:
    values = [_text(entry) for entry in value] if isinstance(value, list) else [_text(value)]
    _accept(values, bool(values) and all(isinstance(entry, str) and entry for entry in values))
    return values if isinstance(value, list) else values[0]


def _workers(value: Any) -> Any:
    value = _whole(value)
    return _accept(value, value == "auto" or (_is_whole(value) and 1 <= value <= 4096))


def as_list(value: Any) -> list[Any]:
    """A list in a configuration; MMF's command line passes ``[a,b]`` on as text unless the names are in quotes."""
    if not isinstance(value, str):
        return list(value)
    parts = (name.strip(" '\"") for name in value.strip("[] ").split(","))
    return [name for name in parts if name]


def names(value: Any) -> list[str]:
    """Names, from ``a,b``, ``[a,b]`` or a list."""
    _accept(value, value is None or isinstance(value, str | list | tuple))
    values = [_text(entry) for entry in as_list(value or [])]
    return _accept([entry for entry in values if entry != ""], all(isinstance(entry, str) for entry in values))


def _whole_numbers(value: Any) -> list[int]:
    if isinstance(value, str):
        value = [part for part in value.strip("[] ").split(",") if part]
    values = [_whole(entry) for entry in (value if isinstance(value, list | tuple) else [value])]
    return _accept(list(dict.fromkeys(values)), bool(values) and all(_is_whole(it) and it >= 0 for it in values))


def _column(value: Any) -> Any:
    return _accept(value, value is None or isinstance(value, str) or (_is_whole(value) and value >= 0))


def _detector_size(value: Any) -> list[int]:
    sides = [_whole(side) for side in value]
    _accept(sides, len(sides) == 2 and all(map(_is_whole, sides)))
    return _accept(sides, 1 <= sides[0] <= sides[1] <= 2**15)


NO_COLUMN = ("is no column", "Give a number from 0 for a tsv, a name for jsonl and parquet, either for a csv")

DetectorSize = Annotated[
    list[int],
    kind(_detector_size, "is not the short and the long side of an image in pixels", "Write it as [600,1000]"),
]
Column = Annotated[Any, kind(_column, *NO_COLUMN)]
Paths = Annotated[Any, kind(_paths, "is neither a path nor a list of paths", "Give at least one path")]
Workers = Annotated[Any, kind(_workers, "is no number of processes", "Give a whole number from 1, or auto")]
Names = Annotated[
    list[str], kind(names, "is no list of names", "Write them in brackets, with commas between them: [a,b]")
]
WholeNumbers = Annotated[
    list[int], kind(_whole_numbers, "is no list of whole numbers", "Write them in brackets: [0,1,2]")
]
