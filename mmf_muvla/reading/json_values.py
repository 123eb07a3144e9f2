"""What JSON may hold that no task can use.

JSON can be nested so deeply that it exhausts the stack, numbers can be infinite or have hundreds of digits, texts can
hold halves of surrogate pairs, which no file and no tokenizer takes, and a key can stand in an object twice, so that
one of its values is lost. All of that is damage of the record that has it.
"""

from __future__ import annotations

import json
import math
from typing import Any

from mmf_muvla.errors import InputError, shown

MAX_TEXT = 10_000
"""The most characters of a question, sentence, expression or answer."""
GET_AGAIN = "Get the file again from its source"

_MAX_DEPTH = 64
# Python reads no more digits than 4,300, and what has more than 19 is beyond 64 bits anyway.
_MAX_DIGITS = 4_000
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
# Of a line. JSON takes up to thirty times its length in memory where it is nothing but brackets and commas.
_MOST_VALUES = 500_000


class _TwiceTheSameKey(dict[str, Any]):
    """An object in which a key stands twice."""


def parse_json(content: bytes | str) -> Any:
    """The value of a text, or of UTF-8, UTF-16 or UTF-32 bytes; a ValueError where that is no JSON, or too deep."""
    if isinstance(content, bytes):
        content = content.decode(json.detect_encoding(content), "surrogatepass")
    try:
        return _DECODER.decode(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_line(text: bytes) -> Any:
    """The value of a line, of a size that memory is sure to hold; a ValueError or RecursionError where it is none."""
    if sum(map(text.count, (b",", b"[", b"{", b":"))) > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES:,} values")
    return json.loads(text)


def problem_of(value: Any) -> str | None:
    """What a JSON value has that nobody can use, or ``None`` where there is nothing of the kind."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        deeper: list[Any] = []
        for value in level:
            kind = type(value)
            problem = None
            if kind is str:
                problem = _characters_problem(value)
            elif kind is dict:
                deeper.extend(value.values())
                problem = _characters_problem("".join(value))
            elif kind is list:
                deeper.extend(value)
            elif kind is _TwiceTheSameKey:
                problem = "has an object in which a key stands twice"
            # A float may be a whole number with so many digits that it was not read.
            elif (kind is int and not _SMALLEST <= value <= _LARGEST) or (kind is float and not math.isfinite(value)):
                problem = f"has the number {shown(value)}, which is out of range"
            if problem:
                return problem
        if not deeper:
            return None
        level = deeper
    return f"is nested more than {_MAX_DEPTH} levels deep"


def text_problem(text: str) -> str | None:
    """Why a text cannot be used, or ``None`` where it can."""
    if len(text) > MAX_TEXT:
        return f"has {len(text):,} characters, more than {MAX_TEXT:,}"
    return _characters_problem(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    return content if len(content) == len(pairs) else _TwiceTheSameKey(content)


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


# One for all lines: to make one takes longer than to read a line.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole_number)


def _characters_problem(text: str) -> str | None:
    if "\0" in text:
        return f"has a NUL character in the text {shown(text)}"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"has half of a surrogate pair in the text {shown(text)}"
    return None


def text_of(
    record: dict[str, Any], key: str, where: str, *, remedy: str = GET_AGAIN, may_be_empty: bool = False
) -> str:
    """A text that must be there and usable; else an InputError."""
    text = record.get(key)
    if not isinstance(text, str) or not (text.strip() or may_be_empty):
        raise InputError(where, f"{key} is {shown(text)}, not a {'string' if may_be_empty else 'text'}", remedy)
    if not may_be_empty and (problem := text_problem(text)):
        raise InputError(where, f"{key} {problem}", remedy)
    return text


def number_of(record: dict[str, Any], key: str, where: str, *, remedy: str = GET_AGAIN, smallest: int = 0) -> int:
    """A whole number, from ``smallest`` to 2⁶³ - 1, that must be there; else an InputError."""
    number = record.get(key)
    if type(number) is not int or number < smallest:
        raise InputError(where, f"{key} is {shown(number)}, not a whole number", remedy)
    if number > _LARGEST:
        raise InputError(where, f"{key} is {shown(number)}, which is out of range", remedy)
    return number


def check_object(record: Any, where: str, *, kind: str = "an object", remedy: str = GET_AGAIN) -> dict[str, Any]:
    """A record, if it is an object; else an InputError."""
    if not isinstance(record, dict):
        raise InputError(where, f"is {shown(record)}, not {kind}", remedy)
    return record


def check_record(record: Any, where: str, *, kind: str = "an object", remedy: str = GET_AGAIN) -> dict[str, Any]:
    """A record, if it is an object of usable values; else an InputError, which names the key of the one that is not."""
    check_object(record, where, kind=kind, remedy=remedy)
    if problem := problem_of(record):
        items = () if type(record) is _TwiceTheSameKey else record.items()
        named = (f"{key[:40]} is {shown(it, 60)} and {found}" for key, it in items if (found := problem_of(it)))
        raise InputError(where, next(named, problem), remedy)
    return record
