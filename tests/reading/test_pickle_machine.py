"""Pickles cannot make their reader take much memory or time, nor give values that would do so later."""

from __future__ import annotations

import pickle
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.reading.restricted_pickle import ONE_IMAGE, PickleProblem, load_npy_object, load_pickle, read_npy_header
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.mmf_features import load_from_folder, load_from_lmdb
from mmf_muvla.regions.mmf_records import read_record
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from tests.regions.mmf_files import FEATURE_DIM, NAMES, MmfImage, write_labels, write_lmdb, write_mmf_lmdb

LEVELS = 60
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
OBJECT = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR"
BYTE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1K\x00K\x01tR"
LETTER = b"cnumpy\ndtype\n(X\x02\x00\x00\x00U1K\x00K\x01tR"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"


def doubled(first: bytes, level: Callable[[bytes], bytes]) -> bytes:
    """Every level refers twice to the one below it; all of them are in a tuple that is to be closed."""
    content = b"\x80\x02(" + first + b"q\x00"
    for number in range(LEVELS):
        content += level(b"h%c" % number) + b"q%c" % (number + 1)
    return content


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


TUPLES = doubled(b")", lambda below: below * 2 + b"\x86")
TUPLE = b"h%c" % LEVELS
BIG = b"B" + struct.pack("<I", 100_000) + bytes(100_000)
HUGE = struct.pack("<Q", 2**40)

# They have the same hash.
COLLIDING = [b"\x8a\x0a" + ((2**61 - 1) * number).to_bytes(10, "little") for number in range(1, 40_000)]

BOMBS: dict[str, bytes] = {
    # What is stored under a number.
    "number of a reference": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "number of a reference as text": b"Np99999999999999\n.",
    "negative number of a reference": b"Np-5\n.",
    # What takes long to hash, or to compare.
    "tuples as a key": TUPLES + b"}" + TUPLE + b"Nst.",
    "tuples as keys at once": TUPLES + b"}(" + TUPLE + b"Nut.",
    "tuples in a set": TUPLES + b"c__builtin__\nset\n(](" + TUPLE + b"etRt.",
    "tuples in a set of protocol 4": b"\x80\x04" + TUPLES[2:] + b"\x8f(" + TUPLE + b"\x90t.",
    "tuples in a frozen set": b"\x80\x04" + TUPLES[2:] + b"(" + TUPLE + b"\x91t.",
    "tuples in an ordered dictionary": TUPLES + b"ccollections\nOrderedDict\n(]((" + TUPLE + b"NteetRt.",
    "an array as a set": RECONSTRUCT + b"q\x00c__builtin__\nset\n(h\x00tR.",
    "complex keys": b"}" + SCALAR + b"(cnumpy\ndtype\n(X\x02\x00\x00\x00c8K\x00K\x01tRC\x08" + bytes(8) + b"tRNs.",
    "colliding keys": b"}(" + b"".join(number + b"N" for number in COLLIDING) + b"u.",
    "one colliding key": b"}" + COLLIDING[9] + b"Ns.",
    "colliding members": b"\x80\x04\x8f(" + b"".join(COLLIDING) + b"\x90.",
    "a set of colliding members": b"c__builtin__\nset\n(](" + b"".join(COLLIDING) + b"etR.",
    "different members again and again": b"](](" + b"".join(b"M" + struct.pack("<H", n) for n in range(2**16))
    + b"eq\x00c__builtin__\nset\nq\x01" + b"h\x01h\x00\x85R" * 1000 + b"e.",
    "long keys": b"}" + text(b"a" * 20_000) + b"Ns.",
    # Numbers that become no float, and no text.
    "400 digits": b"L" + b"9" * 400 + b"L\n.",
    "400 digits of an integer": b"I" + b"9" * 400 + b"\n.",
    "200 bytes": b"\x80\x02\x8a\xc8" + b"\x7f" * 200 + b".",
    "a million bytes": b"\x80\x02\x8b" + struct.pack("<I", 10**6) + b"\x7f" * 10**6 + b".",
    "long double": SCALAR + b"(cnumpy\ndtype\n(X\x03\x00\x00\x00f16K\x00K\x01tRC\x10" + b"\x7f" * 16 + b"tR.",
    # More bytes than there are.
    "length of a text": b"\x80\x04\x8d" + HUGE + b"a.",
    "length of bytes": b"\x80\x04\x8e" + HUGE + b"a.",
    "length of a bytearray": b"\x80\x05\x96" + HUGE + b"a.",
    "length of an old text": b"\x80\x02T\xff\xff\xff\x7fa.",
    "negative length": b"\x80\x02X\xff\xff\xff\xffa.",
    # Values that are small until one walks over them.
    "lists": doubled(b"]", lambda below: b"](" + below * 2 + b"e") + b"t.",
    "dictionaries": doubled(b"}", lambda below: b"}(K\x00" + below + b"K\x01" + below + b"u") + b"t.",
    "tuples": TUPLES + b"t.",
    "lists by doubling the stack": b"]" + b"2a" * LEVELS + b".",
    "arrays of objects": doubled(
        b"]", lambda below: RECONSTRUCT + b"(K\x01(K\x02t" + OBJECT + b"\x89](" + below * 2 + b"etb"
    ) + b"t.",
    "a text again and again": b"](" + text(b"a" * 100_000) + b"q\x00" + b"h\x00" * 100_000 + b"e.",
    "a list in itself": b"]q\x00h\x00a.",
    "a list twice in itself": b"]q\x00(h\x00h\x00e.",
    "deep tuples": b"N" + b"\x85" * 20_000 + b".",
    "deep lists": b"]" * 20_000 + b"a" * 19_999 + b".",
    "deep dictionaries": b"}K\x00" * 9_000 + b"}" + b"s" * 9_000 + b".",
    "open marks": b"(" * 1000 + b".",
    "deep marks": b"(" * 20_000 + b"t" * 20_000 + b".",
    # A few bytes of which each makes something larger.
    "arrays of the same bytes": BIG + b"q\x00" + BYTE + b"q\x01]("
    + (RECONSTRUCT + b"(K\x01(J\xa0\x86\x01\x00th\x01\x89h\x00tb") * 2000 + b"e.",
    "encoded again and again": b"](" + text(b"a" * 100_000) + b"q\x00"
    + b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR" * 5000 + b"e.",
    "a list's set again and again": b"](" + b"K\x01" * 50_000 + b"eq\x00c__builtin__\nset\nq\x01]("
    + b"h\x01h\x00\x85R" * 20_000 + b"e.",
    "sets": b"\x80\x04](" + b"\x8f" * 300_000 + b"e.",
    "a state again and again": BIG + b"q\x00" + BYTE + b"q\x01" + RECONSTRUCT
    + b"(K\x01(J\xa0\x86\x01\x00th\x01\x89h\x00tq\x02b" + b"h\x02b" * 30_000 + b".",
    # What cannot be looked at.
    "characters that do not exist": SCALAR + b"(" + LETTER + b"C\x04\x00\x00\x11\x00tR.",
    "an array of such": RECONSTRUCT + b"(K\x01(K\x01t" + LETTER + b"\x89C\x04\xff\xff\xff\x7ftb.",
    "code points beyond": b"V\\U00110000\n.",
    "sides that are huge": RECONSTRUCT + b"(K\x01(K\x00\x8a\x0b" + b"\x7f" * 11 + b"t" + BYTE + b"\x89C\x00tb.",
    "tuples for a dtype": TUPLES + b"cnumpy\ndtype\n(" + TUPLE + b"K\x00K\x01tRt.",
    "tuples for an encoding": TUPLES + b"c_codecs\nencode\n(X\x01\x00\x00\x00a" + TUPLE + b"tRt.",
    "tuples for a shape": TUPLES + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + TUPLE + b"C\x01btRt.",
}  # fmt: skip


def bounded(read: Callable[[], Any], megabytes: int = 200, seconds: float = 2.0) -> Any:
    """What ``read`` gives or raises; it must not take more than that."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        return read()
    finally:
        took, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < megabytes * 2**20, f"{peak / 2**20:.0f} MB"
        assert took < seconds, f"{took:.1f} s"


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str) -> None:
    with pytest.raises(PickleProblem) as error:
        # To be told how much is taken takes several times as long.
        bounded(lambda: load_pickle(BOMBS[name]), seconds=10.0)
    assert len(str(error.value)) < 300 and error.value.remedy


def junk(size: int) -> bytes:
    """Bytes that are a part of the value, so that the pickle is long."""
    return b"B" + struct.pack("<I", size) + bytes(size)


LONG = 30 * 10**6
# As long as a record may be; read one by one, for the memory that they take.
LONG_BOMBS: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b"]" * (LONG // 2) + b"a" * (LONG // 2 - 1) + b".",
    "dictionaries": lambda: b"(" + b"}" * LONG + b"l.",
    "nothings": lambda: b"(" + b"N" * LONG + b"l.",
    "marks": lambda: b"(" * LONG + b".",
    "sets": lambda: b"\x80\x04(" + junk(LONG) + b"\x8f" * 10**6 + b"l.",
    "a reference's number": lambda: b"(" + junk(LONG) + b"Nr" + struct.pack("<I", LONG) + b"l.",
    "encoded again and again": lambda: b"](" + junk(LONG // 2) + text(b"a" * (LONG // 2)) + b"q\x00"
    + b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR" * 20 + b"e.",
    "keys": lambda: b"}(" + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(100_000)) + b"u.",
    "members again and again": lambda: b"](" + junk(LONG) + b"](" + b"".join(b"M" + struct.pack("<H", n)
    for n in range(10_000)) + b"eq\x00c__builtin__\nset\nq\x01" + b"h\x01h\x00\x85R" * 500 + b"e.",
}  # fmt: skip


@pytest.mark.parametrize("name", LONG_BOMBS)
def test_one_image_takes_little_however_long_its_record(name: str) -> None:
    content = LONG_BOMBS[name]()
    with pytest.raises(BadRecord, match="it contains"):
        bounded(lambda: load_from_lmdb(Path("data.mdb"), "22", content), seconds=20.0)


def test_one_image_may_not_contain_much_in_a_folder_either(tmp_path: Path) -> None:
    image = MmfImage("22")
    np.save(tmp_path / "22.npy", np.zeros((4, FEATURE_DIM), np.float32))
    np.save(tmp_path / "22_info.npy", np.array({**image.record(), "more": [[] for _ in range(300_000)]}, object))
    with pytest.raises(BadRecord, match="it contains more than 262,144 lists"):
        load_from_folder(tmp_path, "22")


@pytest.mark.parametrize("protocol", [2, 4])
def test_large_records_and_larger_files_are_read(protocol: int) -> None:
    rows = np.arange(100 * 2048, dtype=np.float32).reshape(100, 2048)
    record = pickle.dumps({"features": rows.tolist(), "cls_prob": np.zeros((1000, 1601), np.float32)}, protocol)
    assert load_pickle(record, limits=ONE_IMAGE)["features"] == rows.tolist()
    large = pickle.dumps({"cls_prob": np.zeros(7 * 2**20, np.float32)}, protocol)
    assert load_pickle(large, limits=ONE_IMAGE)["cls_prob"].shape == (7 * 2**20,)
    questions = [{"id": number, "tokens": ["is", "it"], "answers": ["yes"] * 10} for number in range(40_000)]
    file = pickle.dumps(questions, protocol)
    assert load_pickle(file) == questions
    with pytest.raises(PickleProblem, match="contains more than"):
        load_pickle(file, limits=ONE_IMAGE)


@pytest.mark.parametrize("encoding", ["ascii", "latin1"])
@pytest.mark.parametrize(
    "array",
    [np.array([1.5, -2.0], "<f4"), np.arange(3, dtype="<i8"), np.array([200, 255], "u1"), np.array(["é", "一"], "<U1")],
    ids=["floats", "integers", "bytes", "text"],
)
def test_arrays_of_python_2(array: np.ndarray, encoding: str) -> None:
    dtype = b"cnumpy\ndtype\n(U\x02" + array.dtype.str[1:].encode() + b"K\x00K\x01tR"
    data = b"U" + bytes([array.nbytes]) + array.tobytes()
    whole = RECONSTRUCT.replace(b"C", b"U") + b"(K\x01(K" + bytes([array.size]) + b"t" + dtype + b"\x89" + data + b"tb."
    loaded = load_pickle(b"\x80\x02" + whole, encoding=encoding)
    assert loaded.dtype == array.dtype and loaded.tolist() == array.tolist()
    first = b"U" + bytes([array.itemsize]) + array[:1].tobytes()
    assert load_pickle(b"\x80\x02" + SCALAR + b"(" + dtype + first + b"tR.", encoding=encoding) == array[0]


@pytest.mark.parametrize("place", [b"%s.", b"]%sa.", b"}K\x01%ss.", b"}%sK\x01s.", b"%s\x85.", b"(K\x02%st."])
def test_other_text_of_python_2_needs_its_encoding(place: bytes) -> None:
    content = b"\x80\x02" + place % b"U\x02\xc3\xa9"
    with pytest.raises(PickleProblem, match="of Python 2 is in another encoding"):
        load_pickle(content)
    assert "é" in str(load_pickle(content, encoding="utf-8"))


def test_bytes_that_several_make_one_character_of_are_no_array() -> None:
    content = RECONSTRUCT + b"(K\x01(K\x02t" + BYTE + b"\x89U\x02\xc3\xa9tb."
    with pytest.raises(PickleProblem, match="has 1 values or bytes"):
        load_pickle(content, encoding="utf-8")


HARMLESS: dict[str, tuple[bytes, Any]] = {
    "stored again and again": (b"\x80\x04N" + b"\x94" * 10**6 + b".", None),
    "a reference that is left out": (b"\x80\x02](K\x01q\x05h\x05e.", [1, 1]),
    "a frame of any length": (b"\x80\x04\x95" + HUGE + b"K\x05.", 5),
    "halves of characters": (b"\x80\x02X\x03\x00\x00\x00\xed\xa0\x80.", "\ud800"),
    "keys of 64 bits": (pickle.dumps({2**64 - 1: 1, -(2**63): 2}), {2**64 - 1: 1, -(2**63): 2}),
    "128 bits": (pickle.dumps([2**127 - 1, -(2**127)]), [2**127 - 1, -(2**127)]),
    "what follows": (b"K\x05.garbage", 5),
    "sixty levels": (b"N" + b"\x85" * 60 + b".", None),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_one_is_read(name: str) -> None:
    content, expected = HARMLESS[name]
    value = bounded(lambda: load_pickle(content), seconds=10.0)
    while isinstance(value, tuple):
        (value,) = value
    assert value == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_data_share_stays_shared(protocol: int) -> None:
    words = ["a dog", "a cat"]
    value = [{"answers": words, "image": f"{number}", "pair": (words, words)} for number in range(3000)]
    loaded = load_pickle(pickle.dumps(value, protocol))
    assert loaded == value
    assert loaded[0]["answers"] is loaded[2999]["pair"][1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        [[] for _ in range(5000)],
        [{} for _ in range(5000)],
        [set() for _ in range(3000)],
        list("abcdef" * 1000),
        [()] * 99,
    ],
    ids=["lists", "dictionaries", "sets", "letters", "tuples"],
)
def test_many_small_values_are_no_bomb(value: Any, protocol: int) -> None:
    assert load_pickle(pickle.dumps(value, protocol)) == value


# --- .npy headers


@pytest.mark.parametrize(
    "header",
    [
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{",
        b"\x93NUMPY\x03\x00" + struct.pack("<I", 2**32 - 1) + b"{",
        b"\x93NUMPY\x01\x00\xff\xff{",
    ],
)
def test_lengths_of_headers(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(header)
    with path.open("rb") as file, pytest.raises(PickleProblem, match="cannot be read as an .npy file"):
        bounded(lambda: read_npy_header(file), megabytes=5)
    with pytest.raises(PickleProblem):
        load_npy_object(path)


@pytest.mark.parametrize("side", ["9" * 4000, "-1", str(2**64)])
def test_sides_of_headers(side: str, tmp_path: Path) -> None:
    content = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({side}, {side})}}".encode() + b"\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content)
    with path.open("rb") as file, pytest.raises(PickleProblem) as error:
        read_npy_header(file)
    assert len(str(error.value)) < 300


# --- records


def hostile_record(**changes: Any) -> bytes:
    return pickle.dumps({**MmfImage("22").record(), **changes})


def spread_out(array: bool) -> list[Any]:
    """Texts that are small one by one, and huge as one of NumPy's arrays."""
    texts = ["a" * 100_000, *("b" for _ in range(20_000))]
    return [np.array([word]) for word in texts[:200]] if array else texts


RECORDS: dict[str, Callable[[], bytes]] = {
    "width beyond 64 bits": lambda: hostile_record(image_width=10**30),
    "height of 39 digits": lambda: hostile_record(image_height=-(10**38)),
    "number of boxes beyond 64 bits": lambda: hostile_record(num_boxes=2**100),
    "number of boxes of 309 digits": lambda: hostile_record(num_boxes=1.7e308),
    "boxes beyond 64 bits": lambda: hostile_record(bbox=[[0, 0, 10**30, 1]] * 4),
    "boxes of mixed numbers": lambda: hostile_record(bbox=[[0, 0, 2**100, 1.5]] * 4),
    "classes beyond 64 bits": lambda: hostile_record(objects=[2**90] * 4),
    "texts for boxes": lambda: hostile_record(bbox=spread_out(False)),
    "arrays of text for classes": lambda: hostile_record(objects=spread_out(True)),
    "texts for features": lambda: hostile_record(features=spread_out(False)),
    "many arrays for boxes": lambda: hostile_record(bbox=[np.array([number]) for number in range(5000)]),
    "many arrays for a width": lambda: hostile_record(image_width=[[np.arange(3)]] * 5000),
    "number of 400 digits": lambda: hostile_record(image_width=10**400),
    "characters that do not exist": lambda: hostile_record(x=np.frombuffer(b"\0\0\x11\0" * 2, "<U1")),
    **{name: lambda name=name: BOMBS[name] for name in BOMBS},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in BOMBS])
def test_hostile_records_are_bad_records(name: str) -> None:
    def read() -> None:
        image = load_from_lmdb(Path("data.mdb"), "22", RECORDS[name]())
        options = RegionOptions(feature_dim=FEATURE_DIM)
        labels = LabelMap(dict(enumerate(NAMES)), {})
        read_record("22", image.info, image.features, options, labels, image.bad, image.bad_info)

    with pytest.raises(BadRecord) as error:
        bounded(read)
    assert len(str(error.value)) < 600


def test_a_skip_build_leaves_them_out(tmp_path: Path) -> None:
    good = [MmfImage(f"good{number}") for number in range(5)]
    source = write_mmf_lmdb(tmp_path / "lmdb", good)
    records = {f"bad {name}".encode(): record() for name, record in RECORDS.items()}
    keys = [image.image_id.encode() for image in good]
    # Good ones among the others.
    listed = [key for pair in zip(keys, list(records)[:5], strict=True) for key in pair] + list(records)[5:]
    write_lmdb(source, {**records, b"keys": pickle.dumps(listed)})
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(write_labels(tmp_path)))
    counts = import_regions([source], options, "skip", 1.0, tmp_path / "store", tmp_path / "skipped.jsonl")
    assert counts["skipped"] == len(records)
    assert sorted(RegionStore(tmp_path / "store").ids) == sorted(image.image_id for image in good)
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == len(records)
