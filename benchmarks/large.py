"""The part ``large`` of corpus.py: peak memory of what reads all images or sentences, for sizes a factor of ten apart.

Images have one or two regions of 8 numbers each. So that a million of them with ten million sentences can be measured
in minutes, *regions* makes the index of shards that have been written without detector output, retrieved sentences are
drawn at random instead of searched for, and a phrase is a sentence's first word.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from machine import mapped_and_own_gb

DIM, K, IMAGES_PER_SHARD = 8, 5, 2000
SIZES = ((100_000, 1_000_000), (1_000_000, 10_000_000))
STAGES = ("regions", "join", "sentences", "phrases", "link", "pack", "training")
# Frequent words, of which each has a vector.
WORDS = """
man dog car tree house street water boat horse child woman table chair road field bird window door light train bus cat
book sky sun wall hand face room city river bridge park ball game food plate glass box bag red big old small
""".split()  # noqa: SIM905


def measure_large(_: Sequence[str], folder: Path) -> dict[str, Any]:
    """The peak memory of each stage, and of what training holds, in forks of this process."""
    # So that each fork begins with the same.
    for module in ("datasets.pretraining", "pairing.build", "trainers.sampler"):
        import_module(f"mmf_muvla.{module}")

    peaks: dict[str, dict[str, float]] = {}
    own: dict[str, dict[str, float]] = {}
    for size in SIZES:
        name = f"{size[0]} images, {size[1]} sentences"
        make_sentences(folder / "input" / "sentences.txt", size[1])
        for stage in STAGES:
            if stage == "phrases":
                in_a_fork("retrieve", folder, size[0])
            measured = in_a_fork(stage, folder, size[0])
            print(f"{name}: {stage} {measured}", file=sys.stderr)
            peaks.setdefault(stage, {})[name] = measured["peak_gb"]
            own.setdefault(stage, {})[name] = measured["own_gb"]
        for path in folder.iterdir():
            shutil.rmtree(path)
    growth = {stage: round(max(it.values()) / min(it.values()), 2) for stage, it in peaks.items()}
    return {"peak_gb": peaks, "own_gb": own, "growth": growth}


def in_a_fork(stage: str, folder: Path, num_images: int) -> dict[str, float]:
    forks = multiprocessing.get_context("fork")
    receiver, sender = forks.Pipe(duplex=False)
    process = forks.Process(target=run, args=(stage, folder, num_images, sender))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{stage} ended with status {process.exitcode}")
    return receiver.recv()


def make_sentences(file: Path, count: int) -> None:
    """Distinct sentences, one a line."""
    random = np.random.default_rng(0)
    file.parent.mkdir()
    with file.open("w") as lines:
        for start in range(0, count, 10_000):
            drawn = np.array(WORDS)[random.integers(len(WORDS), size=(min(10_000, count - start), 6))].tolist()
            lines.writelines(f"{' '.join(words)} {start + row}\n" for row, words in enumerate(drawn))


def make_stores(folder: Path, num_images: int) -> None:
    """Two region stores, of shards as an import leaves them."""
    from mmf_muvla.regions.index import write_index
    from mmf_muvla.regions.regions import Regions
    from mmf_muvla.regions.shards import StoreShard, shard_path

    random = np.random.default_rng(0)
    for part in range(2):
        store = folder / str(part)
        store.mkdir(parents=True)
        for number, first in enumerate(range(part, num_images, 2 * IMAGES_PER_SHARD)):
            shard = StoreShard(DIM)
            for image in range(first, min(num_images, first + 2 * IMAGES_PER_SHARD), 2):
                n = 1 + image % 4 // 2
                features, boxes = random.random((n, DIM), np.float32), np.zeros((n, 4), np.float32)
                classes, none = np.array([image % 40] * n), np.array([-1] * n)
                shard.add(Regions(str(image), 640, 480, features, boxes, classes, none, np.ones(n, np.float32)))
            shard.save(shard_path(store, number))
        write_index(store, sorted(WORDS)[:40], [], DIM)


def arguments(folder: Path) -> list[str]:
    stores = f"[{folder / 'stores' / '0'},{folder / 'stores' / '1'}]"
    texts = folder / "input" / "sentences.txt"
    return [f"out={folder / 'corpus'}", f"regions={stores}", f"sentences={texts}", "num_workers=1"]


def draw_sentences(folder: Path, num_images: int) -> None:
    """What the stage *retrieve* would write."""
    from mmf_muvla.artifacts.artifact import read_manifest

    stage = stages(folder)["retrieve"]
    counts = (read_manifest(folder / "corpus" / "build" / "sentences") or {})["counts"]
    stage.folder.mkdir()
    rows = np.random.default_rng(1).integers(counts["sentences"], size=(num_images, K))
    np.save(stage.folder / "sentence.npy", rows)
    np.save(stage.folder / "score.npy", np.ones(rows.shape, np.float32))
    np.save(stage.folder / "used.npy", np.unique(rows))
    stage.seal({}, 0, ["sentence.npy", "score.npy", "used.npy"])


def stages(folder: Path) -> dict[str, Any]:
    from mmf_muvla.pairing.build import make_stages
    from mmf_muvla.pairing.config import BuildConfig, load_config

    return {stage.name: stage for stage in make_stages(load_config(BuildConfig, arguments(folder)))}


class FirstWords:
    """Takes the place of spaCy."""

    def __init__(self, _: Any):
        pass

    def find(self, sentences: Sequence[str]) -> Iterator[np.ndarray]:
        """As :meth:`mmf_muvla.pairing.phrases.PhraseFinder.find`."""
        for sentence in sentences:
            end = sentence.index(" ")
            yield np.array([[0, end, 0, end]], np.int32)


def run(name: str, folder: Path, num_images: int, sender: Any) -> None:
    """Run one stage in this process, and send how much memory that took."""
    from mmf_muvla.pairing import phrases

    started = time.process_time()
    if name == "retrieve":
        draw_sentences(folder, num_images)
    elif name == "training":
        train(folder / "corpus")
    elif name == "regions":
        make_stores(folder / "stores", num_images)
    else:
        phrases.PhraseFinder = FirstWords  # type: ignore[misc, assignment]
        stages(folder)["regions" if name == "join" else name].run()
    mapped, own, peak = mapped_and_own_gb()
    found = {"peak_gb": peak, "own_gb": own, "mapped_gb": mapped, "cpu_seconds": time.process_time() - started}
    sender.send({key: round(value, 3) for key, value in found.items()})


def train(corpus_folder: Path) -> None:
    """What a training process holds of a corpus beside model and batches: tables, the split, an epoch's order."""
    from mmf_muvla.datasets.pretraining import held_out_split
    from mmf_muvla.pairing.store import Corpus
    from mmf_muvla.trainers.sampler import TrainingBatches

    corpus = Corpus(corpus_folder)
    items = held_out_split(corpus.image_id_blocks(), 0.001, "train")
    lengths = corpus.region_counts[items]
    batches = iter(TrainingBatches(len(items), 480, 0, lengths=lengths))
    for _ in range(20):
        for _, item in next(batches):
            sample = corpus[int(items[item])]
            corpus.sentence(int(sample.sentence_ids[0]))
