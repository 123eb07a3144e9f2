"""Exact search on the GPU, in the half precision that it multiplies in, finds what it finds on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.search import exact_top_k

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_rows_and_scores_are_those_of_the_cpu(dtype: torch.dtype | None, device: torch.device) -> None:
    rng = np.random.default_rng(0)
    # Sentences come in groups that are nearly alike, and some twice.
    centres = rng.normal(size=(300, 384))
    sentences = centres[rng.integers(300, size=30_000)] + rng.normal(size=(30_000, 384)) * 0.02
    sentences[20_000:20_500] = sentences[:500]
    sentences = (sentences / np.linalg.norm(sentences, axis=1, keepdims=True)).astype(np.float16)
    queries = centres[rng.integers(300, size=500)] + rng.normal(size=(500, 384)) * 0.5
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    rows = Embeddings([sentences[:15_000], sentences[15_000:]])
    expected = exact_top_k(queries, rows, 5, dtype=torch.float32)
    found = exact_top_k(queries, rows, 5, [device], dtype)
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.scores, expected.scores)
    truth = np.sort(queries.astype(np.float64) @ sentences.astype(np.float64).T, axis=1)[:, :-6:-1]
    np.testing.assert_allclose(found.scores, truth, atol=1e-6)
