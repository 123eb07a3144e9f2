"""Corpora whose regions are in several region stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.pairing.commands import build_command, import_command
from mmf_muvla.pairing.store import Corpus, Regions, RegionStore, RegionStoreWriter
from tests.conftest import write_folder


def test_regions_in_several_stores_give_the_same_corpus(
    world: Any, built_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = []
    # The first three images have not all classes.
    for name, images in (("one", world.images[:3]), ("two", world.images[3:])):
        seen = write_folder(tmp_path / "seen" / name, images)
        stores.append(tmp_path / "disks" / name)
        import_command([f"regions={seen}", f"out={stores[-1]}", "region_options.feature_dim=8"])
    names = [RegionStore(store).object_names for store in stores]
    assert names[0] != names[1]

    def build() -> str:
        build_command([*world.arguments(tmp_path / "out"), f"regions=[{','.join(map(str, stores))}]"])
        return capsys.readouterr().out

    def check() -> None:
        for name in ("corpus.json", "sentences.arrow", "pairs.arrow"):
            assert (tmp_path / "out" / name).read_bytes() == (built_corpus / name).read_bytes()
        corpus, expected = Corpus(tmp_path / "out"), Corpus(built_corpus)
        for number in range(60):
            found, item = corpus[number], expected[number]
            assert found.tags == item.tags
            np.testing.assert_array_equal(found.regions.image_feature_0, item.regions.image_feature_0)

    build()
    check()
    assert not list((tmp_path / "out").rglob("regions-*"))
    (tmp_path / "disks").rename(tmp_path / "moved")
    stores = [tmp_path / "moved" / store.name for store in stores]
    # Where stores are does not count for what is made of them; the corpus says where they are.
    assert build().count("skipped, done before") == 5
    check()


def test_a_corpus_takes_no_store_without_classes(world: Any, tmp_path: Path) -> None:
    features, boxes = np.zeros((2, 8), np.float16), np.zeros((2, 4), np.float32)
    unknown = np.full(2, -1, np.int32)
    image = Regions("1", 9, 9, features, boxes, unknown, unknown, np.ones(2, np.float32))
    with RegionStoreWriter(tmp_path / "store", ["dog"], [], 8) as writer:
        writer.put(image)
    with pytest.raises(InputError, match=r"store \(image 1\): has regions without a class"):
        build_command([*world.arguments(tmp_path / "out"), f"regions={tmp_path / 'store'}"])
