from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import PairingOptions
from mmf_muvla.pairing.pairs import GivenPairs, image_digests
from mmf_muvla.regions.store import Regions, RegionStore, RegionStoreWriter
from mmf_muvla.sentences.importing import OWNERS_SCHEMA

K = 4
# Image i has the sentences 3i to 3i + i % 7, so that neighbours share some, and one to seven are its own.
IMAGES = [f"picture {number}" for number in range(1500)]
OWN = {image: list(range(3 * number, 3 * number + number % 7 + 1)) for number, image in enumerate(IMAGES)}
POOL_SIZE = 5000
# Four standard errors of a share of 1,500 images.
ERROR = 4 * 0.5 / 1500**0.5


def write_store(path: Path, images: list[str]) -> RegionStore:
    with RegionStoreWriter(path, ["dog"], [], 1) as writer:
        for image_id in images:
            writer.put(
                Regions(
                    image_id=image_id,
                    width=10,
                    height=10,
                    image_feature_0=np.ones((1, 1), np.float16),
                    bbox=np.array([[0, 0, 5, 5]], np.float32),
                    class_id=np.zeros(1, np.int32),
                    attribute_id=np.full(1, -1, np.int32),
                    confidence=np.ones(1, np.float32),
                )
            )
    return RegionStore(path)


def write_owners(path: Path, own: dict[str, list[int]]) -> Path:
    pairs = [(image, row) for image, rows in own.items() for row in rows]
    np.random.default_rng(0).shuffle(pairs)
    with TableWriter(path, OWNERS_SCHEMA) as writer:
        for start in range(0, len(pairs), 1000):
            part = pairs[start : start + 1000]
            writer.write([str(image) for image, _ in part], [int(row) for _, row in part])
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RegionStore:
    return write_store(tmp_path_factory.mktemp("store") / "regions", IMAGES)


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Another corpus has images that this one has not.
    return write_owners(tmp_path_factory.mktemp("owners") / "owners.arrow", {**OWN, "elsewhere": [7, 8, 9]})


@pytest.fixture
def pair(store: RegionStore, owners: Path) -> Any:
    """``pair(fraction, seed)``: the sentences of all images, and which have their own."""

    def make(fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        pairs = GivenPairs(store, owners, POOL_SIZE, K, PairingOptions("captions", fraction, seed))
        images = image_digests(IMAGES)
        return pairs.sentences(images), pairs.get_own(images)

    return make


def test_a_share_of_one_gives_every_image_its_own(pair: Any) -> None:
    rows, own = pair(1.0)
    assert own.all()
    for image, found in zip(IMAGES, rows.tolist(), strict=True):
        # The first of more than K; of fewer, all in turn.
        assert found == [OWN[image][place % len(OWN[image])] for place in range(K)]


def test_a_share_of_none_gives_no_image_its_own(pair: Any) -> None:
    rows, own = pair(0.0)
    assert not own.any()
    for image, found in zip(IMAGES, rows.tolist(), strict=True):
        assert len(set(found)) == K
        assert not set(found) & set(OWN[image])
    # From the whole pool, all of it alike.
    assert (rows.min(), rows.max()) >= (0, POOL_SIZE - 20) and rows.max() < POOL_SIZE
    tenths = np.bincount(rows.reshape(-1) * 10 // POOL_SIZE, minlength=10) / rows.size
    np.testing.assert_allclose(tenths, 0.1, atol=4 * (0.09 / rows.size) ** 0.5)


def test_a_larger_share_contains_a_smaller_one(pair: Any) -> None:
    found = {fraction: pair(fraction) for fraction in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}
    for smaller, larger in zip(list(found)[:-1], list(found)[1:], strict=True):
        assert (found[larger][1] >= found[smaller][1]).all()
        assert found[larger][1].sum() > found[smaller][1].sum()
    for fraction, (rows, own) in found.items():
        assert abs(own.mean() - fraction) < ERROR
        # What an image gets does not hang on who else gets what.
        np.testing.assert_array_equal(rows[own], found[1.0][0][own])
        np.testing.assert_array_equal(rows[~own], found[0.0][0][~own])


def test_seeds_differ_and_are_what_they_were(pair: Any) -> None:
    first, second = pair(0.5, 0), pair(0.5, 1)
    assert abs((first[1] == second[1]).mean() - 0.5) < ERROR
    both = ~first[1] & ~second[1]
    assert (first[0][both] == second[0][both]).mean() < 0.01
    # Corpora that were built with other releases of libraries stay as they are.
    assert pair(0.5)[1][:12].astype(int).tolist() == EXPECTED_OWN
    assert pair(0.0)[0][:2].tolist() == EXPECTED_OTHERS


# Computed apart, with nothing but hashes of the seed and the ids.
EXPECTED_OWN = [0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0]
EXPECTED_OTHERS = [[23, 816, 4528, 614], [3222, 184, 4891, 3601]]


def test_neither_the_order_nor_the_company_of_images_counts(pair: Any, owners: Path, tmp_path: Path) -> None:
    rows, own = pair(0.5)
    chosen = np.random.default_rng(1).permutation(len(IMAGES))[:100]
    images = [IMAGES[number] for number in chosen]
    few = GivenPairs(write_store(tmp_path / "few", images), owners, POOL_SIZE, K, PairingOptions("captions", 0.5))
    np.testing.assert_array_equal(few.sentences(image_digests(images)), rows[chosen])
    np.testing.assert_array_equal(few.get_own(image_digests(images)), own[chosen])


def test_images_without_sentences(store: RegionStore, pair: Any, tmp_path: Path) -> None:
    lacking = IMAGES[5::10]
    table = write_owners(
        tmp_path / "owners.arrow", {image: rows for image, rows in OWN.items() if image not in lacking}
    )
    with pytest.raises(InputError) as caught:
        GivenPairs(store, table, POOL_SIZE, K, PairingOptions("captions"))
    assert caught.value.where == "pairing.source=captions"
    assert "150 of 1500 images that should get their own" in caught.value.problem
    assert caught.value.problem.endswith("the first is picture 5")
    assert "sentence_options.min_words" in caught.value.remedy
    # Those alone count that should have some.
    own = pair(0.3)[1]
    wanting = [image for image, is_own in zip(IMAGES, own, strict=True) if is_own and image in lacking]
    with pytest.raises(InputError, match=f"{len(wanting)} of {own.sum()} images.* the first is {wanting[0]}. Give"):
        GivenPairs(store, table, POOL_SIZE, K, PairingOptions("captions", 0.3))
    none = GivenPairs(store, table, POOL_SIZE, K, PairingOptions("captions", 0.0))
    assert all(len(set(rows)) == K for rows in none.sentences(image_digests(lacking)).tolist())


def test_nobody_owns_anything(store: RegionStore, tmp_path: Path) -> None:
    table = write_owners(tmp_path / "owners.arrow", {})
    with pytest.raises(InputError, match="1500 of 1500 images.* the first is picture 0"):
        GivenPairs(store, table, POOL_SIZE, K, PairingOptions("captions"))
    none = GivenPairs(store, table, POOL_SIZE, K, PairingOptions("captions", 0.0))
    assert none.sentences(image_digests(IMAGES)).shape == (1500, K)


def test_the_whole_pool_but_k_may_be_an_images_own(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", ["a", "b"])
    table = write_owners(tmp_path / "owners.arrow", {"a": [0], "b": [0, 2, 3, 5, 6, 7]})
    pairs = GivenPairs(store, table, 10, K, PairingOptions("captions", 0.0))
    assert sorted(pairs.sentences(image_digests(["b"]))[0].tolist()) == [1, 4, 8, 9]
    with pytest.raises(InputError, match="retrieval.k=5: image b .* of the 10 sentences fewer than 5 are not its own"):
        GivenPairs(store, table, 10, 5, PairingOptions("captions", 0.0))
    # With its own, that does not matter.
    assert GivenPairs(store, table, 10, 5, PairingOptions("captions")).get_own(image_digests(["b"])).all()
