"""Watching alignment being learned: how well ``w_ITM`` tells well-aligned pairs from others as training goes on.

Only the generated world can be asked which of its retrieved sentences fit their image. A pair is **well** aligned if
every kind of object that the sentence speaks of is in the image, and **badly** if at most a given share of them is (a
half, or none); pairs in between are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.options.kinds import Count, Name, Options, Share
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.report.matching import match_logits
from mmf_muvla.report.plots import small_multiples
from mmf_muvla.report.tables import Table, print_table
from mmf_muvla.run_config import read_run_config
from mmf_muvla.terminal import printable, terminal_console
from mmf_muvla.toyworld.mentions import kinds_said
from mmf_muvla.trainers.loading import load_run
from mmf_muvla.trainers.saved_run import tokenizer_of_run

_FILES = ("alignment.json", "alignment.svg")


@dataclass(frozen=True)
class Separation:
    """How a checkpoint weighs the pairs."""

    update: int
    auc: float  # the probability that a well-aligned pair weighs more than a badly aligned one
    well: float  # mean w_ITM
    badly: float
    num_well: int
    num_badly: int


@dataclass
class AlignmentOptions(Options):
    """The options of the command, which says what they mean."""

    run: Name
    world: Name = "data/toyworld"
    out: Name | None = None
    num_images: Count = 500
    badly: Share = 0.5


def alignment_command(arguments: Sequence[str]) -> None:
    """``run=FOLDER world=FOLDER [out=FOLDER] [num_images=500] [badly=0.5]``: measure every checkpoint of a run."""
    options = read_options(AlignmentOptions, arguments)
    run, world = Path(options.run), Path(options.world)
    out = output_folder("out", options.out or run / "alignment", [run, world], may_be_inside=True)
    check_outputs(out, _FILES)
    measured = watch_alignment(run, world, options.num_images, options.badly)
    updates, aucs, well, badly = zip(*((it.update, it.auc, it.well, it.badly) for it in measured), strict=True)
    means = {"well aligned": (updates, well), "badly": (updates, badly)}
    plot = small_multiples({"AUC of w_ITM": {"AUC": (updates, aucs)}, "mean w_ITM": means})
    for name, text in zip(_FILES, (as_json([asdict(it) for it in measured]), plot), strict=True):
        write_output(out / name, text)
    title = f"w_ITM of {measured[0].num_well:,} well and {measured[0].num_badly:,} badly aligned pairs"
    rows = [(f"{it.update:,}", *(f"{share:.3f}" for share in (it.auc, it.well, it.badly))) for it in measured]
    print_table(Table(("update", "AUC", "well aligned", "badly"), rows, title, names=()), terminal_console())
    print(printable(f"{out}/alignment.svg"))


def watch_alignment(run: Path, world: Path, num_images: int, badly: float) -> list[Separation]:
    """Measure every checkpoint that a run on the toy world has kept, in the order of training."""
    checkpoints = {int(path.stem.partition("_")[2]): path for path in run.glob("models/model_*.ckpt")}
    if not checkpoints:
        remedy = "Give the save_dir of a run with checkpoint.max_to_keep=-1"
        raise InputError(str(run / "models"), "there is no checkpoint", remedy)
    config = read_run_config(run / "config.yaml")
    corpus = Corpus(config.dataset_config[config.datasets].corpus)
    pairs = [
        (corpus.image_ids[index], corpus.sentence(sentence).text)
        for index in corpus.spread(num_images)
        for sentence in corpus.sentence_ids(index)
    ]
    seen = _kinds_seen(world / "scenes.jsonl")
    if (stranger := next((image for image, _ in pairs if image not in seen), None)) is not None:
        problem = f"image {stranger} of {corpus.path} is not in it"
        raise InputError(str(world), problem, "Give the world that the corpus was built from")
    share = aligned_share([kinds_said(text) for _, text in pairs], [seen[image] for image, _ in pairs])
    words = WordPieces(tokenizer_of_run(run))
    measured = []
    for update, path in sorted(checkpoints.items()):
        model = load_run(run, str(path.relative_to(run)))
        weights = match_logits(model, words, corpus.regions, pairs).sigmoid().double().numpy()
        well, bad = weights[share == 1], weights[share <= badly]
        auc = area_under_roc([*well, *bad], [True] * len(well) + [False] * len(bad))
        measured.append(Separation(update, auc, float(well.mean()), float(bad.mean()), len(well), len(bad)))
    return measured


def aligned_share(said: Sequence[set[str]], seen: Sequence[set[str]]) -> NDArray[np.float64]:
    """The share of the kinds of objects said in each pair's sentence that are seen in its image, float [m]; 0 for a
    sentence that speaks of nothing."""
    return np.array([len(s & v) / len(s) if s else 0.0 for s, v in zip(said, seen, strict=True)], np.float64)


def area_under_roc(scores: ArrayLike, aligned: Sequence[bool]) -> float:
    """The probability that an aligned pair has a higher score than one that is not; ties count half.

    Raises:
        InputError: all pairs are of one kind.
    """
    from sklearn.metrics import roc_auc_score

    if len(set(aligned)) < 2:
        problem = f"there are {len(aligned)}, of which {sum(aligned)} are aligned"
        raise InputError("pairs", problem, "Give pairs of both kinds")
    return float(roc_auc_score(aligned, scores))


def _kinds_seen(path: Path) -> dict[str, set[str]]:
    seen = {}
    for number, scene in read_json_lines(path):
        try:
            seen[scene["image_id"]] = {found["category"] for found in scene["objects"]}
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}", f"no scene ({error!r})", "Make the world again") from error
    return seen
