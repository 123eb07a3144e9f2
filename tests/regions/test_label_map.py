from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.regions.label_map import read_label_map


def read(tmp_path: Path, content: Any, offset: int = 0) -> Any:
    path = tmp_path / ("labels.txt" if isinstance(content, (str, bytes)) else "labels.json")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_label_map(path, offset)


def test_lines_and_synonyms(tmp_path: Path) -> None:
    labels = read(tmp_path, "yolk\nred car,automobile\n  Äpfel \n\n")
    assert labels.objects == {0: "yolk", 1: "red car", 2: "Äpfel"}
    assert labels.attributes == {}
    assert read(tmp_path, b"\xef\xbb\xbfdog\r\ncat\r\n").objects == {0: "dog", 1: "cat"}


@pytest.mark.parametrize(
    "content",
    [["dog", "cat"], {"dog": 0, "cat": 1}, {"0": "dog", "1": "cat"}, {"idx_to_label": {"0": "dog", "1": "cat"}},
     {"label_to_idx": {"dog": 0, "cat": 1}, "predicate_to_idx": {"on": 1}}],
)  # fmt: skip
def test_json(tmp_path: Path, content: Any) -> None:
    assert read(tmp_path, content).objects == {0: "dog", 1: "cat"}


def test_dictionaries_of_vinvl_have_attributes(tmp_path: Path) -> None:
    labels = read(
        tmp_path, {"label_to_idx": {"dog": 1}, "idx_to_label": {"1": "dog"}, "idx_to_attribute": {"4": "red"}}
    )
    assert (labels.objects, labels.attributes) == ({1: "dog"}, {4: "red"})
    assert read(tmp_path, {"label_to_idx": {"dog": 1}, "attribute_to_idx": {"red": 4}}).attributes == {4: "red"}


def test_offset(tmp_path: Path) -> None:
    # A list without the background, and a detector that counts it.
    labels = read(tmp_path, "dog\ncat\n", offset=-1)
    assert [labels.object_name(number) for number in range(4)] == [None, "dog", "cat", None]
    # The other way round.
    assert read(tmp_path, "__background__\ndog\n", offset=1).object_name(0) == "dog"


def test_equal_names_are_one_class(tmp_path: Path) -> None:
    assert read(tmp_path, "dog,hound\ndog,puppy\n").objects == {0: "dog", 1: "dog"}


BAD: dict[str, tuple[Any, str]] = {
    "empty": ("", "has no names"),
    "blank": (" \n \n", "has no names"),
    "empty line": ("dog\n\ncat\n", "line 2 is '', not a name"),
    "synonym without a name": ("dog\n,cat\n", "line 2 is '', not a name"),
    "not UTF-8": (b"dog\n\xff\n", "is not UTF-8"),
    "empty list": ([], "has no names"),
    "list of numbers": (["dog", 7], "entry 1 is '7', not a name"),
    "list with a gap": (["dog", None], "entry 1 is 'None', not a name"),
    "empty name": (["dog", " "], "entry 1 is ' ', not a name"),
    "half a character": (["\ud800"], "entry 0 is"),
    "object of neither": ({"dog": "cat"}, "entry 'dog': 'cat': neither is a number"),
    "object of lists": ({"dog": [1]}, r"entry 'dog': '\[1\]': neither is a number"),
    "negative": ({"-1": "dog"}, "entry '-1': 'dog': neither is a number"),
    "negative number": ({"dog": -1}, "entry 'dog': '-1': neither is a number"),
    "truth value": ({"dog": True}, "neither is a number"),
    "too large": ({"dog": 2**40}, "neither is a number"),
    "number twice": ({"dog": 1, "cat": 1}, "number 1 is 'dog' and 'cat'"),
    "VinVL's without names": ({"idx_to_label": {}}, "has no names"),
    "VinVL's of another kind": ({"label_to_idx": [1]}, "is not an object of names and numbers"),
    "VinVL's attributes": ({"label_to_idx": {"a": 1}, "attribute_to_idx": "red"}, "is not an object of names"),
    "a number": (7, "holds 7"),
}


@pytest.mark.parametrize("case", BAD)
def test_broken_files_are_named(case: str, tmp_path: Path) -> None:
    content, message = BAD[case]
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, content)
    assert error.value.where.startswith(str(tmp_path / "labels."))
    assert error.value.remedy


def test_missing_and_torn_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.txt: cannot be read"):
        read_label_map(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_label_map(tmp_path)
    (tmp_path / "a.json").write_text('["dog", ')
    with pytest.raises(InputError, match="is not JSON"):
        read_label_map(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is not JSON"):
        read_label_map(tmp_path / "a.json")
