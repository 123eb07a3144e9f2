from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.pairing.arrays import write_array


@pytest.mark.parametrize("shape", [(0,), (7,), (1000, 3), (123456,), (5, 1)])
def test_a_file_in_pieces_is_the_file_of_all(shape: tuple[int, ...], tmp_path: Path) -> None:
    whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pieces = np.array_split(whole, 4)
    assert write_array(tmp_path / "pieces.npy", iter(pieces), np.float32, *shape[1:]) == len(whole)
    np.save(tmp_path / "whole.npy", whole)
    assert (tmp_path / "pieces.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_numbers_are_written_as_what_the_file_has(tmp_path: Path) -> None:
    write_array(tmp_path / "found.npy", [np.array([3, 5], np.int32), np.array([2**40])], np.int64)
    assert np.load(tmp_path / "found.npy").tolist() == [3, 5, 2**40]


def test_half_a_file_is_none(tmp_path: Path) -> None:
    def pieces() -> Iterator[np.ndarray]:
        yield np.arange(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_array(tmp_path / "half.npy", pieces(), np.int64)
    assert list(tmp_path.iterdir()) == []
