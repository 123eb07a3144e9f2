"""Pictures as people have them: each is read right, or counted and listed, and none stops the work."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from mmf_muvla.detection.decoding import NotAPicture, decode, thumbnail
from mmf_muvla.errors import InputError
from mmf_muvla.regions.store import RegionStore
from tests.detection.quartered import COLOURS, SIZE, colours_in, extract, quartered, skipped

GREY = np.array([[76] * 3, [150] * 3, [29] * 3, [255] * 3], np.uint8)  # 0.299 R + 0.587 G + 0.114 B
PLENTY = 10**8


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def with_palette_and_hole() -> bytes:
    """Of a palette's colours, white is transparent."""
    picture = quartered().quantize(8)
    hole = picture.getpixel((SIZE[0] - 1, SIZE[1] - 1))
    return saved(picture, "PNG", transparency=hole)


def transparent(mode: str) -> bytes:
    """The last quarter is black, but cannot be seen."""
    colours = np.concatenate([COLOURS, np.full((4, 1), 255, np.uint8)], axis=1)
    colours[3] = 0
    rows, columns = (np.arange(SIZE[1]) >= SIZE[1] // 2) * 2, np.arange(SIZE[0]) >= SIZE[0] // 2
    return saved(Image.fromarray(colours[rows[:, None] + columns[None, :]]).convert(mode), "PNG")


def of_numbers(dtype: str, white: float, kind: str) -> bytes:
    """Grey of more than eight bits."""
    grey = np.asarray(quartered(colours=GREY))[..., 0]
    return saved(Image.fromarray((grey.astype(np.float64) / 255 * white).astype(dtype)), kind)


def moving(kind: str) -> bytes:
    """The first frame is the one, the others are black."""
    return saved(quartered(), kind, save_all=True, append_images=[Image.new("RGB", SIZE)] * 2, lossless=True)


# What it is -> bytes, the colours that there are to be seen, and by how much they may be wrong.
MODES: dict[str, tuple[Callable[[], bytes], np.ndarray, int]] = {
    "rgb.png": (lambda: saved(quartered(), "PNG"), COLOURS, 1),
    "rgb.jpg": (lambda: saved(quartered(), "JPEG", quality=95), COLOURS, 12),
    "progressive.jpg": (lambda: saved(quartered(), "JPEG", quality=95, progressive=True), COLOURS, 12),
    "cmyk.jpg": (lambda: saved(quartered().convert("CMYK"), "JPEG", quality=95), COLOURS, 16),
    "cmyk.tif": (lambda: saved(quartered().convert("CMYK"), "TIFF"), COLOURS, 1),
    "grey.png": (lambda: saved(quartered().convert("L"), "PNG"), GREY, 1),
    "grey.jpg": (lambda: saved(quartered().convert("L"), "JPEG", quality=95), GREY, 4),
    "grey_alpha.png": (lambda: transparent("LA"), GREY, 1),
    "bits.png": (
        lambda: saved(quartered().convert("L").point(lambda it: 255 * (it > 128)).convert("1"), "PNG"),
        (GREY > 128).astype(np.uint8) * 255,
        1,
    ),
    "palette.png": (lambda: saved(quartered().quantize(8), "PNG"), COLOURS, 1),
    "palette_hole.png": (with_palette_and_hole, COLOURS, 1),
    "palette.gif": (lambda: saved(quartered(), "GIF"), COLOURS, 1),
    "alpha.png": (lambda: transparent("RGBA"), COLOURS, 1),
    "sixteen.png": (lambda: of_numbers("uint16", 65535, "PNG"), GREY, 1),
    "sixteen.tif": (lambda: of_numbers("uint16", 65535, "TIFF"), GREY, 1),
    "thirty_two.tif": (lambda: of_numbers("int32", 65535, "TIFF"), GREY, 1),
    "shares.tif": (lambda: of_numbers("float32", 1, "TIFF"), GREY, 1),
    "real.tif": (lambda: of_numbers("float32", 255, "TIFF"), GREY, 1),
    "moving.gif": (lambda: moving("GIF"), COLOURS, 1),
    "moving.png": (lambda: moving("PNG"), COLOURS, 1),
    "moving.webp": (lambda: moving("WEBP"), COLOURS, 1),
    "plain.bmp": (lambda: saved(quartered(), "BMP"), COLOURS, 1),
    "plain.ppm": (lambda: saved(quartered(), "PPM"), COLOURS, 1),
    "named.jpg": (lambda: saved(quartered(), "PNG"), COLOURS, 1),
}
if features.check("avif"):
    MODES["plain.avif"] = (lambda: saved(quartered(), "AVIF", quality=95), COLOURS, 16)
if features.check("jpg_2000"):
    MODES["plain.jp2"] = (lambda: saved(quartered(), "JPEG2000"), COLOURS, 4)

# How a picture that is to be seen upright lies in the file, by EXIF's number.
LAID = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = quartered().transpose(LAID[orientation]) if orientation in LAID else quartered()
    return saved(picture, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def bomb() -> bytes:
    """A PNG that says that it has 60,000 x 60,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of awkward pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (content, _, _) in MODES.items():
        (folder / name).write_bytes(content())
    for orientation in range(10):  # 0 and 9 are none
        (folder / f"turned_{orientation}.jpg").write_bytes(turned(orientation, "JPEG"))
        (folder / f"turned_{orientation}.png").write_bytes(turned(orientation, "PNG"))
    (folder / "cut").mkdir()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for kind, content in {"jpg": saved(noise, "JPEG"), "png": saved(noise, "PNG")}.items():
        for tenth in range(10):
            (folder / "cut" / f"{tenth}.{kind}").write_bytes(content[: len(content) * tenth // 10])
    (folder / "one.png").write_bytes(saved(Image.new("RGB", (1, 1), (255, 255, 255)), "PNG"))
    (folder / "column.png").write_bytes(saved(quartered((1, 5000)), "PNG"))
    (folder / "line.png").write_bytes(saved(quartered((5000, 1)), "PNG"))
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "text.jpg").write_text("I was a text before.\n" * 50)
    (folder / "program.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    (folder / "notes.txt").write_text("no picture, and not called one")
    (folder / "bad_exif.jpg").write_bytes(
        saved(quartered(), "JPEG", quality=95, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    )
    plain = saved(quartered(), "PNG")
    (folder / "Übung – 图片 🐈.png").write_bytes(plain)
    (folder / ("n" * 250 + ".png")).write_bytes(plain)
    deep = folder / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / ("f" * 200 + ".png")).write_bytes(plain)
    (folder / "two\nlines.png").write_bytes(plain)
    with open(os.fsencode(folder) + b"/no\xfftext.png", "wb") as file:
        file.write(plain)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "picture.PNG").write_bytes(plain)
    (folder / "deep" / "er" / "up").symlink_to(folder / "deep", target_is_directory=True)
    (folder / "same").symlink_to(folder / "deep" / "er", target_is_directory=True)
    (folder / "itself.png").symlink_to(folder / "itself.png")
    (folder / "nowhere.png").symlink_to(folder / "absent.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    return folder


@pytest.fixture(scope="module")
def extracted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "store"
    counts = extract(out, folder, batch_size=4)
    assert counts["images"] == len(RegionStore(out))
    assert counts["skipped"] == len(skipped(out))
    return out


@pytest.mark.parametrize("name", MODES)
def test_every_mode_looks_right(name: str, extracted: Path) -> None:
    _, colours, tolerance = MODES[name]
    store = RegionStore(extracted)
    image_id = next(it for it in (name, Path(name).stem) if it in store)
    regions = store.get(image_id)
    assert (regions.width, regions.height) == SIZE
    found = colours_in(store, image_id)
    assert np.abs(found - colours).max() <= tolerance + 0.5, found.round()


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_upright(orientation: int, extracted: Path) -> None:
    store = RegionStore(extracted)
    for suffix, tolerance in ((".jpg", 12), (".png", 1)):
        regions = store.get(f"turned_{orientation}{suffix}")
        assert (regions.width, regions.height) == SIZE
        assert np.abs(colours_in(store, regions.image_id) - COLOURS).max() <= tolerance


def test_boxes_are_in_pixels_of_the_picture(extracted: Path) -> None:
    boxes = RegionStore(extracted).get("rgb.png").bbox.tolist()
    assert boxes == [[0, 0, 24, 16], [24, 0, 48, 16], [0, 16, 24, 32], [24, 16, 48, 32]]


def test_what_is_no_picture_is_counted_and_listed(extracted: Path, folder: Path) -> None:
    listed = skipped(extracted)
    by_reason = Counter(it["reason"] for it in listed)
    # 0 tenths of a file are none, two times.
    assert by_reason["file is empty"] == 2
    assert by_reason["picture is damaged"] + by_reason["file is no picture"] == 2 * 9 + 2
    assert by_reason["picture has too many pixels"] == 1
    assert by_reason["detector cannot use the picture"] == 2
    assert by_reason["folder is a link to one that it is in"] == 2
    assert by_reason["image id cannot be used"] == 3
    assert by_reason["picture cannot be read"] == 3
    assert sum(by_reason.values()) == 2 + 20 + 1 + 2 + 2 + 3 + 3
    reason_of = {Path(it["file"]).name: it["reason"] for it in listed}
    assert reason_of["text.jpg"] == reason_of["program.jpg"] == "file is no picture"
    assert reason_of["bomb.png"] == "picture has too many pixels"
    assert reason_of["itself.png"] == reason_of["nowhere.png"] == reason_of["pipe.png"] == "picture cannot be read"
    assert reason_of["line.png"] == reason_of["column.png"] == "detector cannot use the picture"
    assert all(it["id"] or it["reason"].startswith(("image id", "folder")) for it in listed)


def test_odd_names_and_sizes_are_no_reason(extracted: Path) -> None:
    store = RegionStore(extracted)
    for image_id in ("Übung – 图片 🐈", "n" * 250, "bad_exif", "deep/er/picture", "same/picture"):
        assert np.abs(colours_in(store, image_id) - COLOURS).max() <= 12
    assert (store.get("one").image_feature_0[:, :3] == 1).all()
    assert len(set(store.ids)) == len(store)
    # Two that only their suffixes tell apart.
    assert {"rgb.png", "rgb.jpg"} <= set(store.ids)


def test_too_many_of_them_stop_the_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"records are bad, more than max_skipped_fraction=0\.01 allows"):
        extract(tmp_path / "store", folder, max_skipped_fraction=0.01)
    assert not (tmp_path / "store").exists()
    with pytest.raises(InputError, match=r"image id cannot be used"):
        extract(tmp_path / "store", folder, on_bad_record="error")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow's, which only the tests' own filters let through
def test_bytes_that_are_no_picture_have_a_reason() -> None:
    with pytest.raises(NotAPicture) as caught:
        decode(saved(quartered(), "PNG"), max_pixels=SIZE[0] * SIZE[1] - 1)
    assert caught.value.args == ("picture has too many pixels", "48 x 32, at most 1535")
    random = np.random.default_rng(0)
    whole = [content() for content, _, _ in MODES.values()]
    for _ in range(150):
        content = bytearray(whole[random.integers(len(whole))])
        for place in random.integers(len(content), size=random.integers(1, 20)):
            content[place] = random.integers(256)
        try:
            assert decode(bytes(content), PLENTY).mode == "RGB"
        except NotAPicture as problem:
            assert problem.reason


def test_thumbnails_are_small_and_alike() -> None:
    with Image.open(io.BytesIO(thumbnail(quartered((300, 200)), 30))) as small:
        assert (small.format, small.size) == ("JPEG", (30, 20))
        assert np.abs(np.asarray(small)[4, 5].astype(int) - COLOURS[0]).max() < 30
    with Image.open(io.BytesIO(thumbnail(quartered(), 200))) as small:
        assert small.size == SIZE
