"""The data set of retrieval: what is drawn for a caption, how a batch is laid out, and what is ranked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from mmf_muvla.errors import InputError
from mmf_muvla.regions.store import RegionStore
from tests.datasets.captions import TASK, caption_records
from tests.datasets.small_tasks import make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captions")


def dataset_of(folder: Path, split: str = "train", entries: Any = None, **options: Any) -> Any:
    return make(folder, TASK, caption_records() if entries is None else entries, split, **options)


def test_a_batch_has_the_own_text_and_image_first(folder: Path) -> None:
    dataset = dataset_of(folder, negatives=2)
    keys = [(4, 11), (4, 2), (4, 40)]
    batch = dataset.__getitems__(keys)
    assert batch["input_ids"].shape[:2] == batch["image_feature_0"].shape[:2] == (3, 3)
    assert batch["targets"].tolist() == [[1, 0, 0, 0, 0]] * 3 and batch["labelled"].all()
    store = RegionStore(folder / "regions")
    for row, (epoch, number) in enumerate(keys):
        texts, images = dataset.draw(number, epoch, 2)
        record = dataset.records[number]
        shown = [record.text, *(dataset.captions.texts[text] for text in texts)]
        for place, text in enumerate(shown):
            real = batch["attention_mask"][row, place]
            assert batch["input_ids"][row, place][real].tolist() == dataset.tokens(text).tolist()
        ids = [record.images[0], *(dataset.captions.image_ids[image] for image in images)]
        assert list(batch["image_id"][row]) == ids
        for place, key in enumerate(ids):
            regions = store.get(key)
            found = batch["image_feature_0"][row, place, : len(regions)]
            assert torch.equal(found, torch.from_numpy(regions.image_feature_0))
            assert batch["region_mask"][row, place].sum() == len(regions)


def test_what_is_drawn_depends_on_seed_epoch_and_caption_alone(folder: Path) -> None:
    dataset, other = dataset_of(folder, hardest_of=3), dataset_of(folder)
    drawn = {(number, epoch): dataset.draw(number, epoch, 4) for number in range(64) for epoch in (0, 1)}
    assert all(other.draw(*reversed(key[::-1]), 4) == found for key, found in drawn.items())
    assert len({tuple(map(tuple, found)) for found in drawn.values()}) > 120
    alone, together = dataset[(1, 5)], dataset.__getitems__([(1, 9), (1, 5)])
    assert [image.image_id for image in alone.images] == list(together["image_id"][1])
    other.seed = 8
    assert other.draw(3, 0, 4) != dataset.draw(3, 0, 4)
    # A validation is the same in all epochs, and has nothing to choose from.
    validation = dataset_of(folder, "val", hardest_of=3)
    assert len(dataset[(0, 5)].texts) == 4 and len(validation[(0, 5)].texts) == 2
    assert [it.image_id for it in validation[(7, 5)].images] == [it.image_id for it in validation[(0, 5)].images]


def test_nothing_true_is_drawn_and_everything_else_alike(folder: Path) -> None:
    entries = caption_records()
    entries[0]["caption"] = "the same words"
    entries[10]["caption"] = "The same  words"  # of image 5
    dataset = dataset_of(folder, entries=entries)
    captions = dataset.captions
    drawn = [dataset.draw(0, epoch, 50) for epoch in range(60)]
    texts, images = (Counter(it for pair in drawn for it in pair[side]) for side in (0, 1))
    own = {int(text) for text, image in zip(captions.text, captions.image, strict=True) if image == 0}
    assert not own & texts.keys() and not {0, 5} & images.keys()
    assert texts.keys() == {*range(len(captions.texts))} - own and len(images) == 30
    # 3,000 draws among 30 images: 100 each, with a standard deviation of 10.
    assert min(images.values()) > 50 and max(images.values()) < 150


def test_what_is_ranked(folder: Path) -> None:
    test, validation = dataset_of(folder, "test", folds=4), dataset_of(folder, "val", validation_images=5)
    assert [len(pool.image_ids) for pool in test.pools] == [8] * 4 and [len(pool) for pool in test.pools] == [16] * 4
    (pool,) = validation.pools
    assert len(pool.image_ids) == 5 and len(pool) == 10 and len(validation) == 64
    assert pool.image_ids == sorted(pool.image_ids, key=int)
    (same,) = dataset_of(folder, "val", validation_images=5).pools
    assert same.image_ids == pool.image_ids
    (whole,) = dataset_of(folder, "val").pools
    # Images of the store without a caption (those of pairs) take no part.
    assert whole.image_ids == [str(image) for image in range(32)]


def test_images_without_regions_take_no_part(folder: Path) -> None:
    entries = [*caption_records(4), {"sentid": 9000, "image_id": "gone", "caption": "nobody has seen it"}]
    with pytest.raises(InputError, match=r"line 9: image gone is not in .*missing_images=skip"):
        dataset_of(folder, "test", entries)
    dataset = dataset_of(folder, "test", entries, missing_images="skip")
    assert dataset.left_out["without regions"] == 1 and dataset.pools[0].image_ids == ["0", "1", "2", "3"]


def test_lines_of_ones_own_need_no_numbers(folder: Path) -> None:
    entries = [{"image_id": image, "caption": f"picture {image}"} for image in (3, 7)]
    assert dataset_of(folder, "test", entries).captions.caption_ids == [1, 2]


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        (caption_records(1), {}, r"has captions of one image only \(0\)"),
        (caption_records(3), {"folds": 4}, r"folds=4: .* has 3 images"),
        ([{"image_id": 1, "caption": 5}], {}, "line 1: caption is 5, not a string"),
        ([{"image_id": [1], "caption": "a"}], {}, r"line 1: image_id is \[1\], not a string"),
        ([{"image_id": 1, "caption": "a", "sentid": "x"}], {}, "line 1: sentid is 'x', not a whole number"),
        (caption_records(3), {"validation_images": 1}, "validation_images=1: is not a whole number from 2"),
    ],
)
def test_what_cannot_be_used(folder: Path, entries: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataset_of(folder, "test", entries, **options)


def test_images_of_the_same_captions_have_nothing_to_be_told_by(folder: Path) -> None:
    entries = [{"image_id": image, "caption": "something"} for image in range(3)]
    with pytest.raises(InputError, match=r"line 1: 1000 draws gave no pair"):
        dataset_of(folder, entries=entries).draw(0, 0, 1)
