"""What boxes called ``rect`` are measured in is decided once for a source, and said, or the source is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.commands import import_command
from mmf_muvla.pairing.config import ImportConfig, load_config
from mmf_muvla.regions import importing as regions
from mmf_muvla.regions import predicted_images
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.rect_scale import ScaleEvidence, possible_scales
from mmf_muvla.regions.sources import RegionSource
from mmf_muvla.regions.store import RegionStore
from tests.conftest import FakeImage

FEATURE_DIM = 8
SMALL = [(640, 480), (500, 375), (375, 500), (427, 640)]
LARGE = [(1600, 1200), (2048, 1365), (1200, 1800)]
MIXED = [*SMALL, *LARGE, (1024, 768), (800, 800)]


def factor(size: tuple[int, int], detector: tuple[int, int] | None) -> float:
    return min(detector[0] / min(size), detector[1] / max(size)) if detector else 1.0


def make(
    sizes: list[tuple[int, int]], count: int, detector: tuple[int, int] | None = None, seed: int = 0
) -> list[FakeImage]:
    """Images of those sizes, with eight boxes of which some end at the edge, and ``rect`` in a detector's scale."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(count):
        size = sizes[number % len(sizes)]
        corners = random.uniform(0, 0.6, (8, 2))
        ends = np.minimum(corners + random.uniform(0.1, 0.8, (8, 2)), 1)
        images.append(
            FakeImage(
                f"{seed}-{number}",
                *size,
                boxes=(np.concatenate([corners, ends], axis=1) * [*size, *size]).tolist(),
                names=["dog"] * 8,
                confidence=[0.9] * 8,
                relative=False,
                rect_scale=factor(size, detector),
            )
        )
    return images


def run(folder: Path, out: Path, policy: str = "error", num_workers: int = 1, **changes: Any) -> dict[str, int]:
    options = RegionOptions(feature_dim=FEATURE_DIM, **changes)
    return import_regions([folder], options, policy, 1.0, out / "store", LocalExecutor(num_workers))


def check_boxes(out: Path, images: list[FakeImage]) -> None:
    store = RegionStore(out / "store")
    assert store.ids == [image.image_id for image in images]
    for image in images:
        expected = np.clip(image.boxes, 0, [image.width, image.height] * 2)
        np.testing.assert_allclose(store.get(image.image_id).bbox, expected, atol=1e-2)


@pytest.mark.parametrize("sizes", [SMALL, LARGE, MIXED], ids=["small", "large", "mixed"])
@pytest.mark.parametrize("detector", [None, (800, 1333), (600, 1000)])
def test_it_is_recognised(
    sizes: list[tuple[int, int]],
    detector: tuple[int, int] | None,
    vinvl: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = make(sizes, 60, detector)
    folder = vinvl(images)
    with caplog.at_level(logging.INFO):
        counts = run(folder, tmp_path)
    assert (counts["images"], counts["boxes_mended"]) == (60, 60 if detector else 0)
    check_boxes(tmp_path, images)
    said = f"the detector's {detector[0]}/{detector[1]}" if detector else "original pixels"
    assert f"{folder}: rect is in {said}, decided from 60 images; as original pixels, boxes leave" in caplog.text


@pytest.mark.parametrize("overshoot", [[-3, 0, 4.6, 0], [0, -9, 0, 7], [-12, -12, 12, 9]])
@pytest.mark.parametrize("count", [1, 50])
def test_an_overshoot_is_no_other_scale(overshoot: list[float], count: int, vinvl: Any, tmp_path: Path) -> None:
    images = make(SMALL, count)
    for image in images[::2]:
        # Of a single image, a single box.
        box = [0, 0, image.width, image.height]
        image.boxes[0] = [side + out for side, out in zip(box, overshoot, strict=True)]
    counts = run(vinvl(images), tmp_path)
    assert (counts["boxes_mended"], counts["boxes_clipped"]) == (0, len(images[::2]))
    check_boxes(tmp_path, images)


@pytest.mark.parametrize("detector", [(600, 1000), (800, 1333), (512, 900)])
def test_few_images_do_not_say_it(detector: tuple[int, int], vinvl: Any, tmp_path: Path) -> None:
    images = make(SMALL, 5, detector)
    folder = vinvl(images)
    for policy in ("error", "skip"):
        with pytest.raises(InputError, match="it cannot be known whether 'rect' is in pixels of the original") as error:
            run(folder, tmp_path, policy)
        assert error.value.where == str(folder)
        assert "5 images; as original pixels, boxes leave 5 of them" in error.value.problem
        for option in ("rect_scale=original", "rect_scale=detector", "detector_size=[800,1333]"):
            assert f"region_options.{option}" in error.value.remedy
    run(folder, tmp_path, rect_scale="detector", detector_size=list(detector))
    check_boxes(tmp_path, images)


@pytest.mark.parametrize(
    "images",
    [
        make(SMALL, 60) + make(SMALL, 60, (800, 1333), seed=1),
        make(SMALL, 60, (600, 1000)) + make(SMALL, 40, (800, 1333), seed=1),
        make(SMALL, 60, (1000, 1600)),
        make(SMALL, 60, (700, 1200)),
    ],
    ids=["half of each", "two detectors", "a larger size", "a size between"],
)
def test_contradictions_and_unknown_sizes_are_refused(images: list[FakeImage], vinvl: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it cannot be known whether 'rect'"):
        run(vinvl(images), tmp_path, "skip")


def test_a_size_that_is_given_is_tried_alone(vinvl: Any, tmp_path: Path) -> None:
    images = make(SMALL, 60, (700, 1200))
    assert run(vinvl(images), tmp_path, detector_size=[700, 1200])["boxes_mended"] == 60
    check_boxes(tmp_path, images)
    originals = make(SMALL, 60)
    assert run(vinvl(originals, "originals"), tmp_path, detector_size=[700, 1200])["boxes_mended"] == 0
    check_boxes(tmp_path, originals)


@pytest.mark.parametrize("detector", [None, (800, 1333)])
def test_some_damaged_images_do_not_change_it(detector: tuple[int, int] | None, vinvl: Any, tmp_path: Path) -> None:
    images = make(MIXED, 100, detector)
    for image in images[10:15]:
        image.boxes[3] = [0, 0, 9 * image.width, image.height]
    counts = run(vinvl(images), tmp_path, "skip")
    assert (counts["skipped"], counts["boxes_mended"]) == (5, 95 if detector else 0)
    check_boxes(tmp_path, images[:10] + images[15:])


def squashed(images: list[FakeImage], width: float, height: float) -> list[FakeImage]:
    """With ``rect`` as if all images had that size."""
    for image in images:
        boxes = np.array(image.boxes) / ([image.width, image.height] * 2) * ([width, height] * 2)
        image.boxes = boxes.tolist()
    return images


def in_the_middle(images: list[FakeImage]) -> list[FakeImage]:
    for image in images:
        image.boxes = [[side * share for side, share in zip([image.width, image.height] * 2, box, strict=True)]
                       for box in [(0.2, 0.3, 0.5, 0.6)] * 8]  # fmt: skip
    return images


PHOTOS = [(3000, 4000), (4000, 3000)]
ROOM_FOR_BOXES = {
    "3 large": lambda: make(LARGE, 3, (800, 1333)),
    "19 of one size": lambda: make([(1600, 1200)], 19, (800, 1333)),
    "19 for the smaller detector": lambda: make(LARGE, 19, (600, 1000)),
    "5 photos": lambda: make(PHOTOS, 5, (800, 1333)),
    "19 photos": lambda: make(PHOTOS, 19, (600, 1000)),
    "0 to 1000": lambda: squashed(make([(2000, 1500)], 60), 1000, 1000),
    "half": lambda: [replace(image, rect_scale=0.5) for image in make(SMALL, 60)],
    "a square detector": lambda: squashed(make(SMALL, 60), 224, 224),
    "middle of the image": lambda: in_the_middle(make(LARGE, 60)),
    "large ones among small originals": lambda: make(SMALL, 230) + make(PHOTOS, 20, (800, 1333), seed=1),
    "large ones among large originals": lambda: make(LARGE, 40) + make(LARGE, 15, (600, 1000), seed=1),
    "small originals among large ones": lambda: make(PHOTOS, 100, (800, 1333)) + make(SMALL, 20, seed=1),
}


@pytest.mark.parametrize("name", ROOM_FOR_BOXES)
def test_that_boxes_fit_is_no_evidence(name: str, vinvl: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it cannot be known whether 'rect'.*region_options.rect_scale=original"):
        run(vinvl(ROOM_FOR_BOXES[name]()), tmp_path, "skip")


@pytest.mark.parametrize("sizes", [[(1333, 800), (800, 1333)], [(1370, 820)], [(1600, 1200)], PHOTOS, [(1280, 960)]])
@pytest.mark.parametrize("count", [3, 19, 60])
def test_large_originals_are_recognised(sizes: list[tuple[int, int]], count: int, vinvl: Any, tmp_path: Path) -> None:
    images = make(sizes, count)
    assert run(vinvl(images), tmp_path)["boxes_mended"] == 0
    check_boxes(tmp_path, images)


@pytest.mark.parametrize("sizes", [SMALL, LARGE])
def test_few_images_that_say_nothing_are_originals(sizes: list[tuple[int, int]], vinvl: Any, tmp_path: Path) -> None:
    images = in_the_middle(make(sizes, 4))
    assert run(vinvl(images), tmp_path)["boxes_mended"] == 0
    check_boxes(tmp_path, images)


@pytest.mark.parametrize("rect_scale", ["auto", "original", "detector"])
@pytest.mark.parametrize(("sizes", "count"), [(SMALL, 60), (PHOTOS, 20), (SMALL, 1)])
def test_boxes_that_are_no_pixels_are_refused_whatever_options_say(
    sizes: list[tuple[int, int]], count: int, rect_scale: str, vinvl: Any, tmp_path: Path
) -> None:
    images = squashed(make(sizes, count), 1, 1)
    if count == 60:
        images[7].boxes[0] = [0, 0, 30, 40]
    with pytest.raises(InputError, match=r"predictions.tsv: 'rect' seems to be relative to the image.*Multiply"):
        run(vinvl(images), tmp_path, "skip", rect_scale=rect_scale)


def test_rows_with_boxes_need_no_decision(vinvl: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = make(SMALL, 3, (512, 900)) + make(SMALL, 2, seed=1)
    for image in images:
        image.relative = True
    with caplog.at_level(logging.INFO):
        counts = run(vinvl(images), tmp_path)
    assert counts["boxes_mended"] == 3
    assert "rows have boxes of their own, which count" in caplog.text
    check_boxes(tmp_path, images)


def test_a_row_without_its_box_among_others_is_damaged_where_the_scale_is_unknown(vinvl: Any, tmp_path: Path) -> None:
    images = make(SMALL, 24, (512, 900))
    for image in images[:-1]:
        image.relative = True
    assert run(vinvl(images), tmp_path, "skip")["skipped"] == 1
    listed = json.loads((tmp_path / "store" / "skipped.jsonl").read_text())
    assert (listed["id"], listed["reason"]) == (images[-1].image_id, "it is not known what rect is measured in")


class Stop(Exception):
    pass


def test_neither_workers_nor_kills_nor_shards_change_it(
    vinvl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make(MIXED, 80, (600, 1000))
    folder = vinvl(images)
    whole = run(folder, tmp_path / "whole")
    monkeypatch.setattr(RegionSource, "pieces_per_shard", 1)
    for size in (1500, 7000):
        monkeypatch.setattr(predicted_images, "_BYTES_PER_SHARD", size)
        out = tmp_path / str(size)
        with monkeypatch.context() as patch:
            parts = iter(range(3))

            def stop(*arguments: Any, write: Any = regions._write_shard, parts: Iterator[int] = parts) -> Any:
                if next(parts, None) is None:
                    raise Stop
                return write(*arguments)

            patch.setattr(regions, "_write_shard", stop)
            with pytest.raises(Stop):
                run(folder, out)
        assert run(folder, out, num_workers=2) == whole
        assert RegionStore(out / "store").content == RegionStore(tmp_path / "whole" / "store").content


def test_a_size_that_is_none_is_refused() -> None:
    for value, key in (("[600]", "detector_size"), ("[1000,600]", "detector_size"), ("[0,5]", "detector_size")):
        with pytest.raises(InputError, match=f"region_options.{key}"):
            load_config(ImportConfig, ["source=s", "out=o", f"region_options.detector_size={value}"])
    config = load_config(ImportConfig, ["source=s", "out=o", "region_options.detector_size=[600,1000]"])
    assert config.region_options.detector_size == [600, 1000]


def test_evidence_is_a_sum() -> None:
    scales = possible_scales(RegionOptions())
    parts = [ScaleEvidence(scales) for _ in range(3)]
    whole = ScaleEvidence(scales)
    for number, (right, bottom) in enumerate([(640, 470), (1060, 800), (700, 700), (300, 200)] * 20):
        parts[number % 3].add_image((640, 480), right, bottom)
        whole.add_image((640, 480), right, bottom)
    assert str(ScaleEvidence(scales, sum(part.counts for part in parts))) == str(whole)


# --- what does not stop a build


def test_boxes_of_no_area_and_images_without_regions_do_not_stop_an_import(
    vinvl: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make(SMALL, 40)
    for image in images[:6]:
        x, y, _, bottom = image.boxes[2]
        image.boxes[2] = [x, y, x, bottom]
        image.boxes[5] = [image.width + 2.0, 10, image.width + 4.0, 50]
    for image in images[6:9]:
        image.boxes, image.names, image.confidence = [], [], []
    images[9].boxes = [[5, 5, 5, 9], [100, 200, 300, 200]]
    images[9].names, images[9].confidence = ["dog"] * 2, [0.9] * 2
    folder = vinvl(images)
    # Some extractors leave images in which they found nothing out of the features.
    lines = (folder / "features.tsv").read_text().splitlines(keepends=True)
    (folder / "features.tsv").write_text("".join(lines[:7] + lines[8:]))
    out = tmp_path / "out"
    import_command(
        [f"source={folder}", f"out={out}", f"region_options.feature_dim={FEATURE_DIM}", "on_bad_record=error",
         "max_skipped_fraction=0", "num_workers=1"]
    )  # fmt: skip
    assert "images 36, regions 276, skipped 0, images_without_regions 4" in (said := capsys.readouterr().out)
    assert "regions_without_area 12" in said
    assert RegionStore(out).get("0-0").class_id.tolist() == [0] * 6
    listed = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert {entry["reason"] for entry in listed} == {"image without regions"}
    assert {entry["id"]: entry["value"] for entry in listed} == {
        "0-6": "0 regions",
        "0-7": "no objects, and no line of features.tsv",
        "0-8": "0 regions",
        "0-9": "none of its 2 boxes has an area",
    }
