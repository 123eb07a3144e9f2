"""Good pickles, changed at random: whatever becomes of them, reading ends with a value or with an error of ours.

``MUVLA_FUZZ`` says how many are made in all (a few hundred by default).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.refcoco_plus.converter import convert_refcoco_plus
from mmf_muvla.errors import MuvlaError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.reading.restricted_npy import load_object_array
from mmf_muvla.reading.restricted_pickle import load_pickle
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.mmf_features import load_from_folder, load_from_lmdb
from mmf_muvla.regions.mmf_records import read_record
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from tests.regions.mmf_files import (
    FEATURE_DIM,
    NAMES,
    MmfImage,
    info_file,
    write_labels,
    write_lmdb,
    write_mmf_folder,
    write_mmf_lmdb,
)

NUM_MUTANTS = int(os.environ.get("MUVLA_FUZZ", "400"))
MOST_BYTES, MOST_SECONDS = 200 * 2**20, 2.0
OPTIONS = RegionOptions(feature_dim=FEATURE_DIM)
LABELS = LabelMap(dict(enumerate(NAMES)), {})
# Instructions and arguments that do harm in the wrong place.
FRAGMENTS = [
    *(opcode.code.encode("latin1") for opcode in pickletools.opcodes),
    *(b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"r\xff\xff\xff\x7f", b"\x8a\xff"),
    *(b"\x8e" + b"\xff" * 8, b"G" + b"\xff" * 8),
    *(b"q\x00", b"h\x00", b"h\x01", b"j\x05\x00\x00\x00", b"2", b"}", b"](", b"\x85", b"\x86", b"K\xff", b"Nb"),
    *(b"cos\nsystem\n", b"cnumpy\ndtype\n", b"L" + b"7" * 400 + b"L\n", b"X\x03\x00\x00\x00\xed\xa0\x80"),
]  # fmt: skip
REFS = [
    {"ref_id": n, "ann_id": n, "image_id": 1, "split": "train", "sentences": [{"sent_id": n, "sent": f"dog {n}"}]}
    for n in range(3)
]


def mutate(content: bytes, random: random.Random) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        content = random.choice((_flip, _cut, _insert, _repeat, _swap_instructions))(content, random)
    return content


def _flip(content: bytes, random: random.Random) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + random.randbytes(1) + content[place + 1 :]


def _cut(content: bytes, random: random.Random) -> bytes:
    begin = random.randrange(len(content))
    return content[:begin] + content[begin + random.choice((1, 2, 9, len(content))) :] or b"."


def _insert(content: bytes, random: random.Random) -> bytes:
    place, fragment = random.randrange(len(content)), random.choice(FRAGMENTS)
    replaced = random.choice((0, len(fragment)))
    return content[:place] + fragment + content[place + replaced :]


def _repeat(content: bytes, random: random.Random) -> bytes:
    begin = random.randrange(len(content))
    part = content[begin : begin + random.randrange(1, 40)]
    return content[:begin] + part * random.choice((2, 3, 500)) + content[begin:]


def _swap_instructions(content: bytes, random: random.Random) -> bytes:
    """Put an instruction in the place of another, with its argument."""
    try:
        places = [place for _, _, place in pickletools.genops(content)]
    except Exception:  # mutated before
        return content
    spans = list(zip(places, [*places[1:], len(content)], strict=True))
    (begin, end), (other, other_end) = random.choice(spans), random.choice(spans)
    return content[:begin] + content[other:other_end] + content[end:]


def npy(content: bytes, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def read_lmdb_record(content: bytes, folder: Path) -> None:
    image = load_from_lmdb(Path("data.mdb"), "1", content)
    read_record("1", image.info, image.features, OPTIONS, LABELS, image.bad, image.bad_info)


def read_folder(content: bytes, folder: Path) -> None:
    info_file(folder, "1").write_bytes(content)
    image = load_from_folder(folder, "1")
    read_record("1", image.info, image.features, OPTIONS, LABELS, image.bad, image.bad_info)


def read_refs(content: bytes, folder: Path) -> None:
    (folder / "refs(unc).p").write_bytes(content)
    convert_refcoco_plus(folder / "refs(unc).p", folder / "instances.json", folder / "out", Options())


def read_imdb(content: bytes, folder: Path) -> None:
    (folder / "imdb.npy").write_bytes(content)
    str(load_object_array(folder / "imdb.npy"))


def object_array(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


RECORD = MmfImage("1").record()
IMDB = object_array(
    [{"version": 1}, *({"question_id": n, "answers": ["yes"] * 3, "boxes": np.ones(2)} for n in range(3))]
)
KINDS: dict[str, tuple[Callable[[int], bytes], Callable[[bytes, Path], None]]] = {
    "record of an LMDB": (lambda protocol: pickle.dumps(RECORD, protocol), read_lmdb_record),
    "info of a folder": (lambda protocol: npy(pickle.dumps(np.array(RECORD, object), protocol), ()), read_folder),
    "refs": (lambda protocol: pickle.dumps(REFS, protocol), read_refs),
    "imdb": (lambda protocol: npy(pickle.dumps(IMDB, protocol), IMDB.shape), read_imdb),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_mmf_folder(tmp_path, [MmfImage("1")])
    instances = {
        "images": [{"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "width": 9, "height": 9}],
        "annotations": [{"id": n, "image_id": 1, "bbox": [0, 0, 5, 5]} for n in range(3)],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_end_with_errors_of_ours(kind: str, folder: Path) -> None:
    write, read = KINDS[kind]
    outcomes = {"read": 0, "refused": 0}
    tracemalloc.start(1)
    try:
        for seed in range(NUM_MUTANTS // len(KINDS)):
            content = mutate(write(seed % (pickle.HIGHEST_PROTOCOL + 1)), random.Random(f"{kind} {seed}"))
            tracemalloc.reset_peak()
            begin = time.process_time()
            try:
                read(content, folder)
                outcomes["read"] += 1
            except (MuvlaError, BadRecord):
                outcomes["refused"] += 1
            except Exception as error:
                raise AssertionError(f"{kind}, seed {seed}: {error!r}") from error
            assert tracemalloc.get_traced_memory()[1] < MOST_BYTES, seed
            assert time.process_time() - begin < MOST_SECONDS, seed
    finally:
        tracemalloc.stop()
    # Both occur, so that mutants are near enough to what is good, and far enough from it.
    assert all(outcomes.values()), outcomes


def test_what_is_not_mutated_is_read(tmp_path: Path) -> None:
    """A ``skip`` build of mutants, and of good images between them."""
    good = [MmfImage(f"good{number}") for number in range(10)]
    source = write_mmf_lmdb(tmp_path / "lmdb", good)
    mutants = {
        f"mutant{seed}": mutate(pickle.dumps(MmfImage(f"mutant{seed}").record()), random.Random(seed))
        for seed in range(NUM_MUTANTS // 4)
    }
    keys = [image.image_id for image in good] + list(mutants)
    random.Random(0).shuffle(keys)
    write_lmdb(source, {**{key.encode(): value for key, value in mutants.items()}, b"keys": pickle.dumps(keys)})
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(write_labels(tmp_path)))
    import_regions([source], options, "skip", 1.0, tmp_path / "store", tmp_path / "skipped.jsonl")
    store = RegionStore(tmp_path / "store")
    alone = write_mmf_lmdb(tmp_path / "alone", good)
    import_regions([alone], options, "error", 0.0, tmp_path / "alone_store", tmp_path / "none.jsonl")
    expected = RegionStore(tmp_path / "alone_store")
    for image in good:
        found, wanted = store.get(image.image_id), expected.get(image.image_id)
        np.testing.assert_array_equal(found.image_feature_0, wanted.image_feature_0)
        np.testing.assert_array_equal(found.bbox, wanted.bbox)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_good_ones_are_as_python_reads_them(protocol: int) -> None:
    for value in (RECORD, REFS, {"imdb": IMDB.tolist()}):
        content = pickle.dumps(value, protocol)
        np.testing.assert_equal(load_pickle(content), pickle.loads(content))
