"""On real images' regions and real captions, where the sample is at hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore


@pytest.fixture(scope="module")
def folders(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same images, with boxes in the scale of the image and in that of the detector."""
    shared = repository.parent / "shared"
    tool, sample = shared / "tools/make_vinvl_tsv.py", shared / "data/coco_sample/regions_eval.npz"
    if not (tool.exists() and sample.exists()):
        pytest.skip("the sample of real images is not here")
    out = tmp_path_factory.mktemp("vinvl")
    for name, options in (("plain", []), ("scaled", ["--detector-scale"])):
        subprocess.run([sys.executable, tool, sample, out / name, "--limit", "60", *options], check=True)
    return {"plain": out / "plain", "scaled": out / "scaled"}


def test_both_scales_give_the_same_store(folders: dict[str, Path], tmp_path: Path) -> None:
    stores = {}
    for name, folder in folders.items():
        counts = import_regions([folder], RegionOptions(), "error", 0, tmp_path / name, tmp_path / f"{name}.jsonl")
        assert counts["images"] == 60
        assert counts["boxes_mended"] == (60 if name == "scaled" else 0)
        stores[name] = RegionStore(tmp_path / name)
    assert stores["plain"].content == stores["scaled"].content
    for image_id in stores["scaled"].ids:
        regions = stores["scaled"].get(image_id)
        size = [regions.width, regions.height] * 2
        assert (regions.bbox >= 0).all()
        assert (regions.bbox <= size).all()
        assert (regions.bbox[:, 2:] > regions.bbox[:, :2]).all()
        assert np.isfinite(regions.image_feature_0).all()
