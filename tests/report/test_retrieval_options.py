"""Sentence-BERT sees tags as the retrieval did that a run's pairs were made with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmf_muvla.pairing.config import QueryOptions
from mmf_muvla.report.matching_evaluation import MatchingOptions
from mmf_muvla.report.retrieval_options import read_retrieval_options

EMBEDDING = {"model": "a/model", "compute_dtype": "float32", "dtype": "float32"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Of a corpus, what its build says of its retrieval."""
    query = {**vars(QueryOptions(min_confidence=0.3, separator=", ", order="confidence")), "k": 3, "index": "exact"}
    for stage, parameters in {"embed": EMBEDDING, "retrieve": query}.items():
        folder = tmp_path / "corpus" / "build" / stage
        folder.mkdir(parents=True)
        rest = {"name": stage, "counts": {}, "seconds": 0.0, "outputs": {}}
        (folder / "manifest.json").write_text(json.dumps({"made_from": {"parameters": parameters}, **rest}))
    return tmp_path / "corpus"


def options_of(run: Path, corpus: str, *arguments: str) -> MatchingOptions:
    run.mkdir(exist_ok=True)
    data = {"datasets": "some_data", "dataset_config": {"some_data": {"corpus": corpus} if corpus else {}}}
    (run / "config.yaml").write_text(json.dumps(data))
    return read_retrieval_options(MatchingOptions, [f"run={run}", "captions=c.jsonl", "regions=r", *arguments])


def test_what_is_not_given_is_as_the_corpus_was_built(corpus: Path, tmp_path: Path) -> None:
    options = options_of(tmp_path / "run", str(corpus), "query.order=alphabetical", "embedding.dtype=float16")
    assert options.query == QueryOptions(min_confidence=0.3, separator=", ", order="alphabetical")
    assert vars(options.embedding) == {**vars(MatchingOptions("", "", "").embedding), **EMBEDDING, "dtype": "float16"}
    assert options.captions == "c.jsonl" and options.candidates == 100


def test_a_corpus_that_is_gone_is_said(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (corpus / "build" / "embed" / "manifest.json").unlink()
    for gone in (corpus, tmp_path / "nowhere"):
        caplog.clear()
        assert options_of(tmp_path / "run", str(gone)).query == QueryOptions()
        assert f"{gone}/corpus.json" in caplog.text and "default query" in caplog.text


def test_a_tasks_run_has_no_corpus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert options_of(tmp_path / "run", "", "query.min_confidence=0.4").query == QueryOptions(min_confidence=0.4)
    assert not caplog.text
