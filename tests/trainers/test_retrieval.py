"""Ranking of a split: planned, in parts, killed and gone on with; and whole runs of the task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mmf_muvla.errors import InputError
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pair_scoring import PairScorer
from mmf_muvla.models.retrieval import RetrievalHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.trainers import retrieval
from mmf_muvla.trainers.checkpoints import save_weights
from mmf_muvla.trainers.retrieval import RankedPool, mean_values, rank_split
from tests.datasets.captions import TASK, caption_records
from tests.datasets.small_tasks import DIM, MINILM, SPLITS, make, write_task
from tests.trainers.test_tasks import SMALL

IMAGES = 12


class Model(nn.Module):
    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        config = TrunkConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
        self.encoder = Encoder(config, feature_dim=DIM)
        self.heads = RetrievalHeads(self.encoder, "bert")
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.4)
        self.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captions")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_PAIRS_PER_PART", 50)  # two images with 24 captions


def dataset_of(folder: Path, **options: Any) -> Any:
    return make(folder, TASK, caption_records(IMAGES), "test", **options)


def ranked(model: Any, dataset: Any, keep_in: Path | None = None) -> RankedPool:
    (pool,) = rank_split(model, dataset, 8, nullcontext, keep_in)
    return pool


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The pairs of every call of the scorer; it is interrupted after as many calls as its limit says."""
    found: list[int] = []
    score = PairScorer.score

    def counted(self: Any, images: Any, texts: Any, pairs: Any, rows: int) -> Any:
        if len(found) == limit[0]:
            raise KeyboardInterrupt
        found.append(len(pairs))
        return score(self, images, texts, pairs, rows)

    limit = [1000]
    monkeypatch.setattr(PairScorer, "score", counted)
    found_and_limit: Any = found, limit
    yield found_and_limit


def test_every_image_is_scored_with_every_caption(folder: Path) -> None:
    model, dataset = Model(), dataset_of(folder)
    pool = ranked(model, dataset)
    assert pool.scores.shape == (IMAGES, 2 * IMAGES) and np.isfinite(pool.scores).all()
    with torch.no_grad():
        for number in range(0, 2 * IMAGES, 5):
            expected = model.heads(model.encoder, dataset.__getitems__([(0, number)]))["scores"][0, 0]
            image, text = dataset.captions.image[number], dataset.captions.text[number]
            assert pool.scores[image, text] == pytest.approx(float(expected), abs=1e-5)
    folds = rank_split(model, dataset_of(folder, folds=3), 8, nullcontext)
    for number, fold in enumerate(folds):
        images = slice(4 * number, 4 * number + 4)
        np.testing.assert_allclose(fold.scores, pool.scores[images, 8 * number : 8 * number + 8], atol=1e-5)
    assert mean_values(folds)["text_to_image_r@5"] == 1


def test_a_killed_evaluation_goes_on(folder: Path, tmp_path: Path, passes: Any) -> None:
    model, dataset = Model(), dataset_of(folder)
    calls, limit = passes
    expected = ranked(model, dataset)
    assert calls == [48] * 6
    calls.clear()
    limit[0] = 2
    with pytest.raises(KeyboardInterrupt):
        ranked(model, dataset, tmp_path / "scores")
    limit[0] = 1000
    calls.clear()
    found = ranked(model, dataset, tmp_path / "scores")
    assert len(calls) == 4 and np.array_equal(found.scores, expected.scores)
    calls.clear()
    assert np.array_equal(ranked(model, dataset, tmp_path / "scores").scores, expected.scores) and not calls
    # A damaged part is made again, others are not.
    path = tmp_path / "scores" / "scores-000003.npy"
    path.write_bytes(path.read_bytes()[:-5] + b"wrong")
    assert np.array_equal(ranked(model, dataset, tmp_path / "scores").scores, expected.scores) and len(calls) == 1
    # Other weights, and other pairs: nothing of it is used.
    others = ((Model(1), dataset, 288), (model, dataset_of(folder, folds=2), 144), (model, dataset_of(folder), 288))
    for other, data, pairs in others:
        calls.clear()
        rank_split(other, data, 8, nullcontext, tmp_path / "scores")
        assert sum(calls) == pairs


def test_scores_of_other_images_are_not_used(folder: Path, tmp_path: Path, passes: Any) -> None:
    """The images of a validation are drawn by the run's seed: as many, but others."""
    model, (calls, _) = Model(), passes
    pools = []
    for seed in (0, 1):
        dataset = make(folder, TASK, caption_records(IMAGES), "val", validation_images=6)
        dataset.seed = seed
        (pool,) = dataset.pools
        calls.clear()
        found = ranked(model, dataset, tmp_path / "scores")
        assert sum(calls) == 6 * 12 and np.array_equal(found.scores, ranked(model, dataset).scores)
        pools.append(pool.image_ids)
    assert pools[0] != pools[1]


def test_a_folder_of_somebody_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scores-000001.npy").write_text("mine")
    with pytest.raises(InputError, match="is none in which scores were kept"):
        ranked(Model(), dataset_of(folder), tmp_path)
    assert (tmp_path / "scores-000001.npy").read_text() == "mine"


def test_processes_share_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch, passes: Any) -> None:
    """What two processes do, one after the other; the second one then has both shares."""
    model, dataset = Model(), dataset_of(folder)
    calls, _ = passes
    expected = ranked(model, dataset)
    shares: list[dict[int, Any]] = []

    def gathered(own: dict[int, Any]) -> list[dict[int, Any]]:
        shares.append(own)
        if len(shares) == 1:
            raise InterruptedError
        return shares

    monkeypatch.setattr(retrieval, "of_all_processes", gathered)
    monkeypatch.setattr(retrieval, "get_world_size", lambda: 2)
    calls.clear()
    with pytest.raises(InterruptedError):
        ranked(model, dataset)
    monkeypatch.setattr(retrieval, "get_rank", lambda: 1)
    found = ranked(model, dataset)
    assert [sorted(share) for share in shares] == [[0, 2, 4], [1, 3, 5]] and len(calls) == 6
    assert np.array_equal(found.scores, expected.scores)


def test_candidates_of_the_tags(folder: Path, passes: Any) -> None:
    """Captions that name what is seen are found by the tags; the model looks at those candidates alone."""
    model = Model()
    calls, _ = passes
    whole = ranked(model, dataset_of(folder))
    calls.clear()
    pool = ranked(model, dataset_of(folder, candidates=4))
    assert pool.candidates is not None
    of_images, of_texts = pool.candidates["image_to_text"], pool.candidates["text_to_image"]
    assert (of_images.sum(axis=1) == 4).all() and (of_texts.sum(axis=0) == 4).all()
    either = of_images | of_texts
    assert sum(calls) == either.sum() < either.size
    np.testing.assert_allclose(pool.scores[either], whole.scores[either], atol=1e-5)
    assert np.isneginf(pool.scores[~either]).all()
    values = pool.values()
    own = either.copy() * 0 == 1
    own[pool.captions.image, pool.captions.text] = True
    assert values["image_to_text_candidate_recall"] == (of_images & own).any(axis=1).mean() > 4 / 24
    assert values["text_to_image_candidate_recall"] == (of_texts & own).sum() / 24 > 4 / 12
    for direction in ("image_to_text", "text_to_image"):
        assert values[f"{direction}_r@10"] == values[f"{direction}_candidate_recall"]


def test_what_is_not_finite_is_refused(folder: Path) -> None:
    model = Model()
    nn.init.constant_(model.heads.itm.seq_relationship.bias, float("nan"))
    with pytest.raises(InputError, match=r"flickr30k_retrieval\.jsonl: what the model says of a pair is not finite"):
        ranked(model, dataset_of(folder))


# ---- whole runs


def run(folder: Path, save_dir: Path, *overrides: str, predict: bool = False) -> None:
    from mmf_cli.run import run as mmf_run

    files = write_task(folder, TASK, caption_records(IMAGES))
    mmf_run(
        [
            "config=projects/muvla/finetune/toyworld_retrieval.yaml",
            f"env.save_dir={save_dir}",
            f"model_config.muvla.trunk.pretrained={MINILM}",
            *(f"dataset_config.{TASK}.{part}.{split}={files[part][split]}" for split in SPLITS
              for part in ("annotations", "features")),
            *SMALL,
            "training.batch_size=12",
            *overrides,
            *(["evaluation.predict=true", "run_type=test"] if predict else []),
        ],
        predict,
    )  # fmt: skip


@pytest.mark.usefixtures("own_registry")
def test_a_run_learns_is_tested_and_lists_what_it_has_ranked(
    tmp_path: Path, passes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dir = tmp_path / "save"
    # The head on mean states learns from few samples.
    mean = "model_config.muvla.itm_pooling=mean"
    length = ["training.batch_size=24", "training.max_updates=150", "optimizer.params.lr=0.008"]
    run(tmp_path, save_dir, mean, *length, "training.evaluation_interval=75", f"dataset_config.{TASK}.negatives=2")
    results = json.loads((save_dir / "results.json").read_text())
    test = results["test"]
    # Chance is 0.46 and 0.2.
    assert test["muvla_mean_recall"] > 0.7 and test["muvla_itm_accuracy"] > 0.8
    assert test["muvla_image_to_text_median_rank"] <= 2
    history = [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]
    assert [line["update"] for line in history if "muvla_mean_recall" in line] == [75, 150]
    assert (save_dir / "scores" / "test" / "scores-000000.npy").is_file()
    assert not (save_dir / "scores" / "val").exists()

    # Predictions are those of the scores that were kept: no pair is scored again.
    calls, _ = passes
    calls.clear()
    best = f"checkpoint.resume_file={save_dir / 'best.ckpt'}"
    run(tmp_path, save_dir, mean, best, f"dataset_config.{TASK}.top_k=3", predict=True)
    assert not calls
    lines = [json.loads(line) for line in (save_dir / f"predictions/{TASK}_test.jsonl").read_text().splitlines()]
    kinds = Counter("sentids" if "sentids" in line else "image_ids" for line in lines)
    assert kinds == {"sentids": IMAGES, "image_ids": 2 * IMAGES}
    right = [line["image_ids"][0] == str(line["sentid"] // 100) for line in lines if "image_ids" in line]
    assert sum(right) / len(right) == pytest.approx(test["muvla_text_to_image_r@1"])
    right = [line["sentids"][0] // 100 == int(line["image_id"]) for line in lines if "sentids" in line]
    assert sum(right) / len(right) == pytest.approx(test["muvla_image_to_text_r@1"])
    assert all(len(line["scores"]) == 3 and line["scores"] == sorted(line["scores"], reverse=True) for line in lines)


def pretrained(folder: Path, pooling: str = "bert", task: str = "pretraining") -> Path:
    """The weights of a pre-training (or another task) as the small runs here would have them."""
    from omegaconf import OmegaConf

    from mmf_muvla.models.muvla import MuVLA

    trunk = dict(option.partition("trunk.")[2].split("=") for option in SMALL if ".trunk." in option)
    shape = {name: json.loads(value) for name, value in trunk.items() if name != "pretrained"}
    options = {"trunk": {"pretrained": MINILM, **shape}, "num_object_classes": 3, "num_labels": 2}
    model = MuVLA(
        OmegaConf.merge(
            OmegaConf.load(MuVLA.config_path()).model_config.muvla, options, {"task": task, "itm_pooling": pooling}
        )
    )
    torch.manual_seed(0)
    model.build()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    save_weights(model, folder / "muvla_final.safetensors", update=7)
    return folder / "muvla_final.safetensors"


@pytest.mark.usefixtures("own_registry")
def test_zero_shot_is_the_matching_head_as_it_is(tmp_path: Path) -> None:
    from mmf_muvla.reading.weight_files import read_safetensors

    weights = pretrained(tmp_path)
    run(tmp_path, tmp_path / "zero", "run_type=test", f"checkpoint.resume_file={weights}")
    results = json.loads((tmp_path / "zero" / "evaluation" / "results.json").read_text())
    assert results["update"] == 7 and results["weights"] == str(weights)
    encoder = Encoder(TrunkConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                  intermediate_size=64), feature_dim=DIM)  # fmt: skip
    heads = RetrievalHeads(encoder, "bert")
    tensors, _ = read_safetensors(weights)
    for module, prefix in ((encoder, "encoder."), (heads, "heads.")):
        module.load_state_dict({name: tensors[prefix + name] for name in module.state_dict()})
    model = nn.Module()
    model.encoder, model.heads = encoder.eval(), heads.eval()
    values = ranked(model, dataset_of(tmp_path)).values()
    assert {name: results["test"][f"muvla_{name}"] for name in values} == pytest.approx(values)


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("made", "run_type", "message"),
    [
        (
            {"pooling": "mean"},
            "test",
            "itm_pooling=bert: .* was trained with mean. Add model_config.muvla.itm_pooling=mean",
        ),
        ({"pooling": "mean"}, "train", "itm_pooling=bert: .* was trained with mean"),
        ({"task": "classification"}, "test", "has no matching head, by which retrieval ranks"),
    ],
)
def test_another_matching_head_or_none_is_refused(tmp_path: Path, made: Any, run_type: str, message: str) -> None:
    weights = pretrained(tmp_path, **made)
    with pytest.raises(InputError, match=message):
        run(tmp_path, tmp_path / "save", f"run_type={run_type}", f"checkpoint.resume_file={weights}")


@pytest.mark.usefixtures("own_registry")
def test_recalls_are_of_retrieval_alone(tmp_path: Path) -> None:
    from tests.trainers.test_tasks import run as run_task

    with pytest.raises(InputError, match="evaluation.metrics=muvla_mean_recall: visual_entailment has nothing to rank"):
        bert = f"model_config.muvla.trunk.pretrained={MINILM}"
        run_task(tmp_path, "visual_entailment", tmp_path / "save", bert, "evaluation.metrics=[muvla_mean_recall]")
