from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import search
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.search import exact_top_k, fastest_dtype, rescore

CPU = torch.device("cpu")
DTYPES = [None, torch.float32, torch.bfloat16]


def unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def brute_force(queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """One score at a time; the lower row wins a tie."""
    ids, scores = [], []
    for query in queries:
        exact = [np.float32(sum(float(a) * float(b) for a, b in zip(query, row, strict=True))) for row in rows]
        best = sorted(range(len(rows)), key=lambda row: (-exact[row], row))[:k]
        ids.append(best)
        scores.append([exact[row] for row in best])
    return np.array(ids), np.array(scores)


@pytest.fixture(params=[(65536, 2**25, 128, 256, 16384), (17, 40, 8, 1, 9), (1, 1, 4, 3, 50), (100, 300, 16, 4, 1)])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sizes of the blocks that are compared at once."""
    names = ("_ROWS_AT_ONCE", "_SCORES_AT_ONCE", "_TILE", "_NEAR_QUERIES", "_NEAR_ROWS")
    for name, value in zip(names, request.param, strict=True):
        monkeypatch.setattr(search, name, value)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_brute_force(dtype: torch.dtype | None, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    queries, rows = unit(random.normal(size=(10, 12))), unit(random.normal(size=(153, 12))).astype(np.float16)
    # From files of 40 rows, as a build has them.
    for number in range(4):
        np.save(tmp_path / f"embeddings-{number:06d}.npy", rows[40 * number : 40 * number + 40])
    found = exact_top_k(queries, Embeddings.of_folder(tmp_path), 4, [CPU], dtype)
    expected_ids, expected_scores = brute_force(queries, rows, 4)
    np.testing.assert_array_equal(found.ids, expected_ids)
    np.testing.assert_allclose(found.scores, expected_scores, rtol=1e-6)
    assert (found.ids.dtype, found.scores.dtype) == (np.int64, np.float32)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_equal_rows_the_first_win(dtype: torch.dtype | None) -> None:
    random = np.random.default_rng(1)
    # 200 rows, but only 4 different ones: every query has a tie of about fifty, more than there are candidates.
    rows = unit(random.normal(size=(4, 16)))[random.integers(4, size=200)]
    queries = unit(random.normal(size=(6, 16)))
    found = exact_top_k(queries, Embeddings([rows]), 7, [CPU], dtype)
    np.testing.assert_array_equal(found.ids, brute_force(queries, rows, 7)[0])
    assert found.num_repeated == 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_differences_that_half_precision_cannot_see(dtype: torch.dtype | None) -> None:
    # A hundred rows whose scores differ by a ten-thousandth of what bfloat16 resolves, in a shuffled order.
    random = np.random.default_rng(2)
    order = random.permutation(100)
    rows = np.zeros((3000, 16), np.float32)
    rows[:, 1] = 0.2 * random.normal(size=3000)
    rows[random.choice(3000, 100, replace=False), 0] = 0.9 + order * 1e-6
    queries = np.zeros((3, 16), np.float32)
    queries[:, 0] = 1, 0.7, 0.3
    found = exact_top_k(queries, Embeddings([rows]), 5, [CPU], dtype)
    np.testing.assert_array_equal(found.ids, brute_force(queries, rows, 5)[0])
    assert (found.num_repeated == 0) == (dtype == torch.float32) or dtype is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_devices_share_the_rows(count: int, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_ROWS_AT_ONCE", 30)
    random = np.random.default_rng(3)
    queries, rows = unit(random.normal(size=(9, 8))), unit(random.normal(size=(200, 8)))
    found = exact_top_k(queries, Embeddings([rows]), 6, [CPU] * count, dtype)
    np.testing.assert_array_equal(found.ids, brute_force(queries, rows, 6)[0])


def test_rows_that_get_better_and_better() -> None:
    # Every block replaces all candidates.
    rows = np.zeros((1000, 4), np.float32)
    rows[:, 0] = np.linspace(-1, 1, 1000)
    queries = np.array([[1, 0, 0, 0], [-1, 0, 0, 0]], np.float32)
    found = exact_top_k(queries, Embeddings([rows]), 3)
    assert found.ids.tolist() == [[999, 998, 997], [0, 1, 2]]


def test_rows_of_any_length() -> None:
    random = np.random.default_rng(4)
    rows = random.normal(size=(300, 10)).astype(np.float32) * random.uniform(0.01, 100, size=(300, 1)).astype(
        np.float32
    )
    queries = random.normal(size=(8, 10)).astype(np.float32) * 30
    found = exact_top_k(queries, Embeddings([rows]), 5, [CPU], torch.bfloat16)
    np.testing.assert_array_equal(found.ids, brute_force(queries, rows, 5)[0])


def test_all_rows_can_be_asked_for() -> None:
    rows = unit(np.random.default_rng(2).normal(size=(6, 4)))
    found = exact_top_k(rows[:2], Embeddings([rows]), 6)
    assert sorted(found.ids[0].tolist()) == list(range(6))
    assert found.ids[:, 0].tolist() == [0, 1]
    assert found.num_repeated == 0


def test_candidates_are_ranked_exactly() -> None:
    rows = np.eye(4, dtype=np.float32)
    queries = np.array([[0.1, 0.4, 0.4, 0.2]], np.float32)
    ids, scores = rescore(queries, Embeddings([rows]), np.array([[3, -1, 2, 1, 0]]), 5)
    assert ids.tolist() == [[1, 2, 3, 0, -1]]
    np.testing.assert_allclose(scores, [[0.4, 0.4, 0.2, 0.1, -np.inf]])


def test_number_format_is_one_of_those_that_are_tried() -> None:
    assert fastest_dtype(CPU, 384) in (torch.float32, torch.bfloat16)


def test_devices() -> None:
    assert devices_of("cpu", "option") == [CPU]
    assert devices_of("cpu,cpu", "option") == [CPU, CPU]
    with pytest.raises(InputError, match="option=abacus: this device cannot be used"):
        devices_of("abacus", "option")


def test_blocks_of_embeddings(tmp_path: Path) -> None:
    rows = np.arange(46, dtype=np.float32).reshape(23, 2)
    for number in range(3):
        np.save(tmp_path / f"embeddings-{number:06d}.npy", rows[10 * number : 10 * number + 10])
    for embeddings in (Embeddings.of_folder(tmp_path), Embeddings([rows])):
        assert (len(embeddings), embeddings.dimensions) == (23, 2)
        for size in (1, 10, 20, 100):
            for start, stop in ((0, None), (5, 12), (10, 20), (3, 22)):
                found = list(embeddings.blocks(size, start, stop))
                np.testing.assert_array_equal(np.concatenate([block for _, block in found]), rows[start:stop])
                assert [first for first, _ in found] == np.cumsum([start, *(len(b) for _, b in found)])[:-1].tolist()
        np.testing.assert_array_equal(embeddings.gather(np.array([22, 0, 11, 11])), rows[[22, 0, 11, 11]])
