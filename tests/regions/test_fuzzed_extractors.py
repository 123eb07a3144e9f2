"""Damage at random in the other extractors' files: none stops an import that may skip, or harms what stands beside it.

As in :mod:`tests.regions.test_fuzzed_regions`, ``MUVLA_FUZZ`` says how many images of each format are damaged.
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from tests.regions import extractor_files as files
from tests.regions.extractor_files import Detected, detected, in_base64
from tests.regions.mmf_files import FEATURE_DIM, write_labels, write_lmdb
from tests.regions.test_fuzzed_regions import NASTY_JSON, RECORDS, damage_bytes, nasty_values, places, put
from tests.regions.test_malformed_regions import records

PER_BATCH = 6
BATCHES = range(-(-RECORDS // (PER_BATCH * 4)))
GOOD = [detected(f"good-{number}") for number in range(PER_BATCH)]
BAD = [detected(f"bad-{number}") for number in range(PER_BATCH)]
Choose = random.Random


def one_line(line: bytes) -> bytes:
    return line.replace(b"\n", b"")


def damage_columns(line: str, choose: Choose) -> bytes:
    """Of a TSV file of arrays in base64."""
    if choose.random() < 0.4:
        return one_line(damage_bytes(line.encode(), choose))
    columns = line.split("\t")
    number = choose.randrange(len(columns))
    old = columns[number]
    columns[number] = choose.choice(
        [
            *("", "0", "-1", "9" * 9, "9" * 400, "nan", "AAAA", "A" * 10**6, "\udcff", "é", "\0", f" {old}"),
            *(old * 2, old[:-2], old[: len(old) // 8 * 4], in_base64(np.full(5, np.nan, np.float32))),
            *(in_base64(np.full(20, np.inf, np.float32)), in_base64(np.full(5, 2**62)), in_base64(np.full(5, -1))),
        ]
    )
    return "\t".join(columns).encode("utf-8", "surrogateescape")


def damage_json(line: str, choose: Choose) -> bytes:
    """Of a file of image ids and JSON."""
    if choose.random() < 0.4:
        return one_line(damage_bytes(line.encode(), choose))
    image_id, text = line.split("\t")
    content = json.loads(text)
    text = json.dumps(put(content, choose.choice(places(content)), "@")).replace('"@"', choose.choice(NASTY_JSON))
    return one_line(f"{image_id}\t{text}".encode("utf-8", "surrogatepass"))


def write_between(
    file: Path, line_of: Callable[[Detected], str], damage: Callable[[str, Choose], bytes], choose: Choose | None
) -> None:
    """Good images' lines with damaged ones between them; without ``choose``, the good ones alone."""
    lines = []
    for good, bad in zip(GOOD, BAD, strict=True):
        lines += [line_of(good).encode(), *([damage(line_of(bad), choose)] if choose else [])]
    file.write_bytes(b"\n".join(lines) + b"\n")


def bottom_up_batch(folder: Path, choose: Choose | None) -> None:
    write_between(folder / "x.tsv", files.bottom_up_line, damage_columns, choose)


def lxmert_batch(folder: Path, choose: Choose | None) -> None:
    write_between(folder / "x.tsv", files.lxmert_line, damage_columns, choose)


def sgb_batch(folder: Path, choose: Choose | None) -> None:
    write_between(folder / "predictions.tsv", files.sgb_line, damage_json, choose)
    files.write_lines(folder / "hw.tsv", [files.hw_line(image) for image in GOOD + BAD])


def oscar_batch(folder: Path, choose: Choose | None) -> None:
    damaged = choose.randrange(2) if choose else 0
    for number, name in enumerate(("feature", "label")):
        damage = damage_json if number == damaged else lambda line, _: line.encode()
        line_of = lambda image, number=number: files.oscar_lines(image)[number]  # noqa: E731
        write_between(folder / f"x.{name}.tsv", line_of, damage, choose)
    files.write_lines(folder / "x.hw.tsv", [files.hw_line(image) for image in GOOD + BAD])


def npz_batch(folder: Path, choose: Choose | None) -> None:
    files.write_npz(folder, GOOD)
    for image in BAD if choose else ():
        arrays = files.npz_arrays(image)
        for _ in range(choose.choice([0, 1, 1, 2])):
            value, key = nasty_values(choose), choose.choice([*arrays, "objects_id", "objects_conf", "attrs_id"])
            if key in arrays:
                arrays[key] = value if isinstance(value, np.ndarray) else as_object(value)
            elif isinstance(arrays["info"], dict):
                arrays["info"][key] = value
        file = folder / f"{image.image_id}.npz"
        choose.choice([np.savez, np.savez_compressed])(file, **arrays)
        if choose.random() < 0.5:
            file.write_bytes(damage_bytes(file.read_bytes(), choose))


def vilbert_batch(folder: Path, choose: Choose | None) -> None:
    files.write_vilbert(folder, GOOD)
    for image in BAD if choose else ():
        content = files.vilbert_dictionary(image)
        content[choose.choice([*content])] = nasty_values(choose)
        file = folder / f"{image.image_id}.npy"
        np.save(file, as_object(content), allow_pickle=True)
        if choose.random() < 0.4:
            file.write_bytes(damage_bytes(file.read_bytes(), choose))


def vilbert_lmdb_batch(folder: Path, choose: Choose | None) -> None:
    found = {image.image_id.encode(): pickle.dumps(files.vilbert_record(image, text=True)) for image in GOOD}
    for image in BAD if choose else ():
        content = files.vilbert_record(image, text=True)
        content[choose.choice([*content])] = nasty_values(choose)
        record = pickle.dumps(content)
        found[image.image_id.encode()] = damage_bytes(record, choose) if choose.random() < 0.4 else record
    write_lmdb(folder, {**found, b"keys": pickle.dumps(list(found))})


def as_object(value: Any) -> np.ndarray:
    array = np.empty((), dtype=object)
    array[()] = value
    return array


FORMATS: dict[str, Callable[[Path, Choose | None], None]] = {
    "bottom_up_tsv": bottom_up_batch,
    "lxmert_tsv": lxmert_batch,
    "scene_graph_benchmark": sgb_batch,
    "oscar": oscar_batch,
    "bottom_up_npz": npz_batch,
    "vilbert": vilbert_batch,
    "vilbert_lmdb": vilbert_lmdb_batch,
}


def imported(name: str, folder: Path, choose: Choose | None) -> tuple[dict[str, int], dict[str, Any], int]:
    (folder / "source").mkdir(parents=True)
    FORMATS[name](folder / "source", choose)
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(write_labels(folder)), rect_scale="original")
    counts = import_regions([folder / "source"], options, "skip", 1.0, folder / "store")
    listed = (folder / "store/skipped.jsonl").read_bytes().splitlines()
    return counts, records(RegionStore(folder / "store")), len(listed)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*pickle.*")
def test_damage_is_listed_and_harms_nothing_else(name: str, tmp_path: Path) -> None:
    _, expected, _ = imported(name, tmp_path / "good", None)
    for seed in BATCHES:
        counts, found, num_listed = imported(name, tmp_path / str(seed), random.Random(f"{name} {seed}"))
        assert {image_id: found.get(image_id) for image_id in expected} == expected, seed
        assert counts["skipped"] + counts["images_without_regions"] == num_listed, seed
