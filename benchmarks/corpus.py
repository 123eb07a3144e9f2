"""Speed and memory of building a corpus, beside what one would otherwise use, in one run.

    python benchmarks/corpus.py [PART …] [--sentences FILE …] [--json] [--keep]

Parts are import, retrieval, ann, phrases, links, memory and search_memory; without a name all of them run, which takes
about half an hour on two cores. ``large`` is memory up to a million images and ten million sentences, see large.py: a
quarter of an hour more. ``--sentences`` names text files, a sentence a line, also gzipped, whose embeddings the vectors
are made from; without it the toy world's captions and books are used.
``--json`` prints one object and nothing else; ``--keep`` writes the results, each with a description of the machine,
to ``benchmarks/results/corpus.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from large import measure_large
from machine import describe_machine, keep_results, matmul_rate, median_seconds, seconds
from rich.console import Console
from rich.table import Table

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.workers import count_workers
from mmf_muvla.pairing.config import (
    BuildConfig,
    EmbeddingOptions,
    FaissOptions,
    LinkOptions,
    PhraseOptions,
    load_config,
)

PARTS = ("import", "retrieval", "ann", "phrases", "links", "memory", "search_memory")
DIMENSIONS = 384
K = 5

console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "large", []], help="what to measure")
    parser.add_argument("--sentences", nargs="+", type=Path, default=[], help="text files with real sentences")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = arguments.parts or PARTS
        texts = []
        if {*parts} - {"import", "memory", "search_memory", "large"}:
            texts = read_sentences(arguments.sentences) if arguments.sentences else toyworld_sentences(folder)
        for part in parts:
            console.rule(part)
            results[part] = MEASURES[part](texts, folder)
            print_results(part, results[part])
    if arguments.keep:
        machine = describe_machine("faiss-cpu", "sentence-transformers", "spacy", "gensim")
        path = keep_results("corpus", {part: {**result, "machine": machine} for part, result in results.items()})
        console.print(f"kept in {path}")
    if arguments.json:
        print(json.dumps(key_figures(results)))


def key_figures(results: dict[str, Any]) -> dict[str, Any]:
    """The figures by which builds are compared, under dotted names."""
    chosen = {
        "import": ("speedup_of_two_workers", "images_per_cpu_s"),
        "retrieval": ("vs_best_peer", "of_matmul_rate"),
        "ann": ("recall_at_5", "speedup"),
        "phrases": ("speedup",),
        "links": ("speedup",),
    }
    figures = {
        f"{part}.{name}": results[part][name] for part, names in chosen.items() if part in results for name in names
    }
    return figures | ({"memory_gb": results["memory"]["peak_gb"]} if "memory" in results else {})


def print_results(part: str, result: dict[str, Any]) -> None:
    table = Table(title=part, title_justify="left", show_header=False)
    for name, value in result.items():
        table.add_row(name, json.dumps(value, indent=1) if isinstance(value, dict) else str(value))
    console.print(table)


def read_sentences(files: list[Path]) -> list[str]:
    texts: list[str] = []
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            texts += [line.strip() for line in file if len(line.split()) >= 3]
    return list(dict.fromkeys(texts))


def toyworld_sentences(folder: Path) -> list[str]:
    from mmf_muvla.toyworld import ToyWorldConfig, generate

    generate(folder / "toyworld", ToyWorldConfig())
    texts = read_sentences([folder / "toyworld" / "captions.txt", folder / "toyworld" / "books.txt"])
    shutil.rmtree(folder / "toyworld")
    return texts


def vectors_like(texts: list[str], count: int, seed: int, spread: float = 0.5) -> np.ndarray:
    """Unit vectors that lie as embeddings of sentences do: real embeddings, each moved by ``spread`` of its length."""
    from mmf_muvla.pairing.embed import Embedder

    random = np.random.default_rng(seed)
    if "base" not in _memory:
        chosen = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:6000]]
        _memory["base"] = Embedder(EmbeddingOptions(device="cpu")).embed(chosen)
    base = _memory["base"]
    vectors = np.empty((count, base.shape[1]), np.float32)
    for start in range(0, count, 50000):
        part = vectors[start : start + 50000]
        noise = random.standard_normal(part.shape, np.float32) * np.float32(spread / np.sqrt(base.shape[1]))
        part[:] = base[random.integers(len(base), size=len(part))] + noise
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


_memory: dict[str, np.ndarray] = {}


def measure_import(_: list[str], folder: Path) -> dict[str, Any]:
    """Detector output of CC's size an image becomes a region store, with one worker and with two, in turn.

    The best of three rounds counts. Where other processes compute at the same time, two workers are not twice as fast.
    """
    make_input(folder / "input", 4000, 1, regions=(10, 63))
    adopt_grandchildren()
    tool = Path(__file__).resolve().parents[1] / "tools" / "import_regions.py"
    taken: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _round in range(3):
        for workers, times in taken.items():
            command = [sys.executable, str(tool), f"regions={folder / 'input'}", f"out={folder / 'store'}"]
            import_them = partial(subprocess.run, [*command, f"num_workers={workers}"], capture_output=True, check=True)
            before = children_cpu_seconds()
            wall = seconds(import_them)
            times.append((wall, children_cpu_seconds() - before))
            shutil.rmtree(folder / "store")
    shutil.rmtree(folder / "input")
    wall_time, cpu_time = (
        {workers: min(it[kind] for it in times) for workers, times in taken.items()} for kind in (0, 1)
    )
    return {
        "speedup_of_two_workers": round(wall_time[1] / wall_time[2], 2),
        "images_per_cpu_s": round(4000 / cpu_time[1]),
        "seconds": {f"{workers} workers": round(value, 1) for workers, value in wall_time.items()},
        "cpu_seconds": {f"{workers} workers": round(value, 1) for workers, value in cpu_time.items()},
    }


def adopt_grandchildren() -> None:
    """Become the parent of processes that outlive theirs (Linux), so that their time is known when they end."""
    if sys.platform.startswith("linux"):
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def children_cpu_seconds() -> float:
    """CPU time of all processes that this one has started, workers included, once they have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_retrieval(texts: list[str], _: Path) -> dict[str, Any]:
    """Exact search of 20,000 queries in 200,000 sentences."""
    import faiss
    from sentence_transformers.util import semantic_search

    from mmf_muvla.pairing.embeddings import Embeddings
    from mmf_muvla.pairing.search import exact_top_k, fastest_dtype

    rows, queries = vectors_like(texts, 200_000, 1), vectors_like(texts, 20_000, 2)
    rows_tensor, queries_tensor = torch.from_numpy(rows), torch.from_numpy(queries)
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(rows)

    def numpy_loop() -> None:
        for start in range(0, len(queries), 256):
            scores = queries[start : start + 256] @ rows.T
            best = np.argpartition(-scores, K, axis=1)[:, :K]
            np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)

    functions = {
        "ours": lambda: exact_top_k(queries, Embeddings([rows]), K),
        "ours, float32": lambda: exact_top_k(queries, Embeddings([rows]), K, dtype=torch.float32),
        "faiss flat": lambda: index.search(queries, K),
        "semantic_search": lambda: semantic_search(queries_tensor, rows_tensor, top_k=K),
        "numpy": numpy_loop,
    }
    rates = [matmul_rate()]
    # Each takes a quarter of a minute or more: long enough for one measurement.
    times = median_seconds(functions, 1)
    rates.append(matmul_rate())
    rate = max(rates)

    found = exact_top_k(queries, Embeddings([rows]), K)
    sample = np.random.default_rng(3).choice(len(queries), 300, replace=False)
    exact = queries[sample].astype(np.float64) @ rows.astype(np.float64).T
    brute_force = np.argsort(-exact.astype(np.float32), axis=1, kind="stable")[:, :K]
    operations = 2 * len(queries) * len(rows) * DIMENSIONS
    peers = {name: time for name, time in times.items() if not name.startswith("ours")}
    return {
        "vs_best_peer": round(min(peers.values()) / times["ours"], 2),
        "of_matmul_rate": round(operations / times["ours"] / rate, 3),
        "of_matmul_rate_in_float32": round(operations / times["ours, float32"] / rate, 3),
        "number_format": str(fastest_dtype(torch.device("cpu"), DIMENSIONS)).removeprefix("torch."),
        "bfloat16_product_vs_float32": round(matmul_rate(torch.bfloat16) / rate, 2),
        "seconds": {name: round(value, 2) for name, value in times.items()},
        "searched_again": found.num_repeated,
        "queries_that_differ_from_brute_force": int((found.ids[sample] != brute_force).any(axis=1).sum()),
        "queries_compared": len(sample),
    }


def measure_ann(texts: list[str], _: Path) -> dict[str, Any]:
    """Approximate search in a million sentences: near copies of few, as captions are, and ones that differ more."""
    alike = _ann_of_spread(texts, 0.5, (4, 8))
    return {**alike["best"], "spread 0.5": alike, "spread 1": _ann_of_spread(texts, 1.0, (8, 16, 32, 64))}


def _ann_of_spread(texts: list[str], spread: float, probes: tuple[int, ...]) -> dict[str, Any]:
    import faiss

    from mmf_muvla.pairing.embeddings import Embeddings
    from mmf_muvla.pairing.faiss_search import build_index, search_index
    from mmf_muvla.pairing.search import exact_top_k, rescore

    rows, queries = vectors_like(texts, 1_000_000, 1, spread), vectors_like(texts, 2000, 2, spread)
    embeddings = Embeddings([rows])
    flat_index = faiss.IndexFlatIP(DIMENSIONS)
    flat_index.add(rows)
    truth = exact_top_k(queries, embeddings, K).ids
    started = time.perf_counter()
    index = build_index(embeddings, "ivf", FaissOptions(), 0, len(rows))
    result: dict[str, Any] = {"build_seconds": round(time.perf_counter() - started, 1), "cells": int(index.nlist)}
    measured = {}
    for nprobe in probes:
        options = FaissOptions(nprobe=nprobe)
        # As the stage does it: some more than K, ranked again by the exact inner products.
        search = partial(search_index, index, queries, K + 15, options)
        times = median_seconds({"flat": partial(flat_index.search, queries[:500], K), "ivf": search}, 3)
        ids, _ = rescore(queries, embeddings, search(), K)
        recall = np.mean([len(set(found) & set(best)) / K for found, best in zip(ids, truth, strict=True)])
        speedup = times["flat"] * len(queries) / 500 / times["ivf"]
        measured[f"nprobe={nprobe}"] = {"recall_at_5": round(float(recall), 4), "speedup": round(speedup, 1)}
        console.print(spread, nprobe, measured[f"nprobe={nprobe}"])
    enough = [entry for entry in measured.values() if entry["recall_at_5"] >= 0.95]
    best = (
        max(enough, key=lambda entry: entry["speedup"])
        if enough
        else max(measured.values(), key=lambda entry: entry["recall_at_5"])
    )
    return {"best": best, **measured, **result}


def measure_phrases(texts: list[str], folder: Path) -> dict[str, Any]:
    """The stage with two processes, and spaCy asked sentence by sentence."""
    import spacy

    from mmf_muvla.artifacts.arrow import TableWriter
    from mmf_muvla.artifacts.artifact import Work
    from mmf_muvla.artifacts.progress import ProgressRecord
    from mmf_muvla.pairing.phrases import find_phrases
    from mmf_muvla.sentences.importing import SENTENCES_SCHEMA

    chosen = [texts[row] for row in np.random.default_rng(4).permutation(len(texts))[:24576]]
    with TableWriter(folder / "pool.arrow", SENTENCES_SCHEMA) as writer:
        writer.write(chosen, list(range(len(chosen))))
    np.save(folder / "used.npy", np.arange(len(chosen)))
    model = spacy.load(PhraseOptions().model)
    torch.set_num_threads(1)
    rates: dict[str, list[float]] = {"one by one": [], "ours": []}
    for number in range(2):
        rates["one by one"].append(500 / seconds(lambda: [list(model(text).noun_chunks) for text in chosen[:500]]))
        work = folder / f"phrases{number}"
        work.mkdir()
        stage = Work(work, ProgressRecord(work / "progress.json"), LocalExecutor(2))
        find = partial(find_phrases, folder / "pool.arrow", folder / "used.npy", PhraseOptions(), stage)
        rates["ours"].append(len(chosen) / seconds(find))
    per_second = {name: float(np.median(values)) for name, values in rates.items()}
    return {
        "speedup": round(per_second["ours"] / per_second["one by one"], 2),
        "sentences_per_second": {name: round(value, 1) for name, value in per_second.items()},
        "sentences": len(chosen),
        "processes": 2,
    }


def measure_links(texts: list[str], _: Path) -> dict[str, Any]:
    """The best of each sentence's phrases for each region, and gensim asked pair by pair."""
    from gensim.models import KeyedVectors

    from mmf_muvla.artifacts.workers import one_thread
    from mmf_muvla.pairing.link import Linker
    from mmf_muvla.pairing.word_vectors import load_word_vectors

    random = np.random.default_rng(5)
    options = LinkOptions(threshold=0.0)
    vectors = load_word_vectors(options.vectors, 0)
    known: KeyedVectors = vectors.keyed_vectors
    words = np.array([word for text in texts[:5000] for word in vectors.known_words(text.lower()) if word in known])
    classes = sorted({str(word) for word in random.choice(words, 400)})
    # 20,000 images of 14 regions with 5 sentences of 4 phrases; phrases and classes of a single word, so that both say
    # the same.
    sentences = [[(str(word), str(word)) for word in four] for four in random.choice(words, (8000, 4))]
    retrieved = random.integers(len(sentences), size=(20000, 5))
    regions = random.integers(len(classes), size=(20000, 14))

    def ours() -> np.ndarray:
        linker = Linker(classes, vectors, options)
        linked = []
        for start in range(0, 20000, 250):
            part = slice(start, start + 250)
            used, local = np.unique(retrieved[part], return_inverse=True)
            _, similarities = linker.link([sentences[row] for row in used], local.reshape(250, 5), list(regions[part]))
            linked.append(similarities)
        return np.concatenate(linked).reshape(20000, 5, 14)

    def pair_by_pair(images: int = 20) -> np.ndarray:
        best = np.zeros((images, 5, 14), np.float32)
        for image in range(images):
            for place, row in enumerate(retrieved[image]):
                for region, class_id in enumerate(regions[image]):
                    for phrase, _ in sentences[row]:
                        similarity = known.similarity(classes[class_id], phrase)
                        best[image, place, region] = max(best[image, place, region], similarity)
        return best

    # As in the stage: both compute with one thread.
    with one_thread():
        times = median_seconds({"ours": ours, "pair by pair": pair_by_pair}, 5)
    pairs = 5 * 14 * 4
    rates = {"ours": 20000 * pairs / times["ours"], "pair by pair": 20 * pairs / times["pair by pair"]}
    return {
        "speedup": round(rates["ours"] / rates["pair by pair"], 1),
        "pairs_per_second": {name: round(rate) for name, rate in rates.items()},
        "largest_difference": float(np.abs(ours()[:20] - pair_by_pair()).max()),
    }


def measure_memory(_: list[str], folder: Path) -> dict[str, Any]:
    """The peak memory of each stage, in a process of its own with one worker, for two sizes."""
    model = small_model(folder / "model")
    peaks: dict[str, dict[str, float]] = {}
    times: dict[str, dict[str, float]] = {}
    for num_images, num_sentences in ((1000, 100_000), (10_000, 1_000_000)):
        size = f"{num_images} images, {num_sentences} sentences"
        make_input(folder / "input", num_images, num_sentences)
        options = [
            f"out={folder / 'corpus'}",
            f"regions={folder / 'input'}",
            f"sentences={folder / 'input' / 'sentences.txt'}",
            f"embedding.model={model}",
            "embedding.device=cpu",
            "retrieval.device=cpu",
            "num_workers=1",
        ]
        for stage in ("regions", "sentences", "embed", "retrieve", "phrases", "link", "pack"):
            command = [sys.executable, __file__, "--stage", stage, *options]
            output = subprocess.run(command, capture_output=True, text=True)
            if output.returncode:
                raise RuntimeError(output.stderr)
            measured = json.loads(output.stdout.splitlines()[-1])
            peaks.setdefault(stage, {})[size] = measured["peak_gb"]
            times.setdefault(stage, {})[size] = measured["seconds"]
            console.print(f"{size}: {stage} {measured}")
        shutil.rmtree(folder / "input")
        shutil.rmtree(folder / "corpus")
    growth = {stage: round(max(sizes.values()) / min(sizes.values()), 2) for stage, sizes in peaks.items()}
    return {"peak_gb": peaks, "largest_growth": max(growth.values()), "growth": growth, "seconds": times}


def run_stage(name: str, arguments: list[str]) -> None:
    """Run one stage in this process, and print how much memory that took."""
    from mmf_muvla.pairing.build import make_stages

    config = load_config(BuildConfig, arguments)
    stage = next(stage for stage in make_stages(config) if stage.name == name)
    state = stage.run(LocalExecutor(count_workers(config.num_workers)))
    print(json.dumps({"peak_gb": round(peak_gb(), 3), "seconds": state.seconds}))


def measure_search_memory(_: list[str], folder: Path) -> dict[str, Any]:
    """The peak memory of the stage *retrieve*, in a process of its own, with a million sentences and with ten.

    Embeddings are short, so that little is computed and written; what a process holds of them does not depend on how
    many there are.
    """
    ways = {
        "exact": [],
        "in shards": ["sentences_at_once=1000000"],
        "CSLS, in shards": ["sentences_at_once=1000000", "scores=csls"],
    }
    small_model(folder / "model", _SHORT)
    write_regions(folder / "regions", 60)
    peaks: dict[str, dict[str, float]] = {way: {} for way in ways}
    for num_sentences in (1_000_000, 10_000_000):
        write_embeddings(folder / "embed", num_sentences)
        for way, options in ways.items():
            command = [sys.executable, __file__, "--retrieve", str(folder), *options]
            output = subprocess.run(command, capture_output=True, text=True)
            if output.returncode:
                raise RuntimeError(output.stderr)
            measured = json.loads(output.stdout.splitlines()[-1])
            peaks[way][f"{num_sentences} sentences"] = measured["peak_gb"]
            console.print(f"{num_sentences}: {way} {measured}")
        shutil.rmtree(folder / "embed")
    growth = {way: round(max(sizes.values()) / min(sizes.values()), 2) for way, sizes in peaks.items()}
    return {"peak_gb": peaks, "largest_growth": max(growth.values()), "growth": growth}


_SHORT = 16


def run_retrieve(folder: Path, arguments: list[str]) -> None:
    """Run the stage *retrieve* on what :func:`measure_search_memory` has written, and print what that took."""
    from mmf_muvla.artifacts.artifact import Work
    from mmf_muvla.artifacts.progress import ProgressRecord
    from mmf_muvla.options.reading import read_options
    from mmf_muvla.pairing.config import QueryOptions, RetrievalOptions
    from mmf_muvla.pairing.retrieve import retrieve_sentences

    options = read_options(RetrievalOptions, ["device=cpu", *arguments])
    embedding = EmbeddingOptions(model=str(folder / "model"), device="cpu")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Work(Path(name), ProgressRecord(Path(name) / "progress.json"), LocalExecutor(1))
        started = time.perf_counter()
        retrieve_sentences(folder / "regions", folder / "embed", QueryOptions(), embedding, options, work)
        seconds_taken = time.perf_counter() - started
    print(json.dumps({"peak_gb": round(peak_gb(), 3), "seconds": round(seconds_taken, 1)}))


def write_embeddings(folder: Path, count: int) -> None:
    """Random unit vectors, as the stage *embed* leaves them."""
    random = np.random.default_rng(7)
    folder.mkdir()
    for number, first in enumerate(range(0, count, 16384)):
        rows = random.standard_normal((min(16384, count - first), _SHORT), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.save(folder / f"embeddings-{number:06d}.npy", rows.astype(np.float16))


def write_regions(folder: Path, num_images: int) -> None:
    """Images of three regions each, whose classes are words."""
    from mmf_muvla.regions.store import Regions, RegionStoreWriter

    random = np.random.default_rng(8)
    names = ["dog", "cat", "car", "horse", "chair", "boat", "man", "tree"]
    with RegionStoreWriter(folder, names, [], 4) as writer:
        for number in range(num_images):
            regions = Regions(
                image_id=str(number),
                width=100,
                height=100,
                image_feature_0=np.ones((3, 4), np.float16),
                bbox=np.tile(np.array([[0, 0, 50, 50]], np.float32), (3, 1)),
                class_id=random.integers(len(names), size=3).astype(np.int32),
                attribute_id=np.full(3, -1, np.int32),
                confidence=np.full(3, 0.9, np.float32),
            )
            writer.put(regions)


def peak_gb() -> float:
    """The peak of this process's resident memory.

    Not ``ru_maxrss``: that begins with what the parent had when it started this process.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def small_model(folder: Path, dimensions: int = DIMENSIONS) -> Path:
    """A Sentence-BERT model of word vectors alone, drawn at random: the packaged one would take hours."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    from mmf_muvla.pretrained import resolve_pretrained

    tokenizer = Tokenizer.from_file(str(Path(resolve_pretrained(EmbeddingOptions().model)) / "tokenizer.json"))
    torch.manual_seed(0)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=dimensions)]).save(str(folder))
    return folder


def make_input(folder: Path, num_images: int, num_sentences: int, regions: tuple[int, int] = (6, 15)) -> None:
    """Detector output with some regions an image, and distinct sentences of 6 to 14 frequent words."""
    import base64

    import pyarrow.parquet

    from mmf_muvla.pretrained import resolve_pretrained

    random = np.random.default_rng(6)
    words_file = next(Path(resolve_pretrained(LinkOptions().vectors)).glob("*.parquet"))
    words = [str(word) for word in pyarrow.parquet.read_table(words_file)[0][:20000].to_pylist() if str(word).isalpha()]
    folder.mkdir()
    with (folder / "features.tsv").open("w") as features, (folder / "predictions.tsv").open("w") as predictions:
        for number in range(num_images):
            n = int(random.integers(*regions))
            corners = random.uniform(0, 300, (n, 2))
            boxes = np.concatenate([corners, corners + random.uniform(10, 150, (n, 2))], axis=1)
            relative = np.concatenate([boxes, boxes[:, 2:] - boxes[:, :2]], axis=1) / [640, 480, 640, 480, 640, 480]
            matrix = np.concatenate([random.random((n, 2048), np.float32), relative], axis=1).astype("<f4")
            features.write(f"{number}\t{n}\t{base64.b64encode(matrix.tobytes()).decode()}\n")
            objects = [
                {"rect": box.tolist(), "class": words[int(random.integers(200, 1800))], "conf": 0.9} for box in boxes
            ]
            content = {"image_w": 640, "image_h": 480, "objects": objects}
            predictions.write(f"{number}\t{json.dumps(content)}\n")
    with (folder / "sentences.txt").open("w") as file:
        for _ in range(num_sentences):
            file.write(" ".join(words[row] for row in random.integers(len(words), size=random.integers(6, 15))) + "\n")


MEASURES = {
    "import": measure_import,
    "retrieval": measure_retrieval,
    "ann": measure_ann,
    "phrases": measure_phrases,
    "links": measure_links,
    "memory": measure_memory,
    "large": measure_large,
    "search_memory": measure_search_memory,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--stage"]:
        run_stage(sys.argv[2], sys.argv[3:])
    elif sys.argv[1:2] == ["--retrieve"]:
        run_retrieve(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
