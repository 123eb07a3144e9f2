"""The part ``large`` of corpus.py: peak memory of what reads all images or sentences, for sizes a factor of ten apart.

Images have one or two regions of 8 numbers each, in two folders of detector output. So that a million of them with ten
million sentences can be measured in minutes, retrieved sentences are drawn at random, and a phrase is a sentence's
first word.
"""

from __future__ import annotations

import base64
import json
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

DIM, K = 8, 5
# x1/W, y1/H, x2/W, y2/H, w/W, h/H
BOX = np.array([0.1, 0.1, 0.5, 0.5, 0.4, 0.4], np.float32)
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
        make_detector_output(folder / "input" / "regions", size[0])
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


def make_detector_output(folder: Path, num_images: int) -> None:
    """Two folders in VinVL's format."""
    random = np.random.default_rng(0)
    classes = sorted(WORDS)[:40]
    for part in range(2):
        (folder / str(part)).mkdir(parents=True)
        with (
            (folder / str(part) / "features.tsv").open("w") as features,
            (folder / str(part) / "predictions.tsv").open("w") as predictions,
        ):
            for image in range(part, num_images, 2):
                n = 1 + image % 4 // 2
                rows = np.concatenate([random.random((n, DIM), np.float32), np.tile(BOX, (n, 1))], axis=1)
                features.write(f"{image}\t{n}\t{base64.b64encode(rows.astype('<f4').tobytes()).decode()}\n")
                objects = [{"rect": [64, 48, 320, 240], "class": classes[image % 40], "conf": 0.9}] * n
                content = {"image_w": 640, "image_h": 480, "objects": objects}
                predictions.write(f"{image}\t{json.dumps(content)}\n")


def import_stores(folder: Path) -> None:
    """Import the two folders, each into a store of its own."""
    from mmf_muvla.regions.importing import import_regions
    from mmf_muvla.regions.options import RegionOptions

    (folder / "stores").mkdir()
    for part in ("0", "1"):
        source, options = folder / "input" / "regions" / part, RegionOptions(feature_dim=DIM)
        import_regions([source], options, "error", 0.0, folder / "stores" / part)


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
        import_stores(folder)
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
