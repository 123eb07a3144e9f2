"""The tasks that a model is fine-tuned on: their scenes, and annotation files in the formats of the real tasks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.toyworld.comparisons import KINDS as COMPARISON_KINDS
from mmf_muvla.toyworld.comparisons import Comparison, compare
from mmf_muvla.toyworld.config import SPLITS, ToyWorldConfig
from mmf_muvla.toyworld.entailment import KINDS as ENTAILMENT_KINDS
from mmf_muvla.toyworld.entailment import Entailment, hypothesise
from mmf_muvla.toyworld.expressions import KINDS as EXPRESSION_KINDS
from mmf_muvla.toyworld.expressions import Expression, refer
from mmf_muvla.toyworld.questions import KIND_SHARES, Question, all_answers, ask
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.writers import write_answer_vocabulary, write_json_lines, write_vqa_imdb

_FIRST_IDS = {"train": 3_000_001, "val": 4_000_001, "test": 5_000_001}

Stream = Callable[[str], random.Random]
"""Gives every part of the world, by its name, a random generator of its own."""


@dataclass(frozen=True)
class Tasks:
    """What the tasks are made of. The dictionaries are by split.

    Attributes:
        scenes: of each folder of regions.
        questions: VQA.
        comparisons: NLVR2.
        entailments: visual entailment.
        expressions: RefCOCO+.
    """

    scenes: dict[str, list[Scene]]
    questions: dict[str, list[Question]]
    comparisons: dict[str, list[Comparison]]
    entailments: dict[str, list[Entailment]]
    expressions: dict[str, list[Expression]]

    def texts(self) -> Iterator[str]:
        """Everything that the tasks say or ask, answers included."""
        for split in SPLITS:
            yield from (it.text for it in self.questions[split])
            yield from (it.sentence for it in self.comparisons[split])
            yield from (it.hypothesis for it in self.entailments[split])
            yield from (it.text for it in self.expressions[split])
        yield from all_answers()

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """How many examples of each kind there are, by task and split."""
        kinds = {
            "questions": tuple(KIND_SHARES),
            "comparisons": COMPARISON_KINDS,
            "entailments": ENTAILMENT_KINDS,
            "expressions": EXPRESSION_KINDS,
        }
        return {
            task: {
                split: _count((it.kind for it in found), kinds[task]) for split, found in getattr(self, task).items()
            }
            for task in kinds
        }


def make_tasks(config: ToyWorldConfig, stream: Stream) -> Tasks:
    """Make the scenes and the examples of every task.

    Raises:
        InputError: the settings ask for more examples than the scenes offer.
    """
    of_split = config.of_split
    crowds = config.task_crowd_probability
    scenes: dict[str, list[Scene]] = {}
    for split in SPLITS:
        count = of_split("task", "scenes", split)
        made = generate_scenes(stream(f"scenes/{split}"), count, _FIRST_IDS[split], 0.0, crowds)
        scenes[split] = list(made)
    compared = {
        split: compare(
            stream(f"comparisons/{split}"),
            split,
            of_split("nlvr2", "examples", split),
            of_split("nlvr2", "sentences", split),
            crowds,
        )
        for split in SPLITS
    }
    return Tasks(
        scenes={
            "regions_tasks": [scene for split in SPLITS for scene in scenes[split]],
            "regions_nlvr2": [scene for split in SPLITS for scene in compared[split][0]],
        },
        questions={
            split: ask(stream(f"questions/{split}"), scenes[split], of_split("vqa", "questions", split))
            for split in SPLITS
        },
        comparisons={split: compared[split][1] for split in SPLITS},
        entailments={
            split: hypothesise(stream(f"entailments/{split}"), scenes[split], of_split("entailment", "examples", split))
            for split in SPLITS
        },
        expressions={
            split: refer(stream(f"expressions/{split}"), scenes[split], of_split("refcoco", "expressions", split))
            for split in SPLITS
        },
    )


def write_tasks(folder: Path, tasks: Tasks, annotators: random.Random) -> None:
    """Write ``vqa2/``, ``nlvr2/``, ``visual_entailment/`` and ``refcoco_plus/`` into the world's folder."""
    for name in ("vqa2", "nlvr2", "visual_entailment", "refcoco_plus"):
        (folder / name).mkdir()
    first_question = 1
    object_numbers: dict[object, int] = {}
    first_expression = 1
    for split in SPLITS:
        questions = tasks.questions[split]
        write_vqa_imdb(folder / "vqa2" / f"imdb_{split}.npy", annotators, split, questions, first_question)
        first_question += len(questions)
        compared = (it.to_record() for it in tasks.comparisons[split])
        write_json_lines(folder / "nlvr2" / f"{split}.jsonl", compared)
        entailed = (it.to_record(number) for number, it in enumerate(tasks.entailments[split]))
        write_json_lines(folder / "visual_entailment" / f"{split}.jsonl", entailed)
        referring = tasks.expressions[split]
        records = [
            it.to_record(
                first_expression + number,
                object_numbers.setdefault((it.image_id, it.box), len(object_numbers) + 1),
                split,
            )
            for number, it in enumerate(referring)
        ]
        write_json_lines(folder / "refcoco_plus" / f"{split}.jsonl", records)
        first_expression += len(referring)
    write_answer_vocabulary(folder / "vqa2" / "answers_vqa.txt")


def _count(found: Iterable[str], kinds: tuple[str, ...]) -> dict[str, int]:
    counts = Counter(found)
    return {kind: counts[kind] for kind in kinds}
