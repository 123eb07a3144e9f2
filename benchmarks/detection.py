"""How fast pictures become regions on CPU cores, where the time goes, and how busy the detector is.

    python benchmarks/detection.py [--pictures N] [--workers N] [--json] [--keep]

JPEG files of 640 x 480 and 480 x 640 pixels are written to a temporary folder, and a D-FINE of the smallest published
shape (3.7 million weights, 640 x 640 pixels) with random weights. One core: seconds a picture for decoding, preparing
(resizing, for the most part), detecting, choosing regions and writing a shard, one after the other, as a worker does
it. Then the whole job with some workers: pictures a second, and the share of the workers' time that the detector takes.
``--json`` prints one object and nothing else; ``--keep`` writes ``benchmarks/results/detection.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from machine import describe_machine, keep_results, matmul_rate
from PIL import Image
from rich.console import Console
from rich.table import Table

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.detection.decoding import decode
from mmf_muvla.detection.detectors.choosing import transformers_detector
from mmf_muvla.detection.detectors.detector import Detections, Detector, Inputs
from mmf_muvla.detection.extraction import extracted_store
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.detection.selection import select
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.shards import StoreShard

BATCH = 8
SIZES = ((640, 480), (480, 640))

console = Console(stderr=True)


class Timed(Detector):
    """A detector of ``transformers`` that writes down how long it takes, in a file for each process."""

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: dict[str, Any]):
        super().__init__(name, vocabulary, options)
        self._inner = transformers_detector(options["folder"], vocabulary, {})
        self.names, self.feature_dim = self._inner.names, self._inner.feature_dim

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        started = time.perf_counter()
        self._inner.load(device, dtype)
        self._note("load", time.perf_counter() - started)

    def prepare(self, picture: Image.Image) -> Inputs:
        return self._inner.prepare(picture)

    def detect(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        started = time.perf_counter()
        found = self._inner.detect(inputs, sizes)
        self._note("detect", time.perf_counter() - started)
        return found

    def _note(self, what: str, seconds: float) -> None:
        with open(f"{self.options['notes']}-{os.getpid()}", "a", encoding="utf-8") as notes:
            notes.write(json.dumps([what, seconds, time.perf_counter()]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "pictures", arguments.pictures)
        save_detector(folder / "detector")
        results: dict[str, Any] = {
            "seconds_a_picture": on_one_core(folder),
            "job": whole_job(folder, arguments.pictures, arguments.workers),
            "matmul_gflops": round(matmul_rate() / 1e9, 1),
        }
    print_results(results)
    if arguments.keep:
        machine = describe_machine("transformers", "pillow")
        console.print(f"kept in {keep_results('detection', {'machine': machine, **results})}")
    if arguments.json:
        print(json.dumps(results))


def write_pictures(folder: Path, count: int) -> None:
    """Pictures with about as much detail as photographs have: 60 to 90 kB."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        width, height = SIZES[number % 4 == 3]
        coarse = random.integers(0, 256, (height // 40, width // 40, 3), np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        picture += random.integers(-12, 13, picture.shape)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number:06}.jpg", quality=80)


def save_detector(folder: Path) -> None:
    """D-FINE-N as published, but for its weights."""
    backbone = hf.HGNetV2Config(
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_numb_of_layers=[3, 3, 3, 3],
        out_features=["stage3", "stage4"],
        hidden_sizes=[64, 256, 512, 1024],
        use_learnable_affine_block=True,
    )
    config = hf.DFineConfig(
        backbone_config=backbone,
        d_model=128,
        encoder_hidden_dim=128,
        encoder_in_channels=[512, 1024],
        encoder_ffn_dim=512,
        encode_proj_layers=[1],
        feat_strides=[16, 32],
        hidden_expansion=0.34,
        depth_mult=0.5,
        decoder_in_channels=[128, 128],
        decoder_n_points=[6, 6],
        decoder_ffn_dim=512,
        decoder_layers=3,
        num_feature_levels=2,
        num_denoising=0,
        id2label={number: f"thing {number}" for number in range(80)},
    )
    torch.manual_seed(0)
    hf.DFineForObjectDetection(config).eval().save_pretrained(folder)
    hf.RTDetrImageProcessor(size={"height": 640, "width": 640}).save_pretrained(folder)


def on_one_core(folder: Path) -> dict[str, float]:
    """Seconds a picture of every step, of 24 pictures after a first batch that does not count."""
    options = DetectionOptions(images="", detector="")
    detector = transformers_detector(str(folder / "detector"), None, {})
    detector.load(torch.device("cpu"), torch.float32)
    spent: Counter[str] = Counter()

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        spent[name] += time.perf_counter() - started

    files = sorted((folder / "pictures").iterdir())[: 24 + BATCH]
    shard = StoreShard(detector.feature_dim)
    for first in range(0, len(files), BATCH):
        if first == BATCH:
            spent.clear()
        chosen = files[first : first + BATCH]
        with timed("read and decode"):
            pictures = [decode(file.read_bytes(), options.max_pixels) for file in chosen]
        with timed("resize"):
            prepared = [detector.prepare(picture) for picture in pictures]
        with timed("detect"):
            inputs = {name: torch.cat([it[name] for it in prepared]) for name in prepared[0]}
            found = detector.detect(inputs, [picture.size for picture in pictures])
        with timed("choose"):
            regions = [select(it, picture.size, options) for it, picture in zip(found, pictures, strict=True)]
        with timed("write"):
            for file, picture, it in zip(chosen, pictures, regions, strict=True):
                unknown = np.full(len(it), -1)
                shard.add(Regions(file.stem, *picture.size, it.features, it.boxes, it.labels, unknown, it.scores))
    with timed("write"):
        shard.save(folder / "shard.safetensors")
    return {name: spent[name] / (len(files) - BATCH) for name in spent}


def whole_job(folder: Path, count: int, num_workers: int) -> dict[str, float]:
    """Pictures a second, and the share of the time from the workers' first to their last batch that is detection."""
    options = DetectionOptions(
        images=str(folder / "pictures"),
        detector="detection:Timed",
        detector_options={"folder": str(folder / "detector"), "notes": str(folder / "notes")},
        batch_size=BATCH,
        device="cpu",
        thumbnails=256,
    )
    state = extracted_store(folder / "store", options, "error", 0.0).run(LocalExecutor(num_workers))
    busy = seconds = 0.0
    for file in folder.glob("notes-*"):
        notes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        begun = next(end for what, _, end in notes if what == "load")
        busy += sum(took for what, took, _ in notes if what == "detect")
        seconds += notes[-1][2] - begun
    assert state.seconds
    return {
        "workers": num_workers,
        "pictures": count,
        "pictures_per_s": round(count / (seconds / num_workers), 2),
        "seconds_with_start": state.seconds,
        "detector_is_busy": round(busy / seconds, 3),
    }


def print_results(results: dict[str, Any]) -> None:
    steps = results["seconds_a_picture"]
    table = Table("one core", "ms a picture", "share", title_justify="left")
    for name, seconds in steps.items():
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / sum(steps.values()):.1%}")
    table.add_row("together", f"{1000 * sum(steps.values()):.1f}", f"{1 / sum(steps.values()):.1f} pictures/s")
    console.print(table)
    job = results["job"]
    rate, busy = job["pictures_per_s"], job["detector_is_busy"]
    console.print(f"{job['workers']} workers: {rate} pictures/s; the detector has {busy:.1%} of their time")


if __name__ == "__main__":
    main()
