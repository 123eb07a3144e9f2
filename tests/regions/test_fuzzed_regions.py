"""Damaged region inputs at random: none stops an import that may skip, costs much, or harms what stands beside it.

``MUVLA_FUZZ`` says how many records of each format are damaged; a failure names the seed of its batch.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.label_map import read_label_map
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from tests.conftest import FakeImage
from tests.regions.mmf_files import FEATURE_DIM, MmfImage, info_file, write_labels, write_lmdb, write_mmf_folder
from tests.regions.test_malformed_regions import records

RECORDS = int(os.environ.get("MUVLA_FUZZ", "100"))
PER_BATCH = 20
BATCHES = range(-(-RECORDS // PER_BATCH))
MOST_BYTES, MOST_SECONDS = 200 * 2**20, 2.0

# JSON values, as text: some of them are no JSON.
NASTY_JSON = [
    *("null", "true", "[]", "{}", '""', '"\\ud800"', '"\\u0000"', '" "', "[[[[]]]]", '{"a": {"b": [1]}}', "'"),
    *("0", "-1", "-0.0", "0.5", "1e308", "-1e999", "NaN", "Infinity", "1e-320", "2147483648", "9223372036854775808"),
    *("9" * 400, "9" * 5000, "1" * 400 + ".5", '"' + "x" * 100_000 + '"', "[" * 100_000, "[" * 900 + "]" * 900),
    *('{"a":' * 100_000, "[" + "[]," * 200_000 + "[]]", "[" + "{}," * 600_000 + "{}]", "[" + "0," * 700_000 + "0]"),
    *('"a", "rect": [0, 0, 1, 1]', '"image_w"', "1, 2", '"\U0001f600"', '["\\udfff"]', "\ud83d", "1e5", "640.0"),
]

ODD_BYTES = [b"\0", b"\t", b"\n", b"\r", b"\xff", b'"', b"\xed\xa0\x80"]


def damage_bytes(content: bytes, choose: random.Random) -> bytes:
    """Flip, cut, repeat, insert."""
    start = choose.randrange(len(content) + 1)
    end = min(len(content), start + choose.choice([1, 2, 8, 64, 4096]))
    return choose.choice(
        [
            lambda: content[:start],
            lambda: content[start:],
            lambda: content[:start] + content[end:],
            lambda: content[:start] + choose.randbytes(end - start) + content[end:],
            lambda: content[:end] + content[start:],
            lambda: content[:start] + choose.choice(ODD_BYTES) + content[start:],
            lambda: content[:start] + bytes(choose.choice([1, 1000, 100_000])) + content[start:],
        ]
    )()  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a JSON value has values."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, entry in inner for place in places(entry, (*path, key)))][not path :]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


# --- VinVL


def damage_prediction(image: FakeImage, choose: random.Random) -> bytes:
    content = image.prediction()
    if choose.random() < 0.3:
        return damage_bytes(image.prediction_line().encode().rstrip(b"\n"), choose)
    text = json.dumps(put(content, choose.choice(places(content)), "@"))
    nasty = choose.choice(NASTY_JSON)
    if choose.random() < 0.1:
        nasty = f'"@", "{choose.choice(["image_w", "objects", "rect", "class", "conf"])}": {nasty}'
    return f"{image.image_id}\t{text}".replace('"@"', nasty).encode("utf-8", "surrogatepass")


def damage_features(image: FakeImage, choose: random.Random) -> bytes:
    columns = image.feature_line().encode().rstrip(b"\n").split(b"\t")
    matrix = image.matrix()
    kind = choose.choice(["bytes", "count", "number", "shape", "data", "long", "many"])
    if kind == "bytes":
        return damage_bytes(b"\t".join(columns), choose)
    if kind == "count":
        columns[1] = choose.choice([b"0", b"1", b"-2", b"2.0", b"", b"9" * 9, b"9" * 400, b"\xd9\xa2", b" 2", b"2\0"])
    elif kind == "number":
        place = choose.randrange(matrix.shape[0]), choose.randrange(matrix.shape[1])
        matrix[place] = choose.choice([np.nan, np.inf, -np.inf, 3e38, -1e30, 65520, -0.1, 1.5, 1e-45])
    elif kind == "shape":
        matrix = matrix[:, : choose.randrange(matrix.shape[1])]
    elif kind == "data":
        columns[2] = choose.choice([b"", b"!!!!", b"=", b"AAAA", columns[2][:-2], columns[2] * 2, b"[0.5]", b"\0" * 50])
        return b"\t".join(columns)
    elif kind == "long":
        # A line of many megabytes is rare, as it takes its time to be written.
        size = choose.choice([10**5, 10**6] * 10 + [4 * 10**7])
        return choose.choice([b"x" * size, columns[0] + b"\t2\t" + b"A" * size, b"\t" * size, bytes(size)])
    elif kind == "many":
        matrix = np.tile(matrix, (choose.choice([2, 1000]), 1))
        columns[1] = str(len(matrix)).encode()
    columns[2] = base64.b64encode(matrix.astype("<f4").tobytes())
    return b"\t".join(columns)


def vinvl_batch(folder: Path, choose: random.Random | None) -> Path:
    """Good images with damaged ones between them; without ``choose``, the good ones alone."""
    lines: dict[str, list[bytes]] = {"features.tsv": [], "predictions.tsv": []}
    for number in range(PER_BATCH):
        for image_id in (f"good-{number}", f"bad-{number}"):
            # A single source may have rows with boxes of their own and without.
            image = FakeImage(image_id, relative=number % 2 == 0, attributes=[["red"], None])
            if image_id.startswith("good"):
                pair = image.feature_line().encode().rstrip(), image.prediction_line().encode().rstrip()
            elif choose is None:
                continue
            elif choose.random() < 0.5:
                pair = damage_features(image, choose), image.prediction_line().encode().rstrip()
            else:
                pair = image.feature_line().encode().rstrip(), damage_prediction(image, choose)
            for file, line in zip(lines.values(), pair, strict=True):
                file.append(line + b"\n")
    folder.mkdir()
    for name, file in lines.items():
        (folder / name).write_bytes(b"".join(file))
    if choose:
        # These lie, and are not looked at.
        (folder / "features.lineidx").write_bytes(choose.randbytes(40))
        (folder / "imageid2idx.json").write_text(choose.choice(["{", "[]", '{"good-1": 99}']))
    return folder


# --- MMF


def nasty_values(choose: random.Random) -> Any:
    row = [0] * 3000
    deep: Any = [1.0]
    for _ in range(300):
        deep = [deep]
    laughs: Any = ["ha"]
    for _ in range(12):
        laughs = [laughs] * 12
    objects = np.empty(3, dtype=object)
    objects[:] = [{"a": 1}, None, "x"]
    return choose.choice(
        [
            *(None, True, 0, -1, 2.5, 10**400, -(10**5000), float("nan"), float("inf"), "3", "\ud800", "", b"\xff"),
            *([], [[]], {}, (), [1, "a"], [[1, 2], [3]], [10**400, 1.5], [row] * 3000, deep, laughs, {1: {2: 3}}),
            *([None] * 4, "x" * 10**6, objects, np.zeros(0), np.zeros((0, 4)), np.zeros((4, 0)), np.zeros((4, 4, 4))),
            *(np.full((4, 4), np.nan), np.full((4, 4), -1e30), np.zeros((4, 4)), np.ones((4, 4)), np.float64(3)),
            *(np.full((4, 8), np.inf, np.float16), np.array("x"), np.array(["a", "b" * 1000]), np.arange(4) * 10**9),
            *(np.full(4, 2**63, np.uint64), np.array(7), np.zeros((4, 4), complex), np.zeros(4, bool)),
            *(np.ones((5000, 8)), np.full((4, 4), 1e300), np.array([4, 3, 2, 1])),
        ]
    )  # fmt: skip


def mmf_images(choose: random.Random | None) -> list[MmfImage]:
    images = []
    for number in range(PER_BATCH):
        images.append(MmfImage(f"good-{number}"))
        if choose:
            image = MmfImage(f"bad-{number}")
            for _ in range(choose.choice([1, 1, 2])):
                key = choose.choice([*image.info, "features", "attr_labels", "scores"])
                if key == "features":
                    image.features = nasty_values(choose)
                else:
                    image.info[key] = nasty_values(choose)
            images.append(image)
    return images


def mmf_folder_batch(folder: Path, choose: random.Random | None) -> Path:
    for image in mmf_images(choose):
        if not isinstance(image.features, np.ndarray):
            wrapped = np.empty((), dtype=object)
            wrapped[()] = image.features
            image.features = wrapped
        write_mmf_folder(folder, [image])
        if choose and image.image_id.startswith("bad") and choose.random() < 0.4:
            file = choose.choice([folder / f"{image.image_id}.npy", info_file(folder, image.image_id)])
            file.write_bytes(damage_bytes(file.read_bytes(), choose))
    return folder


def mmf_lmdb_batch(folder: Path, choose: random.Random | None) -> Path:
    found = {}
    for image in mmf_images(choose):
        content = pickle.dumps(image.record(), choose.randrange(2, 6) if choose else 5)
        if choose and image.image_id.startswith("bad") and choose.random() < 0.4:
            content = damage_bytes(content, choose)
        found[image.image_id.encode()] = content
    keys: list[Any] = list(found)
    if choose:
        keys.insert(3, choose.choice([b"", b"\xff", "\ud800", b"x\ny", b"absent", b"x" * 600, b"__meta__"]))
    return write_lmdb(folder, {**found, b"keys": pickle.dumps(keys)})


FORMATS: dict[str, Callable[[Path, random.Random | None], Path]] = {
    "vinvl": vinvl_batch,
    "mmf folder": mmf_folder_batch,
    "mmf lmdb": mmf_lmdb_batch,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the good images become when they are alone, by format."""
    return {
        name: imported(write(tmp_path_factory.mktemp("good") / "source", None))[1] for name, write in FORMATS.items()
    }


def imported(source: Path, rect_scale: str = "original") -> tuple[dict[str, int], dict[str, Any]]:
    labels = write_labels(source.parent)
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(labels), rect_scale=rect_scale)
    out = source.parent
    counts = import_regions([source], options, "skip", 1.0, out / "store", out / "skipped.jsonl")
    return counts, records(RegionStore(out / "store"))


@pytest.mark.parametrize("seed", BATCHES)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damage_is_listed_and_costs_little(
    name: str, seed: int, good: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    source = FORMATS[name](tmp_path / "source", random.Random(f"{name} {seed}"))
    tracemalloc.start()
    started = time.process_time()
    try:
        counts, found = imported(source)
        seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    for image_id, expected in good[name].items():
        assert found[image_id] == expected, image_id
    listed = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_bytes().splitlines()]
    assert counts["skipped"] + counts["images_without_regions"] == len(listed)
    named = {entry["id"] for entry in listed} | found.keys()
    # What is listed without a name has lost it.
    assert sum(f"bad-{number}" not in named for number in range(PER_BATCH)) <= sum(
        not entry["id"].startswith("bad-") or len(entry["id"]) > 6 for entry in listed
    )
    assert all(entry["reason"] and len(entry["value"]) <= 200 for entry in listed)
    store = RegionStore(tmp_path / "store")
    for image_id in store.ids:
        regions = store.get(image_id)
        assert np.isfinite(regions.image_feature_0).all()
        assert (regions.bbox >= 0).all() and (regions.bbox <= [regions.width, regions.height] * 2).all()
        assert (regions.bbox[:, 2:] > regions.bbox[:, :2]).all() and len(regions) > 0
        assert ((regions.confidence >= 0) & (regions.confidence <= 1)).all()
    assert peak < MOST_BYTES, f"{peak / 2**20:.0f} MB"
    # Of twenty records together; tracing takes most of it.
    assert seconds < 3 * MOST_SECONDS, f"{seconds:.1f} s"


@pytest.mark.parametrize("seed", BATCHES)
def test_damage_never_changes_what_boxes_are_measured_in(
    seed: int, good: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    source = vinvl_batch(tmp_path / "source", random.Random(f"scale {seed}"))
    try:
        _, found = imported(source, "auto")
    except InputError as error:
        # Half of the images are damaged: that may be too many to know it.
        assert error.where == str(source) and "region_options.rect_scale=original" in error.remedy
    else:
        assert {image_id: found[image_id] for image_id in good["vinvl"]} == good["vinvl"]


@pytest.mark.parametrize("seed", range(max(1, RECORDS // 4)))
def test_damaged_label_maps_are_refused_or_read(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    content = {"idx_to_label": {"1": "dog", "4": "car"}, "idx_to_attribute": {"7": "red"}}
    text = json.dumps(put(content, choose.choice(places(content)), "@")).replace('"@"', choose.choice(NASTY_JSON))
    raw = text.encode("utf-8", "surrogatepass")
    path = tmp_path / choose.choice(["labels.json", "labels.json", "labels.txt"])
    path.write_bytes(damage_bytes(raw, choose) if choose.random() < 0.5 else raw)
    try:
        labels = read_label_map(path)
    except InputError as error:
        assert error.where == str(path) and len(str(error)) < 1000
    else:
        assert labels.objects and all(name.encode() for name in labels.objects.values())
