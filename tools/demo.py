#!/usr/bin/env python3
"""The whole system on the generated toy world, from nothing to a report page.

    python tools/demo.py [out=outputs/demo] [seed=0] [fast=false]

Makes the world, a small BERT that has read its texts, and its weakly aligned corpus; pre-trains; measures how the
result matches held-out scenes with captions, and whether words look at what they name; fine-tunes on the world's
hypotheses and referring expressions with and without the pre-training; and writes ``summary.json`` and ``report.html``
into ``out``. Every step is the command that a user would type; it is printed before it runs. With ``fast=true``
everything is tiny: it shows in a minute or two that all parts work, and its numbers mean nothing.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mmf_muvla.artifacts.files import refuse_foreign
from mmf_muvla.artifacts.outputs import check_outputs, foreign_in_marked, output_folder, publish_output
from mmf_muvla.command_line import run_command
from mmf_muvla.errors import MuvlaError
from mmf_muvla.options.kinds import Flag, Name, Options, Whole
from mmf_muvla.options.reading import read_options
from mmf_muvla.paths import resource_path


@dataclass
class DemoOptions(Options):
    """Where everything goes, what it starts from, and whether it is tiny."""

    out: Name = "outputs/demo"
    seed: Annotated[Whole, Field(ge=0, le=2**31 - 2)] = 0
    fast: Flag = False


FAST_WORLD = [
    "scenes=120", "captions=300", "books=50", "stories=100", "heldout_scenes=20", "pictures=60",
    *(f"task_{split}_scenes=60" for split in ("train", "val", "test")),
    "vqa_train_questions=60", "vqa_val_questions=30", "vqa_test_questions=30",
    "entailment_train_examples=45", "entailment_val_examples=9", "entailment_test_examples=9",
    *(f"refcoco_{split}_expressions=60" for split in ("train", "val", "test")),
    *(f"nlvr2_{split}_examples=24" for split in ("train", "val", "test")), "nlvr2_train_sentences=6",
]  # fmt: skip
TASKS = ("visual_entailment", "refcoco_plus")
SPLITS = ("train", "val", "test")
REGIONS = ("regions_tasks", "regions_heldout")
STARTS = ("base", "muvla")
STEPS = (
    *("toyworld", "bert", "corpus", *REGIONS, "pretrain", "matching", "attention", "attention_drawn"),
    *(f"{task}_{start}" for task in TASKS for start in STARTS),
)  # fmt: skip
# A smaller world and shorter runs than the configurations' own: the demo is to end in minutes.
FAST_TRAINING = ["training.max_updates=6", "training.log_interval=2", "training.evaluation_interval=3"]


class Steps:
    """Runs commands one after the other and keeps the time of each.

    Args:
        log_dir: every command's output goes to a file there, and to the terminal what concerns progress.
    """

    def __init__(self, log_dir: Path):
        self.log_dir = log_dir
        self.seconds: dict[str, float] = {}

    def run(self, name: str, command: list[str]) -> None:
        """Run one command; its standard output goes to ``NAME.log``, its progress bars to the terminal."""
        log = self.log_dir / f"{name}.log"
        print(f"\n[{name}] {shlex.join(command)}", flush=True)
        start = time.perf_counter()
        # It is there when the step has ended, well or not.
        with publish_output(log) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
            status = subprocess.run(command, stdout=file, check=False).returncode
        if status:
            raise MuvlaError(f"the step '{name}' ended with status {status}; its output is in {log}")
        self.seconds[name] = round(time.perf_counter() - start, 1)
        print(f"[{name}] done in {self.seconds[name]:.0f} s", flush=True)


def check_demo(out: Path) -> None:
    """Refuse a folder in which the demo would write over what no demo has made.

    Raises:
        InputError: it would.
    """
    # Loaded when the options are known to be right.
    from mmf_muvla.artifacts.artifact import Artifact
    from mmf_muvla.pairing.store import refuse_foreign_corpus
    from mmf_muvla.report.attention_page import FILES as DRAWN
    from mmf_muvla.report.attention_table import FILES as ATTENTION
    from mmf_muvla.report.demo import FILES
    from mmf_muvla.report.matching_page import FILES as MATCHING_FILES
    from mmf_muvla.toyworld.world import world_at

    check_outputs(out, FILES)
    check_outputs(out / "matching", MATCHING_FILES)
    check_outputs(out / "attention", ATTENTION)
    check_outputs(out / "attention" / "drawn", DRAWN)
    check_outputs(out / "logs", (f"{name}.log" for name in STEPS))
    world_at(out / "toyworld").check()
    refuse_foreign(out / "bert", foreign_in_marked)
    refuse_foreign_corpus(out / "corpus")
    for name in REGIONS:
        Artifact(out / name, name="regions").check()


def main(arguments: Sequence[str]) -> None:
    options = read_options(DemoOptions, arguments)
    out, seed, fast = output_folder("out", options.out), options.seed, options.fast
    world_options = FAST_WORLD if fast else []
    tools = Path(__file__).parent
    world, corpus, bert = out / "toyworld", out / "corpus", out / "bert"
    task_regions, heldout_regions = (out / name for name in REGIONS)
    check_demo(out)
    from mmf_muvla.models.small_bert import world_texts
    from mmf_muvla.report.demo import best_layer, read_results

    steps = Steps(out / "logs")

    def tool(name: str) -> list[str]:
        return [sys.executable, str(tools / name)]

    def mmf_run(config: str, save_dir: Path, *overrides: str) -> list[str]:
        return [
            sys.executable, "-m", "mmf_cli.run", f"config={resource_path(config)}",
            f"env.save_dir={save_dir}", f"training.seed={seed + 1}", "training.precision=auto",
            f"model_config.muvla.trunk.pretrained={bert}", "training.start_over=True", *overrides,
            *(FAST_TRAINING if fast else ()),
        ]  # fmt: skip

    steps.run("toyworld", [*tool("make_toyworld.py"), f"out={world}", f"seed={seed}", "overwrite=true", *world_options])
    steps.run(
        "bert",
        [
            *tool("make_small_bert.py"), f"texts=[{','.join(world_texts(world))}]",
            f"out={bert}", *(["next_sentence_updates=10", "updates=10"] if fast else []),
        ],
    )  # fmt: skip
    steps.run(
        "corpus",
        [
            *tool("build_corpus.py"), f"config={resource_path('projects/muvla/corpus/toyworld.yaml')}",
            f"regions={world / 'regions'}", f"sentences={world / 'captions.txt'}", f"out={corpus}",
        ],
    )  # fmt: skip
    for regions in (task_regions, heldout_regions):
        steps.run(regions.name, [*tool("import_regions.py"), f"regions={world / regions.name}", f"out={regions}"])
    steps.run(
        "pretrain",
        mmf_run(
            "projects/muvla/pretrain_toyworld.yaml",
            out / "pretrain",
            f"dataset_config.muvla_toyworld.corpus={corpus}",
        ),
    )
    steps.run(
        "matching",
        [
            *tool("evaluate_matching.py"), f"run={out / 'pretrain'}", f"captions={world / 'heldout_pairs.jsonl'}",
            f"regions={heldout_regions}", f"out={out / 'matching'}", "candidates=20", f"seed={seed}",
        ],
    )  # fmt: skip
    attention = out / "attention"
    steps.run(
        "attention",
        [
            *tool("evaluate_attention.py"), f"world={world}", f"regions={heldout_regions}",
            f"runs.muvla={out / 'pretrain'}", f"out={attention}", f"seed={seed}",
        ],
    )  # fmt: skip
    example = json.loads((world / "heldout_pairs.jsonl").open(encoding="utf-8").readline())
    steps.run(
        "attention_drawn",
        [
            *tool("show_attention.py"), f"run={out / 'pretrain'}", f"regions={heldout_regions}",
            f"images={world / 'pictures'}", f"image={example['image_id']}", f"text={example['caption']}",
            f"layer={best_layer(read_results(attention))}", f"out={attention / 'drawn'}", f"seed={seed}",
        ],
    )  # fmt: skip
    weights = out / "pretrain" / "muvla_final.safetensors"
    starts: dict[str, list[str]] = {"base": [], "muvla": [f"checkpoint.resume_file={weights}"]}
    for task in TASKS:
        dataset = f"dataset_config.{task}"
        files = [f"{dataset}.annotations.{split}={world / task / split}.jsonl" for split in SPLITS]
        files += [f"{dataset}.features.{split}={task_regions}" for split in SPLITS]
        for start, checkpoint in starts.items():
            config = f"projects/muvla/finetune/toyworld_{task}.yaml"
            steps.run(f"{task}_{start}", mmf_run(config, out / f"{task}_{start}", *files, *checkpoint))

    from mmf_muvla.report.demo import write_report

    write_report(out, steps.seconds, seed)


if __name__ == "__main__":
    sys.exit(run_command(main, __doc__, needs_arguments=False))
