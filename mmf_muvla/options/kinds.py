"""Kinds of values. What a shell or YAML passes on as something else is taken for what it obviously is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, Strict
from pydantic_core import PydanticCustomError


class Options:
    """Base of every schema, beside ``@dataclass``: unknown keys are errors, and no number is NaN or infinite."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _number(value: Any) -> Any:
    """``"1e-4"``, which YAML 1.1 takes for text, is a number."""
    for number in (int, float) if isinstance(value, str) else ():
        with suppress(ValueError):
            return number(value)
    return value


def whole(value: Any) -> Any:
    """``1e3`` is a whole number."""
    value = _number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: Any) -> Any:
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """A folder may be called 2024."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Whole = Annotated[int, Strict(), BeforeValidator(whole)]
Number = Annotated[float, Strict(), BeforeValidator(_number)]
Flag = Annotated[bool, Strict(), BeforeValidator(_flag)]
Text = Annotated[str, Strict(), BeforeValidator(_text)]

Count = Annotated[Whole, Field(ge=1)]
CountOrNone = Annotated[Whole, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Seed = Annotated[Whole, Field(ge=0, le=2**32)]
Name = Annotated[Text, Field(min_length=1)]


def kind(accepts: Callable[[Any], Any], problem: str, remedy: str) -> PlainValidator:
    """A new kind: ``accepts`` returns the value to use, or raises ValueError or TypeError."""

    def validate(value: Any) -> Any:
        try:
            return accepts(value)
        except (ValueError, TypeError):
            raise PydanticCustomError("misfit", "{problem}", {"problem": problem, "remedy": remedy}) from None

    return PlainValidator(validate)


def accept(value: Any, fits: bool) -> Any:
    """``value``, if it fits."""
    if not fits:
        raise ValueError
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def paths(value: Any) -> Any:
    """A path or a list of paths."""
    found = [_text(entry) for entry in (value if isinstance(value, list) else [value])]
    accept(found, bool(found) and all(isinstance(entry, str) and entry for entry in found))
    return found if isinstance(value, list) else found[0]


def _workers(value: Any) -> Any:
    value = whole(value)
    return accept(value, value == "auto" or (_is_whole(value) and 1 <= value <= 4096))


def as_list(value: Any) -> list[Any]:
    """A list in a configuration; MMF's command line passes ``[a,b]`` on as text unless the names are in quotes."""
    if not isinstance(value, str):
        return list(value)
    parts = (name.strip(" '\"") for name in value.strip("[] ").split(","))
    return [name for name in parts if name]


def as_paths(value: str | list[str]) -> list[Path]:
    """The value of an option that takes one path or a list of them."""
    return [Path(entry).expanduser() for entry in ([value] if isinstance(value, str) else value)]


def names(value: Any) -> list[str]:
    """Names, from ``a,b``, ``[a,b]`` or a list."""
    accept(value, value is None or isinstance(value, str | list | tuple))
    found = [_text(entry) for entry in as_list(value or [])]
    return accept([entry for entry in found if entry != ""], all(isinstance(entry, str) for entry in found))


def _whole_numbers(value: Any) -> list[int]:
    numbers = [whole(entry) for entry in (as_list(value) if isinstance(value, str | list | tuple) else [value])]
    return accept(list(dict.fromkeys(numbers)), bool(numbers) and all(_is_whole(it) and it >= 0 for it in numbers))


def _column(value: Any) -> Any:
    return accept(value, value is None or isinstance(value, str) or (_is_whole(value) and value >= 0))


def _detector_size(value: Any) -> list[int]:
    short, long = sides = [whole(side) for side in value]
    return accept(sides, all(map(_is_whole, sides)) and 1 <= short <= long <= 2**15)


NO_COLUMN = ("is no column", "Give a number from 0 for a tsv, a name for jsonl and parquet, either for a csv")
_NO_SIZE = ("is not the short and the long side of an image in pixels", "Write it as [600,1000]")
_NO_NAMES = ("is no list of names", "Write them in brackets, with commas between them: [a,b]")
_NO_NUMBERS = ("is no list of whole numbers", "Write them in brackets: [0,1,2]")

DetectorSize = Annotated[list[int], kind(_detector_size, *_NO_SIZE)]
Column = Annotated[Any, kind(_column, *NO_COLUMN)]
# On a command line it is a text, or a list of texts, whatever YAML takes it for: an image may be called 000000000724.
LITERAL = "literal"
Paths = Annotated[Any, LITERAL, kind(paths, "is neither a path nor a list of paths", "Give at least one path")]
Workers = Annotated[Any, kind(_workers, "is no number of processes", "Give a whole number from 1, or auto")]
Names = Annotated[list[str], kind(names, *_NO_NAMES)]
WholeNumbers = Annotated[list[int], kind(_whole_numbers, *_NO_NUMBERS)]
