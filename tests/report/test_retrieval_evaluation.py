"""``tools/evaluate_retrieval.py``: recalls in pools and in the whole, medians, chance, and the tool in a process."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.datasets.tasks.retrieval.ranking import Captions, standings
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.matching import match_logits
from mmf_muvla.report.matching_measures import measure, resample
from mmf_muvla.report.retrieval_measures import by_chance, make_pools, median, pool_statistics
from mmf_muvla.trainers.loading import load_run, load_start
from tests.forked import Forked
from tests.report.test_matching_page import MINILM, write_run

IMAGES = 23
CAPTIONS = Captions.of([(f"i{i}", f"text {i} {j}", 10 * i + j) for i in range(IMAGES) for j in range(1 + i % 3)])


def values(scores: np.ndarray, size: int | str) -> dict[str, float]:
    statistics = pool_statistics(scores, make_pools(CAPTIONS, size, seed=0), IMAGES)
    return {name: float(it(np.ones((1, IMAGES)))[0]) for name, it in statistics.items()}


def test_the_whole_pool_is_that_of_the_task() -> None:
    scores = np.random.default_rng(0).integers(0, 9, size=(IMAGES, len(CAPTIONS.texts))).astype(np.float32)
    found = values(scores, "all")
    for direction in ("image_to_text", "text_to_image"):
        rank = standings(scores, CAPTIONS, direction).rank
        assert found[f"{direction}_r@5"] == pytest.approx((rank <= 5).mean())
        assert found[f"{direction}_median_rank"] == np.median(rank)


def test_every_image_is_asked_for_once_with_one_of_its_captions() -> None:
    pools = make_pools(CAPTIONS, 10, seed=3)
    assert [(len(pool.images), pool.num_queries) for pool in pools] == [(10, 10), (10, 10), (10, 3)]
    asked = [image for pool in pools for image in pool.images[: pool.num_queries]]
    assert sorted(asked) == list(range(IMAGES))
    for pool in pools:
        own = [CAPTIONS.image[np.flatnonzero(CAPTIONS.text == text)[0]] for text in pool.texts]
        assert own == pool.images.tolist() and pool.captions.image_ids == [f"i{image}" for image in pool.images]
    # An image that knows its captions is first in every pool, whatever other images say of them.
    scores = np.where(CAPTIONS.owned(), 1, 0).astype(np.float32)
    found = values(scores, 10)
    assert all(value == 1 for value in found.values())


@pytest.mark.parametrize("seed", range(4))
def test_own_captions_do_not_compete_in_a_pool_either(seed: int) -> None:
    """Both images have both captions, whichever is drawn for which."""
    captions = Captions.of([("a", "one", 0), ("a", "two", 1), ("b", "one", 2), ("b", "two", 3), ("c", "three", 4)])
    scores = np.where(captions.owned(), 1, 0).astype(np.float32)
    for size in (3, "all"):
        statistics = pool_statistics(scores, make_pools(captions, size, seed), 3)
        assert all(float(it(np.ones((1, 3)))[0]) == 1 for it in statistics.values())


def test_an_image_that_is_drawn_twice_counts_twice() -> None:
    ranks, image = np.array([3, 9, 1, 7, 5]), np.array([0, 0, 1, 2, 3])
    counts = np.array([[1, 1, 1, 1], [2, 0, 1, 0], [0, 0, 1, 1], [0, 3, 0, 0]], float)
    expected = [np.median(line) for line in ([3, 9, 1, 7, 5], [3, 3, 9, 9, 7], [7, 5], [1, 1, 1])]
    assert median(ranks, image)(counts).tolist() == expected
    found = measure(median(np.arange(1, 102), np.arange(101)), resample(101, 0))
    assert found is not None and found.value == 51 and 30 < found.low < 45 < 57 < found.high < 72


def test_chance_by_counting_all_orders() -> None:
    captions = Captions.of([("a", "one", 1), ("a", "two", 2), ("b", "three", 3), ("c", "four", 4), ("d", "five", 5),
                            ("e", "six", 6), ("e", "seven", 7)])  # fmt: skip
    found = by_chance(make_pools(captions, "all", 0))
    # Two own ones of seven are among the first five but for 1 of 21 draws; one of seven is in 5 of 7.
    missed = sum(not {0, 1} & {*first} for first in combinations(range(7), 5)) / 21
    assert found["image_to_text_r@5"] == pytest.approx((2 * (1 - missed) + 3 * 5 / 7) / 5)
    assert found["text_to_image_r@1"] == pytest.approx(1 / 5) and found["text_to_image_r@10"] == 1
    assert found["text_to_image_median_rank"] == 3
    rng, ranks, firsts = np.random.default_rng(0), [], []
    for _ in range(3000):
        rank = standings(rng.random((5, 7)).astype(np.float32), captions, "image_to_text").rank
        ranks.append(np.median(rank))
        firsts.append((rank <= 1).mean())
    assert found["image_to_text_r@1"] == pytest.approx(np.mean(firsts), abs=0.02)
    assert found["image_to_text_median_rank"] == pytest.approx(np.mean(ranks), abs=0.5)


def test_the_tool_in_a_process(corpus: Corpus, tmp_path: Path, forked: Forked) -> None:
    run = write_run(tmp_path / "save", corpus.path)
    lines = [{"image_id": 1000 + i, "caption": f"Somebody saw a {corpus[i].tags[0]} on day {i} {j}"}
             for i in range(20) for j in range(2)]  # fmt: skip
    captions = tmp_path / "captions.jsonl"
    captions.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"image_id": 5, "caption": "Nobody"}]))
    out = tmp_path / "out"
    done = forked.run([
        "tools/evaluate_retrieval.py", f"run={run}", f"captions={captions}", f"regions={corpus.regions.path}",
        f"out={out}", "pools=[10,all]", "device=cpu", "batch_size=5",
    ])  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (results["images"], results["captions"]) == (20, 40) and [*results["pools"]] == ["10", "all"]
    assert results["counts"]["captions_of_unknown_images"] == 1
    for text in ("its untrained start", "Sentence-BERT on tags", "image → text R@10", "text → image median rank"):
        assert text in done.stdout and text in (out / "retrieval.html").read_text(encoding="utf-8")
    found = results["pools"]["all"]
    assert found["text_to_image_r@1"]["by_chance"] == 0.05
    words = WordPieces(MINILM)
    texts = [line["caption"] for line in lines]
    told = Captions.of([(str(line["image_id"]), line["caption"], it) for it, line in enumerate(lines)])
    pairs = [(key, text) for key in told.image_ids for text in texts]
    for system, model in (("model", load_run(run)), ("start", load_start(run))):
        scores = match_logits(model, words, corpus.regions, pairs, batch_size=1).numpy().reshape(20, 40)
        for direction in ("image_to_text", "text_to_image"):
            rank = standings(scores, told, direction).rank
            measured = found[f"{direction}_r@5"][system]
            assert measured["value"] == pytest.approx((rank <= 5).mean(), abs=1e-6)
            assert measured["low"] <= measured["value"] <= measured["high"]
    # The captions name a tag.
    assert found["text_to_image_r@5"]["sentence_bert"]["low"] > found["text_to_image_r@5"]["by_chance"]


def test_what_cannot_be_used(corpus: Corpus, tmp_path: Path, forked: Forked) -> None:
    arguments = ["tools/evaluate_retrieval.py", f"run={tmp_path}", "captions=x.jsonl", f"regions={corpus.regions.path}"]
    for others, message in (
        (["pools=[1]"], "pools=[1]: is no list of sizes of pools. Write numbers from 2, or all: [100,all]"),
        (["num_images=0"], "num_images=0: is not a whole number from 1"),
        ([], "config.yaml: no such file. Give the save_dir of a run of this project"),
    ):
        done = forked.run([*arguments, *others])
        assert done.returncode == 2 and message in done.stderr, done.stderr
