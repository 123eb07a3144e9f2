"""Annotation arrays are read without running what a pickle may contain."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.reading.restricted_pickle import load_object_array

RECORDS = [
    {"version": 1},
    {
        "question_id": 7,
        "image_id": "12",
        "answers": ["yes"] * 10,
        "weights": (0.5, None, True),
        "boxes": np.arange(6, dtype=np.float32).reshape(2, 3),
        "score": np.float64(0.25),
        "sizes": {"words": {1, 2}, "bytes": b"ab"},
    },
]


def object_array(records: list) -> np.ndarray:
    array = np.empty(len(records), dtype=object)
    array[:] = records
    return array


def write_npy(path: Path, payload: bytes, shape: tuple[int, ...] = (1,)) -> Path:
    """An ``.npy`` file of objects with any bytes in the place of the pickle."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": shape})
    path.write_bytes(file.getvalue() + payload)
    return path


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return (os.mkdir, (str(self.victim),))


def test_what_numpy_saves_is_read(tmp_path):
    np.save(tmp_path / "a.npy", object_array(RECORDS), allow_pickle=True)
    header, record = load_object_array(tmp_path / "a.npy")
    assert header == RECORDS[0]
    assert np.array_equal(record.pop("boxes"), RECORDS[1]["boxes"])
    assert record == {key: value for key, value in RECORDS[1].items() if key != "boxes"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_that_numpy_used_is_read(tmp_path, protocol):
    path = write_npy(tmp_path / "a.npy", pickle.dumps(object_array(RECORDS), protocol), (2,))
    assert [sorted(record) for record in load_object_array(path)] == [sorted(record) for record in RECORDS]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nested", [False, True])
def test_code_is_refused_and_not_run(tmp_path, protocol, nested):
    victim = tmp_path / "victim"
    content = Malicious(victim)
    payload = pickle.dumps(object_array([{"question": [content]}]) if nested else content, protocol)
    path = write_npy(tmp_path / "evil.npy", payload)
    with pytest.raises(InputError, match=r"evil\.npy.*(posix|nt)\.") as caught:
        load_object_array(path)
    assert "code" in str(caught.value)
    assert not victim.exists()
    # The same bytes do run in a plain reader: the test is worth something.
    pickle.loads(payload)
    assert victim.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "functools.partial", "numpy.load", "os.system"])
def test_other_callables_are_refused_by_name(tmp_path, name):
    module, _, function = name.rpartition(".")
    path = write_npy(tmp_path / "evil.npy", f"c{module}\n{function}\n.".encode())
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        load_object_array(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.npy: no such file"):
        load_object_array(tmp_path / "gone.npy")


def test_other_arrays_are_refused(tmp_path):
    np.save(tmp_path / "numbers.npy", np.arange(3))
    with pytest.raises(InputError, match="not a list of objects"):
        load_object_array(tmp_path / "numbers.npy")
    np.save(tmp_path / "table.npy", np.empty((2, 2), dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a list of objects"):
        load_object_array(tmp_path / "table.npy")


def test_damaged_files_are_refused(tmp_path):
    np.save(tmp_path / "whole.npy", object_array(RECORDS), allow_pickle=True)
    content = (tmp_path / "whole.npy").read_bytes()
    for name, damaged in (
        ("cut", content[:-20]),
        ("garbled", content[:140] + b"\xff\x00R" + content[143:]),
        ("text", b"no array"),
    ):
        (tmp_path / f"{name}.npy").write_bytes(damaged)
        with pytest.raises(InputError, match=rf"{name}\.npy"):
            load_object_array(tmp_path / f"{name}.npy")
