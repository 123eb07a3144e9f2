"""Formats of regions: found out, named, and defined outside of the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.sources import REGION_FORMATS, open_regions
from mmf_muvla.regions.store import RegionStore
from tests.regions.extractor_files import WITH_CLASSES, WITHOUT_CLASSES, detected
from tests.regions.mmf_files import FEATURE_DIM, NAMES, MmfImage, write_labels, write_mmf_folder, write_mmf_lmdb

# The example in the documentation, as a user's own module.
FORMATS = Path(__file__).parents[2].joinpath("docs/formats.md").read_text(encoding="utf-8")
MODULE = FORMATS.partition("names:\n\n```python\n")[2].partition("```")[0] + "\nnumber = 7\n"


def content(number: int) -> dict[str, Any]:
    return {
        "width": 640,
        "height": 480,
        "features": [[number / 8] * FEATURE_DIM, [0.5] * FEATURE_DIM],
        "boxes": [[0, 0, 10, 20], [5, 5, 100.5, 482]],
        "classes": [1, number % 4],
        "scores": [0.5, 1],
    }


RENAMED = [*NAMES[:3], "robin"]

# What is wrong with an image, and what is said of it, though the format does not look.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a box too few": ({"boxes": [[0, 0, 10, 20]]}, r"image cannot be used: bbox has shape (1, 4), expected (2, 4)"),
    "another size": ({"features": [[0.5], [0.5]]}, "image cannot be used: image_feature_0 has shape (2, 1)"),
    "NaN": ({"features": [[np.nan] * 8] * 2}, "feature is not a finite number: nan at region 0, number 0"),
    "box NaN": ({"boxes": [[0, 0, 10, np.nan]] * 2}, "box outside the image: region 0"),
    "box outside": ({"boxes": [[0, 0, 10, 900]] * 2}, "box outside the image: region 0"),
    "confidence": ({"scores": [0.5, 1.5]}, "confidence is not between 0 and 1: region 1: 1.5"),
    "another class": ({"classes": [1, 9]}, "class is not in the label map: region 1: 9"),
    "a class by name": ({"classes": [1, "car"]}, "class is not in the label map: region 1: car"),
    "nothing": ({"classes": []}, "image without regions: 0 regions"),
}


def write_json_files(folder: Path) -> Path:
    folder.mkdir()
    # More than one shard, so that there is work for two processes.
    for number in range(70):
        (folder / f"{number:02d}.json").write_text(json.dumps(content(number)))
    for name, (changes, _) in WRONG.items():
        (folder / f"{name}.json").write_text(json.dumps(content(0) | changes))
    return folder


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_format_of_a_users_own(
    num_workers: int, repository: Path, offline_environment: dict[str, str], tmp_path: Path
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "my_format.py").write_text(MODULE)
    environment = offline_environment | {"PYTHONPATH": f"{offline_environment['PYTHONPATH']}:{modules}"}
    source, out = write_json_files(tmp_path / "detected"), tmp_path / "store"
    subprocess.run(
        [sys.executable, repository / "tools/import_regions.py", f"regions={source}", f"out={out}",
         "region_options.format=my_format:JsonFiles", f"region_options.label_map={write_labels(tmp_path)}",
         f"region_options.feature_dim={FEATURE_DIM}", "region_options.rename={red bird: robin}",
         f"num_workers={num_workers}", "max_skipped_fraction=0.2"],
        env=environment, check=True,
    )  # fmt: skip
    store = RegionStore(out)
    assert store.ids == [f"{number:02d}" for number in range(70)]
    assert store.object_names == sorted(RENAMED)
    for number in (0, 67, 69):
        regions = store.get(f"{number:02d}")
        assert (regions.width, regions.height) == (640, 480)
        assert regions.image_feature_0[:, 0].tolist() == [number / 8, 0.5]
        assert regions.bbox.tolist() == [[0, 0, 10, 20], [5, 5, 100.5, 480]]
        assert regions.tags(store.object_names, store.attribute_names) == [RENAMED[1], RENAMED[number % 4]]
        assert regions.confidence.tolist() == [0.5, 1]
    listed = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    said = {entry["id"]: f"{entry['reason']}: {entry['value']}" for entry in listed}
    assert said.keys() == WRONG.keys()
    assert all(said[name].startswith(message) for name, (_, message) in WRONG.items())


@pytest.mark.parametrize(
    ("name", "where", "problem"),
    [
        ("json", "json", "is no format"),
        ("absent_module:Format", "absent_module:Format", "cannot be imported (No module named 'absent_module')"),
        ("my_format:Absent", "my_format:Absent", "cannot be imported"),
        ("my_format:number", "my_format:number", "is no subclass of mmf_muvla.regions.sources.RegionSource"),
        ("no name:x y", "no name:x y", "cannot be imported"),
    ],
)
def test_what_is_no_format(
    name: str, where: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_format.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as error:
        open_regions(tmp_path, RegionOptions(format=name))
    assert error.value.where == f"region_options.format={where}"
    assert error.value.problem.startswith(problem)


def test_formats_are_found_out_or_named(tmp_path: Path, vinvl: Any, fake_image: Any) -> None:
    sources = {
        "vinvl": vinvl([fake_image("1")]),
        "mmf_folder": write_mmf_folder(tmp_path / "mmf", [MmfImage("1")]),
        "mmf_lmdb": write_mmf_lmdb(tmp_path / "lmdb", [MmfImage("1")]),
        **{
            name: write(tmp_path / name, [detected("1")])
            for name, write in (WITH_CLASSES | WITHOUT_CLASSES).values()
            if name not in ("vinvl", "mmf_folder", "mmf_lmdb")
        },
    }
    assert sources.keys() == REGION_FORMATS.keys() - {"lmdb_store"}
    labels = str(write_labels(tmp_path))
    for name, source in sources.items():
        found = open_regions(source, RegionOptions())
        assert f"{type(found).__module__}:{type(found).__name__}" == REGION_FORMATS[name]
        for other in sources:
            options = RegionOptions(feature_dim=FEATURE_DIM, label_map=labels, format=other)
            if other == name:
                assert import_regions([source], options, "error", 0, tmp_path / f"{name}-out")["images"] == 1
            else:
                with pytest.raises(InputError, match=f"is not in the format {other}"):
                    import_regions([source], options, "error", 0, tmp_path / f"{name}-{other}-out")
