"""Values and bytes that annotation files should not have, and annotation files that have them."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np

# As they stand in a JSON file; Python's own writer would not write all of them.
HOSTILE_JSON = {
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "list of 100 levels": "[" * 100 + "]" * 100,
    "half of a pair": '"\\ud800"',
    "other half of a pair": '"a cat \\udfff sits"',
    "number of 400 digits": "1" + "0" * 400,
    "number of 5,000 digits": "1" + "0" * 5_000,
    "number beyond 64 bits": str(2**70),
    "infinite": "1e400",
    "minus infinite": "-1e999",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "key twice": '{"answer": "a", "answer": "b"}',
    "key twice, deeper": '[1, {"a": {"b": 1, "b": 1}}]',
    "NUL": '"a\\u0000b"',
    "huge text": '"' + "x" * 200_000 + '"',
    "line too long": '"' + "x" * 2_000_000 + '"',
}
# What a field may hold that has been changed by hand or by a program.
ODD_JSON = [
    "null",
    "true",
    "0",
    "-1",
    "7",
    "0.5",
    '""',
    '"  "',
    '"a"',
    "[]",
    "{}",
    "[1, 2]",
    '{"a": []}',
    '"\\u001b[31m"',
]
ODD_JSON += ['"../../x"', '"a\\nb"', '"' + "k" * 600 + '"', "[[0, 0, 1, 1]]", "[0, 0, 1, 1]", "[1, 2, 3, 1e300]"]

_DEEP: list[Any] = []
for _ in range(200):
    _DEEP = [_DEEP]
# The same for files of pickles.
ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 0.5, 2**70, 10**400, 10**5_000, math.nan, math.inf, -math.inf),
    *("", " ", "val", "\ud800", "a\udfffb", "a\0", "\x1b[31m", "../../x", "a\nb", "k" * 600, "x" * 200_000),
    *(
        [],
        {},
        [1, 2],
        {"a": []},
        (),
        {1, 2},
        b"bytes",
        _DEEP,
        np.float64(1.5),
        np.int64(3),
        np.arange(4),
        ["yes"] * 5_000,
    ),
]

_MARK = "@@%d@@"


class Text:
    """JSON with raw pieces in it: :meth:`put` gives what stands for a piece until :meth:`dumps`."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def put(self, piece: str) -> str:
        self._pieces.append(piece)
        return _MARK % (len(self._pieces) - 1)

    def dumps(self, value: Any) -> str:
        text = json.dumps(value)
        for number, piece in enumerate(self._pieces):
            text = text.replace(f'"{_MARK % number}"', piece)
        return text


def places(value: Any) -> list[tuple[Any, Any]]:
    """All containers in a value with their keys or positions."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    found = []
    for key in keys:
        found += [(value, key), *places(value[key])]
    return found


def change_value(record: Any, rng: random.Random, choices: list[Any]) -> None:
    """Replace or remove one value in a record, or put one more into it."""
    container, key = rng.choice(places(record))
    change = rng.random()
    if change < 0.15:
        del container[key]
    elif change < 0.25 and isinstance(container, dict):
        container["one more"] = rng.choice(choices)
    else:
        container[key] = rng.choice(choices)


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, remove, insert or cut off some bytes."""
    place = rng.randrange(len(content) + 1)
    some = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
    changes: list[Callable[[], bytes]] = [
        lambda: content[:place],
        lambda: content[:place] + some + content[place:],
        lambda: content[:place] + some + content[place + len(some) :],
        lambda: content[:place] + content[place + rng.randint(1, 30) :],
        lambda: (
            content[:place]
            + rng.choice([b"\0", b"\xff", b'"', b"{", b"]", b"\n", b"\\u", b"\xed\xa0\x80"])
            + content[place:]
        ),
        lambda: b"",
        lambda: b"\0" * 50,
    ]
    return rng.choice(changes)()


def damaged_json(good: list[Any], last: Any, rng: random.Random, join: Callable[[list[str]], str]) -> bytes:
    """A file of good records and one that is changed, as a value or as bytes."""
    text, last = Text(), copy.deepcopy(last)
    if rng.random() < 0.7:
        pieces = [*HOSTILE_JSON.values(), *ODD_JSON]
        change_value(last, rng, [text.put(piece) for piece in pieces])
        changed = text.dumps(last).encode()
    else:
        changed = change_bytes(json.dumps(last).encode(), rng)
    around = join([json.dumps(record) for record in good] + ["@LAST@"]).encode()
    return (b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + around.replace(b"@LAST@", changed)


def as_lines(texts: list[str]) -> str:
    return "".join(f"{text}\n" for text in texts)
