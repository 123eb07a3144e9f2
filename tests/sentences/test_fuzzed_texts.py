"""Damaged texts and word vectors, drawn at random: each ends in records that are counted, or in an error that is ours.

``MUVLA_FUZZ`` says how many; a case is drawn anew from its number alone.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.word_vectors import load_word_vectors
from mmf_muvla.sentences.importing import import_sentences
from mmf_muvla.sentences.options import SentenceOptions

CASES = int(os.environ.get("MUVLA_FUZZ", "300"))
SECONDS, MEBIBYTES = 2, 200
GOOD = [
    f"the {word} number {number} is good"
    for number, word in enumerate(["dog", "caf\u00e9", "\u732b", "\U0001f408"] * 4)
]
KINDS = {
    "text": ([".txt", ".txt.gz"], SentenceOptions()),
    "tsv": ([".tsv", ".tsv.gz"], SentenceOptions(column=1, image_id_column=0)),
    "csv": ([".csv", ".csv.gz"], SentenceOptions(image_id_column="image_id")),
    "jsonl": ([".jsonl", ".jsonl.gz", ".json"], SentenceOptions(image_id_column="image_id")),
    "parquet": ([".parquet"], SentenceOptions(image_id_column="image_id")),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is killed here, so that nothing has to be on disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def written(kind: str, text: str, number: int) -> bytes:
    """A good line."""
    if kind == "jsonl":
        return json.dumps({"image_id": number, "caption": text}, ensure_ascii=number % 2 == 0).encode()
    return {"text": text, "tsv": f"{number}\t{text}", "csv": f'{number},"{text}"'}[kind].encode()


# --- Damaged lines ----------------------------------------------------------------------------------------------------

ANY_LINE: list[Callable[[random.Random], bytes]] = [
    lambda draw: b"",
    lambda draw: bytes(
        draw.choice(b'\x00\x01\x08\x1b\x7f\x80\xff\xc3\xed a\t",{}') for _ in range(draw.randrange(1, 60))
    ),
    lambda draw: draw.randbytes(draw.randrange(1, 200)).replace(b"\n", b" "),
    lambda draw: "\ufeff".encode() * draw.randrange(1, 5),
    lambda draw: "a line\u2028and\u2029another\x85one\x0bmore\x0c".encode(),
    lambda draw: b"one dog runs\rtwo dogs run\r\r",
    lambda draw: b"a \xed\xa0\xbd half \xed\xb0\x88 b",
    lambda draw: b"w" * draw.randrange(1, 3_000_000),
    lambda draw: b"a b " * draw.randrange(1, 500_000),
    lambda draw: "e\u0301\u0323\u0301".encode() * draw.randrange(1, 100_000),
    lambda draw: b" \t\xc2\xa0\xe2\x80\x8b" * draw.randrange(1, 1000),
    lambda draw: b"\x00" * draw.randrange(1, 10_000),
]
JSON_VALUES = [
    b"null", b"true", b"17", b"-1e999", b"NaN", b"9" * 4000, b"9" * 5000, b"[]", b"{}", b'"\\ud800"',
    b'"a\\udc08b c d"',
    b'"a\\u0000b"', b'"' + b"x" * 100_000 + b'"', b"[" * 900 + b"]" * 900, b"[" * 100_000, b'{"a":' * 5000,
    b'["a", "b"]', b'"a b c', b'"\\x"', b"[" + b"[]," * 100_000 + b"[]]",
]  # fmt: skip
LINES: dict[str, list[Callable[[random.Random], bytes]]] = {
    "text": [],
    "tsv": [
        lambda draw: b"7" + b"\t" * draw.randrange(0, 100_000),
        lambda draw: b"\ta line without its image",
        lambda draw: b"caf\xe9\ta line of an image",
        lambda draw: b"no tab is in this line",
    ],
    "csv": [
        lambda draw: b'7,"a quote that opens',
        lambda draw: b'7,a quote" that closes"',
        lambda draw: b'7,"a ""word"" in quotes" and more',
        lambda draw: b"7" + b"," * draw.randrange(0, 100_000),
        lambda draw: b'7,"' + b'""' * draw.randrange(0, 100_000),
        lambda draw: b'"7\x00","\r"',
    ],
    "jsonl": [
        lambda draw: b'{"image_id": 7, "caption": ' + draw.choice(JSON_VALUES) + b"}",
        lambda draw: b'{"caption": "a b c", "image_id": ' + draw.choice(JSON_VALUES) + b"}",
        lambda draw: draw.choice(JSON_VALUES),
        lambda draw: b'{"\\ud800": 1, "caption": "a", "caption": "b"}',
        lambda draw: b'{"image_id": 7, "caption": "a b c"}'[: draw.randrange(34)],
    ],
}


def file_of_lines(kind: str, draw: random.Random) -> bytes:
    """Good lines with some damaged ones between."""
    lines = [written(kind, text, number) for number, text in enumerate(GOOD)]
    for _ in range(draw.randrange(1, 4)):
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(ANY_LINE + LINES[kind] * 3)(draw))
    if kind == "csv":
        lines.insert(0, b"image_id,caption")
    mark = "\ufeff".encode() * (draw.random() < 0.2)
    return mark + b"".join(line + draw.choice([b"\n", b"\n", b"\r\n"]) for line in lines)


def parquet_file(draw: random.Random) -> bytes:
    """Good rows with damaged ones between, or with columns of another type."""
    texts: list[Any] = [text.encode() for text in GOOD]
    owners: list[Any] = [str(number).encode() for number in range(len(GOOD))]
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(texts) + 1)
        texts.insert(place, draw.choice([None, b"", *(make(draw) for make in ANY_LINE)]))
        owners.insert(place, draw.choice([None, b"", b"\xff", b"7", draw.randbytes(9)]))
    columns = [
        pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
        for raw in (pa.array(texts, pa.binary()), pa.array(owners, pa.binary()))
    ]
    stream = io.BytesIO()
    pq.write_table(pa.table(columns, ["caption", "image_id"]), stream, row_group_size=draw.choice([1, 5, 100]))
    return stream.getvalue()


# --- Damaged files ----------------------------------------------------------------------------------------------------


def damage(content: bytes, draw: random.Random) -> bytes:
    """Damage to a file as a whole."""
    cut = draw.randrange(len(content) + 1)
    flipped = bytearray(content)
    for _ in range(draw.randrange(1, 9)):
        flipped[draw.randrange(len(flipped))] = draw.randrange(256)
    return draw.choice(
        [
            content[:cut],
            content[cut:],
            content + draw.randbytes(50),
            bytes(flipped),
            content[:cut] + draw.randbytes(30) + content[cut:],
            content.replace(b"\n", b"\r"),
            content.decode("utf-8", "replace").encode("utf-16"),
            b"",
            b"\n" * draw.randrange(10_000),
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_texts(kind: str, work: Any, tmp_path: Path) -> None:
    suffixes, options = KINDS[kind]
    ended = {"read": 0, "refused": 0}
    for case in range(CASES // len(KINDS)):
        draw = random.Random(f"{kind} {case}")
        suffix = draw.choice(suffixes)
        content = parquet_file(draw) if kind == "parquet" else file_of_lines(kind, draw)
        content = gzip.compress(content, 1) if suffix.endswith(".gz") else content
        is_whole = draw.random() < 0.6
        file = tmp_path / f"file{suffix}"
        file.write_bytes(content if is_whole else damage(content, draw))
        shutil.rmtree(work().folder)
        began, before = time.process_time(), peak()
        try:
            counts = import_sentences([file], options, "skip", 1.0, 1, work())
        except InputError as error:
            assert not is_whole, f"case {case}: {error}"
            assert len(str(error)) < 1500
            ended["refused"] += 1
        else:
            ended["read"] += 1
            left_out = sum(counts[name] for name in ("skipped", "empty", "duplicates", "too_short", "too_long"))
            assert counts["lines"] == counts["sentences"] + left_out, f"case {case}"
            if is_whole:
                table = MappedTable(work().folder / "sentences.arrow")
                texts = {text for block in table.blocks("sentence") for text in block}
                assert texts >= set(GOOD), f"case {case}"
        assert time.process_time() - began < SECONDS, f"case {case}"
        assert peak() - before < MEBIBYTES, f"case {case}"
    assert min(ended.values()) > 0 or CASES < 100


def peak() -> float:
    """The most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def vectors_file(draw: random.Random) -> bytes:
    """Word vectors with damaged lines between."""
    lines = [f"word{number} {' '.join(str(draw.gauss(0, 1)) for _ in range(4))}".encode() for number in range(20)]
    if draw.random() < 0.5:
        lines.insert(0, draw.choice([b"20 4", b"20 4", b"99 4", b"20 5", b"-1 4", b"20 999999999999", b"1e3 4"]))
    for _ in range(draw.randrange(3)):
        bad = [
            b"",
            b"a b 1 2 3 4",
            b"nan nan nan nan nan",
            b"x 1 2 3",
            b"x 1 2 3 4 5",
            b"\xff 1 2 3 4",
            b"x 1 2 3 1e999",
        ]
        place = draw.randrange(len(lines) + 1)
        lines.insert(place, draw.choice([*bad, draw.randbytes(30), b"word3 1 2 3 4", b"1" * 3_000_000]))
    return b"\n".join(lines) + b"\n"


def test_damaged_word_vectors(tmp_path: Path) -> None:
    ended = {"read": 0, "refused": 0}
    for case in range(CASES // 2):
        draw = random.Random(f"vectors {case}")
        content = vectors_file(draw)
        file = tmp_path / draw.choice(["v.txt", "v.vec", "v.txt.gz", "v.bin", "v.bin.gz", "v.kv"])
        content = gzip.compress(content, 1) if file.suffix == ".gz" else content
        file.write_bytes(damage(content, draw) if draw.random() < 0.3 else content)
        began = time.process_time()
        try:
            vectors = load_word_vectors(str(file))
        except InputError as error:
            assert str(file) in str(error) and len(str(error)) < 1500
            ended["refused"] += 1
        else:
            assert vectors.dimensions >= 1
            ended["read"] += 1
        assert time.process_time() - began < SECONDS, f"case {case}"
    assert min(ended.values()) > 0


# --- What one record may take ---------------------------------------------------------------------------------------

READ_ALL = """
import os, shutil, sys, time
from pathlib import Path
from mmf_muvla.sentences.options import SentenceOptions
from mmf_muvla.artifacts.progress import ProgressRecord
from mmf_muvla.sentences.importing import import_sentences
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.executors import LocalExecutor
os.fsync = lambda _: None
folder, *files = map(Path, sys.argv[1:])
start = None
for file in files:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began = time.process_time()
    work = Work(folder, ProgressRecord(folder / "p"), LocalExecutor())
    counts = import_sentences([file], SentenceOptions(), "skip", 1.0, 2, work)
    seconds = time.process_time() - began
    assert counts["sentences"] == 2, (file, counts)
    # What it takes to begin with does not count: the first file is a small one.
    # Not what getrusage() says, which begins with what the parent had.
    (most,) = (int(it.split()[1]) / 1024 for it in open("/proc/self/status") if it.startswith("VmHWM"))
    start = most if start is None else start
    print(file.name, counts["lines"] - 2, seconds, most - start)
"""
LONG = {
    "word": b"x",
    "lists": b"[],",
    "objects": b'[{"a":1},',
    "accents": "e\u0301\u0323\u0301".encode(),
    "quotes": b'""',
    "tabs": b"a\t",
    "astral": "\U0001f408 ".encode(),
}


def test_what_a_record_takes(tmp_path: Path) -> None:
    files = []
    for suffix, begin in {".txt": b"", ".tsv": b"", ".csv": b"caption\n", ".jsonl": b""}.items():
        good = [b"a dog runs fast", b"a cat sits still"]
        if suffix == ".jsonl":
            good = [b'{"caption": "' + text + b'"}' for text in good]
        lines = {"small": [], **{name: [piece * (3 * 2**20 // len(piece))] for name, piece in LONG.items()}}
        lines["longest"] = [b"x" * (50 * 2**20)]
        if suffix == ".jsonl":
            lines["lists"] = [b"[" + line + b"0]" for line in lines["lists"]]
            lines["sentence"] = [b'{"caption": "' + line + b'"}' for line in lines["accents"]]
        for name, between in lines.items():
            files.append(tmp_path / f"{name}{suffix}")
            files[-1].write_bytes(begin + b"\n".join([good[0], *between, good[1], b""]))
    command = [sys.executable, "-c", READ_ALL, str(tmp_path / "work"), *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-800:]
    rows = [line.split() for line in result.stdout.splitlines()]
    assert len(rows) == len(files)
    for name, lines_left_out, seconds, taken in rows:
        assert (lines_left_out == "0") == name.startswith("small")
        assert float(seconds) < SECONDS and float(taken) < MEBIBYTES, rows
