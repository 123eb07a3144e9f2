"""The same pictures from every kind of source, and what sources refuse."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.regions.store import RegionStore
from tests.detection.quartered import colours_in, extract, quartered, skipped

COUNT = 12


def content(number: int) -> bytes:
    """A picture that no other number has."""
    buffer = io.BytesIO()
    colours = np.random.default_rng(number).integers(0, 256, (4, 3)).astype(np.uint8)
    quartered((24 + 2 * (number % 3), 16), colours).save(buffer, "PNG")
    return buffer.getvalue()


def add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    shard.addfile(member, io.BytesIO(data))


def write_shard(path: Path, numbers: range) -> None:
    """As img2dataset writes it: picture, caption and what is known, one after the other."""
    with tarfile.open(path, "w") as shard:
        for number in numbers:
            add(shard, f"{number:09d}.png", content(number))
            add(shard, f"{number:09d}.txt", b"a caption")
            add(shard, f"{number:09d}.json", json.dumps({"url": "u", "key": f"{number:09d}"}).encode())


def folder_of_pictures(folder: Path) -> Path:
    for number in range(COUNT):
        (folder / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (folder / str(number % 3) / f"{number:09d}.png").write_bytes(content(number))
    return folder


def shards(folder: Path) -> Path:
    folder.mkdir()
    for first in range(0, COUNT, 5):
        write_shard(folder / f"{first:05d}.tar", range(first, min(first + 5, COUNT)))
        table = pa.table({"url": ["u"], "status": ["success"], "hash": [b"no picture"]})
        pq.write_table(table, folder / f"{first:05d}.parquet")
    return folder


def parquet(folder: Path) -> Path:
    """As the hub has data sets: groups of bytes and path, some rows a group."""
    folder.mkdir()
    for first in range(0, COUNT, 8):
        numbers = range(first, min(first + 8, COUNT))
        images = [{"bytes": content(number), "path": f"{number}.png"} for number in numbers]
        table = pa.table({"image": images, "image_id": [f"{number:09d}" for number in numbers], "label": list(numbers)})
        pq.write_table(table, folder / f"train-{first:05d}.parquet", row_group_size=3)
    return folder


def arrow(folder: Path) -> Path:
    """As Hugging Face's library saves data sets: a stream of batches."""
    folder.mkdir()
    images = [{"bytes": content(number), "path": None} for number in range(COUNT)]
    table = pa.table({"image": images, "id": list(range(COUNT))})
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=5)
    (folder / "state.json").write_text("{}")
    return folder


def listing(folder: Path) -> Path:
    folder_of_pictures(folder)
    lines = [f"{number:09d}\t{number % 3}/{number:09d}.png\n" for number in range(COUNT)]
    (folder / "pictures.tsv").write_text("".join(lines))
    return folder / "pictures.tsv"


SOURCES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "folder": (folder_of_pictures, "{folder}/{number:09d}"),
    "shards": (shards, "{number:09d}"),
    "parquet": (parquet, "{number:09d}"),
    "arrow": (arrow, "{number}"),
    "listing": (listing, "{number:09d}"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_source_has_the_same_pictures(name: str, tmp_path: Path) -> None:
    write, pattern = SOURCES[name]
    source = write(tmp_path / "source")
    counts = extract(tmp_path / "store", source)
    assert counts["images"] == COUNT and counts["skipped"] == 0
    store = RegionStore(tmp_path / "store")
    for number in range(COUNT):
        image_id = pattern.format(number=number, folder=number % 3)
        expected = np.random.default_rng(number).integers(0, 256, (4, 3))
        assert np.abs(colours_in(store, image_id) - expected).max() < 0.5
        assert store.get(image_id).width == 24 + 2 * (number % 3)


def test_several_sources_make_one_store(tmp_path: Path) -> None:
    sources = [folder_of_pictures(tmp_path / "folder"), shards(tmp_path / "shards"), parquet(tmp_path / "parquet")]
    counts = extract(tmp_path / "store", sources)
    # Those of the parquet files have the ids of those in the shards.
    assert (counts["images"], counts["skipped"]) == (2 * COUNT, COUNT)
    listed = skipped(tmp_path / "store")
    assert {it["reason"] for it in listed} == {"image id occurs twice"}
    assert {it["file"] for it in listed} == {str(tmp_path / "parquet")}


def test_rows_without_an_id_are_counted(tmp_path: Path) -> None:
    table = pa.table({"picture": [content(0), content(1)], "text": ["a", "b"]})
    pq.write_table(table, tmp_path / "some.parquet")
    extract(tmp_path / "store", tmp_path / "some.parquet")
    assert RegionStore(tmp_path / "store").ids == ["some/0", "some/1"]
    extract(tmp_path / "named", tmp_path / "some.parquet", id_column="text", image_column="picture")
    assert RegionStore(tmp_path / "named").ids == ["a", "b"]


def test_columns_are_named_where_they_cannot_be_known(tmp_path: Path) -> None:
    pq.write_table(pa.table({"left": [content(0)], "right": [content(1)]}), tmp_path / "two.parquet")
    with pytest.raises(InputError, match=r"has no column that is known to hold pictures \(it has left, right\)"):
        extract(tmp_path / "store", tmp_path / "two.parquet")
    for option in ({"image_column": "up"}, {"image_column": "left", "id_column": "right"}):
        with pytest.raises(InputError, match=f"{[*option][-1]}=.*has no such column"):
            extract(tmp_path / "store", tmp_path / "two.parquet", **option)
    assert extract(tmp_path / "store", tmp_path / "two.parquet", image_column="right")["images"] == 1


def test_rows_without_a_picture_are_listed_with_their_number(tmp_path: Path) -> None:
    images = [{"bytes": content(0), "path": "0.png"}, {"bytes": None, "path": "1.png"}, None]
    pq.write_table(pa.table({"image": images}), tmp_path / "holes.parquet")
    assert extract(tmp_path / "store", tmp_path / "holes.parquet")["images"] == 1
    listed = [(it["line"], it["reason"], it["value"]) for it in skipped(tmp_path / "store")]
    assert listed == [(2, "row has no picture's bytes", "only a path"), (3, "row has no picture's bytes", "nothing")]


def test_a_cut_shard_gives_what_it_has(tmp_path: Path) -> None:
    write_shard(tmp_path / "whole.tar", range(6))
    whole = (tmp_path / "whole.tar").read_bytes()
    # Half of it, or all, but the header of the fourth picture is none.
    for name, damaged in {"cut": whole[: len(whole) // 2], "odd": whole.replace(b"000000003.png", b"?" * 13)}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000.tar").write_bytes(damaged)
        counts = extract(tmp_path / f"{name}_store", tmp_path / name)
        assert 0 < counts["images"] < 6
        assert "shard is damaged" in {it["reason"] for it in skipped(tmp_path / f"{name}_store")}


def test_of_a_sample_the_first_picture_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "some.tar", "w") as shard:
        for name in ("dogs/1.left.png", "dogs/1.right.png", "dogs/2.png", ".png", "dogs/notes"):
            add(shard, name, content(0))
    extract(tmp_path / "store", tmp_path / "some.tar")
    assert RegionStore(tmp_path / "store").ids == ["dogs/1", "dogs/2"]


def test_pictures_of_a_sample_that_do_not_count_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tarfile.open(tmp_path / "dated.tar", "w") as shard:
        for name in ("./shot 2024.01.02.png", "./shot 2024.01.03.png", "./._dog.png", "./dog.png"):
            add(shard, name, content(0))
    with caplog.at_level("INFO"):
        extract(tmp_path / "store", tmp_path / "dated.tar")
    assert RegionStore(tmp_path / "store").ids == ["shot 2024", "dog"]
    assert "1 pictures are passed over" in caplog.text


@pytest.mark.parametrize("make", [shards, parquet])
def test_pictures_beside_other_sources_are_not_passed_over_in_silence(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = make(tmp_path / "mixed")
    (folder / "dog.png").write_bytes(content(0))
    with pytest.raises(InputError, match=r"several kinds of sources of pictures \(.*, dog.png\)"):
        extract(tmp_path / "store", folder)


def test_what_a_library_keeps_beside_a_data_set_is_not_read(tmp_path: Path) -> None:
    folder = arrow(tmp_path / "data")
    numbers = pa.table({"indices": pa.array([0, 1], pa.uint64())})
    with pa.OSFile(str(folder / "cache-1a2b.arrow"), "wb") as file, pa.ipc.new_stream(file, numbers.schema) as writer:
        writer.write_table(numbers)
    extract(tmp_path / "store", folder)
    assert len(RegionStore(tmp_path / "store").ids) == COUNT


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    folder = folder_of_pictures(tmp_path / "pictures")
    (folder / "0" / "._000000000.png").write_bytes(b"notes of a program")
    (folder / ".copies").mkdir()
    (folder / ".copies" / "1.png").write_bytes(content(1))
    assert extract(tmp_path / "store", folder)["skipped"] == 0
    assert len(RegionStore(tmp_path / "store").ids) == COUNT


def test_a_list_says_what_it_cannot_find(tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "pictures")
    absolute = tmp_path / "pictures" / "1" / "000000001.png"
    (tmp_path / "list.txt").write_text(f"pictures/0/000000000.png\n\n{absolute}\npictures/absent.png\r\n", newline="")
    extract(tmp_path / "store", tmp_path / "list.txt")
    assert RegionStore(tmp_path / "store").ids == ["pictures/0/000000000", str(absolute.with_suffix(""))]
    assert [it["id"] for it in skipped(tmp_path / "store")] == ["pictures/absent"]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "program.exe").write_bytes(b"MZ")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "empty").mkdir()
    for path, message in {
        "absent": "no such file or folder",
        "program.exe": "is a file that is neither tar, parquet, arrow nor a list",
        "broken.parquet": "cannot be read as a table",
        "empty": "holds no pictures",
    }.items():
        with pytest.raises(InputError, match=message):
            extract(tmp_path / "store", tmp_path / path)
    assert not (tmp_path / "store").exists()
