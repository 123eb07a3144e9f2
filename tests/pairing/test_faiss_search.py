from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import part_files
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import faiss_search
from mmf_muvla.pairing.config import FaissOptions
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.faiss_search import build_index, build_indexes, num_fetched, search_index, search_indexes
from mmf_muvla.pairing.search import exact_top_k, rescore

DIM, ROWS, K = 16, 1000, 10


def unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(ROWS, DIM)))


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit(np.random.default_rng(1).normal(size=(20, DIM)))


@pytest.fixture(scope="module")
def exact(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return exact_top_k(queries, Embeddings([rows]), K).ids


@pytest.fixture
def pool(rows: np.ndarray, tmp_path: Path) -> Embeddings:
    """The rows as a build has them, in parts of 100."""
    for number in range(ROWS // 100):
        np.save(tmp_path / f"embeddings-{number:06d}.npy", rows[100 * number : 100 * number + 100].astype(np.float16))
    return Embeddings.of_folder(tmp_path)


def candidates_of(folder: Path, queries: np.ndarray, k: int, options: FaissOptions) -> list[np.ndarray]:
    """What each index finds, numbered from its first row."""
    return [rows for rows, _ in search_indexes(part_files(folder, "index", ".faiss"), queries, k, options)]


def search(pool: Embeddings, queries: np.ndarray, kind: str, options: FaissOptions, work: Work) -> np.ndarray:
    """What is found in the end: candidates of FAISS, ranked exactly."""
    build_indexes(pool, kind, options, work)
    found, first = [], 0
    wanted = num_fetched(kind, options, K)
    for rows, count in search_indexes(part_files(work.folder, "index", ".faiss"), queries, wanted, options):
        found.append(np.where(rows >= 0, rows + first, -1))
        first += count
    return rescore(queries, pool, np.concatenate(found, axis=1), K)[0]


def options(**values: Any) -> FaissOptions:
    return FaissOptions(**{"quantizer": "Flat", **values})


# --- What is found --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_index", [100, 250, 300, 4_000_000])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("flat", options()),
        ("ivf", options(nlist=4, nprobe=4)),
        ("ivf", options(nlist=4, nprobe=4, quantizer="SQfp16")),
        ("hnsw", options(efSearch=1000, efConstruction=200)),
    ],
    ids=["flat", "ivf", "ivf, half precision", "hnsw"],
)
def test_where_everything_is_looked_at_it_is_exact(
    kind: str, settings: FaissOptions, per_index: int, pool: Embeddings, queries: np.ndarray, work: Any
) -> None:
    settings.sentences_per_index = per_index
    expected = exact_top_k(queries, pool, K).ids
    np.testing.assert_array_equal(search(pool, queries, kind, settings, work()), expected)
    files = part_files(work().folder, "index", ".faiss")
    sizes = [faiss.read_index(str(file)).ntotal for file in files]
    assert sizes == {100: [100] * 10, 250: [250] * 4, 300: [300, 300, 300, 100]}.get(per_index, [1000])


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_the_usual_options_find_nearly_all(kind: str, pool: Embeddings, queries: np.ndarray, work: Any) -> None:
    found = search(pool, queries, kind, FaissOptions(), work())
    expected = exact_top_k(queries, pool, K).ids
    assert np.mean([np.isin(one, other).mean() for one, other in zip(expected, found, strict=True)]) > 0.95


def test_candidates_are_numbered_from_the_first_of_their_index(
    pool: Embeddings, queries: np.ndarray, work: Any
) -> None:
    settings = options(sentences_per_index=300)
    assert build_indexes(pool, "flat", settings, work()) == {"sentences": ROWS}
    candidates = candidates_of(work().folder, queries, 7, settings)
    assert [rows.shape for rows in candidates] == [(len(queries), 7)] * 4
    for number, rows in enumerate(candidates):
        assert rows.dtype == np.int64 and rows.min() >= 0 and rows.max() < min(300, ROWS - 300 * number)
        assert all(len(set(row)) == 7 for row in rows.tolist())


def test_of_what_is_not_found_there_is_no_row(pool: Embeddings, queries: np.ndarray, work: Any) -> None:
    # One cell of some forty sentences is looked into.
    settings = options(nlist=25, nprobe=1, sentences_per_index=500)
    build_indexes(pool, "ivf", settings, work())
    for rows in candidates_of(work().folder, queries, 400, settings):
        assert rows.shape == (len(queries), 400)
        assert (rows[:, -1] == -1).all() and (rows[:, 0] >= 0).all() and rows.min() == -1


def test_more_can_be_asked_for_than_there_are(rows: np.ndarray, queries: np.ndarray) -> None:
    index = build_index(Embeddings([rows]), "flat", options(), 10, 17)
    assert np.sort(search_index(index, queries, 50, options()), axis=1).tolist() == [list(range(7))] * len(queries)


# --- Parameters -----------------------------------------------------------------------------------------------------


def built(rows: np.ndarray, kind: str, settings: FaissOptions) -> Any:
    return build_index(Embeddings([rows]), kind, settings, 0, len(rows))


@pytest.mark.parametrize("nprobe", [1, 3, 12])
def test_cells_that_are_looked_into(nprobe: int, rows: np.ndarray, queries: np.ndarray) -> None:
    settings = options(nlist=12, nprobe=nprobe)
    index = built(rows, "ivf", settings)
    cells = faiss.extract_index_ivf(index)
    assert (cells.nlist, cells.metric_type) == (12, faiss.METRIC_INNER_PRODUCT)
    found = search_index(index, queries, ROWS, settings)
    assert cells.nprobe == nprobe
    # All sentences of the cells whose centres are nearest, and no others.
    _, nearest = cells.quantizer.search(queries, nprobe)
    cell_of_row = cells.quantizer.search(rows, 1)[1][:, 0]
    for row, own_cells in zip(found, nearest, strict=True):
        assert sorted(row[row >= 0].tolist()) == np.flatnonzero(np.isin(cell_of_row, own_cells)).tolist()


def test_parameters_of_graphs(rows: np.ndarray, queries: np.ndarray) -> None:
    settings = options(M=8, efConstruction=33, efSearch=77)
    index = built(rows, "hnsw", settings)
    graph = faiss.downcast_index(index).hnsw
    # On the lowest level a node has twice as many neighbours.
    assert (graph.nb_neighbors(1), graph.nb_neighbors(0), graph.efConstruction) == (8, 16, 33)
    search_index(index, queries, 5, settings)
    assert graph.efSearch == 77
    # With a narrower search than K, not even K would be found.
    search_index(index, queries, 100, settings)
    assert graph.efSearch == 100


@pytest.mark.parametrize(("quantizer", "kind"), [("SQ8", "QT_8bit"), ("SQfp16", "QT_fp16")])
def test_how_vectors_are_stored(quantizer: str, kind: str, rows: np.ndarray) -> None:
    index = built(rows, "ivf", FaissOptions(nlist=4, quantizer=quantizer))
    assert faiss.downcast_index(index).sq.qtype == getattr(faiss.ScalarQuantizer, kind)
    assert FaissOptions().quantizer == "SQfp16"


@pytest.mark.parametrize(
    ("count", "settings", "cells"),
    [
        # Eight times the square root, to a power of two, as far as there are 39 sentences a cell to learn from.
        (1000, FaissOptions(), 25),
        (10**6, FaissOptions(), 5128),
        (10**6, FaissOptions(train_size=10**6), 8192),
        (10**6, FaissOptions(nlist=100), 100),
        (20, FaissOptions(), 1),
        (1000, FaissOptions(nlist=100), 25),
    ],
)
def test_how_many_cells(count: int, settings: FaissOptions, cells: int) -> None:
    assert faiss_search.factory("ivf", settings, count, 384) == f"IVF{cells},SQfp16"


@pytest.mark.parametrize(
    ("count", "dimensions", "settings", "factory"),
    [
        (10**6, 384, FaissOptions(), "IVF5128,PQ64np"),
        # With the columns of penalties, and where there are fewer numbers than bytes.
        (10**6, 392, FaissOptions(), "IVF5128,PQ56np"),
        (10**6, 16, FaissOptions(), "IVF5128,PQ16np"),
        (10**6, 384, FaissOptions(code_size=40, nlist=7), "IVF7,PQ32np"),
        # Too few to learn 256 pieces from.
        (9983, 384, FaissOptions(), "IVF255,SQfp16"),
        (9984, 384, FaissOptions(), "IVF256,PQ64np"),
        (10**6, 384, FaissOptions(train_size=5000), "IVF128,SQfp16"),
    ],
)
def test_codes(count: int, dimensions: int, settings: FaissOptions, factory: str) -> None:
    assert faiss_search.factory("ivfpq", settings, count, dimensions) == factory


def test_of_codes_more_is_fetched() -> None:
    kinds = ("flat", "ivf", "hnsw", "ivfpq")
    assert [num_fetched(kind, FaissOptions(), 5) for kind in kinds] == [20, 20, 20, 205]
    assert [num_fetched(kind, FaissOptions(candidates=7), 5) for kind in kinds] == [12] * 4


def test_codes_are_small_and_ranked_again(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    # Sentences in 25 bundles: codes of two bytes tell bundles apart, but not those within one.
    random = np.random.default_rng(5)
    middles = unit(random.normal(size=(25, DIM)))
    bundles = Embeddings([unit(np.repeat(middles, 40, axis=0) + 0.05 * random.normal(size=(1000, DIM)))])
    asked = unit(middles[:10] + 0.05 * random.normal(size=(10, DIM)))
    monkeypatch.setattr(faiss_search, "_CODE_WORDS", 1)  # 256 are learned all the same, from too few
    settings = FaissOptions(code_size=2, nlist=4, nprobe=4)
    expected = exact_top_k(asked, bundles, K).ids
    shares = []
    for candidates in (1, 50):
        settings.candidates = candidates
        found = search(bundles, asked, "ivfpq", settings, work())
        shares.append(np.mean([np.isin(one, other).mean() for one, other in zip(expected, found, strict=True)]))
    assert shares[0] < 0.8 and shares[1] > 0.95
    (file,) = part_files(work().folder, "index", ".faiss")
    codes = faiss.downcast_index(faiss.read_index(str(file)))
    assert (codes.pq.code_size, codes.ntotal) == (2, 1000)


def test_cells_are_learned_from_a_sample_that_is_always_the_same(
    rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = []
    gather = Embeddings.gather

    def note(pool: Embeddings, wanted: np.ndarray) -> np.ndarray:
        samples.append(wanted)
        return gather(pool, wanted)

    monkeypatch.setattr(Embeddings, "gather", note)
    for _ in range(2):
        build_index(Embeddings([rows]), "ivf", options(train_size=200), 300, 900)
    first, second = samples
    np.testing.assert_array_equal(first, second)
    assert len(set(first.tolist())) == 200 and first.min() >= 300 and first.max() < 900


def test_factory_replaces_what_the_kind_would_make(rows: np.ndarray, queries: np.ndarray) -> None:
    index = built(rows, "ivf", options(factory="HNSW12,Flat", efConstruction=44))
    inner = faiss.downcast_index(index)
    assert isinstance(inner, faiss.IndexHNSWFlat)
    assert (inner.hnsw.nb_neighbors(1), inner.hnsw.efConstruction) == (12, 44)
    search_index(index, queries, 5, options(efSearch=55))
    assert inner.hnsw.efSearch == 55


@pytest.mark.parametrize("factory", ["PCA8,IVF6,Flat", "OPQ4,IVF6,SQ8", "IVF6,SQ8,RFlat", "PCA12,IVF6,SQ8,RFlat"])
def test_parameters_reach_an_index_inside_of_another(factory: str, rows: np.ndarray, queries: np.ndarray) -> None:
    settings = options(factory=factory, nprobe=5)
    index = built(rows, "ivf", settings)
    search_index(index, queries, 5, settings)
    assert faiss_search._inner(index).nprobe == 5
    settings = options(factory="PCA8,HNSW6", efSearch=91, efConstruction=17)
    index = built(rows, "hnsw", settings)
    search_index(index, queries, 5, settings)
    graph = faiss_search._inner(index).hnsw
    assert (graph.efSearch, graph.efConstruction) == (91, 17)


@pytest.mark.parametrize("factory", ["Blah", "IVF,Flat", "IVF16,", "PQ7", 5, "HNSWx", "IVF16,SQfp17", "Flat,Flat"])
@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_factory_that_is_nonsense(kind: str, factory: Any, rows: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        built(rows, kind, options(factory=factory))
    assert caught.value.where == "retrieval.faiss"
    assert f"does not understand: '{factory}' (" in caught.value.problem
    assert "faiss.index_factory" in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_quantizer_that_is_nonsense(kind: str, rows: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"FAISS does not understand: '(IVF|HNSW).*,SQblah'"):
        built(rows, kind, options(quantizer="SQblah"))


@pytest.mark.parametrize("factory", ["IVF2000,Flat", "PQ4"])
def test_factory_that_needs_more_sentences(factory: str, rows: np.ndarray) -> None:
    with pytest.raises(InputError, match=f"FAISS cannot learn from 200 sentences: '{factory}'"):
        build_index(Embeddings([rows]), "ivf", options(factory=factory), 0, 200)


# --- Files ----------------------------------------------------------------------------------------------------------


def test_indexes_that_are_there_are_not_built_again(
    pool: Embeddings, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = options(sentences_per_index=300)
    build_indexes(pool, "flat", settings, work())
    files = part_files(work().folder, "index", ".faiss")
    whole = [file.read_bytes() for file in files]

    # Killed while the third was written.
    files[2].write_bytes(whole[2][:100])
    (work().folder / "index-000002.json").unlink()
    files[3].unlink()
    (work().folder / "index-000003.json").unlink()
    built = []
    original = faiss_search.build_index

    def note(embeddings: Embeddings, kind: str, options: FaissOptions, start: int, stop: int) -> Any:
        built.append((start, stop))
        return original(embeddings, kind, options, start, stop)

    monkeypatch.setattr(faiss_search, "build_index", note)
    assert build_indexes(pool, "flat", settings, work()) == {"sentences": ROWS}
    assert built == [(600, 900), (900, 1000)]
    assert [file.read_bytes() for file in files] == whole


def test_one_index_is_in_memory_at_a_time(pool: Embeddings, queries: np.ndarray, work: Any) -> None:
    settings = options(sentences_per_index=300)
    build_indexes(pool, "flat", settings, work())
    files = part_files(work().folder, "index", ".faiss")
    found = search_indexes(files, queries, 5, settings)
    assert next(found)[1] == 300
    # The others have not been read.
    for file in files[1:]:
        file.unlink()
    with pytest.raises(RuntimeError):
        next(found)
