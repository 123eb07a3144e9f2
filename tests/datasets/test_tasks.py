"""The data sets of the tasks: batches, what is left out and counted, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmf_muvla.errors import InputError
from mmf_muvla.regions.store import RegionStore
from tests.datasets.small_tasks import TASKS, annotation_file, classes_of, make, records


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


def changed(task: str, place: int, **fields: Any) -> list[dict[str, Any]]:
    """The task's records with one of them changed; a field given as None is removed."""
    entries = records(task)
    entries[place] = {k: v for k, v in {**entries[place], **fields}.items() if v is not None}
    return entries


# ---- batches


@pytest.mark.parametrize("task", ["vqa2", "visual_entailment", "refcoco_plus"])
def test_a_batch_has_texts_and_regions_padded_to_its_own_longest(folder: Path, task: str) -> None:
    dataset = make(folder, task)
    items = [3, 0, 7]
    batch = dataset.__getitems__([(2, item) for item in items])
    store = RegionStore(folder / "regions")
    tokens = [dataset.words(dataset.records[item].text, 60)[0].tolist() for item in items]
    assert batch["input_ids"].shape == (3, 2 + max(map(len, tokens)))
    vocabulary = dataset.words.vocabulary
    for row, (item, ids) in enumerate(zip(items, tokens, strict=True)):
        real = batch["attention_mask"][row]
        assert batch["input_ids"][row][real].tolist() == [vocabulary.cls_id, *ids, vocabulary.sep_id]
        regions = store.get(str(item))
        assert batch["region_mask"][row].sum() == len(regions)
        assert torch.equal(batch["image_feature_0"][row, : len(regions)], torch.from_numpy(regions.image_feature_0))
        assert batch["image_id"][row] == str(item)
    assert batch["region_mask"].any(dim=0).all()
    assert batch["labelled"].tolist() == [True] * 3


def test_a_pair_has_the_left_image_before_the_right_one(folder: Path) -> None:
    dataset = make(folder, "nlvr2")
    batch = dataset.__getitems__([4, 9])
    store = RegionStore(folder / "regions")
    assert batch["image_feature_0"].shape[:2] == batch["bbox"].shape[:2] == (2, 2)
    for row, item in enumerate([4, 9]):
        for side in (0, 1):
            regions = store.get(f"dev-{item}-0-img{side}")
            n = len(regions)
            assert batch["region_mask"][row, side].sum() == n
            assert torch.equal(batch["image_feature_0"][row, side, :n], torch.from_numpy(regions.image_feature_0))
            assert torch.equal(batch["bbox"][row, side, :n], torch.from_numpy(regions.bbox))
        assert batch["image_id"][row] == (f"dev-{item}-0-img0", f"dev-{item}-0-img1")
    assert batch["image_size"].tolist() == [[[100.0, 100.0]] * 2] * 2


def test_targets_are_those_of_the_files(folder: Path) -> None:
    pairs = make(folder, "nlvr2", [
        {"sentence": "a", "label": "True", "identifier": "dev-1-0-0"},
        {"sentence": "b", "label": "False", "identifier": "dev-1-0-1"},
        {"sentence": "a", "label": "False", "identifier": "dev-2-0-0"},
    ])  # fmt: skip
    batch = pairs.__getitems__([0, 1, 2])
    assert batch["targets"].tolist() == [1, 0, 0]
    # Set, sentence: 1-0, 1-1, 2-0 are three sentences.
    assert batch["sentence_group"].tolist() == [0, 1, 2]

    hypotheses = records("visual_entailment")[:3]
    for entry, label in zip(hypotheses, ("contradiction", "entailment", "neutral"), strict=True):
        entry["gold_label"] = label
    assert make(folder, "visual_entailment", hypotheses).__getitems__([0, 1, 2])["targets"].tolist() == [2, 0, 1]


def test_examples_of_a_sentence_with_other_pairs_are_one_group(folder: Path) -> None:
    entries = [{"sentence": "s", "label": "True", "identifier": f"dev-0-{pair}-{s}"} for pair, s in ((0, 0), (1, 0))]
    dataset = make(folder, "nlvr2", entries[:1])
    assert dataset.records[0].images == ("dev-0-0-img0", "dev-0-0-img1")
    # The second pair has no regions: left out, and the sentence keeps its number.
    dataset = make(folder, "nlvr2", [*entries[::-1], records("nlvr2")[5]], missing_images="skip")
    assert [record.identifier for record in dataset.records] == ["dev-0-0-0", "dev-5-0-1"]
    assert [record.sentence_group for record in dataset.records] == [0, 1]


def test_right_regions_by_box_and_by_number(folder: Path) -> None:
    image, n = 1, len(classes_of(1))
    entry = records("refcoco_plus")[image]
    cases = {
        "region": [20.0, 10.0, 40.0, 30.0],  # region 1 itself
        "wide": [20.0, 10.0, 50.0, 30.0],  # overlaps region 1 by 400 of 600: 0.67, region 2 by 200 of 800: 0.25
        "half": [20.0, 10.0, 60.0, 30.0],  # regions 1 and 2, each half of it: 0.5 is not above 0.5
        "nowhere": [0.0, 60.0, 50.0, 90.0],
    }
    expected = {"region": [1], "wide": [1], "half": [], "nowhere": []}
    dataset = make(folder, "refcoco_plus", [{**entry, "bbox": box} for box in cases.values()])
    batch = dataset.__getitems__(range(4))
    assert [row.nonzero().flatten().tolist() for row in batch["targets"]] == list(expected.values())
    assert batch["labelled"].all()

    without_box = {key: value for key, value in entry.items() if key != "bbox"}
    dataset = make(folder, "refcoco_plus", [{**without_box, "target_regions": regions} for regions in ([0, n - 1], [])])
    batch = dataset.__getitems__([0, 1])
    assert [row.nonzero().flatten().tolist() for row in batch["targets"]] == [[0, n - 1], []]
    assert batch["labelled"].all()
    with pytest.raises(InputError, match=rf"line 1: target_regions has {n}, image 1 has {n} regions"):
        make(folder, "refcoco_plus", [{**without_box, "target_regions": [n]}]).__getitems__([0])


def test_an_image_without_image_id_is_named_by_its_file(folder: Path) -> None:
    entries = changed("refcoco_plus", 0, image_id=None, file_name="train2014/17.jpg")
    assert make(folder, "refcoco_plus", entries).records[0].images == ("17",)


# ---- what is left out, and counted


UNLABELLED = {
    "vqa2": {"answers": None},
    "nlvr2": {"label": None},
    "visual_entailment": {"gold_label": "-"},
    "refcoco_plus": {"bbox": None},
}


@pytest.mark.parametrize("task", TASKS)
def test_unlabelled_records_are_left_out_of_training_only(folder: Path, task: str) -> None:
    entries = changed(task, 2, **UNLABELLED[task])
    train, test = make(folder, task, entries), make(folder, task, entries, split="test")
    assert len(train) == 31 and train.left_out["without a label"] == 1
    assert len(test) == 32 and test.left_out["without a label"] == 0
    batch = test.__getitems__([1, 2, 3])
    assert batch["labelled"].tolist() == [True, False, True]
    if task == "vqa2":
        assert batch["question_kind"].tolist()[1] == -1 and not batch["targets"][1].any()
    elif task == "refcoco_plus":
        assert not batch["targets"][1].any()
    else:
        assert batch["targets"].tolist()[1] == -1


UNKNOWN_IMAGE = {
    "vqa2": {"feature_path": "COCO/999.npy"},
    "nlvr2": {"identifier": "dev-999-0-0"},
    "visual_entailment": {"Flikr30kID": "999.jpg"},
    "refcoco_plus": {"image_id": "999"},
}


@pytest.mark.parametrize("task", TASKS)
def test_a_record_whose_image_is_unknown_is_an_error_or_is_counted(folder: Path, task: str) -> None:
    entries = changed(task, 4, **UNKNOWN_IMAGE[task])
    name = "dev-999-0-img0" if task == "nlvr2" else "999"
    with pytest.raises(InputError, match=rf"(line|entry) 5: image {name} is not in .*regions.*missing_images=skip"):
        make(folder, task, entries)
    dataset = make(folder, task, entries, missing_images="skip")
    assert len(dataset) == 31 and dataset.left_out["without regions"] == 1


# ---- what is refused


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        ("vqa2", {"question_str": " "}, "entry 3: its text is empty"),
        ("vqa2", {"question_str": None}, "entry 3: its text is empty"),
        ("vqa2", {"image_id": None, "feature_path": None}, "entry 3: image_id is missing"),
        ("vqa2", {"question_id": "seven"}, "entry 3: question_id is 'seven', not a whole number"),
        ("vqa2", {"answers": "yes"}, "entry 3: answers is 'yes', not a list of strings"),
        ("vqa2", {"answers": ["yes", 3]}, r"entry 3: answers is .*, not a list of strings"),
        ("nlvr2", {"sentence": ""}, "line 3: its text is empty"),
        ("nlvr2", {"sentence": None}, "line 3: sentence is None, not a string"),
        ("nlvr2", {"label": "maybe"}, "line 3: label is 'maybe'"),
        ("nlvr2", {"identifier": "dev-850-0"}, "line 3: identifier is 'dev-850-0'. It must be split-set-pair-sentence"),
        ("visual_entailment", {"sentence2": "\t"}, "line 3: its text is empty"),
        ("visual_entailment", {"gold_label": "entails"}, "line 3: gold_label is 'entails'"),
        ("visual_entailment", {"pairID": None}, "line 3: pairID is None, not a string"),
        ("visual_entailment", {"Flikr30kID": 7}, "line 3: Flikr30kID is 7, not a string"),
        ("refcoco_plus", {"sentence": 5}, "line 3: sentence is 5, not a string"),
        ("refcoco_plus", {"sent_id": "5"}, "line 3: sent_id is '5', not a whole number"),
        ("refcoco_plus", {"ref_id": None}, "line 3: ref_id is None, not a whole number"),
        ("refcoco_plus", {"bbox": [1, 2, 3]}, r"line 3: bbox is \[1, 2, 3\]"),
        ("refcoco_plus", {"bbox": [50, 40, 10, 10]}, r"line 3: bbox is \[50, 40, 10, 10\], which is empty"),
        ("refcoco_plus", {"bbox": [1, 2, 3, float("nan")]}, "line 3: bbox is .*nan"),
        ("refcoco_plus", {"bbox": None, "target_regions": [-1]}, r"line 3: target_regions is \[-1\]"),
        ("refcoco_plus", {"bbox": None, "target_regions": 2}, "line 3: target_regions is 2"),
        ("refcoco_plus", {"image_id": None, "file_name": None}, "line 3: file_name is None, not a string"),
    ],
)
def test_a_bad_record_is_refused_by_place_and_value(folder: Path, task: str, fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(folder, task, changed(task, 2, **fields))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"sentence": "a"\n', r"nlvr2\.jsonl, line 1: is not JSON"),
        (b"\n[1, 2]\n", r"nlvr2\.jsonl, line 2: is \[1, 2\], not a JSON object"),
        (b'{"sentence": "\xff"}\n', r"nlvr2\.jsonl, line 1: is not JSON"),
        (b"\n", r"nlvr2\.jsonl: there is nothing to use in it\."),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    make(tmp_path, "nlvr2")
    path = annotation_file(tmp_path, "nlvr2")
    path.with_name("broken").mkdir()
    path = path.with_name("broken") / path.name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        make(tmp_path, "nlvr2", annotations={"train": str(path)})


def test_options_are_checked(folder: Path) -> None:
    with pytest.raises(InputError, match="missing_images=ignore: unknown value. Use one of error, skip"):
        make(folder, "nlvr2", missing_images="ignore")
    with pytest.raises(InputError, match=r"nlvr2.features.train: not given"):
        make(folder, "nlvr2", features={"train": None})
    with pytest.raises(
        InputError, match="has features of 16 numbers, whereas model_config.muvla.trunk.feature_dim=2048"
    ):
        make(folder, "nlvr2", feature_dim=2048)
    with pytest.raises(InputError, match=r"gone\.jsonl: no such file"):
        make(folder, "nlvr2", annotations={"train": str(folder / "gone.jsonl")})
    assert make(folder, "nlvr2", annotations={"val": None}, split="val") is None


def test_what_leaves_nothing_says_why(folder: Path) -> None:
    entries = [{**entry, "label": None} for entry in records("nlvr2")]
    with pytest.raises(InputError, match=r"there is nothing to use in it \(32 without a label\)"):
        make(folder, "nlvr2", entries)
