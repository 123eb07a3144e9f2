"""Watching alignment being learned: how well ``w_ITM`` tells well-aligned pairs from others as training goes on.

Only the generated world can be asked which of its retrieved sentences fit their image. A pair is **well** aligned where
every kind of object that the sentence speaks of is in the image, and **badly** where at most a given share of them is
(a half, or none); pairs in between are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

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
from mmf_muvla.run_config import read_run_config
from mmf_muvla.terminal import printable, terminal_console
from mmf_muvla.toyworld.mentions import kinds_said
from mmf_muvla.trainers.loading import load_run
from mmf_muvla.trainers.separation import aligned_share, area_under_roc

_FILES = ("alignment.json", "alignment.svg")


@dataclass(frozen=True)
class Separation:
    """How a checkpoint weighs the pairs.

    Attributes:
        update: the checkpoint's number of updates.
        auc: the probability that a well-aligned pair weighs more than a badly aligned one.
        well, badly: mean ``w_ITM`` of the well and of the badly aligned pairs.
        num_well, num_badly: how many pairs there are of each.
    """

    update: int
    auc: float
    well: float
    badly: float
    num_well: int
    num_badly: int


@dataclass
class AlignmentOptions(Options):
    """The options of the command.

    Attributes:
        run: the folder of the run.
        world: the folder of the toy world.
        out: where the result goes; ``None``: ``alignment`` in the run.
        num_images, badly: see :func:`watch_alignment`.
    """

    run: Name
    world: Name = "data/toyworld"
    out: Name | None = None
    num_images: Count = 500
    badly: Share = 0.5


def alignment_command(arguments: Sequence[str]) -> None:
    """``run=FOLDER world=FOLDER [out=FOLDER] [num_images=500] [badly=0.5]``: measure every checkpoint of a run.

    Raises:
        InputError: the run, its corpus or the world cannot be read, or they do not belong together.
    """
    options = read_options(AlignmentOptions, arguments)
    run, world = Path(options.run), Path(options.world)
    out = output_folder("out", options.out or run / "alignment", [run, world], may_be_inside=True)
    check_outputs(out, _FILES)
    measured = watch_alignment(run, world, options.num_images, options.badly)
    texts = (as_json([asdict(separation) for separation in measured]), _plot(measured))
    for name, text in zip(_FILES, texts, strict=True):
        write_output(out / name, text)
    terminal_console().print(_table(measured))
    print(printable(f"{out}/alignment.svg"))


def watch_alignment(run: Path, world: Path, num_images: int, most_seen: float = 0.5) -> list[Separation]:
    """Measure every checkpoint that a pre-training run on the toy world has kept.

    Args:
        run: ``env.save_dir`` of a run with ``checkpoint.max_to_keep=-1``.
        world: the toy world that its corpus was built from.
        num_images: images to look at, evenly spread over the corpus, each with its K retrieved sentences.
        most_seen: a pair is badly aligned where at most this share of the kinds that are spoken of is seen.

    Returns:
        One measurement for each checkpoint, in the order of training.

    Raises:
        InputError: see :func:`alignment_command`.
    """
    checkpoints = sorted(run.glob("models/model_*.ckpt"), key=lambda path: int(path.stem.partition("_")[2]))
    if not checkpoints:
        raise InputError(
            str(run / "models"), "there is no checkpoint", "Give the save_dir of a run with checkpoint.max_to_keep=-1"
        )
    config = read_run_config(run / "config.yaml")
    corpus = Corpus(config.dataset_config[config.datasets].corpus)
    pairs, said = _retrieved_pairs(corpus, num_images)
    seen = _kinds_seen(world / "scenes.jsonl")
    strangers = [image for image, _ in pairs if image not in seen]
    if strangers:
        raise InputError(
            str(world),
            f"image {strangers[0]} of {corpus.path} is not in it",
            "Give the world the corpus was built from",
        )
    share = aligned_share(said, [seen[image] for image, _ in pairs])
    words = WordPieces(config.model_config.muvla.trunk.pretrained)
    measured = []
    for path in checkpoints:
        model = load_run(run, str(path.relative_to(run)))
        weights = match_logits(model, words, corpus.regions, pairs).sigmoid().double().numpy()
        measured.append(_separation(int(path.stem.partition("_")[2]), weights[share == 1], weights[share <= most_seen]))
    return measured


def _separation(update: int, well: NDArray[np.float64], badly: NDArray[np.float64]) -> Separation:
    auc = area_under_roc(np.concatenate([well, badly]), np.arange(len(well) + len(badly)) < len(well))
    return Separation(update, auc, float(well.mean()), float(badly.mean()), len(well), len(badly))


def _retrieved_pairs(corpus: Corpus, num_images: int) -> tuple[list[tuple[str, str]], list[set[str]]]:
    """(image id, sentence) of the chosen images, and the kinds that each sentence speaks of."""
    pairs = [
        (corpus.image_ids[index], corpus.sentence(sentence).text)
        for index in corpus.spread(num_images)
        for sentence in corpus.sentence_ids(index)
    ]
    return pairs, [kinds_said(text) for _, text in pairs]


def _kinds_seen(path: Path) -> Mapping[str, set[str]]:
    if not path.is_file():
        raise InputError(str(path), "no such file", "Give the folder that tools/make_toyworld.py made")
    seen = {}
    for number, scene in read_json_lines(path):
        try:
            seen[scene["image_id"]] = {found["category"] for found in scene["objects"]}
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}", f"no scene ({error!r})", "Make the world again") from error
    return seen


def _plot(measured: Sequence[Separation]) -> str:
    updates = [separation.update for separation in measured]
    return small_multiples(
        {
            "AUC of w_ITM": {"AUC": (updates, [separation.auc for separation in measured])},
            "mean w_ITM": {
                "well aligned": (updates, [separation.well for separation in measured]),
                "badly": (updates, [separation.badly for separation in measured]),
            },
        }
    )


def _table(measured: Sequence[Separation]) -> Table:
    table = Table(title=f"w_ITM of {measured[0].num_well:,} well and {measured[0].num_badly:,} badly aligned pairs")
    for column in ("update", "AUC", "well aligned", "badly"):
        table.add_column(column, justify="right")
    for row in measured:
        table.add_row(f"{row.update:,}", f"{row.auc:.3f}", f"{row.well:.3f}", f"{row.badly:.3f}")
    return table
