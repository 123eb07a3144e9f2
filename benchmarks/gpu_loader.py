"""How many loader workers keep a GPU busy: whole trainings at BERT-base's size, beside the model by itself.

The corpus is like VinVL's, 36 regions of 2,048 numbers on average and sentences of ten words, made here.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_correct import Jobs, finish, start
from gpu_speed import Scale, measure, precision_on
from loading import write_corpus
from omegaconf import OmegaConf
from training_steps import Learner

from mmf_muvla.paths import resource_path
from mmf_muvla.trainers.sampler import TrainingBatches

WORKERS = (4, 8, 12)
IMAGES = 2_000
UPDATES, INTERVAL = 120, 20


def loader(jobs: Jobs, device: torch.device, scale: Scale) -> Iterator[dict[str, Any]]:
    """Samples a second of the model by itself, and of trainings with some numbers of workers, one line each."""
    corpus = jobs.work / "corpus_like_vinvl"
    if not corpus.exists():
        write_corpus(corpus, 40 if jobs.tiny else IMAGES)
    trained: dict[int, float] = {}
    for workers in (1, 2) if jobs.tiny else WORKERS:
        trained[workers] = train(jobs, corpus, workers, scale)
        yield {"step": f"loader.{workers}", "workers": workers, "samples_per_s": trained[workers]}
    alone = model_by_itself(jobs, corpus, device, scale, min(trained))
    enough = next((workers for workers, rate in trained.items() if rate > 0.95 * max(trained.values())), None)
    yield {"step": "loader", "model_by_itself": alone, "trained": trained, "enough_workers": enough}


def train(jobs: Jobs, corpus: Path, workers: int, scale: Scale) -> float:
    """Samples a second of the trainer, the median of intervals after the first two."""
    name = f"loader_{workers}"
    updates, interval = (8, 2) if jobs.tiny else (UPDATES, INTERVAL)
    trunk = "model_config.muvla.trunk"
    small = [f"{trunk}.num_hidden_layers=1", f"{trunk}.hidden_size=64", f"{trunk}.intermediate_size=96"]
    options = [
        f"dataset_config.muvla_toyworld.corpus={corpus}",
        f"{trunk}.hidden_dropout_prob=0.1",
        f"{trunk}.attention_probs_dropout_prob=0.1",
        *([*small, f"{trunk}.num_attention_heads=1"] if jobs.tiny else []),
        jobs.precision("bf16"),
        f"training.batch_size={scale.batch}",
        f"training.max_updates={updates}",
        f"training.log_interval={interval}",
        "training.evaluation_interval=1000000",
        "training.checkpoint_interval=1000000",
    ]
    command = jobs.mmf_run("pretrain_toyworld", name, "@pretrain", "@base", *options)
    command.append(f"training.num_workers={workers}")  # the last one counts
    finish(start(command))
    lines = [json.loads(line) for line in (jobs.work / name / "history.jsonl").read_text().splitlines()]
    rates = [line["samples_per_s"] for line in lines if line["split"] == "train"]
    return statistics.median(rates[2:])


def model_by_itself(jobs: Jobs, corpus: Path, device: torch.device, scale: Scale, workers: int) -> float:
    """Samples a second where batches of the same corpus are there already."""
    from mmf_muvla.datasets.pretraining import PretrainingDataset

    config = OmegaConf.load(resource_path("configs/datasets/muvla/defaults.yaml")).dataset_config.muvla_cc
    run = OmegaConf.load(jobs.work / f"loader_{workers}" / "config.yaml")
    config.corpus, config.tokenizer = str(corpus), run.model_config.muvla.trunk.pretrained
    dataset = PretrainingDataset("muvla_cc", config, "train", seed=1)
    learner = Learner(device, precision_on(device, "bf16"), scale.config)
    keys: Any = iter(TrainingBatches(len(dataset), scale.batch, seed=1))
    batches = [learner.ready({**dataset.__getitems__(next(keys))}) for _ in range(scale.batches)]
    return scale.batch / measure(learner.steps(batches), len(batches), scale.rotations, device)["ms"] * 1e3
