from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from mmf_muvla.errors import InputError
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.corpus_page import measure_corpus, render_page
from mmf_muvla.report.images import page_image
from mmf_muvla.report.own_pictures import add_pictures
from mmf_muvla.report.pictures import Pictures


def write_picture(path: Path, size: tuple[int, int] = (1000, 500)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


def decode(uri: str | None) -> Image.Image:
    assert uri is not None and uri.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("name", ["7.jpg", "7.jpeg", "7.png", "7.webp"])
def test_small_copy_out_of_a_folder(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / name)
    pictures = Pictures(str(tmp_path))
    picture = decode(pictures.find("7"))
    assert picture.size == (400, 200) and not pictures.is_link
    red, green, blue = picture.getpixel((100, 100))  # type: ignore[misc]
    assert red > 200 and green < 50 and blue < 50
    assert pictures.find("8") is None


def test_small_pictures_are_not_enlarged(tmp_path: Path) -> None:
    write_picture(tmp_path / "7.png", (40, 30))
    assert decode(Pictures(str(tmp_path)).find("7")).size == (40, 30)


def test_names_with_zeros_folders_and_suffixes(tmp_path: Path) -> None:
    write_picture(tmp_path / "000000000139.jpg")
    write_picture(tmp_path / "a" / "b.png")
    assert decode(Pictures(f"{tmp_path}/{{image_id:012}}.jpg").find("139"))
    assert Pictures(f"{tmp_path}/{{image_id}}.jpg").find("139") is None
    assert decode(Pictures(str(tmp_path)).find("a/b"))
    assert decode(Pictures(str(tmp_path)).find("a/b.png"))


def test_an_id_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    write_picture(tmp_path / "secret.png")
    (tmp_path / "pictures").mkdir()
    pictures = Pictures(str(tmp_path / "pictures"))
    assert pictures.find("../secret") is None and pictures.find("../secret.png") is None
    assert pictures.find(str(tmp_path / "secret")) is None
    assert pictures.find("x" * 5000) is None and pictures.find("\0") is None


def test_damaged_picture_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "7.jpg").write_bytes(b"no picture")
    write_picture(tmp_path / "8.png")
    (tmp_path / "8.png").write_bytes((tmp_path / "8.png").read_bytes()[:60])
    pictures = Pictures(str(tmp_path))
    assert pictures.find("7") is None and pictures.find("8") is None
    assert "7.jpg: cannot be read as a picture" in caplog.text


def test_address(corpus: Corpus) -> None:
    pictures = Pictures("https://example.org/{image_id:06}.jpg?size=400")
    assert pictures.is_link and pictures.find("1005") == "https://example.org/001005.jpg?size=400"
    assert pictures.find('a/"b') == "https://example.org/a/%22b.jpg?size=400"
    shown = page_image(corpus, 5)
    add_pictures([shown], corpus, pictures)
    page = render_page(measure_corpus(corpus), [shown], links_to_pictures=True)
    assert shown["picture"] == "https://example.org/001005.jpg?size=400" and "images=FOLDER" not in page
    assert "img-src data: http: https: file:" in page


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("https://example.org/pictures", "the address has no {image_id}"),
        ("ftp://example.org/{image_id}", "cannot show pictures from ftp://"),
        ("no/such/folder", "there is no folder no/such/folder"),
        ("no/such/{image_id}.jpg", "there is no folder no/such"),
    ],
)
def test_wrong_places(place: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Pictures(place)
