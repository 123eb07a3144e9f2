"""A whole (tiny) world: its files in the formats that others read, its promises, and its refusals."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld import DetectorConfig, ToyWorldConfig, generate
from mmf_muvla.toyworld.questions import KIND_SHARES

TINY = ToyWorldConfig(
    scenes=12,
    captions=40,
    books=30,
    heldout_scenes=4,
    vqa_train_scenes=40,
    vqa_val_scenes=20,
    vqa_test_scenes=20,
    vqa_train_questions=60,
    vqa_val_questions=20,
    vqa_test_questions=20,
    pictures=2,
)
FOLDERS = {"regions": 12, "regions_heldout": 4, "regions_vqa": 80}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "tiny"
    generate(out, TINY)
    return out


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_vinvl(folder: Path) -> dict[str, tuple[np.ndarray, dict]]:
    """A reader of its own: every image through the index files, by seeking."""
    lines = json.loads((folder / "imageid2idx.json").read_text())
    rows = {}
    offsets = {
        name: [int(offset) for offset in (folder / f"{name}.lineidx").read_text().split()]
        for name in ("features", "predictions")
    }
    with open(folder / "features.tsv", "rb") as features, open(folder / "predictions.tsv", "rb") as predictions:
        for image_id, line in lines.items():
            features.seek(offsets["features"][line])
            key, count, encoded = features.readline().decode().rstrip("\n").split("\t")
            assert key == image_id
            matrix = np.frombuffer(base64.b64decode(encoded), "<f4").reshape(int(count), 2054)
            predictions.seek(offsets["predictions"][line])
            key, text = predictions.readline().decode().rstrip("\n").split("\t")
            assert key == image_id
            rows[image_id] = (matrix, json.loads(text))
    assert len(offsets["features"]) == len(offsets["predictions"]) == len(lines)
    return rows


def test_vinvl_folders_agree_with_themselves(world):
    for name, images in FOLDERS.items():
        rows = read_vinvl(world / name)
        assert len(rows) == images
        for matrix, prediction in rows.values():
            width, height = prediction["image_w"], prediction["image_h"]
            assert prediction["num_boxes"] == len(prediction["objects"]) == len(matrix) > 0
            rects = np.array([found["rect"] for found in prediction["objects"]])
            scaled = rects / [width, height, width, height]
            assert np.allclose(matrix[:, 2048:2052], scaled, atol=1e-6)
            assert np.allclose(matrix[:, 2052:], scaled[:, 2:] - scaled[:, :2], atol=1e-6)
            assert matrix[:, :2048].min() >= 0
            for found in prediction["objects"]:
                assert 0 < found["conf"] < 1
                assert found.get("attributes") != []


def test_image_ids_are_unique_and_every_image_has_its_truth(world):
    ids = [image_id for name in FOLDERS for image_id in json.loads((world / name / "imageid2idx.json").read_text())]
    assert len(set(ids)) == len(ids) and all(image_id.isdigit() for image_id in ids)
    records = [json.loads(line) for line in (world / "scenes.jsonl").read_text().splitlines()]
    assert [record["image_id"] for record in records] == ids
    assert set(records[0]) == {"image_id", "theme", "width", "height", "objects"}
    assert set(records[0]["objects"][0]) == {"category", "colour", "size", "box"}


def test_texts_have_the_promised_lines(world):
    for name, count in (("captions.txt", 40), ("books.txt", 30)):
        lines = (world / name).read_text().splitlines()
        assert len(lines) == len(set(lines)) == count
        assert all(line.strip() == line != "" for line in lines)


def test_heldout_pairs_are_of_heldout_images(world):
    pairs = [json.loads(line) for line in (world / "heldout_pairs.jsonl").read_text().splitlines()]
    heldout = json.loads((world / "regions_heldout" / "imageid2idx.json").read_text())
    assert Counter(pair["image_id"] for pair in pairs) == dict.fromkeys(heldout, 2)
    assert all(pair["caption"] for pair in pairs)


def test_questions_have_what_mmf_reads(world):
    vocabulary = (world / "vqa2" / "answers_vqa.txt").read_text().splitlines()
    assert vocabulary[0] == "<unk>" and len(set(vocabulary)) == len(vocabulary)
    images = json.loads((world / "regions_vqa" / "imageid2idx.json").read_text())
    seen_ids, seen_images = set(), {}
    for split, count in (("train", 60), ("val", 20), ("test", 20)):
        header, *questions = np.load(world / "vqa2" / f"imdb_{split}.npy", allow_pickle=True)  # our own file
        assert "image_id" not in header  # this is how MMF knows a header
        assert len(questions) == count
        for question in questions:
            assert question["question_tokens"] == question["question_str"].rstrip("?").split()
            assert question["feature_path"] == f"{question['image_id']}.npy"
            assert len(question["answers"]) == 10 and question["all_answers"] == question["answers"]
            assert set(question["answers"]) <= set(vocabulary)
            assert question["image_id"] in images
            assert question["question_type"] in KIND_SHARES
        seen_ids |= {question["question_id"] for question in questions}
        seen_images[split] = {question["image_id"] for question in questions}
    assert len(seen_ids) == 100 and all(type(question_id) is int for question_id in seen_ids)
    train, val, test = seen_images.values()
    assert not train & val and not train & test and not val & test


def test_pictures_are_of_heldout_images_and_the_first_others(world):
    drawn = {path.stem for path in (world / "pictures").iterdir()}
    heldout = set(json.loads((world / "regions_heldout" / "imageid2idx.json").read_text()))
    others = list(json.loads((world / "regions" / "imageid2idx.json").read_text()))
    assert drawn == heldout | set(others[:2])
    record = json.loads((world / "scenes.jsonl").read_text().splitlines()[0])
    with Image.open(world / "pictures" / f"{record['image_id']}.png") as picture:
        assert picture.size == (record["width"], record["height"])


def test_the_manifest_counts_what_is_there(world):
    manifest = json.loads((world / "manifest.json").read_text())
    assert manifest["config"] == dataclasses.asdict(TINY)
    assert manifest["counts"]["scenes"] == FOLDERS
    for name, count in manifest["counts"]["regions"].items():
        assert count == sum(len(matrix) for matrix, _ in read_vinvl(world / name).values())
    assert sum(manifest["counts"]["questions"]["train"].values()) == 60
    present = {path.name for path in world.iterdir()} - {"manifest.json"}
    assert set(manifest["bytes"]) == present
    assert manifest["bytes"]["captions.txt"] == (world / "captions.txt").stat().st_size


def test_equal_settings_make_equal_bytes_with_any_number_of_threads(world, tmp_path):
    options = [f"{f.name}={getattr(TINY, f.name)}" for f in dataclasses.fields(TINY) if f.name != "detector"]
    script = str(ROOT / "tools" / "make_toyworld.py")
    for threads in ("1", "2"):
        out = tmp_path / threads
        counts = {name: threads for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        environment = {**os.environ, **counts, "PYTHONHASHSEED": threads, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, script, f"out={out}", *options], check=True, env=environment, cwd=tmp_path)
        assert digests(out) == digests(world)


def test_another_seed_makes_another_world(world, tmp_path):
    generate(tmp_path / "other", dataclasses.replace(TINY, seed=1))
    ours, other = digests(world), digests(tmp_path / "other")
    assert set(ours) == set(other)
    same = {name for name in ours if ours[name] == other[name]}
    assert same == {
        "vqa2/answers_vqa.txt",
        *(f"{folder}/{name}" for folder in FOLDERS for name in ("imageid2idx.json",)),
    }


def test_the_size_of_one_part_does_not_change_another(world, tmp_path):
    generate(tmp_path / "other", dataclasses.replace(TINY, captions=60, heldout_scenes=5, vqa_train_questions=40))
    ours, other = digests(world), digests(tmp_path / "other")
    for name in ("regions/features.tsv", "regions/predictions.tsv", "books.txt", "regions_vqa/features.tsv"):
        assert ours[name] == other[name]


def test_a_world_that_is_there_stays_as_it_is(tmp_path):
    manifest = generate(tmp_path / "world", TINY)
    stamp = (tmp_path / "world" / "manifest.json").stat().st_mtime_ns
    assert generate(tmp_path / "world", TINY) == manifest
    assert (tmp_path / "world" / "manifest.json").stat().st_mtime_ns == stamp


def test_other_settings_replace_a_world_only_if_told_to(tmp_path):
    generate(tmp_path / "world", TINY)
    changed = dataclasses.replace(TINY, books=31)
    with pytest.raises(InputError, match="other settings"):
        generate(tmp_path / "world", changed)
    generate(tmp_path / "world", changed, overwrite=True)
    assert len((tmp_path / "world" / "books.txt").read_text().splitlines()) == 31
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {"manifest.json": "{}"}, {"manifest.json": "[1]"}])
def test_a_folder_that_is_no_toy_world_is_never_touched(tmp_path, content):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text)
    with pytest.raises(InputError, match="not a toy world"):
        generate(folder, TINY, overwrite=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == content


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not a toy world"):
        generate(tmp_path / "file", TINY, overwrite=True)


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="balanced questions"):
        generate(tmp_path / "world", dataclasses.replace(TINY, vqa_test_questions=5000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"scenes": 0},
        {"captions": 2.5},
        {"books": True},
        {"colour_habit": 1.5},
        {"detector": DetectorConfig(missed=-0.1)},
        {"detector": DetectorConfig(feature_noise=float("nan"))},
    ],
)
def test_unusable_settings_are_refused_by_name(wrong):
    name = next(iter(wrong)) if "detector" not in wrong else "detector."
    with pytest.raises(InputError, match=name):
        ToyWorldConfig(**wrong)
