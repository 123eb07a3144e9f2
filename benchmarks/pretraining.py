"""One training step of the pre-training at BERT-base size, beside the authors' formulation of it, in one run.

    python benchmarks/pretraining.py [--repetitions N] [--micro-batch N] [--json] [--keep]

A step is forward, backward, clipping and AdamW for 16 samples with 36 regions and 10 words on average. Ours makes
all three views of each sample in one step: R-T with as many tags as the sentence has words, R-P, and I-S with a
matched **and** a mismatched sentence, so four rows a sample. A few samples at a time go through the model, and their
gradients are added up (``training.update_frequency`` of the trainer). A second figure, ``ours_tag_per_region``, is with
a tag for each of the 36 regions; to the peer, which pads, that makes no difference. The peer is the authors'
formulation, written plainly below: one view a step, every sample padded to 60 tokens and 100 regions, vocabulary logits
at all positions, attention spelled out.

Both are measured on one thread, in CPU seconds **per sample and view**, in units of a product of two 1024 x 1024
float32 matrices measured in the same process just before and after each step; medians of several steps taken in turn.
Each has a process of its own, so that the peak memory is its own. On a GPU the same steps are also measured in bf16.
``--json`` prints one object and nothing else; ``--keep`` writes ``benchmarks/results/pretraining.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from machine import describe_machine, flat, keep_results
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.models.embeddings import region_location
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.objectives.image_sentence import image_sentence_row
from mmf_muvla.objectives.masking import IGNORE, MaskingConfig, Vocabulary
from mmf_muvla.objectives.region_phrase import Links, region_phrase_row
from mmf_muvla.objectives.region_tag import region_tag_row
from mmf_muvla.objectives.registry import HEADS, LOSSES
from mmf_muvla.regions.regions import Regions

PRETRAINING_LOSSES = [LOSSES[name] for name in HEADS]

BATCH = 16
VIEWS = ("region_tag", "region_phrase", "image_sentence")
MEAN_REGIONS, MEAN_WORDS = 36, 10
FEATURES, CLASSES, WORDS = 2048, 1600, 30522
TEXT_ROOM, REGION_ROOM = 60, 100
UNIT_SIZE = 1024

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="steps of each that are measured")
    parser.add_argument("--micro-batch", type=int, default=2, help="samples in one forward pass of ours")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = measure_cpu(arguments.repetitions, arguments.micro_batch)
    if torch.cuda.is_available():
        results["gpu"] = measure_gpu()
    print_results(results)
    if arguments.keep:
        path = keep_results("pretraining", {"machine": describe_machine(), **results})
        console.print(f"kept in {path}")
    if arguments.json:
        print(json.dumps(flat(results)))


def measure_cpu(repetitions: int, micro_batch: int) -> dict[str, Any]:
    """CPU seconds and peak memory of both, each in a process of its own; steps are taken in turn."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    builds: tuple[tuple[str, Callable[..., Any], int], ...] = (
        ("ours", build_ours, micro_batch),
        ("ours_tag_per_region", partial(build_ours, tag_per_region=True), micro_batch),
        ("peer", build_peer, BATCH),
    )
    for name, build, size in builds:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, build, size), daemon=True)
        process.start()
        workers[name] = (process, ours)
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for repetition in range(repetitions + 1):  # the first one warms up
        for name, (_, pipe) in workers.items():
            pipe.send("step")
            step = pipe.recv()
            console.print(f"{name}: {step['seconds']:.2f} s, {step['units_per_view']:.2f} units a view")
            if repetition:
                steps[name].append(step)
    results: dict[str, Any] = {}
    for name, (process, pipe) in workers.items():
        pipe.send("stop")
        results[name] = {
            "units_per_view": statistics.median(step["units_per_view"] for step in steps[name]),
            "lowest": min(step["units_per_view"] for step in steps[name]),
            "highest": max(step["units_per_view"] for step in steps[name]),
            "seconds_per_view": statistics.median(step["seconds"] for step in steps[name]),
            "unit_ms": statistics.median(step["unit"] for step in steps[name]) * 1e3,
            "peak_gb": pipe.recv(),
        }
        process.join()
    for name in ("ours", "ours_tag_per_region"):
        samples = make_samples(tag_per_region=name != "ours")
        limit = flops_in_use(samples) / (len(samples) * len(VIEWS)) / (2 * UNIT_SIZE**3)
        results[name] |= {
            "limit_units_per_view": limit,
            "over_limit": results[name]["units_per_view"] / limit,
            "positions_per_view": positions_in_use(samples) / (len(samples) * len(VIEWS)),
        }
    return {
        **results,
        "ratio": results["peer"]["units_per_view"] / results["ours"]["units_per_view"],
        "batch": BATCH,
        "micro_batch": micro_batch,
    }


def serve(pipe: Any, build: Callable[[int, torch.device], Callable[[], None]], size: int) -> None:
    """In a process of its own: take a step whenever asked; at the end, tell the peak memory."""
    torch.set_num_threads(1)
    step = build(size, torch.device("cpu"))
    left, right = torch.randn(UNIT_SIZE, UNIT_SIZE), torch.randn(UNIT_SIZE, UNIT_SIZE)
    while pipe.recv() == "step":
        before = unit_seconds(left, right)
        started = time.process_time()
        step()
        seconds = (time.process_time() - started) / (BATCH * len(VIEWS))
        unit = (before + unit_seconds(left, right)) / 2
        pipe.send({"seconds": seconds, "unit": unit, "units_per_view": seconds / unit})
    # In kB on Linux, in bytes on macOS.
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6))


def unit_seconds(left: Tensor, right: Tensor) -> float:
    """CPU seconds of one matrix product, the median of several."""
    times = []
    for _ in range(15):
        started = time.process_time()
        left @ right
        times.append(time.process_time() - started)
    return statistics.median(times)


# ---------------------------------------------------------------------------------------------------- the samples


def make_samples(tag_per_region: bool = False, seed: int = 0) -> list[PretrainingSample]:
    """16 samples whose regions and words are 36 and 10 on average, with the masks of the real views."""
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(cls_id=101, sep_id=102, mask_id=103, pad_id=0, ordinary_ids=np.arange(1000, 30000))
    masking = MaskingConfig()
    samples = []
    for number in range(BATCH):
        # Each second sample makes up for the one before.
        if number % 2 == 0:
            more_regions, more_words = int(rng.integers(-26, 27)), int(rng.integers(-5, 6))
        else:
            more_regions, more_words = -more_regions, -more_words
        n, t = MEAN_REGIONS + more_regions, MEAN_WORDS + more_words
        words, other = (rng.integers(1000, 30000, size=t) for _ in range(2))
        nothing = np.zeros(0, np.int64)
        tags = [rng.integers(1000, 30000, size=1) if tag_per_region or i < t else nothing for i in range(n)]
        phrase_of_token = np.where(np.arange(t) < t // 2, 0, 1)
        links = Links(phrase_of_token, rng.integers(-1, 2, size=n), rng.random(n))
        rows = {
            "region_tag": region_tag_row(tags, rng, vocabulary, masking, max_tokens=120),
            "region_phrase": region_phrase_row(words, links, rng, vocabulary, masking),
            "matched": image_sentence_row(words, n, True, rng, vocabulary, masking),
            "mismatched": image_sentence_row(other, n, False, rng, vocabulary, masking),
        }
        corners = rng.integers(0, 300, size=(n, 2))
        image = Regions(
            image_id=str(number),
            width=400,
            height=400,
            image_feature_0=rng.random((n, FEATURES)).astype(np.float16),
            bbox=np.concatenate([corners, corners + 50], axis=1).astype(np.float32),
            class_id=rng.integers(0, CLASSES, size=n).astype(np.int32),
            attribute_id=np.full(n, -1, np.int32),
            confidence=np.ones(n, np.float32),
        )
        samples.append(PretrainingSample(image, rows, 1, "matched"))
    return samples


def positions_in_use(samples: list[PretrainingSample]) -> int:
    """Tokens and regions of all rows, without padding."""
    return sum(len(row.input_ids) + len(sample.image.bbox) for sample in samples for row in sample.rows.values())


def flops_in_use(samples: list[PretrainingSample]) -> float:
    """Floating-point operations of a step that does nothing but its matrix products, on positions in use alone."""
    config = TrunkConfig()
    width, inner = config.hidden_size, config.intermediate_size
    per_position = 2 * (4 * width * width + 2 * width * inner)
    lengths = [len(row.input_ids) + len(sample.image.bbox) for sample in samples for row in sample.rows.values()]
    trunk = config.num_hidden_layers * sum(length * per_position + 4 * length**2 * width for length in lengths)
    words = sum(
        int((row.mlm_labels != IGNORE).sum()) + sum(len(ids) > 0 for ids in row.phrase_targets)
        for sample in samples
        for row in sample.rows.values()
    )
    masked = sum(int(sample.rows["region_tag"].region_targets.sum()) for sample in samples)
    regions = sum(len(sample.image.bbox) for sample in samples)
    heads = 2 * words * (width * WORDS + width**2) + 2 * masked * width * (CLASSES + FEATURES)
    return 3.0 * (trunk + heads + 2 * regions * FEATURES * width)  # backward is twice forward


# --------------------------------------------------------------------------------------------------------- ours


def build_ours(
    size: int, device: torch.device, dtype: torch.dtype | None = None, tag_per_region: bool = False
) -> Callable[[], None]:
    """A step of this project; ``size`` samples at a time go through the model, gradients are added up."""
    torch.manual_seed(0)
    encoder = Encoder(TrunkConfig(), FEATURES)
    heads = PretrainingHeads(encoder, FEATURES, CLASSES, warmup_epochs=1)
    model = nn.ModuleDict({"encoder": encoder, "heads": heads}).to(device).train()
    losses = [loss() for loss in PRETRAINING_LOSSES]
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    samples = make_samples(tag_per_region)

    def step() -> None:
        for start in range(0, BATCH, size):
            batch = collate_pretraining(samples[start : start + size], pad_id=0)
            batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                output = heads(encoder, batch)
            loss = torch.stack([loss({}, output) for loss in losses]).sum()
            (loss * (min(size, BATCH - start) / BATCH)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


# --------------------------------------------------------------------------------------------------------- the peer


class PlainLayer(nn.Module):
    """A BERT layer as the textbook writes it."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.expand, self.contract = nn.Linear(width, config.intermediate_size), nn.Linear(3072, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        rows, length, width = hidden.shape

        def split(states: Tensor) -> Tensor:
            return states.view(rows, length, self.heads, -1).transpose(1, 2)

        query, key, value = split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + mask
        context = (self.dropout(scores.softmax(dim=-1)) @ value).transpose(1, 2).reshape(rows, length, width)
        hidden = self.norm1(hidden + self.dropout(self.output(context)))
        return self.norm2(hidden + self.dropout(self.contract(F.gelu(self.expand(hidden)))))


class PlainModel(nn.Module):
    """Padded text and regions in, logits of everything at all positions out."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        width = config.hidden_size
        self.word, self.position = nn.Embedding(WORDS, width), nn.Embedding(512, width)
        self.segment = nn.Embedding(2, width)
        self.feature, self.location = nn.Linear(FEATURES, width), nn.Linear(5, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(0.1)
        self.layers = nn.ModuleList(PlainLayer(config) for _ in range(config.num_hidden_layers))
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.vocabulary = nn.Linear(width, WORDS)
        self.vocabulary.weight = self.word.weight
        self.classes, self.regression, self.matching = (nn.Linear(width, n) for n in (CLASSES, FEATURES, 1))

    def forward(self, ids: Tensor, features: Tensor, location: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        text = self.word(ids) + self.position.weight[:TEXT_ROOM] + self.segment.weight[0]
        regions = self.feature(features) + self.location(location) + self.segment.weight[1]
        hidden = self.dropout(self.norm(torch.cat([text, regions], dim=1)))
        additive = torch.where(mask, 0.0, -10000.0)[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, additive)
        return hidden, self.vocabulary(self.transform(hidden))


def build_peer(size: int, device: torch.device, dtype: torch.dtype | None = None) -> Callable[[], None]:
    """Three steps of the authors' formulation, one for each view."""
    torch.manual_seed(0)
    model = PlainModel(TrunkConfig()).to(device).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    samples = make_samples()
    batches = {view: padded_batch(samples, view, device) for view in VIEWS}

    def step() -> None:
        for view in VIEWS:
            batch = batches[view]
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                hidden, words = model(batch["ids"], batch["features"], batch["location"], batch["mask"])
                loss = F.cross_entropy(words.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=IGNORE)
                states = hidden[:, TEXT_ROOM:]
                if view == "region_tag":
                    chosen = batch["chosen"].flatten()
                    classes = model.classes(states).flatten(0, 1).float()
                    loss = loss + F.cross_entropy(classes, torch.where(chosen, batch["classes"].flatten(), IGNORE))
                    distance = (model.regression(states).float() - batch["features"]).square().mean(dim=-1)
                    loss = loss + (distance.flatten() * chosen).sum() / chosen.sum().clamp(min=1)
                if view == "image_sentence":
                    matched = model.matching(hidden[:, 0]).squeeze(1).float()
                    loss = loss + F.binary_cross_entropy_with_logits(matched, batch["matched"])
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return step


def padded_batch(samples: list[PretrainingSample], view: str, device: torch.device) -> dict[str, Tensor]:
    """One view of the samples, each padded to the room for text and regions; half of the pairs of I-S are false."""
    batch = {
        "ids": torch.zeros(BATCH, TEXT_ROOM, dtype=torch.long),
        "features": torch.zeros(BATCH, REGION_ROOM, FEATURES),
        "bbox": torch.zeros(BATCH, REGION_ROOM, 4),
        "mask": torch.zeros(BATCH, TEXT_ROOM + REGION_ROOM, dtype=torch.bool),
        "labels": torch.full((BATCH, TEXT_ROOM + REGION_ROOM), IGNORE),
        "classes": torch.zeros(BATCH, REGION_ROOM, dtype=torch.long),
        "chosen": torch.zeros(BATCH, REGION_ROOM, dtype=torch.bool),
        "matched": torch.arange(BATCH).remainder(2).float(),
    }
    for i, sample in enumerate(samples):
        false_pair = view == "image_sentence" and i % 2 == 0
        row = sample.rows["mismatched" if false_pair else "matched" if view == "image_sentence" else view]
        t, n = min(len(row.input_ids), TEXT_ROOM), len(sample.image.bbox)
        batch["ids"][i, :t] = torch.from_numpy(row.input_ids[:t])
        batch["labels"][i, :t] = torch.from_numpy(row.mlm_labels[:t])
        for region, ids in enumerate(row.phrase_targets):
            if len(ids):
                batch["labels"][i, TEXT_ROOM + region] = int(ids[0])
        batch["features"][i, :n] = torch.from_numpy(sample.image.image_feature_0).float()
        batch["bbox"][i, :n] = torch.from_numpy(sample.image.bbox)
        batch["classes"][i, :n] = torch.from_numpy(sample.image.class_id)
        batch["chosen"][i, :n] = torch.from_numpy(row.region_targets)
        batch["mask"][i, :t] = batch["mask"][i, TEXT_ROOM : TEXT_ROOM + n] = True
    sizes = torch.tensor([(sample.image.width, sample.image.height) for sample in samples], dtype=torch.float32)
    batch["location"] = region_location(batch.pop("bbox"), sizes)
    return {name: value.to(device) for name, value in batch.items()}


# ---------------------------------------------------------------------------------------------------------- GPU


def measure_gpu(steps: int = 20) -> dict[str, Any]:
    """Samples a second in bf16, and the share of the card's measured matrix rate that ours reaches."""
    device = torch.device("cuda")
    left, right = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * 8192**3 / gpu_seconds(lambda: left @ right, steps)
    ours = gpu_seconds(build_ours(BATCH, device, torch.bfloat16), steps)
    peer = gpu_seconds(build_peer(BATCH, device, torch.bfloat16), steps)
    return {
        "ours_samples_per_s": BATCH / ours,
        "peer_samples_per_s": BATCH / peer,
        "matrix_tflops": rate / 1e12,
        "share_of_matrix_rate": flops_in_use(make_samples()) / ours / rate,
    }


def gpu_seconds(function: Callable[[], Any], repetitions: int) -> float:
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repetitions):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / repetitions


# -------------------------------------------------------------------------------------------------------- output


def print_results(results: dict[str, Any]) -> None:
    table = Table("", "units a view", "lowest to highest", "ms a view", "peak GB")
    for name in ("ours", "ours_tag_per_region", "peer"):
        row = results[name]
        spread = f"{row['lowest']:.1f} to {row['highest']:.1f}"
        milliseconds = f"{row['seconds_per_view'] * 1e3:.0f}"
        table.add_row(name, f"{row['units_per_view']:.1f}", spread, milliseconds, f"{row['peak_gb']:.2f}")
    console.print(table)
    console.print(f"ratio {results['ratio']:.2f}")
    for name in ("ours", "ours_tag_per_region"):
        row = results[name]
        console.print(
            f"{name}: the matrix products of the {row['positions_per_view']:.0f} positions in use are "
            f"{row['limit_units_per_view']:.1f} units a view; it takes {row['over_limit']:.2f} times that"
        )
    for name, value in results.get("gpu", {}).items():
        console.print(f"GPU, bf16: {name} {value:.3g}")


if __name__ == "__main__":
    main()
