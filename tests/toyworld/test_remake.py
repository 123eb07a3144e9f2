"""A corpus of a generated world, made whole again out of its pairs and sentences."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.artifacts.arrow import TableWriter, list_array
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.store import (
    BUILD_KEY,
    PAIRS_FILE,
    PAIRS_SCHEMA,
    REGIONS_FOLDER,
    SENTENCES_FILE,
    SENTENCES_SCHEMA,
    Corpus,
    write_meta,
)
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.toyworld.config import ToyWorldConfig
from mmf_muvla.toyworld.detector import DetectorConfig
from mmf_muvla.toyworld.remake import TABLES, remake_corpus
from mmf_muvla.toyworld.world import detections_in, pretraining_scenes
from mmf_muvla.toyworld.writers import write_vinvl_folder

WORLD = ToyWorldConfig(scenes=12)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the world, in which every image has one sentence that is linked to nothing."""
    folder = tmp_path_factory.mktemp("whole") / "corpus"
    seen = folder.with_name("seen")
    write_vinvl_folder(seen, detections_in(WORLD, "regions", pretraining_scenes(WORLD)))
    import_regions([seen], RegionOptions(), "error", 0.0, folder / REGIONS_FOLDER)
    regions = RegionStore(folder / REGIONS_FOLDER)
    sizes = [len(regions.get(image_id)) for image_id in regions.ids]
    one = [np.zeros(1)] * len(sizes)
    with TableWriter(folder / SENTENCES_FILE, SENTENCES_SCHEMA, {BUILD_KEY: "one"}) as writer:
        writer.write(["A dog"], [1], list_array([np.zeros(1)], np.int32), list_array([np.ones(1)], np.int32))
    with TableWriter(folder / PAIRS_FILE, PAIRS_SCHEMA, {BUILD_KEY: "one"}) as writer:
        links = [np.full(size, -1) for size in sizes], [np.zeros(size) for size in sizes]
        columns = zip((one, one, *links), (np.int32, np.float32, np.int16, np.float32), strict=True)
        writer.write(regions.ids, *(list_array(values, kind) for values, kind in columns))
    write_meta(folder, 1, {"images": len(sizes)}, build="one")
    return folder


@pytest.fixture
def tables(corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in TABLES:
        shutil.copy(corpus / name, folder)
    return folder


def test_regions_are_remade_to_the_bit(corpus: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert remake_corpus(tables, out, WORLD)
    made, expected = Corpus(out), Corpus(corpus)
    assert made.image_ids == expected.image_ids
    for image_id in made.image_ids:
        mine, whole = made.regions.get(image_id), expected.regions.get(image_id)
        np.testing.assert_array_equal(mine.image_feature_0, whole.image_feature_0)
        np.testing.assert_array_equal(mine.bbox, whole.bbox)
    assert sorted(path.name for path in out.iterdir()) == sorted([*TABLES, REGIONS_FOLDER])


def test_what_has_been_made_is_not_made_again(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    remake_corpus(tables, out, WORLD)
    before = (out / REGIONS_FOLDER).stat()
    assert remake_corpus(tables, out, WORLD)
    assert (out / REGIONS_FOLDER).stat().st_ino == before.st_ino


def test_features_that_are_rounded_otherwise_are_told_and_can_be_used(
    tables: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rounded = replace(WORLD, detector=DetectorConfig(feature_noise=0.41))  # the same regions, with other features
    assert not remake_corpus(tables, tmp_path / "out", rounded)
    assert "differ in bits" in caplog.text
    assert len(Corpus(tmp_path / "out")) == WORLD.scenes
    assert not remake_corpus(tables, tmp_path / "out", rounded)


def test_a_corpus_of_another_world_is_refused(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is of another world") as error:
        remake_corpus(tables, tmp_path / "out", replace(WORLD, seed=1))
    assert error.value.where == str(tables)
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_a_damaged_table_is_refused(tables: Path, tmp_path: Path) -> None:
    (tables / PAIRS_FILE).write_bytes((tables / PAIRS_FILE).read_bytes()[:-8])
    with pytest.raises(InputError, match="or it is damaged"):
        remake_corpus(tables, tmp_path / "out", WORLD)


def test_what_somebody_else_has_made_is_not_replaced(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is none that this command has made"):
        remake_corpus(tables, tmp_path / "out", WORLD)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"
