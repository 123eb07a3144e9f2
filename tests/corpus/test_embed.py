from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.corpus.arrow import TableWriter
from mmf_muvla.corpus.config import EmbeddingOptions
from mmf_muvla.corpus.embed import Embedder, embed_sentences
from mmf_muvla.corpus.sentences import SENTENCES_SCHEMA
from mmf_muvla.errors import InputError

TEXTS = [
    "A dog runs over a field.",
    "A puppy is running on the grass.",
    "The stock market fell.",
    "word " * 50,
    "a b c",
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    with TableWriter(tmp_path / "sentences.arrow", SENTENCES_SCHEMA) as writer:
        writer.write(TEXTS[:3], [1, 2, 3])
        writer.write(TEXTS[3:], [4, 5])
    return tmp_path / "sentences.arrow"


def test_embeddings_are_unit_vectors_in_order(table: Path, tmp_path: Path) -> None:
    options = EmbeddingOptions(device="cpu", dtype="float32", block_size=2)
    assert embed_sentences(table, options, tmp_path / "a.npy") == {"sentences": 5, "dimensions": 384}
    vectors = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, 384))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.4 > similarity[0, 2]
    # One at a time, it is the same.
    embedder = Embedder(options)
    np.testing.assert_allclose(vectors, np.concatenate([embedder.embed([text]) for text in TEXTS]), atol=1e-5)


def test_embeddings_can_be_stored_in_half_precision(table: Path, tmp_path: Path) -> None:
    embed_sentences(table, EmbeddingOptions(device="cpu", dtype="float16"), tmp_path / "a.npy")
    vectors = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert vectors.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)


def test_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedding.model=/nowhere/model: no such file or folder"):
        Embedder(EmbeddingOptions(model="/nowhere/model"))
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="no Sentence-BERT model can be loaded from there"):
        Embedder(EmbeddingOptions(model=str(tmp_path / "model"), device="cpu"))
    with pytest.raises(InputError, match="embedding.device=abacus"):
        Embedder(EmbeddingOptions(device="abacus"))
