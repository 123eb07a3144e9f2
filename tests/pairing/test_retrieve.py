from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.arrow import TableWriter
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import capped, csls, retrieve, search_parts
from mmf_muvla.pairing.config import EmbeddingOptions, FaissOptions, PairingOptions, QueryOptions, RetrievalOptions
from mmf_muvla.pairing.embed import Embedder
from mmf_muvla.pairing.embeddings import Embeddings
from mmf_muvla.pairing.query import query_text
from mmf_muvla.pairing.retrieve import retrieve_sentences
from mmf_muvla.regions.store import Regions, RegionStore, RegionStoreWriter
from mmf_muvla.sentences.importing import OWNERS_SCHEMA

NAMES = ["dog", "cat", "car", "horse", "chair", "boat"]
PLACES = ["in the park", "at home", "on the road", "near the sea", "in a field", "at night", "in the snow", "today"]
SENTENCES = [f"A {name} is seen {place}." for name in NAMES for place in PLACES]
# Classes in each image; images 0 and 3 ask for the same, and so do 1, 7 and 8.
TAGS = [
    ["dog", "cat"],
    ["car"],
    ["horse", "boat"],
    ["dog", "cat"],
    ["chair"],
    ["boat"],
    ["cat"],
    ["car"],
    ["car"],
    ["dog"],
]
IMAGES = [f"image{number}" for number in range(len(TAGS))]
EMBEDDING = EmbeddingOptions(device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "regions"
    with RegionStoreWriter(path, NAMES, ["red"], 4) as writer:
        for image_id, tags in zip(IMAGES, TAGS, strict=True):
            writer.put(
                Regions(
                    image_id=image_id,
                    width=100,
                    height=100,
                    image_feature_0=np.ones((len(tags), 4), np.float16),
                    bbox=np.tile(np.array([[0, 0, 50, 50]], np.float32), (len(tags), 1)),
                    class_id=np.array([NAMES.index(tag) for tag in tags], np.int32),
                    attribute_id=np.where(np.arange(len(tags)) % 2, -1, 0).astype(np.int32),
                    confidence=np.linspace(0.9, 0.6, len(tags)).astype(np.float32),
                )
            )
    return path


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(EMBEDDING)


@pytest.fixture(scope="module")
def vectors(embedder: Embedder) -> np.ndarray:
    return embedder.embed(SENTENCES).astype(np.float16)


@pytest.fixture(scope="module")
def pool(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embed")
    for number in range(3):
        np.save(folder / f"embeddings-{number:06d}.npy", vectors[20 * number : 20 * number + 20])
    return folder


@pytest.fixture
def one_model(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """In this process the model is loaded once; and all texts are noted that it is given."""
    asked: list[list[str]] = []

    class Noting:
        def embed(self, texts: list[str]) -> np.ndarray:
            asked.append(texts)
            return embedder.embed(texts)

    monkeypatch.setattr(retrieve, "start_embedder", lambda _: Noting())
    return asked


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a part."""
    monkeypatch.setattr(retrieve, "part_size", lambda total, most: 4)


def options(**values: Any) -> RetrievalOptions:
    return RetrievalOptions(**{"k": 3, "device": "cpu", **values})


def owners_table(path: Path, owners: list[tuple[str, int]]) -> Path:
    with TableWriter(path, OWNERS_SCHEMA) as writer:
        for part in (owners[: len(owners) // 2], owners[len(owners) // 2 :]):
            if part:
                writer.write([image for image, _ in part], [row for _, row in part])
    return path


def results(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.load(folder / f"{name}.npy") for name in ("sentence", "score", "used")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def similarities(embedder: Embedder, vectors: np.ndarray, query: QueryOptions | None = None) -> np.ndarray:
    """Cosine similarity of every image's query and every sentence, in double precision."""
    query = query or QueryOptions()
    texts = []
    for tags in TAGS:
        full = [f"red {tag}" if query.attributes and number % 2 == 0 else tag for number, tag in enumerate(tags)]
        texts.append(query_text(full, np.linspace(0.9, 0.6, len(tags)).tolist(), query))
    return embedder.embed(texts).astype(np.float64) @ vectors.astype(np.float64).T


# --- What is retrieved ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_model")
@pytest.mark.parametrize("attributes", [True, False])
def test_the_most_similar_sentences_of_every_image(
    attributes: bool, store: Path, pool: Path, embedder: Embedder, vectors: np.ndarray, work: Any
) -> None:
    query = QueryOptions(attributes=attributes)
    counts = retrieve_sentences(store, pool, query, EMBEDDING, options(k=7), work())
    found = results(work().folder)
    assert found["sentence"].shape == found["score"].shape == (len(IMAGES), 7)
    assert (found["sentence"].dtype, found["score"].dtype, found["used"].dtype) == (np.int64, np.float32, np.int64)
    expected = similarities(embedder, vectors, query)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(found["sentence"], order)
    np.testing.assert_allclose(found["score"], np.take_along_axis(expected, order, axis=1), atol=1e-6)
    assert (np.diff(found["score"], axis=1) <= 0).all()
    assert found["used"].tolist() == sorted(set(found["sentence"].reshape(-1).tolist()))
    # It is about what is to be seen.
    for tags, row in zip(TAGS, found["sentence"], strict=True):
        assert NAMES[row[0] // len(PLACES)] in tags
    # The images are those of the store, in its order.
    assert RegionStore(store).ids == IMAGES
    assert (counts["images"], counts["queries"], counts["sentences_used"]) == (10, 7, len(found["used"]))
    assert (counts["not_found"], counts["searched_again"]) == (0, counts["searched_again"])


@pytest.mark.usefixtures("one_model")
@pytest.mark.parametrize("index", ["flat", "ivf", "hnsw"])
def test_indexes_that_look_at_everything_find_the_same(index: str, store: Path, pool: Path, work: Any) -> None:
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work("exact"))
    faiss = FaissOptions(nprobe=100, efSearch=100, sentences_per_index=30)
    counts = retrieve_sentences(
        store, pool, QueryOptions(), EMBEDDING, options(index=index, faiss=faiss), work("index")
    )
    assert contents(work("index").folder) == contents(work("exact").folder)
    assert counts["not_found"] == 0
    # Queries, indexes and parts of the results were for the work alone.
    left = {path.name for path in work("index").folder.iterdir() if not path.name.endswith(".done.json")}
    assert left <= {"sentence.npy", "score.npy", "used.npy", "progress.json"}


@pytest.mark.usefixtures("one_model")
@pytest.mark.parametrize("images_at_once", [1, 8, 1000])
def test_what_an_index_does_not_find_is_searched_for(
    images_at_once: int, store: Path, pool: Path, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=20), work("exact"))
    # Twelve cells of four sentences each, of which one is looked into.
    faiss = FaissOptions(factory="IVF12,Flat", nprobe=1)
    settings = options(k=20, index="ivf", faiss=faiss, images_at_once=images_at_once)
    counts = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings, work("index"))
    assert contents(work("index").folder) == contents(work("exact").folder)
    # Images, not queries.
    assert counts["not_found"] == len(IMAGES) > counts["queries"]
    # With as many as a cell has at least, that is not needed.
    settings = options(k=1, index="ivf", faiss=faiss, images_at_once=images_at_once)
    counts = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings, work("few"))
    assert counts["not_found"] == 0


@pytest.mark.usefixtures("small_parts")
def test_equal_queries_are_embedded_once_in_a_part(
    one_model: list[list[str]], store: Path, pool: Path, work: Any
) -> None:
    counts = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work())
    assert one_model == [
        ["red dog. cat", "red car", "red horse. boat"],
        ["red chair", "red boat", "red cat", "red car"],
        ["red car", "red dog"],
    ]
    assert (counts["images"], counts["queries"]) == (10, 9)
    found = results(work().folder)
    for name in ("sentence", "score"):
        assert found[name][0].tobytes() == found[name][3].tobytes()
    # Those of other parts are embedded beside other queries, whose number can decide how a processor rounds.
    for image in (7, 8):
        assert found["sentence"][1].tolist() == found["sentence"][image].tolist()
        assert np.allclose(found["score"][1], found["score"][image], rtol=0, atol=1e-6)


def test_too_few_sentences(store: Path, pool: Path, work: Any, one_model: list[list[str]]) -> None:
    for index in ("exact", "flat"):
        with pytest.raises(
            InputError, match="retrieval.k=49: there are only 48 sentences. Give more text, or lower it"
        ):
            retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=49, index=index), work())
    # That is known before anything is embedded.
    assert one_model == []
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=48), work())
    assert np.sort(results(work().folder)["sentence"], axis=1).tolist() == [list(range(48))] * len(IMAGES)


# --- Without an image's own -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_model", "small_parts")
@pytest.mark.parametrize("index", ["exact", "flat", "ivf"])
@pytest.mark.parametrize("images_at_once", [4, 1000])
def test_own_sentences_are_left_out(
    index: str,
    images_at_once: int,
    store: Path,
    pool: Path,
    embedder: Embedder,
    vectors: np.ndarray,
    work: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # That of other images is of no account.
    monkeypatch.setattr(retrieve, "_MOST_OF_ONE_IMAGE", 4)
    expected = similarities(embedder, vectors)
    order = np.argsort(-expected, axis=1, kind="stable")
    own: dict[str, list[int]] = {
        # The best three, and one that would not be found anyway.
        "image0": [*order[0, :3].tolist(), int(order[0, -1])],
        # The second, twice.
        "image1": [int(order[1, 1])] * 2,
        # Two images share their best text, and a third has the same query but not the text.
        "image7": [int(order[7, 0])],
        # Of one, none would be found.
        "image4": order[4, 10:12].tolist(),
        # An image of another corpus has very many.
        "elsewhere": list(range(48)),
    }
    own["image1"].append(own["image7"][0])
    pairs = [(image, row) for image, rows in own.items() for row in rows]
    random = np.random.default_rng(0)
    random.shuffle(pairs)
    table = owners_table(tmp_path / "owners.arrow", [(str(image), int(row)) for image, row in pairs])
    settings = options(index=index, images_at_once=images_at_once, faiss=FaissOptions(nprobe=100))
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings, work(), owners=table)
    found = results(work().folder)
    assert found["sentence"].shape == (len(IMAGES), 3)
    for number, image in enumerate(IMAGES):
        best = [row for row in order[number].tolist() if row not in own.get(image, [])][:3]
        assert found["sentence"][number].tolist() == best
        np.testing.assert_allclose(found["score"][number], expected[number, best], atol=1e-6)
    # Image 8 asks for the same as 1 and 7, and may have what is theirs.
    assert found["sentence"][8, 0] == order[8, 0] == own["image7"][0]


@pytest.mark.usefixtures("one_model")
def test_an_image_may_own_so_much_that_nothing_is_left(store: Path, pool: Path, work: Any, tmp_path: Path) -> None:
    table = owners_table(tmp_path / "owners.arrow", [("image5", row) for row in range(46)])
    with pytest.raises(InputError) as caught:
        retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work("few"), owners=table)
    assert caught.value.where == "retrieval.k=3"
    assert "46 sentences of its own, and fewer than 3 others are left" in caught.value.problem
    assert "exclude_own=false" in caught.value.remedy
    # Two are left.
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=2), work("enough"), owners=table)
    assert sorted(results(work("enough").folder)["sentence"][5].tolist()) == [46, 47]


@pytest.mark.usefixtures("one_model")
def test_a_column_that_does_not_tell_images_apart(
    store: Path, pool: Path, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "_MOST_OF_ONE_IMAGE", 20)
    table = owners_table(tmp_path / "owners.arrow", [("image5", row) for row in range(21)])
    with pytest.raises(InputError, match="image_id_column: an image of the corpus has 21 sentences of its own"):
        retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work(), owners=table)


@pytest.mark.usefixtures("one_model")
@pytest.mark.parametrize("owners", [[], [("elsewhere", 3), ("nowhere", 4)]])
def test_owners_that_are_not_in_the_corpus(
    owners: list[tuple[str, int]], store: Path, pool: Path, work: Any, tmp_path: Path
) -> None:
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work("without"))
    table = owners_table(tmp_path / "owners.arrow", owners)
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work("with"), owners=table)
    assert contents(work("with").folder) == contents(work("without").folder)


# --- Given pairs ----------------------------------------------------------------------------------------------------

# Of four, of one, and of two that another image has as well; the best and the worst, in no order.
OWN = {
    image: [[47, 3, 20, 9], [30], [11, 5], [5, 40]][number % 4] + ([number] if number > 5 else [])
    for number, image in enumerate(IMAGES)
}


def given(
    store: Path, pool: Path, table: Path, work: Any, fraction: float = 1.0, seed: int = 0, **values: Any
) -> dict[str, int]:
    pairing = PairingOptions("captions", fraction, seed)
    return retrieve_sentences(
        store, pool, QueryOptions(), EMBEDDING, options(**values), work, owners=table, pairing=pairing
    )


@pytest.fixture
def own_table(tmp_path: Path) -> Path:
    return owners_table(tmp_path / "owners.arrow", [(image, row) for image, rows in OWN.items() for row in rows])


@pytest.mark.usefixtures("one_model", "small_parts")
@pytest.mark.parametrize("images_at_once", [4, 1000])
def test_own_sentences_with_their_scores(
    images_at_once: int, store: Path, pool: Path, own_table: Path, embedder: Embedder, vectors: np.ndarray, work: Any
) -> None:
    counts = given(store, pool, own_table, work(), images_at_once=images_at_once)
    found = results(work().folder)
    assert (found["sentence"].dtype, found["score"].dtype, found["used"].dtype) == (np.int64, np.float32, np.int64)
    expected = similarities(embedder, vectors)
    for number, image in enumerate(IMAGES):
        rows = sorted(OWN[image])
        three = [rows[place % len(rows)] for place in range(3)]
        # As what is retrieved: best first.
        best = sorted(three, key=lambda row: (-expected[number, row], row))
        assert found["sentence"][number].tolist() == best
        np.testing.assert_allclose(found["score"][number], expected[number, best], atol=1e-6)
    assert found["used"].tolist() == sorted(set(found["sentence"].reshape(-1).tolist()))
    expected_counts = {"images": 10, "queries": 9, "with_own": 10, "sentences_used": len(found["used"])}
    assert {name: counts[name] for name in expected_counts} == expected_counts
    left = {path.name for path in work().folder.iterdir() if not path.name.endswith(".done.json")}
    assert left <= {"sentence.npy", "score.npy", "used.npy", "progress.json"}


@pytest.mark.usefixtures("one_model", "small_parts")
def test_sentences_of_others_with_their_scores(
    store: Path, pool: Path, own_table: Path, embedder: Embedder, vectors: np.ndarray, work: Any
) -> None:
    counts = given(store, pool, own_table, work(), 0.0)
    found = results(work().folder)
    for number, (image, rows) in enumerate(zip(IMAGES, found["sentence"].tolist(), strict=True)):
        assert len(set(rows) - set(OWN[image])) == 3
        expected = similarities(embedder, vectors)[number, rows]
        np.testing.assert_allclose(found["score"][number], expected, atol=1e-6)
    assert (np.diff(found["score"], axis=1) <= 0).all()
    assert counts["with_own"] == 0
    given(store, pool, own_table, work("other"), 0.0, seed=1)
    assert contents(work("other").folder) != contents(work().folder)


@pytest.mark.usefixtures("one_model")
def test_a_score_is_what_retrieval_says_of_the_same_pair(store: Path, pool: Path, own_table: Path, work: Any) -> None:
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=48), work("all"))
    given(store, pool, own_table, work())
    every, own = results(work("all").folder), results(work().folder)
    for number in range(len(IMAGES)):
        score = dict(zip(every["sentence"][number].tolist(), every["score"][number].tolist(), strict=True))
        assert [score[row] for row in own["sentence"][number].tolist()] == own["score"][number].tolist()


@pytest.mark.usefixtures("one_model")
def test_how_one_would_search_does_not_matter(store: Path, pool: Path, own_table: Path, work: Any) -> None:
    given(store, pool, own_table, work("exact"), 0.5)
    given(store, pool, own_table, work("index"), 0.5, index="ivf", faiss=FaissOptions(factory="IVF9,Flat"))
    assert contents(work("index").folder) == contents(work("exact").folder)
    assert not (work("index").folder / "index.done.json").exists()


def test_missing_sentences_are_known_before_anything_is_embedded(
    one_model: list[list[str]], store: Path, pool: Path, work: Any, tmp_path: Path
) -> None:
    table = owners_table(tmp_path / "few.arrow", [("image0", 1), ("image1", 2)])
    with pytest.raises(InputError, match="8 of 10 images that should get their own .* the first is image2"):
        given(store, pool, table, work())
    assert one_model == []


@pytest.mark.usefixtures("small_parts", "quick_workers")
def test_given_pairs_do_not_hang_on_workers(store: Path, pool: Path, own_table: Path, work: Any) -> None:
    outcomes = []
    for num_workers, images_at_once in ((1, 1000), (2, 4)):
        name = f"{num_workers}"
        counts = given(store, pool, own_table, work(name, num_workers=num_workers), 0.5, images_at_once=images_at_once)
        outcomes.append((counts, contents(work(name).folder)))
    assert outcomes[0] == outcomes[1]
    assert 0 < outcomes[0][0]["with_own"] < len(IMAGES)


@pytest.mark.usefixtures("one_model", "small_parts")
def test_given_pairs_go_on_where_they_were(
    store: Path, pool: Path, own_table: Path, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = given(store, pool, own_table, work("whole"), 0.5)
    original, paired = search_parts._pair_part, []

    def pair(*arguments: Any) -> Any:
        if len(paired) == 2:
            raise KeyboardInterrupt
        paired.append(arguments[2].name)
        return original(*arguments)

    monkeypatch.setattr(search_parts, "_pair_part", pair)
    with pytest.raises(KeyboardInterrupt):
        given(store, pool, own_table, work("killed"), 0.5, images_at_once=4)
    assert not (work("killed").folder / "sentence.npy").exists()
    monkeypatch.setattr(search_parts, "_pair_part", original)
    counts = given(store, pool, own_table, work("killed"), 0.5, images_at_once=4)
    assert paired == ["results-000000", "results-000001"]
    assert (counts, contents(work("killed").folder)) == (whole, contents(work("whole").folder))


# --- What it does not hang on ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_parts", "quick_workers")
def test_workers_and_images_at_once_do_not_matter(store: Path, pool: Path, work: Any, tmp_path: Path) -> None:
    table = owners_table(tmp_path / "owners.arrow", [("image1", 2), ("image9", 0)])
    outcomes = []
    for num_workers, images_at_once in ((1, 1000), (2, 4)):
        name = f"{num_workers}"
        settings = options(images_at_once=images_at_once)
        counts = retrieve_sentences(
            store, pool, QueryOptions(), EMBEDDING, settings, work(name, num_workers=num_workers), owners=table
        )
        outcomes.append((counts, contents(work(name).folder)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.usefixtures("small_parts")
def test_a_killed_run_goes_on_with_another_number_at_once(
    one_model: list[list[str]], store: Path, pool: Path, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(images_at_once: int) -> RetrievalOptions:
        return options(images_at_once=images_at_once)

    whole = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings(4), work("whole"))
    one_model.clear()
    original, searched = search_parts._search_part, []

    def search_until(last: int) -> Any:
        def search(*arguments: Any) -> Any:
            if len(searched) == last:
                raise KeyboardInterrupt
            searched.append(arguments[2].name)
            return original(*arguments)

        return search

    killed = work("killed")
    for last, images_at_once in ((1, 4), (2, 4), (3, 8), (10, 8)):
        monkeypatch.setattr(search_parts, "_search_part", search_until(last))
        if last < 10:
            with pytest.raises(KeyboardInterrupt):
                retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings(images_at_once), killed)
    counts = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings(8), killed)
    # Two parts were made with one number, and then all with the other, none twice.
    assert searched == ["results-000000", "results-000001", "results-000000", "results-000001"]
    assert (counts, contents(killed.folder)) == (whole, contents(work("whole").folder))
    # Queries were embedded once.
    assert len(one_model) == 3


@pytest.mark.usefixtures("one_model", "small_parts")
def test_embeddings_may_be_cut_into_other_parts(
    store: Path, pool: Path, vectors: np.ndarray, work: Any, tmp_path: Path
) -> None:
    shutil.copytree(pool, tmp_path / "other")
    for file in (tmp_path / "other").glob("*.npy"):
        file.unlink()
    for number, start in enumerate(range(0, 48, 7)):
        np.save(tmp_path / "other" / f"embeddings-{number:06d}.npy", vectors[start : start + 7])
    assert len(Embeddings.of_folder(tmp_path / "other")) == 48
    for name, folder in (("one", pool), ("other", tmp_path / "other")):
        retrieve_sentences(store, folder, QueryOptions(), EMBEDDING, options(), work(f"stage-{name}"))
    assert contents(work("stage-one").folder) == contents(work("stage-other").folder)


def test_embeddings_that_are_missing_or_torn(store: Path, pool: Path, work: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no embeddings. Build the corpus again"):
        retrieve_sentences(store, tmp_path, QueryOptions(), EMBEDDING, options(), work())
    shutil.copytree(pool, tmp_path / "torn")
    torn = tmp_path / "torn" / "embeddings-000002.npy"
    torn.write_bytes(torn.read_bytes()[:500])
    with pytest.raises(InputError, match="embeddings-000002.npy: cannot be read as embeddings"):
        retrieve_sentences(store, tmp_path / "torn", QueryOptions(), EMBEDDING, options(), work())


# --- Against sentences that are near to very many images ------------------------------------------------------------


@pytest.mark.usefixtures("one_model")
def test_csls_by_hand(
    store: Path, pool: Path, embedder: Embedder, vectors: np.ndarray, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for neighbours in (10, 2):
        monkeypatch.setattr(csls, "_NEIGHBOURS", neighbours)
        name = f"{neighbours}"
        retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=7, scores="csls"), work(name))
        found, cosines = results(work(name).folder), similarities(embedder, vectors)
        nearest = np.sort(cosines, axis=0)[-neighbours:].mean(axis=0)
        np.testing.assert_allclose(np.load(work(name).folder / "penalty.npy"), nearest / 2, atol=1e-6)
        order = np.argsort(nearest - 2 * cosines, axis=1, kind="stable")[:, :7]
        np.testing.assert_array_equal(found["sentence"], order)
        # What is kept are cosines.
        np.testing.assert_allclose(found["score"], np.take_along_axis(cosines, order, axis=1), atol=1e-6)
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=7), work("cosine"))
    assert (results(work("cosine").folder)["sentence"] != order).any()
    assert not (work("cosine").folder / "penalty.npy").exists()


@pytest.mark.usefixtures("one_model", "small_parts")
@pytest.mark.parametrize("settings", [{"scores": "csls"}, {"max_uses": 2}, {"scores": "csls", "max_uses": 2}])
def test_options_against_hubs_do_not_hang_on_how_one_searches(
    settings: dict[str, Any], store: Path, pool: Path, work: Any, tmp_path: Path
) -> None:
    faiss = FaissOptions(nprobe=100, efSearch=100, sentences_per_index=30)
    ways: list[dict[str, Any]] = [
        {"images_at_once": 1000},
        {"images_at_once": 4},
        {"index": "flat", "faiss": faiss},
        {"index": "ivf", "faiss": faiss, "images_at_once": 8},
    ]
    for number, way in enumerate(ways):
        retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(**settings, **way), work(f"{number}"))
        assert contents(work(f"{number}").folder) == contents(work("0").folder)
        left = {path.name for path in work(f"{number}").folder.iterdir() if not path.name.endswith(".done.json")}
        assert left <= {"sentence.npy", "score.npy", "used.npy", "penalty.npy", "progress.json"}


@pytest.mark.usefixtures("one_model")
def test_no_sentence_is_used_more_often_than_it_may(store: Path, pool: Path, work: Any) -> None:
    # Three images ask for cars, of which there are eight sentences.
    for max_uses in (1, 2, 3):
        counts = retrieve_sentences(
            store, pool, QueryOptions(), EMBEDDING, options(max_uses=max_uses), work(f"{max_uses}")
        )
        found = results(work(f"{max_uses}").folder)
        uses = np.bincount(found["sentence"].reshape(-1))
        assert uses.max() == counts["max_uses"] == max_uses
        assert all(len(set(row)) == 3 for row in found["sentence"].tolist())
        assert (np.diff(found["score"], axis=1) <= 0).all()
        # What is to be seen is still what is spoken of first.
        for tags, row in zip(TAGS, found["sentence"], strict=True):
            assert NAMES[row[0] // len(PLACES)] in tags
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work("unlimited"))
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(max_uses=10), work("10"))
    assert contents(work("10").folder) == contents(work("unlimited").folder)


@pytest.mark.usefixtures("one_model")
def test_images_whose_candidates_are_used_up_get_others(
    store: Path, pool: Path, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three candidates each: three images with the same query cannot all find three that are used for one image only.
    monkeypatch.setattr(search_parts, "num_candidates", lambda k, _: k)
    monkeypatch.setattr(capped, "num_candidates", lambda k, _: k)
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(max_uses=1), work())
    sentences = results(work().folder)["sentence"]
    assert len(np.unique(sentences)) == sentences.size == 30
    cars = sentences[[1, 7, 8]]
    assert len(cars[(cars >= 16) & (cars < 24)]) == 8


def test_a_limit_that_is_too_low_is_known_before_anything_is_embedded(
    one_model: list[list[str]], store: Path, pool: Path, work: Any
) -> None:
    with pytest.raises(InputError, match="retrieval.max_uses=2: 48 sentences are too few .* Raise it to 3 or more"):
        retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(k=10, max_uses=2), work())
    assert one_model == []


@pytest.mark.usefixtures("one_model", "small_parts")
def test_a_killed_run_with_a_limit_goes_on(store: Path, pool: Path, work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = options(scores="csls", max_uses=1, images_at_once=4)
    whole = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings, work("whole"))
    for name in ("find_penalties", "find_sentences", "limit_uses", "_join"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(retrieve, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings, work("killed"))
    counts = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, settings, work("killed"))
    assert (counts, contents(work("killed").folder)) == (whole, contents(work("whole").folder))


@pytest.mark.usefixtures("one_model")
def test_hubs_are_counted_and_named_with_the_remedy(
    store: Path, pool: Path, work: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counts = retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work())
    uses = np.bincount(results(work().folder)["sentence"].reshape(-1), minlength=48)
    assert counts["max_uses"] == uses.max() and counts["share_of_top_100"] == 1.0
    assert counts["skewness"] == pytest.approx(((uses - uses.mean()) ** 3).mean() / uses.std() ** 3, abs=0.01)
    assert "skewness" not in caplog.text
    monkeypatch.setattr("mmf_muvla.pairing.uses.HUB_SKEWNESS", 0.1)
    retrieve_sentences(store, pool, QueryOptions(), EMBEDDING, options(), work("again"))
    assert "retrieval.max_uses" in caplog.text and "retrieval.scores=csls" in caplog.text
