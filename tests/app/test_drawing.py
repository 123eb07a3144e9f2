"""Boxes, tags and pictures on the page, and the images to choose from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmf_muvla.app.drawing import draw_scene
from mmf_muvla.app.shelf import HANDFUL, Shelf, small_picture
from mmf_muvla.errors import InputError
from mmf_muvla.interface.images import ImageRegions, StoredImages
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.report.pictures import Pictures
from tests.detection.quartered import extract, quartered


def image(boxes: list[list[float]], tags: list[str], picture: Image.Image | None = None) -> ImageRegions:
    n = len(boxes)
    ids = np.zeros(n, np.int32)
    regions = Regions(
        "<7>",
        640,
        320,
        np.zeros((n, 2), np.float16),
        np.array(boxes, np.float32),
        ids,
        ids,
        np.full(n, 0.5, np.float32),
    )
    return ImageRegions(regions, tags, picture)


def drawn(page: str) -> list[tuple[int, bool, str]]:
    """Of each region its number, whether its name waits, and its name, in the order in which they are drawn."""
    found = re.findall(r'class="region([^"]*)".*?data-region="(\d+)".*?<text[^>]*>([^<]*)</text>', page, re.DOTALL)
    return [(int(number), "covers" in look, name) for look, number, name in found]


def test_small_boxes_lie_above_large_ones_and_their_names_do_not_cover() -> None:
    page = draw_scene(image([[0, 0, 60, 60], [0, 0, 640, 320], [300, 200, 400, 300]], ["dog", "room", "<i>"]))
    assert drawn(page) == [(1, False, "room"), (2, False, "&lt;i&gt;"), (0, True, "dog")]
    assert '<rect x="300.0" y="200.0" width="100.0" height="100.0"/>' in page
    assert "&lt;7&gt;" in page and "<7>" not in page and "<image" not in page
    assert 'viewBox="0 0 640 320"' in page and "3 regions: dog, room, &lt;i&gt;" in page


def test_names_stay_inside_the_picture() -> None:
    page = draw_scene(image([[600, 310, 640, 320]], ["a long name"]))
    ((x, y),) = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"', page)
    assert float(x) + len("a long name") * 20 * 0.6 <= 640 and float(y) <= 320


def test_tags_are_counted_and_may_be_unknown() -> None:
    page = draw_scene(image([[0, 0, 9, 9], [20, 20, 30, 30], [50, 50, 60, 60]], ["dog", "", "dog"]))
    assert "3 regions: dog ×2</figcaption>" in page and "no tag, region 1, confidence 0.50" in page


def test_a_picture_is_below_its_boxes() -> None:
    page = draw_scene(image([[0, 0, 9, 9]], ["dog"], Image.new("RGB", (64, 32))))
    assert 0 < page.index('<image href="data:image/jpeg;base64,') < page.index("<rect")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "pictures").mkdir()
    for number in range(HANDFUL + 2):
        quartered().save(folder / "pictures" / f"{number:012}.png")
    extract(folder / "plain", folder / "pictures")
    extract(folder / "kept", folder / "pictures", thumbnails=24)
    return folder


def test_a_handful_begins_again_behind_the_last(store: Path) -> None:
    shelf = Shelf(StoredImages(store / "plain", 4))
    names = [name for _, name in shelf.handful(HANDFUL)]
    assert len(names) == HANDFUL and names[:3] == ["…000000012", "…000000013", "…000000000"]


def test_pictures_come_from_a_folder_or_the_store(store: Path) -> None:
    image_id = f"{3:012}"
    plain, kept = StoredImages(store / "plain", 4), StoredImages(store / "kept", 4)
    assert Shelf(plain)[image_id].picture is None
    small = Shelf(kept)[image_id].picture
    assert small is not None and small.size == (24, 16)
    given = Shelf(kept, Pictures(str(store / "pictures")))[image_id].picture
    assert given is not None and given.size == (48, 32)
    with pytest.raises(InputError, match="image 'nowhere': is not there"):
        Shelf(plain)["nowhere"]


def test_a_damaged_copy_is_no_picture(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RegionStore, "thumbnail", lambda self, image_id: b"no picture")
    image = StoredImages(store / "kept", 4)[f"{3:012}"]
    assert image.picture is None and len(image) == 4


def test_boxes_stand_for_a_picture_that_is_not_there() -> None:
    blank = small_picture(image([[0, 0, 320, 320]], ["dog"]))
    assert blank.size == (240, 120)
    colours = {blank.getpixel(it) for it in ((119, 60), (60, 0))}
    assert len(colours) == 1 and blank.getpixel((60, 60)) == blank.getpixel((200, 60)) not in colours
