from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import embed
from mmf_muvla.pairing.config import EmbeddingOptions
from mmf_muvla.pairing.embed import Embedder, embed_sentences
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.sentences.importing import SENTENCES_SCHEMA

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


def test_embeddings_are_unit_vectors_in_order(table: Path, work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "part_size", lambda *_: 2)
    options = EmbeddingOptions(device="cpu", dtype="float32")
    assert embed_sentences(table, options, work()) == {"sentences": 5, "dimensions": 384}
    parts = sorted(work().folder.glob("*.npy"))
    assert [len(np.load(part)) for part in parts] == [2, 2, 1]
    vectors = Embeddings.of_folder(work().folder).gather(np.arange(5))
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, 384))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.4 > similarity[0, 2]
    # One at a time, it is the same.
    embedder = Embedder(options)
    np.testing.assert_allclose(vectors, np.concatenate([embedder.embed([text]) for text in TEXTS]), atol=1e-5)


def test_embeddings_can_be_stored_in_half_precision(table: Path, work: Any) -> None:
    embed_sentences(table, EmbeddingOptions(device="cpu", dtype="float16"), work())
    vectors = Embeddings.of_folder(work().folder).gather(np.arange(5))
    assert vectors.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)


@pytest.mark.usefixtures("quick_workers")
def test_several_processes_and_a_killed_run_give_the_same(
    table: Path, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "part_size", lambda *_: 1)
    options = EmbeddingOptions(device="cpu")
    embed_sentences(table, options, work("one"))
    # A part that is there, and is noted, is left as it is; one that is not noted is made again.
    killed = work("killed", num_workers=2)
    for suffix in ("npy", "json"):
        shutil.copy(work("one").folder / f"embeddings-000001.{suffix}", killed.folder)
    (killed.folder / "embeddings-000002.npy").write_bytes(b"half a file")
    before = (killed.folder / "embeddings-000001.npy").stat().st_mtime_ns
    embed_sentences(table, options, killed)
    assert (killed.folder / "embeddings-000001.npy").stat().st_mtime_ns == before
    for number in range(5):
        name = f"embeddings-{number:06d}.npy"
        assert (killed.folder / name).read_bytes() == (work("one").folder / name).read_bytes()


def test_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedding.model=/nowhere/model: no such file or folder"):
        Embedder(EmbeddingOptions(model="/nowhere/model"))
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="no Sentence-BERT model can be loaded from there"):
        Embedder(EmbeddingOptions(model=str(tmp_path / "model"), device="cpu"))
    with pytest.raises(InputError, match="embedding.device=abacus"):
        Embedder(EmbeddingOptions(device="abacus"))
