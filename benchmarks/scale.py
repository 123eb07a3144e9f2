"""A model of what building a corpus takes: hours, bytes, memory and money, for any size and number of machines.

    python benchmarks/scale.py measure [--keep]   # rates of this machine, and how well they predict a larger build
    python benchmarks/scale.py write              # the tables of docs/scale.md, from what was kept

``measure`` runs every stage, with the packaged Sentence-BERT, spaCy and word vectors, at two small sizes, from which
the rates come, and at one ten times as large, which the model has to predict. Times are CPU seconds of one worker:
other work on the machine hardly changes them. It takes about 10 minutes. ``--keep`` writes
benchmarks/results/scale.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus import DIMENSIONS, make_input
from machine import RESULTS, describe_machine, keep_results

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
K = 5
STAGES = ("regions", "sentences", "embed", "retrieve", "phrases", "link", "pack")
SMALL, MIDDLE, LARGE = (100, 1_000), (500, 5_000), (5_000, 50_000)  # images, sentences
_REGIONS_OF_INPUT = 10  # the mean of those that make_input draws

# What is assumed and was not measured.
GPU_SENTENCES = 14_000.0  # embedded per second and GPU (MiniLM, as its authors publish for a V100)
GPU_FLOPS = 1e14  # of exact search, a third of an A100's data sheet
CORE_FLOPS = 8e10  # of exact search on a core with bfloat16, see benchmarks/results/corpus.json
DISK = 2e9  # bytes a second that a machine reads
SHARED = 2e10  # bytes a second that a shared file system gives to all machines together
IMAGES_AT_ONCE = 131_072  # retrieval.images_at_once: the embeddings are read once for so many
CACHED = 5e9  # bytes a second that a process reads of a file that is in memory already; a guess
USES_AT_ONCE = 2**24  # sentences whose uses are counted at once
MOST_PASSES = 512  # over the digests of all sentences, to find duplicates
DIGESTS_PER_SECOND = 1.3e8  # that a pass looks at on a core (measured with 16 million)


@dataclass(frozen=True)
class Corpus:
    """What a corpus is built from."""

    name: str
    images: float
    sentences: float
    regions: float = 36.0  # an image

    @property
    def used(self) -> float:
        """Sentences that are retrieved at all, at most."""
        return min(self.sentences, K * self.images)

    @property
    def passes(self) -> float:
        """Over the digests of all sentences, a quarter of a million at a time."""
        return min(MOST_PASSES, max(1, self.sentences / 2**18))


@dataclass(frozen=True)
class Machines:
    """Equal machines with a shared file system."""

    count: int
    cores: int = 64
    gpus: int = 8
    price: float = 16.0  # dollars an hour; a guess, by which to compare

    @property
    def bandwidth(self) -> float:
        return min(self.count * DISK, SHARED) if self.count > 1 else DISK

    @property
    def name(self) -> str:
        return f"{self.count} machine" + "s" * (self.count > 1)


CORPORA = (
    Corpus("CC + BookCorpus", 2.9e6, 3.3e6 + 7.4e7),
    Corpus("CC12M + 74 M sentences", 1.1e7, 7.4e7),
    Corpus("100 M images + 1 B sentences", 1e8, 1e9),
)
MACHINES = (Machines(1), Machines(8), Machines(64))


def work_of(corpus: Corpus) -> dict[str, float]:
    """Work of each stage, in :data:`UNITS`."""
    return {
        "regions": corpus.images * corpus.regions,
        "sentences": corpus.sentences,
        "embed": corpus.sentences,
        "retrieve": corpus.images,
        "phrases": corpus.used,
        "link": corpus.images,
        "pack": corpus.images,
    }


def search_flops(corpus: Corpus) -> float:
    return 2.0 * DIMENSIONS * corpus.images * corpus.sentences


def cpu_seconds(corpus: Corpus, rates: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """CPU seconds of every stage on one core without a GPU."""
    work = work_of(corpus)
    found = {stage: rates[stage]["start"] + work[stage] / rates[stage]["rate"] for stage in STAGES}
    found["retrieve"] += search_flops(corpus) / CORE_FLOPS
    return found


def bytes_of(corpus: Corpus) -> dict[str, float]:
    """What lies on disk: bytes by part."""
    regions = corpus.images * corpus.regions
    return {
        "features, as detectors write them": regions * 4 / 3 * 4 * (2048 + 6) + regions * 150,
        "region store, half precision": regions * 4124,
        "sentences": corpus.sentences * 80,
        "embeddings, half precision": corpus.sentences * 2 * DIMENSIONS,
        "digests, while duplicates are dropped": corpus.sentences * 16,
        "retrieved numbers and scores": corpus.images * K * 12,
        "links and pairs": corpus.images * K * (2 * 6 * corpus.regions + 8),
    }


def memory_of(corpus: Corpus) -> dict[str, float]:
    """What the process that leads a stage, or trains, holds of data, beyond 0.3 to 1.2 GB of any size: bytes."""
    return {
        "regions": 13 * corpus.images,
        "sentences": corpus.sentences * 1 + 64 * corpus.sentences / corpus.passes,
        "retrieve": 4 * min(corpus.sentences, USES_AT_ONCE),
        "training": 16 * corpus.images,
    }


def hours(corpus: Corpus, machines: Machines, rates: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, str]]:
    """Hours of every stage, and what bounds it."""
    cores, gpus = machines.count * machines.cores, machines.count * machines.gpus
    work, disk, size = work_of(corpus), machines.bandwidth, bytes_of(corpus)
    embeddings, digests = size["embeddings, half precision"], size["digests, while duplicates are dropped"]
    read, store = size["features, as detectors write them"], size["region store, half precision"]
    rounds = math.ceil(corpus.images / IMAGES_AT_ONCE)
    # rounds are shared out, in shards of sentences where there are more machines; a machine reads the embeddings once
    # from disk, a shard that fits into its memory at a time, and from there for each of its rounds. On a cluster each
    # GPU has a process of its own
    searching = rounds / machines.count
    readers = machines.gpus if machines.count > 1 else 1
    per_core = {stage: work[stage] / rates[stage]["rate"] for stage in STAGES}
    bounds: dict[str, dict[str, float]] = {
        "regions": {"cores": per_core["regions"] / cores, "disk": (read + store) / disk},
        # one process reads; it is no slower than one that reads and cleans
        "sentences": {"one core": per_core["sentences"], "disk": 2 * size["sentences"] / DISK},
        "duplicates": {"one core": corpus.passes * corpus.sentences / DIGESTS_PER_SECOND, "disk": digests / DISK},
        "embed": {"GPUs": work["embed"] / GPU_SENTENCES / gpus, "disk": embeddings / disk},
        "queries": {"GPUs": work["retrieve"] / GPU_SENTENCES / gpus},
        "search": {
            "GPUs": search_flops(corpus) / GPU_FLOPS / gpus,
            "disk": min(1, searching) * embeddings / (machines.bandwidth / machines.count),
            "reading": searching * embeddings / CACHED / readers,
        },
        "phrases": {"cores": per_core["phrases"] / cores},
        # one process does it, but on a cluster
        "link": {"one core": per_core["link"]} if machines.count == 1 else {"cores": per_core["link"] / cores},
        "pack": {"one core": per_core["pack"], "disk": size["links and pairs"] / DISK},
    }
    longest = {stage: max(by.items(), key=lambda it: it[1]) for stage, by in bounds.items()}
    return {stage: (value / 3600, bound) for stage, (bound, value) in longest.items()}


def shown_hours(value: float) -> str:
    seconds = 3600 * value
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if value < 1.5 else f"{value:.1f} h" if value < 10 else f"{value:,.0f} h"


def shown_bytes(value: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{value / size:,.1f} {unit}" if value < 100 * size else f"{value / size:,.0f} {unit}"
    return f"{value:,.0f} B"


def rates_at_size(results: Mapping[str, Any], larger: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The rates to extrapolate with: of each stage from the two largest builds that it was measured in.

    Stages that take less time than they take to start, at the sizes of this benchmark, are from that of corpus.py
    (wall time, one worker). There *pack* cannot be seen either; it is taken to be as fast as *link*.
    """
    (_, one), (_, two) = [*results["cpu_seconds"].items()][1:]
    corpora = [Corpus("", *size, regions=_REGIONS_OF_INPUT) for size in (MIDDLE, LARGE)]
    found = {}
    for stage in ("embed", "retrieve", "phrases"):
        units = [work_of(it)[stage] for it in corpora]
        found[stage] = (units[1] - units[0]) / (two[stage] - one[stage])
    seconds = larger["memory"]["seconds"]
    for stage in ("regions", "sentences", "link"):
        sizes = {name: [int(it.split()[0]) for it in name.split(", ")] for name in seconds[stage]}
        units = [work_of(Corpus("", *sizes[name], regions=_REGIONS_OF_INPUT))[stage] for name in seconds[stage]]
        times = [*seconds[stage].values()]
        found[stage] = (units[1] - units[0]) / (times[1] - times[0])
    found["pack"] = found["link"]
    return {stage: {"start": 0.0, "rate": rate} for stage, rate in found.items()}


def tables(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """The tables of the page, by the name that each has there, in Markdown."""
    extrapolated = rates_at_size(results, json.loads((RESULTS / "corpus.json").read_text(encoding="utf-8")))
    return {
        "rates": [*_rates(extrapolated)],
        "check": [*_check(results)],
        "hours": [line for corpus in CORPORA for line in _hours(corpus, extrapolated)][:-1],
        "bytes": [*_sizes("on disk", {it.name: bytes_of(it) for it in CORPORA})],
        "memory": [*_sizes("in memory", {it.name: memory_of(it) for it in CORPORA})],
    }


def _check(results: Mapping[str, Any]) -> Iterator[str]:
    yield "| stage | to start | work per CPU second | predicted for ten times the size | measured |"
    yield "|---|---:|---:|---:|---:|"
    for stage, check in results["check"].items():
        rate = results["rates"].get(stage)
        start, speed = (f"{rate['start']:.1f} s", f"{rate['rate']:,.0f} {UNITS[stage]}") if rate else ("", "")
        yield f"| {stage} | {start} | {speed} | {check['predicted']:.0f} s | {check['measured']:.0f} s |"


def _rates(rates: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield "| stage | on a core, each second |"
    yield "|---|---:|"
    for stage in STAGES:
        yield f"| {stage} | {rates[stage]['rate']:,.0f} {UNITS[stage]} |"


def _hours(corpus: Corpus, rates: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    columns = [hours(corpus, machines, rates) for machines in MACHINES]
    yield f"| **{corpus.name}** | " + " | ".join(it.name for it in MACHINES) + " |"
    yield "|---|" + "---|" * len(MACHINES)
    for stage in columns[0]:
        yield f"| {stage} | " + " | ".join(f"{shown_hours(it[stage][0])} ({it[stage][1]})" for it in columns) + " |"
    totals = [sum(value for value, _ in it.values()) for it in columns]
    yield "| **together** | " + " | ".join(f"**{shown_hours(it)}**" for it in totals) + " |"
    prices = [total * it.count * it.price for total, it in zip(totals, MACHINES, strict=True)]
    yield "| money | " + " | ".join(f"${it:,.0f}" for it in prices) + " |"
    yield ""


def _sizes(title: str, sizes: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(sizes) + " |"
    yield "|---|" + "---:|" * len(sizes)
    for name in next(iter(sizes.values())):
        yield f"| {name} | " + " | ".join(shown_bytes(it[name]) for it in sizes.values()) + " |"


UNITS = {
    "regions": "regions", "sentences": "lines", "embed": "sentences", "retrieve": "queries", "phrases": "sentences",
    "link": "images", "pack": "images",
}  # fmt: skip


def measure() -> dict[str, Any]:
    """Rates from two sizes, and what they say of a larger one beside what that takes."""
    measured = {size: run_build(*size) for size in (SMALL, MIDDLE, LARGE)}
    corpora = {size: Corpus("", *size, regions=_REGIONS_OF_INPUT) for size in measured}
    rates = {}
    for stage in STAGES:
        (one, two), (small, middle) = (
            [work_of(corpora[size])[stage] for size in (SMALL, MIDDLE)],
            [measured[size][stage] for size in (SMALL, MIDDLE)],
        )
        # Where so little work cannot be seen beside the start, it is as fast as can be told.
        slope = max((middle - small) / (two - one), 0.01 * middle / two)
        rates[stage] = {"start": round(max(0.0, small - slope * one), 2), "rate": round(1 / slope, 1)}
    predicted = cpu_seconds(corpora[LARGE], rates)
    check = {
        stage: {"predicted": round(predicted[stage], 1), "measured": round(measured[LARGE][stage], 1)}
        for stage in STAGES
    }
    check["together"] = {of: round(sum(it[of] for it in check.values()), 1) for of in ("predicted", "measured")}
    return {
        "machine": describe_machine("sentence-transformers", "spacy"),
        "cpu_seconds": {f"{size[0]} images, {size[1]} sentences": it for size, it in measured.items()},
        "rates": rates,
        "check": check,
    }


def run_build(num_images: int, num_sentences: int) -> dict[str, float]:
    """CPU seconds of each stage with one worker, in processes of their own."""
    script = Path(__file__).with_name("corpus.py")
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_input(folder / "input", num_images, num_sentences)
        texts = folder / "input" / "sentences.txt"
        options = [
            f"out={folder / 'corpus'}", f"regions={folder / 'input'}", f"sentences={texts}",
            "embedding.device=cpu", "retrieval.device=cpu", "num_workers=1",
        ]  # fmt: skip
        for stage in STAGES:
            process = subprocess.Popen(
                [sys.executable, str(script), "--stage", stage, *options],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)  # of the process and of the workers that it has waited for
            if status:
                raise RuntimeError(f"the stage {stage} ended with status {status}")
            found[stage] = round(usage.ru_utime + usage.ru_stime, 2)
            print(f"{num_images:,} images, {num_sentences:,} sentences: {stage} {found[stage]} CPU s", file=sys.stderr)
        shutil.rmtree(folder / "corpus")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("measure", "write"))
    parser.add_argument("--keep", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        results = measure()
        print(json.dumps(results, indent=1))
        if arguments.keep:
            keep_results("scale", results)
        return
    results = json.loads((RESULTS / "scale.json").read_text(encoding="utf-8"))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


def with_tables(page: str, results: Mapping[str, Any]) -> str:
    """The page with the tables of these results between ``<!-- scale: NAME -->`` and ``<!-- end -->``."""
    for name, lines in tables(results).items():
        place = re.compile(rf"(<!-- scale: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = "\n".join(lines)
        page, count = place.subn(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
        assert count == 1, f"the page has {count} places for {name}"
    return page


if __name__ == "__main__":
    main()
