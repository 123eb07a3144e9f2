"""Reads the names of a detector's classes, where its output has numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf_muvla.errors import InputError

_REMEDY = "Give a file of names, one a line, or JSON: a list, or an object of names and numbers"
_LARGEST_NUMBER = 2**31


@dataclass(frozen=True)
class LabelMap:
    """Names by number."""

    objects: Mapping[int, str]
    attributes: Mapping[int, str]  # empty where the file has none
    offset: int = 0  # is added to the detector's number of an object class

    def object_name(self, number: Any) -> str | None:
        """The name of the object class that the detector calls ``number``; ``None`` where there is none."""
        return self.objects.get(number + self.offset)


def read_label_map(path: Path, offset: int = 0, option: str = "region_options.label_map") -> LabelMap:
    """Read a file with the names of classes:

    * Text, a name a line, the first line being number 0. Of synonyms behind commas (``objects_vocab.txt`` of Bottom-Up
      Attention), the first counts.
    * ``.json``: a list of names, the first being number 0; an object ``{"name": number}`` or ``{"number": "name"}``;
      VinVL's dictionaries, of which ``idx_to_label`` or ``label_to_idx`` counts, and ``idx_to_attribute`` or
      ``attribute_to_idx``.

    Raises:
        InputError: the file is missing or is none of these, a name is empty, or a number has two names.
    """
    is_json = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8-sig")
        # Not splitlines(), which knows further line ends than those that editors count.
        content = json.loads(text) if is_json else text.rstrip().split("\n") if text.strip() else []
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", f"Correct {option}") from error
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"is not UTF-8 text ({error})", _REMEDY) from error
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is not JSON ({error})", _REMEDY) from error
    attributes: dict[int, str] = {}
    if not is_json:
        objects = {n: _checked(path, f"line {n + 1}", line.split(",")[0].strip()) for n, line in enumerate(content)}
    elif isinstance(content, list):
        objects = {number: _checked(path, f"entry {number}", name) for number, name in enumerate(content)}
    elif isinstance(content, dict):
        named, described = (content.get(f"idx_to_{it}", content.get(f"{it}_to_idx")) for it in ("label", "attribute"))
        objects = _from_object(path, content if named is None else named)
        if named is not None and described is not None:
            attributes = _from_object(path, described)
    else:
        raise InputError(str(path), f"holds {str(content)[:40]}", _REMEDY)
    if not objects:
        raise InputError(str(path), "has no names", _REMEDY)
    return LabelMap(objects, attributes, offset)


def _from_object(path: Path, content: Any) -> dict[int, str]:
    if not isinstance(content, dict):
        raise InputError(str(path), f"{str(content)[:40]} is not an object of names and numbers", _REMEDY)
    names: dict[int, str] = {}
    for key, value in content.items():
        entry = f"entry {key!r}"
        name, number = (key, value) if isinstance(value, int) else (value, key)
        if isinstance(number, str) and number.strip().isascii() and number.strip().isdigit() and len(number) < 20:
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _LARGEST_NUMBER:
            raise InputError(str(path), f"{entry}: {str(value)[:40]!r}: neither is a number", _REMEDY)
        if number in names:
            raise InputError(str(path), f"number {number} is {names[number]!r} and {name!r}", "Correct the file")
        names[number] = _checked(path, entry, name)
    return names


def _checked(path: Path, entry: str, name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or not is_text(name):
        raise InputError(str(path), f"{entry} is {str(name)[:40]!r}, not a name", "Correct the file")
    return name.strip()


def is_text(text: str) -> bool:
    """Whether text can be written as UTF-8: JSON can hold halves of characters that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
