"""What all converters share: their options and counts, reading published files, and writing task files."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.datasets.tasks.vqa2.answers import ANNOTATORS, MIN_OCCURRENCES
from mmf_muvla.errors import InputError, shown
from mmf_muvla.options import kinds
from mmf_muvla.reading.json_values import GET_AGAIN, parse_json, problem_of, text_problem
from mmf_muvla.regions.regions import id_problem

Keep = Literal["keep", "skip"]


@dataclass
class Choices(kinds.Options):
    """What a user may choose for any benchmark; ``tools/convert_annotations.py`` explains the keys."""

    unknown_images: Keep = "keep"
    unlabelled: Keep | None = None  # None: what suits the task
    on_bad_record: Literal["error", "skip"] = "error"
    image_key: kinds.Text = "{name}"
    min_occurrences: kinds.Count = MIN_OCCURRENCES


@dataclass
class Options(Choices):
    """Which records go into the task files."""

    image_ids: Container[str] | None = None  # of which there are regions; None: not to be checked
    num_answers: int | None = ANNOTATORS  # of a question of VQA 2.0; None: any number from 1

    def __post_init__(self) -> None:
        if self.key_of("a", 1) == self.key_of("b", 2):
            problem = "is the same for all images"
            raise InputError(f"image_key={self.image_key}", problem, "Write {name} or {image_id} into it")

    def key_of(self, name: str, image_id: int | str) -> str:
        """The key of an image with this file name (no ending) and number, or whatever else is its id."""
        try:
            return self.image_key.format(name=name, image_id=image_id)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            problem = f"cannot be filled in ({type(error).__name__}: {error})"
            raise InputError(f"image_key={self.image_key}", problem, "Use {name} or {image_id}") from error


@dataclass
class Counts:
    """What became of one split's records; a task adds its own."""

    records: int = 0  # of the published file
    written: int = 0
    unlabelled: int = 0  # whether written or not
    unknown_images: int = 0  # records of images that are not in image_ids, whether written or not
    bad_records: int = 0  # left out because they are damaged
    repeated: int = 0  # of the written those with images and text of an earlier one
    pairs_in_other_splits: int = 0  # of the written those with images and text of one in a split that was read before
    images_in_other_splits: int = 0  # different images that are in a split that was read before


def read_json_object(path: Path, *lists: str) -> dict[str, Any]:
    """Read a JSON file that holds an object, with lists under some keys, of which nothing is checked.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"cannot be read as JSON ({error})", GET_AGAIN) from error
    if type(content) is dict:
        problem = next((f"has no list {key!r}" for key in lists if not isinstance(content.get(key), list)), None)
    elif isinstance(content, dict):  # a key stands twice in it
        problem = problem_of(content)
    else:
        problem = f"holds a {type(content).__name__}, not a JSON object"
    if problem:
        raise InputError(str(path), problem, "Give the published file")
    return content


def write_json_lines(path: Path, records: Iterable[dict[str, Any]], source: Path) -> None:
    """Write a JSON object a line; the file appears whole, or not at all.

    Raises:
        InputError: there are no records; ``source`` is where they would have come from.
    """
    with publish_file(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                file.write(json.dumps(record) + "\n")
            is_empty = file.tell() == 0
        if is_empty:
            raise nothing_left(source)


def nothing_left(source: Path) -> InputError:
    """The error for a file of which no record is to be written."""
    return InputError(
        str(source), "none of its records is to be written", "Check that it is the right file, image_ids and unlabelled"
    )


def check_key(key: str, where: str) -> str:
    """An image's key, if features can have such a key; else an InputError."""
    if problem := id_problem(key):
        raise InputError(where, problem, "Mend the name of the image")
    return key


def usable_text(text: Any, name: str, where: str, remedy: str) -> str:
    """A text, which may be empty; else an InputError."""
    problem = text_problem(text) if isinstance(text, str) else f"is {shown(text)}, not a text"
    if problem:
        raise InputError(where, f"{name} {problem}", remedy)
    return str(text)
