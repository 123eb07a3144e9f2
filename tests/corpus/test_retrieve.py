from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.corpus.config import RetrievalOptions
from mmf_muvla.corpus.retrieve import top_k
from mmf_muvla.errors import InputError


def unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def brute_force(queries: np.ndarray, sentences: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """One score at a time; the lower row wins a tie."""
    ids, scores = [], []
    for query in queries:
        exact = [
            np.float32(sum(float(a) * float(b) for a, b in zip(query, sentence, strict=True))) for sentence in sentences
        ]
        best = sorted(range(len(sentences)), key=lambda row: (-exact[row], row))[:k]
        ids.append(best)
        scores.append([exact[row] for row in best])
    return np.array(ids), np.array(scores)


@pytest.mark.parametrize(("query_block", "sentence_block"), [(1024, 65536), (3, 17), (1, 1), (7, 100)])
def test_equals_brute_force(query_block: int, sentence_block: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    queries, sentences = unit(random.normal(size=(10, 12))), unit(random.normal(size=(153, 12))).astype(np.float16)
    # From a mapped file, as in a build.
    np.save(tmp_path / "embeddings.npy", sentences)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    options = RetrievalOptions(k=4, query_block=query_block, sentence_block=sentence_block, device="cpu")
    ids, scores = top_k(queries, mapped, options)
    expected_ids, expected_scores = brute_force(queries, sentences, 4)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)
    assert scores.dtype == np.float32


@pytest.mark.parametrize(("query_block", "sentence_block"), [(1024, 65536), (2, 9), (5, 40)])
def test_of_equal_sentences_the_first_win(query_block: int, sentence_block: int) -> None:
    random = np.random.default_rng(1)
    # 200 sentences, but only 4 different ones: every query has a tie of about fifty.
    sentences = unit(random.normal(size=(4, 16)))[random.integers(4, size=200)]
    queries = unit(random.normal(size=(6, 16)))
    options = RetrievalOptions(k=7, query_block=query_block, sentence_block=sentence_block, device="cpu")
    ids, _ = top_k(queries, sentences, options)
    np.testing.assert_array_equal(ids, brute_force(queries, sentences, 7)[0])


def test_all_sentences_can_be_asked_for() -> None:
    sentences = unit(np.random.default_rng(2).normal(size=(6, 4)))
    ids, _ = top_k(sentences[:2], sentences, RetrievalOptions(k=6, sentence_block=4, device="cpu"))
    assert sorted(ids[0].tolist()) == list(range(6))
    assert ids[:, 0].tolist() == [0, 1]


def test_more_than_there_are_cannot() -> None:
    sentences = np.eye(3, dtype=np.float32)
    with pytest.raises(InputError, match="retrieval.k=5: there are only 3 sentences"):
        top_k(sentences, sentences, RetrievalOptions(k=5, device="cpu"))


def test_unknown_device() -> None:
    sentences = np.eye(3, dtype=np.float32)
    with pytest.raises(InputError, match="retrieval.device=abacus: this device cannot be used"):
        top_k(sentences, sentences, RetrievalOptions(k=1, device="abacus"))
