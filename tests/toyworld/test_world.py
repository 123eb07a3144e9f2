"""A whole (tiny) world: its files in the formats that others read, its promises, and its refusals."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmf_muvla.errors import InputError
from mmf_muvla.sentences.cleaning import clean_block
from mmf_muvla.sentences.files import read_blocks
from mmf_muvla.sentences.options import SentenceOptions
from mmf_muvla.toyworld import DetectorConfig, ToyWorldConfig, generate
from mmf_muvla.toyworld.entailment import LABELS
from mmf_muvla.toyworld.questions import KIND_SHARES
from mmf_muvla.toyworld.scenes import Scene
from tests.toyworld.truth import check_mentions, check_relations

TINY = ToyWorldConfig(
    scenes=12,
    captions=40,
    books=30,
    stories=15,
    heldout_scenes=4,
    task_train_scenes=60,
    task_val_scenes=60,
    task_test_scenes=60,
    vqa_train_questions=60,
    vqa_val_questions=20,
    vqa_test_questions=20,
    entailment_train_examples=18,
    entailment_val_examples=9,
    entailment_test_examples=9,
    refcoco_train_expressions=40,
    refcoco_val_expressions=10,
    refcoco_test_expressions=10,
    nlvr2_train_examples=48,
    nlvr2_val_examples=24,
    nlvr2_test_examples=24,
    nlvr2_train_sentences=6,
    pictures=2,
)
FOLDERS = {"regions": 12, "regions_heldout": 4, "regions_tasks": 180, "regions_nlvr2": 32}
SPLITS = ("train", "val", "test")
TASKS = ("questions", "comparisons", "entailments", "expressions")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "tiny"
    generate(out, TINY)
    return out


def digests(folder: Path) -> dict[str, str]:
    """Of all files but the manifest, which says how long it took."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
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
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"\d+|(train|val|test)-\d+-[0-3]-img[01]", image_id) for image_id in ids)
    records = [json.loads(line) for line in (world / "scenes.jsonl").read_text().splitlines()]
    assert [record["image_id"] for record in records] == ids
    assert set(records[0]) == {"image_id", "theme", "width", "height", "objects"}
    assert set(records[0]["objects"][0]) == {"category", "colour", "size", "box"}


def test_texts_have_the_promised_lines(world):
    for name, count in (("captions.txt", 40), ("books.txt", 30)):
        lines = (world / name).read_text().splitlines()
        assert len(lines) == len(set(lines)) == count
        assert all(line.strip() == line != "" for line in lines)


def test_stories_stand_apart_and_their_words_are_known(world):
    stories = [story.splitlines() for story in (world / "stories.txt").read_text().removesuffix("\n\n").split("\n\n")]
    assert [len(story) for story in stories] == [3] * 15
    words = set((world / "words.txt").read_text().splitlines())
    assert {word for story in stories for it in story for word in re.findall(r"\w+", it.lower())} <= words


def test_stories_change_nothing_else(world, tmp_path):
    generate(tmp_path / "other", dataclasses.replace(TINY, stories=9))
    ours, other = digests(world), digests(tmp_path / "other")
    assert {name for name in ours if ours[name] != other[name]} - {"words.txt"} == {"stories.txt"}
    assert (world / "stories.txt").read_text().startswith((tmp_path / "other" / "stories.txt").read_text())


def test_heldout_pairs_are_of_heldout_images(world):
    pairs = [json.loads(line) for line in (world / "heldout_pairs.jsonl").read_text().splitlines()]
    heldout = json.loads((world / "regions_heldout" / "imageid2idx.json").read_text())
    assert Counter(pair["image_id"] for pair in pairs) == dict.fromkeys(heldout, 2)
    assert all(pair["caption"] for pair in pairs)


def test_true_captions_are_of_every_image_of_the_corpus_and_distinct(world):
    pairs = [json.loads(line) for line in (world / "captions_true.jsonl").read_text().splitlines()]
    assert all(set(pair) == {"image_id", "caption"} for pair in pairs)
    images = json.loads((world / "regions" / "imageid2idx.json").read_text())
    assert Counter(pair["image_id"] for pair in pairs) == dict.fromkeys(images, TINY.true_captions)
    assert len({(pair["image_id"], pair["caption"]) for pair in pairs}) == TINY.true_captions * len(images)
    words = set((world / "words.txt").read_text().splitlines())
    assert {word for pair in pairs for word in re.findall(r"\w+", pair["caption"].lower())} <= words


def test_true_captions_are_true(world):
    records = [json.loads(line) for line in (world / "scenes.jsonl").read_text().splitlines()]
    scenes = {record["image_id"]: Scene.from_record(record) for record in records}
    relations = 0
    for line in (world / "captions_true.jsonl").read_text().splitlines():
        pair = json.loads(line)
        check_mentions(scenes[pair["image_id"]], pair["caption"])
        relations += check_relations(scenes[pair["image_id"]], pair["caption"]).total()
    assert relations >= 10


def test_true_captions_are_sentences_that_say_whose_they_are(world):
    options = SentenceOptions(image_id_column="image_id")
    blocks = [clean_block(it, options, True) for it in read_blocks([world / "captions_true.jsonl"], options)]
    pairs = [json.loads(line) for line in (world / "captions_true.jsonl").read_text().splitlines()]
    assert [owner for it in blocks for owner in it.image_ids] == [pair["image_id"] for pair in pairs]
    assert [text for it in blocks for text in it.sentences] == [pair["caption"] for pair in pairs]


def test_questions_have_what_mmf_reads(world):
    vocabulary = (world / "vqa2" / "answers_vqa.txt").read_text().splitlines()
    assert vocabulary[0] == "<unk>" and len(set(vocabulary)) == len(vocabulary)
    images = json.loads((world / "regions_tasks" / "imageid2idx.json").read_text())
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


def records(world: Path, task: str, split: str) -> list[dict]:
    return [json.loads(line) for line in (world / task / f"{split}.jsonl").read_text().splitlines()]


def test_comparisons_are_in_the_format_of_nlvr2(world):
    images = json.loads((world / "regions_nlvr2" / "imageid2idx.json").read_text())
    pairs = set()
    for split, count in zip(SPLITS, (48, 24, 24), strict=True):
        found = records(world, "nlvr2", split)
        assert len({it["identifier"] for it in found}) == len(found) == count
        for it in found:
            assert set(it) == {"sentence", "label", "identifier"} and it["label"] in ("True", "False")
            assert it["identifier"].startswith(f"{split}-")
            pairs.add(it["identifier"].rpartition("-")[0])
    assert {f"{pair}-img{side}" for pair in pairs for side in (0, 1)} == set(images)


def test_hypotheses_are_in_the_format_of_snli_ve(world):
    images = json.loads((world / "regions_tasks" / "imageid2idx.json").read_text())
    seen = []
    for split, count in zip(SPLITS, (18, 9, 9), strict=True):
        found = records(world, "visual_entailment", split)
        assert Counter(it["gold_label"] for it in found) == dict.fromkeys(LABELS, count // 3)
        assert len({it["pairID"] for it in found}) == count
        for it in found:
            assert set(it) == {"sentence2", "gold_label", "Flikr30kID", "pairID"}
            assert it["Flikr30kID"].endswith(".jpg") and it["pairID"].startswith(f"{it['Flikr30kID']}#")
        seen.append({it["Flikr30kID"].partition(".")[0] for it in found})
    assert set().union(*seen) <= set(images)
    assert len(set().union(*seen)) == sum(map(len, seen))


def test_expressions_are_in_the_format_of_refcoco_plus(world):
    truth = {it["image_id"]: it for it in map(json.loads, (world / "scenes.jsonl").read_text().splitlines())}
    sent_ids, objects = [], {}
    for split, count in zip(SPLITS, (40, 10, 10), strict=True):
        found = records(world, "refcoco_plus", split)
        assert count - 9 < len(found) <= count
        for it in found:
            assert set(it) == {"sent_id", "ref_id", "image_id", "file_name", "sentence", "split", "bbox"}
            assert it["split"] == split and it["file_name"] == f"{it['image_id']}.jpg"
            boxes = [other["box"] for other in truth[it["image_id"]]["objects"]]
            assert it["bbox"] in boxes
            sent_ids.append(it["sent_id"])
            target = (it["image_id"], *it["bbox"])
            assert objects.setdefault(it["ref_id"], target) == target
    assert sorted(sent_ids) == list(range(1, len(sent_ids) + 1))
    assert len(set(objects.values())) == len(objects)


def test_pictures_are_of_heldout_images_and_the_first_others(world):
    drawn = {path.stem for path in (world / "pictures").iterdir()}
    heldout = set(json.loads((world / "regions_heldout" / "imageid2idx.json").read_text()))
    others = list(json.loads((world / "regions" / "imageid2idx.json").read_text()))
    assert drawn == heldout | set(others[:2])
    record = json.loads((world / "scenes.jsonl").read_text().splitlines()[0])
    with Image.open(world / "pictures" / f"{record['image_id']}.png") as picture:
        assert picture.size == (record["width"], record["height"])


def test_captions_for_retrieval_are_five_of_each_image_and_none_is_there_twice(world):
    numbers = []
    for split, first in (("train", 3_000_001), ("val", 4_000_001), ("test", 5_000_001)):
        found = records(world, "retrieval", split)
        assert [it["image_id"] for it in found] == [str(first + i) for i in range(60) for _ in range(5)]
        captions = [it["caption"] for it in found]
        assert len({*captions}) == 300
        numbers += [it["sentid"] for it in found]
    assert numbers == list(range(1, 901))


def test_the_manifest_counts_what_is_there(world):
    manifest = json.loads((world / "manifest.json").read_text())
    assert manifest["made_from"]["parameters"] == dataclasses.asdict(TINY)
    assert manifest["counts"]["scenes"] == FOLDERS
    for name, count in manifest["counts"]["regions"].items():
        assert count == sum(len(matrix) for matrix, _ in read_vinvl(world / name).values())
    train = {task: sum(manifest["counts"][task]["train"].values()) for task in TASKS}
    assert train == {"questions": 60, "comparisons": 48, "entailments": 18, "expressions": train["expressions"]}
    assert train["expressions"] == len(records(world, "refcoco_plus", "train"))
    assert set(manifest["outputs"]) == set(digests(world))
    assert manifest["counts"]["captions_true"] == TINY.true_captions * FOLDERS["regions"]
    assert manifest["outputs"]["captions.txt"]["size"] == (world / "captions.txt").stat().st_size


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
    changed = {"captions": 60, "heldout_scenes": 5, "vqa_train_questions": 40, "nlvr2_val_examples": 48}
    generate(tmp_path / "other", dataclasses.replace(TINY, **changed))
    ours, other = digests(world), digests(tmp_path / "other")
    for name in ("regions/features.tsv", "regions/predictions.tsv", "books.txt", "regions_tasks/features.tsv"):
        assert ours[name] == other[name]
    for name in ("visual_entailment/train.jsonl", "refcoco_plus/test.jsonl", "nlvr2/train.jsonl", "nlvr2/test.jsonl"):
        assert ours[name] == other[name]
    assert ours["nlvr2/val.jsonl"] != other["nlvr2/val.jsonl"]


def test_the_tasks_do_not_change_what_is_learned_from(world, tmp_path):
    changed = {"task_train_scenes": 70, "refcoco_val_expressions": 15, "entailment_train_examples": 9}
    generate(tmp_path / "other", dataclasses.replace(TINY, nlvr2_train_examples=24, **changed))
    ours, other = digests(world), digests(tmp_path / "other")
    corpus = [
        name for name in ours if name.startswith(("regions/", "regions_heldout/", "pictures/", "captions.", "books."))
    ]
    assert len(corpus) == 5 + 5 + 6 + 2
    assert {name: ours[name] for name in corpus} == {name: other[name] for name in corpus}


def test_the_number_of_true_captions_changes_nothing_else(world, tmp_path):
    generate(tmp_path / "other", dataclasses.replace(TINY, true_captions=2))
    ours, other = digests(world), digests(tmp_path / "other")
    assert set(ours) == set(other)
    assert {name for name in ours if ours[name] != other[name]} <= {"captions_true.jsonl", "words.txt"}
    assert len((tmp_path / "other" / "captions_true.jsonl").read_text().splitlines()) == 2 * 12


def test_a_world_that_is_there_stays_as_it_is(tmp_path):
    manifest = generate(tmp_path / "world", TINY)
    stamp = (tmp_path / "world" / "manifest.json").stat().st_mtime_ns
    assert generate(tmp_path / "world", TINY) == manifest
    assert (tmp_path / "world" / "manifest.json").stat().st_mtime_ns == stamp


def test_a_damaged_world_is_made_again(world, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    (copy / "captions.txt").unlink()
    generate(copy, TINY)
    assert digests(copy) == digests(world)


def test_a_world_of_an_older_version_is_refused(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": "muvla-toyworld", "version": 3, "config": {}, "bytes": {}}')
    with pytest.raises(InputError, match="is a toy world of an older version. Remove it"):
        generate(folder, TINY, overwrite=True)


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


@pytest.mark.parametrize("name", ["notes.txt", "regions/notes.txt", "nlvr2/deep/notes.txt"])
def test_a_world_with_something_else_in_it_is_not_replaced(world, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("mine")
    before = digests(copy)
    with pytest.raises(InputError, match="copy: would be replaced, but .* was not made with it"):
        generate(copy, dataclasses.replace(TINY, books=31), overwrite=True)
    assert digests(copy) == before


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file"):
        generate(tmp_path / "file", TINY, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="balanced questions"):
        generate(tmp_path / "world", dataclasses.replace(TINY, vqa_test_questions=5000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"scenes": 0},
        {"true_captions": 0},
        {"captions": 2.5},
        {"books": True},
        {"colour_habit": 1.5},
        {"nlvr2_val_examples": 23},
        {"nlvr2_val_sentences": 3},
        {"entailment_test_examples": 8},
        {"refcoco_train_expressions": 8},
        {"detector": DetectorConfig(missed=-0.1)},
        {"detector": DetectorConfig(feature_noise=float("nan"))},
    ],
)
def test_unusable_settings_are_refused_by_name(wrong):
    name = next(iter(wrong)) if "detector" not in wrong else "detector."
    with pytest.raises(InputError, match=name):
        ToyWorldConfig(**wrong)
