from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.artifacts.parts import part_files
from mmf_muvla.pairing import csls, search_parts
from mmf_muvla.pairing.config import FaissOptions, RetrievalOptions
from mmf_muvla.pairing.csls import ImageEmbeddings, find_penalties, penalised
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.faiss_search import build_indexes
from mmf_muvla.pairing.pairs import Owners
from mmf_muvla.pairing.search_parts import Search, find_sentences
from mmf_muvla.sentences.importing import OWNERS_SCHEMA

DIM, SENTENCES, IMAGES, K = 8, 50, 10, 3
RANDOM = np.random.default_rng(0)


def unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


# Twelve different sentences, each about four times: of every query the best are equal.
DIFFERENT = unit(RANDOM.normal(size=(12, DIM)))
POOL = DIFFERENT[RANDOM.permutation(np.resize(np.arange(12), SENTENCES))].astype(np.float16)
QUERIES = unit(RANDOM.normal(size=(7, DIM)))
QUERY_OF_IMAGE = np.array([0, 1, 2, 0, 3, 4, 5, 1, 1, 6])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Embeddings:
    folder = tmp_path_factory.mktemp("embed")
    for number in range(3):
        np.save(folder / f"embeddings-{number:06d}.npy", POOL[20 * number : 20 * number + 20])
    return Embeddings.of_folder(folder)


@pytest.fixture
def start(work: Any) -> Callable[..., Work]:
    """``start(name)`` is a working folder in which the queries are embedded, four images a part."""

    def make(name: str) -> Work:
        found = work(name)
        for number, images in enumerate(np.split(np.arange(IMAGES), [4, 8])):
            numbers, of_image = np.unique(QUERY_OF_IMAGE[images], return_inverse=True)
            arrays = {"embedding": QUERIES[numbers], "query_of_image": of_image, "image": images.astype(np.uint64)}
            save_file(arrays, found.folder / f"queries-{number:06d}.safetensors")
        return found

    return make


def options(**values: Any) -> RetrievalOptions:
    return RetrievalOptions(**{"k": K, "device": "cpu", "images_at_once": 4, **values})


def find(pool: Embeddings, retrieval: RetrievalOptions, work: Work, owners: Owners | None = None) -> dict[str, int]:
    """What the stage does between queries and results."""
    if retrieval.scores == "csls":
        images = ImageEmbeddings(part_files(work.folder, "queries", ".safetensors"))
        find_penalties(images, pool, retrieval.device, work)
        pool = penalised(pool, work.folder)
    if retrieval.index != "exact":
        build_indexes(pool, retrieval.index, retrieval.faiss, work)
    return find_sentences(Search(work.folder, pool, retrieval, owners), work)


def results(work: Work) -> list[bytes]:
    return [file.read_bytes() for file in part_files(work.folder, "results", ".safetensors")]


FAISS = FaissOptions(nprobe=100, quantizer="Flat", sentences_per_index=9, nlist=2)
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all together": {"images_at_once": 1000},
    "every sentence": {"k": SENTENCES},
    "csls": {"scores": "csls"},
    "max_uses": {"max_uses": 2},
    "csls, max_uses": {"scores": "csls", "max_uses": 2},
    "flat": {"index": "flat", "faiss": FAISS},
    "ivf": {"index": "ivf", "faiss": FAISS},
    "ivf, csls": {"index": "ivf", "faiss": FAISS, "scores": "csls"},
    # Of two cells in each file one is looked into, which may have fewer sentences than are wanted.
    "ivf that misses some": {"index": "ivf", "k": 30, "faiss": replace(FAISS, factory="IVF2,Flat", nprobe=1)},
}


@pytest.mark.parametrize("way", WAYS)
def test_how_sentences_are_divided_makes_no_difference(way: str, pool: Embeddings, start: Any) -> None:
    whole = find(pool, options(**WAYS[way]), start("whole"))
    expected = results(start("whole"))
    assert len(expected) == (1 if way == "all together" else 3)
    # Fewer in a shard than K in the last; one more than in a file; and more than there are.
    for size in (8, 21, 1000):
        work = start(f"{size}")
        counts = find(pool, options(**WAYS[way], sentences_at_once=size), work)
        assert results(work) == expected
        assert counts["not_found"] == whole["not_found"]
        index = options(**WAYS[way]).index != "exact"
        shards = -(-SENTENCES // (max(1, size // 9) * 9 if index else size))
        found = part_files(work.folder, "found", ".safetensors")
        assert len(found) == (shards * len(expected) if shards > 1 else 0)
    assert (whole["not_found"] > 0) == (way == "ivf that misses some")


def test_own_sentences_are_left_out_of_shards(pool: Embeddings, start: Any, tmp_path: Path) -> None:
    # Of each image the best sentence, and one that is none of the best.
    order = np.argsort(-(QUERIES @ POOL.astype(np.float32).T), axis=1, kind="stable")
    own = [(image, int(order[QUERY_OF_IMAGE[image], rank])) for image in range(IMAGES) for rank in (0, 40)]
    with TableWriter(tmp_path / "owners.arrow", OWNERS_SCHEMA) as writer:
        writer.write([str(image) for image, _ in own], [row for _, row in own])
    owners = Owners.__new__(Owners)
    owners._image, owners.rows = np.array([image for image, _ in own], np.uint64), np.array([row for _, row in own])
    owners.most_of_one_image = 2
    find(pool, options(), start("whole"), owners)
    for size in (8, 21):
        find(pool, options(sentences_at_once=size), start(f"{size}"), owners)
        assert results(start(f"{size}")) == results(start("whole"))
    found = np.concatenate(
        [load_file(file)["sentence"] for file in part_files(start("whole").folder, "results", ".safetensors")]
    )
    assert not {(image, row) for image, rows in enumerate(found.tolist()) for row in rows} & set(own)


def test_of_equal_sentences_in_several_shards_the_first_are_the_best(pool: Embeddings, start: Any) -> None:
    find(pool, options(k=6, sentences_at_once=5), start("work"))
    files = part_files(start("work").folder, "results", ".safetensors")
    found = np.concatenate([load_file(file)["sentence"] for file in files])
    exact = (QUERIES.astype(np.float64) @ POOL.astype(np.float64).T).astype(np.float32)[QUERY_OF_IMAGE]
    assert found.tolist() == np.argsort(-exact, axis=1, kind="stable")[:, :6].tolist()


def test_a_killed_search_goes_on_with_its_shards_and_with_others(
    pool: Embeddings, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(pool, options(), start("whole"))
    made: list[str] = []
    work = start("killed")

    def run(size: int, last: int) -> list[str]:
        made.clear()
        with monkeypatch.context() as patched:
            for name in ("_search_shard", "_merge_part"):
                original = getattr(search_parts, name)

                def make(state: Any, item: Any, path: Path, progress: Any, original: Any = original) -> Any:
                    if len(made) == last:
                        raise KeyboardInterrupt
                    made.append(path.name)
                    return original(state, item, path, progress)

                patched.setattr(search_parts, name, make)
            find(pool, options(sentences_at_once=size), work)
        return made

    with pytest.raises(KeyboardInterrupt):
        run(25, 2)
    # Parts of the first shard come first; and none of them is made twice.
    with pytest.raises(KeyboardInterrupt):
        run(25, 3)
    assert made == ["found-000002", "found-000003", "found-000004"]
    # Three shards instead of two: not one part holds what it held.
    assert run(20, 100) == [f"found-{n:06d}" for n in range(9)] + [f"results-{n:06d}" for n in range(3)]
    assert results(work) == results(start("whole"))
    # What is merged is not merged again.
    assert run(20, 0) == []


class Elsewhere(Executor):
    """Makes parts as a cluster does, to which everything has to be sent."""

    def map(
        self,
        function: Callable[[Any, Any], Any],
        items: Iterable[Any],
        setup: Callable[..., Any] | None = None,
        arguments: tuple[Any, ...] = (),
        **_: Any,
    ) -> Iterator[Any]:
        function, setup, arguments = pickle.loads(pickle.dumps((function, setup, arguments)))
        assert len(pickle.dumps(arguments)) < 2000
        state = setup(*arguments) if setup else None
        for item in items:
            yield function(state, pickle.loads(pickle.dumps(item)))

    def settings(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("way", ["plain", "ivf, csls", "csls, max_uses"])
def test_parts_can_be_made_elsewhere(way: str, pool: Embeddings, start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csls, "_SENTENCES_AT_ONCE", 13)
    whole = find(pool, options(**WAYS[way]), start("whole"))
    for size in (None, 11):
        work = replace(start(f"{size}"), executor=Elsewhere())
        counts = find(pool, options(**WAYS[way], sentences_at_once=size), work)
        assert results(work) == results(start("whole")) and counts["not_found"] == whole["not_found"]
