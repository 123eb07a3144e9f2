"""The tasks that a model is fine-tuned on: their scenes, and annotation files in the formats of the real tasks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mmf_muvla.toyworld.captions import distinct_captions
from mmf_muvla.toyworld.comparisons import KINDS as COMPARISON_KINDS
from mmf_muvla.toyworld.comparisons import Comparison, compare
from mmf_muvla.toyworld.config import SPLITS, ToyWorldConfig
from mmf_muvla.toyworld.entailment import KINDS as ENTAILMENT_KINDS
from mmf_muvla.toyworld.entailment import Entailment, hypothesise
from mmf_muvla.toyworld.expressions import KINDS as EXPRESSION_KINDS
from mmf_muvla.toyworld.expressions import Expression, refer
from mmf_muvla.toyworld.questions import KIND_SHARES, Question, all_answers, annotator_answers, ask
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.writers import write_json_lines, write_lines, write_vqa_imdb

_FIRST_IDS = {"train": 3_000_001, "val": 4_000_001, "test": 5_000_001}
# Of retrieval: images of the splits at most, and captions of each. No caption is that of two images of a split.
_RETRIEVAL_IMAGES = {"train": 1_000_000, "val": 100, "test": 200}
_CAPTIONS = 5
_KINDS = {
    "questions": tuple(KIND_SHARES),
    "comparisons": COMPARISON_KINDS,
    "entailments": ENTAILMENT_KINDS,
    "expressions": EXPRESSION_KINDS,
}

Stream = Callable[[str], random.Random]  # gives every part of the world, by its name, a generator of its own


@dataclass(frozen=True)
class Tasks:
    """What the tasks are made of: scenes by folder of regions, and by split what is asked or said of them."""

    scenes: dict[str, list[Scene]]
    questions: dict[str, list[Question]]
    comparisons: dict[str, list[Comparison]]
    entailments: dict[str, list[Entailment]]
    expressions: dict[str, list[Expression]]
    captions: dict[str, list[tuple[str, str]]]  # image id and caption, for retrieval

    def texts(self) -> Iterator[str]:
        """Everything that the paper's tasks say or ask, answers included."""
        for split in SPLITS:
            yield from (it.text for it in self.questions[split])
            yield from (it.sentence for it in self.comparisons[split])
            yield from (it.hypothesis for it in self.entailments[split])
            yield from (it.text for it in self.expressions[split])
        yield from all_answers()

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """How many examples of each kind there are, by task and split."""
        return {
            task: {
                split: {kind: sum(it.kind == kind for it in examples) for kind in kinds}
                for split, examples in getattr(self, task).items()
            }
            for task, kinds in _KINDS.items()
        }


def make_tasks(config: ToyWorldConfig, stream: Stream) -> Tasks:
    """Make the scenes and the examples of every task.

    Raises:
        InputError: the settings ask for more examples than the scenes offer.
    """
    tasks = Tasks({"regions_tasks": [], "regions_nlvr2": []}, {}, {}, {}, {}, {})
    sizes = vars(config)
    crowds = min(1.0, 2 * config.crowd_probability)
    for split, first_id in _FIRST_IDS.items():
        size = sizes[f"task_{split}_scenes"]
        scenes = list(generate_scenes(stream(f"scenes/{split}"), size, first_id, 0.0, crowds))
        examples, sentences = sizes[f"nlvr2_{split}_examples"], sizes[f"nlvr2_{split}_sentences"]
        pairs, tasks.comparisons[split] = compare(stream(f"comparisons/{split}"), split, examples, sentences, crowds)
        tasks.questions[split] = ask(stream(f"questions/{split}"), scenes, sizes[f"vqa_{split}_questions"])
        size = sizes[f"entailment_{split}_examples"]
        tasks.entailments[split] = hypothesise(stream(f"entailments/{split}"), scenes, size)
        tasks.expressions[split] = refer(stream(f"expressions/{split}"), scenes, sizes[f"refcoco_{split}_expressions"])
        tasks.captions[split] = _captions(stream(f"retrieval/{split}"), scenes[: _RETRIEVAL_IMAGES[split]])
        tasks.scenes["regions_tasks"] += scenes
        tasks.scenes["regions_nlvr2"] += pairs
    return tasks


def _captions(rng: random.Random, scenes: list[Scene]) -> list[tuple[str, str]]:
    """Five captions of every scene, none twice."""
    told: set[str] = set()
    found = []
    for scene in scenes:
        own: list[str] = []
        # A scene has hundreds of captions, and hardly one of them is true of another scene, too.
        for wanted in count(_CAPTIONS):
            own = [it for it in distinct_captions(rng, scene, wanted) if it not in told][:_CAPTIONS]
            if len(own) == _CAPTIONS:
                break
        told.update(own)
        found += [(scene.image_id, caption) for caption in own]
    return found


def write_tasks(folder: Path, tasks: Tasks, annotators: random.Random) -> None:
    """Write the folders of annotations, ``vqa2/`` to ``retrieval/``, into the world's folder."""
    for name in ("vqa2", "nlvr2", "visual_entailment", "refcoco_plus", "retrieval"):
        (folder / name).mkdir()
    question_ids, expression_ids, caption_ids = count(1), count(1), count(1)
    object_ids: dict[object, int] = {}
    for split in SPLITS:
        asked = [it.to_record(next(question_ids), annotator_answers(annotators, it)) for it in tasks.questions[split]]
        write_vqa_imdb(folder / "vqa2" / f"imdb_{split}.npy", split, asked)
        compared = (it.to_record() for it in tasks.comparisons[split])
        write_json_lines(folder / "nlvr2" / f"{split}.jsonl", compared)
        entailed = (it.to_record(number) for number, it in enumerate(tasks.entailments[split]))
        write_json_lines(folder / "visual_entailment" / f"{split}.jsonl", entailed)
        referred = (
            it.to_record(next(expression_ids), object_ids.setdefault((it.image_id, it.box), len(object_ids) + 1), split)
            for it in tasks.expressions[split]
        )
        write_json_lines(folder / "refcoco_plus" / f"{split}.jsonl", referred)
        captioned = (
            {"sentid": next(caption_ids), "image_id": it, "caption": text} for it, text in tasks.captions[split]
        )
        write_json_lines(folder / "retrieval" / f"{split}.jsonl", captioned)
    write_lines(folder / "vqa2" / "answers_vqa.txt", ["<unk>", *all_answers()])  # MMF's mark for an unknown one first
