"""Pages show the pictures that a corpus was made from, if it keeps copies, or they are still there."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmf_muvla.errors import InputError
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.regions.shards import shard_path
from mmf_muvla.regions.thumbnails import THUMBNAILS_SUFFIX, save_thumbnails, thumbnails_path
from mmf_muvla.report.corpus_page import inspect_command
from mmf_muvla.report.images import show_command
from mmf_muvla.report.own_pictures import own_pictures
from mmf_muvla.report.pictures import Pictures
from tests.detection.quartered import extract, quartered
from tests.report.test_corpus_page import Page
from tests.small_corpus import write_small_corpus

RED = np.full((4, 3), [255, 0, 0], np.uint8)


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small_corpus(tmp_path / "small", images=6)


@pytest.fixture
def kept(small: Path) -> Path:
    """A corpus that keeps a copy of every picture, which is its number in grey."""
    copies = []
    for number in range(6):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 24), (40 * number,) * 3).save(buffer, "JPEG")
        copies.append(buffer.getvalue())
    first = shard_path(small / "regions", 0)
    save_thumbnails(thumbnails_path(first.with_suffix("")).with_suffix(THUMBNAILS_SUFFIX), copies)
    return small


def decode(uri: str) -> Image.Image:
    assert uri.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_copies_that_the_corpus_keeps(kept: Path) -> None:
    inspect_command([f"corpus={kept}"])
    page = read_page(kept / "report" / "corpus.html")
    assert len(page.data["images"]) == 6 and "images=FOLDER" not in page.text
    for image in page.data["images"]:
        assert decode(image["picture"]).getpixel((5, 5)) == (40 * (int(image["id"]) - 1000),) * 3


def test_a_folder_that_is_named_counts_instead(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    quartered(colours=RED).save(tmp_path / "pictures" / "1003.png")
    inspect_command([f"corpus={kept}", f"images={tmp_path}/pictures"])
    page = read_page(kept / "report" / "corpus.html")
    assert [image["id"] for image in page.data["images"] if image["picture"]] == ["1003"]
    assert "Only 1 of these images has a picture" in page.text


def test_the_page_says_how_to_get_pictures(small: Path) -> None:
    inspect_command([f"corpus={small}"])
    text = read_page(small / "report" / "corpus.html").text
    assert "None of these images has a picture" in text
    assert "images=FOLDER" in text and "regions.thumbnails=256" in text


def test_pictures_that_are_still_there(small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    quartered().save(first / "1001.png")
    quartered(colours=RED).save(second / "1001.png")
    quartered((1000, 600), RED).save(second / "1004.png")
    (second / "1005.png").write_bytes(b"no picture")
    extract(small / "build" / "regions", [first, second])
    corpus = Corpus(small)
    found = own_pictures(corpus, ["1000", "1001", "1004", "1005"])
    assert set(found) == {"1001", "1004"}
    assert decode(found["1001"]).size == (48, 32) and decode(found["1004"]).size == (400, 240)
    red, green, blue = decode(found["1001"]).getpixel((40, 4))  # type: ignore[misc]
    assert green > 200 and red < 60 and blue < 60, "of two pictures with an id, the first was looked at"
    assert "1005.png: cannot be read as a picture" in caplog.text
    shutil.rmtree(first)
    assert set(own_pictures(corpus, ["1000", "1001"])) == {"1001"} and "first: no such file or folder" in caplog.text
    shutil.rmtree(small / "build")
    assert own_pictures(corpus, ["1001"]) == {}


def test_of_a_table_whose_ids_occur_twice_the_first_row_is_shown(small: Path, tmp_path: Path) -> None:
    rows = [("1000", quartered()), ("1001", quartered((60, 30))), ("1000", quartered(colours=RED))]
    buffers = []
    for _, picture in rows:
        buffers.append(io.BytesIO())
        picture.save(buffers[-1], "PNG")
    table = pa.table({"image_id": [image_id for image_id, _ in rows], "image": [it.getvalue() for it in buffers]})
    pq.write_table(table, tmp_path / "twice.parquet")
    extract(small / "build" / "regions", tmp_path / "twice.parquet")
    found = own_pictures(Corpus(small), ["1000", "1001"])
    assert decode(found["1001"]).size == (60, 30)
    red, green, blue = decode(found["1000"]).getpixel((40, 4))  # type: ignore[misc]
    assert green > 200 and red < 60 and blue < 60


def test_pictures_are_shown_as_the_detector_sees_them(kept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    quartered((60, 30)).save(folder / "1000.jpg", exif=exif)
    assert decode(Pictures(str(folder)).find("1000") or "").size == (30, 60)


def test_examples_on_a_page(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_command([f"corpus={kept}", "num_images=2", f"out={tmp_path}/shown"])
    printed = capsys.readouterr().out
    page = read_page(tmp_path / "shown" / "retrieval.html")
    assert len(page.data["images"]) == 2 and page.data["weakest"] == 0.9
    for image in page.data["images"]:
        assert f"image {image['id']}" in printed and decode(image["picture"]).size == (20, 24)
    assert "2 of the 6 images" in page.text and "retrieval.html" in printed
    with pytest.raises(InputError, match="Give out=FOLDER"):
        show_command([f"corpus={kept}", f"images={tmp_path}"])
    (tmp_path / "shown" / "retrieval.html").write_text("mine")
    with pytest.raises(InputError, match="would be replaced"):
        show_command([f"corpus={kept}", f"out={tmp_path}/shown"])
