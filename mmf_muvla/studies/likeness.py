"""Whether a pre-training has kept words and regions of one meaning alike, or undone it.

With :mod:`~mmf_muvla.models.region_init` regions start at the words of their tags, and one head of the lowest layer
looks for like on the other side. Fine-tuning lives on that; so it has to be known which objectives keep it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.datasets.collate import collate_images
from mmf_muvla.errors import InputError
from mmf_muvla.models.embeddings import region_location
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.region_init import class_word_embeddings
from mmf_muvla.models.trunk import Trunk
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.options.kinds import Count, Name, Options, Paths, as_list
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.tables import MISSING, Table, markdown_page
from mmf_muvla.studies.records import RECORDS, Records, pretraining_folder
from mmf_muvla.terminal import terminal_console
from mmf_muvla.trainers.loading import load_run


@dataclass
class LikenessOptions(Options):
    """The options of the command, which says what they mean."""

    results: Paths
    corpus: Name
    work: Name = "outputs/studies"
    out: Name | None = None
    num_images: Count = 250


@dataclass(frozen=True)
class Pair:
    """A true pair of n regions and t tokens."""

    image_feature_0: Tensor  # float [n, feature_dim]
    location: Tensor  # float [n, 5], see region_location
    class_id: Tensor  # int [n]
    input_ids: Tensor  # [CLS], the sentence, [SEP]; int [t]
    named: Tensor  # the class that a token names, -1 where none, int [t]


@dataclass(frozen=True)
class Likeness:
    """How alike a model holds words and regions of one meaning.

    Of the words that name a class of some of the image's regions and not of all, ``finds`` is the share whose likeness
    head looks most, among regions, at one of that class.
    """

    nearest: float  # share of regions whose projected feature is nearest, in direction, to the word of their class
    finds: float | None  # None where the head is behind other layers
    by_chance: float  # what finds would be if the words looked anywhere


def likeness_command(arguments: Sequence[str]) -> None:
    """``results=[FOLDER,…] corpus=FOLDER [work=FOLDER] [out=FOLDER] [num_images=250]``: measure, and write a table."""
    options = read_options(LikenessOptions, arguments)
    folders = [Path(it) for it in as_list(options.results)]
    if not all((folder / RECORDS).is_file() for folder in folders):
        raise InputError(f"results={options.results}", f"has no {RECORDS}", "Name folders of studies' results")
    out = output_folder("out", options.out, [Path(options.corpus)]) if options.out else folders[0]
    check_outputs(out, ("likeness.json", "likeness.md"))
    records = [record for folder in folders for record in Records(folder / RECORDS).all() if record.kind == "pretrain"]
    corpus = Corpus(options.corpus)
    words = cache(WordPieces)
    pairs = cache(lambda name: true_pairs(corpus, words(name), options.num_images))
    measured: dict[str, list[Likeness]] = {}
    for record in tqdm({it.digest: it for it in records}.values(), desc="models", unit="model", disable=None):
        model = load_run(pretraining_folder(record, Path(options.work)))
        encoder, name = model.encoder, str(model.config.trunk.pretrained)
        class_words = class_word_embeddings(encoder.embeddings, corpus, words(name))
        measured.setdefault(record.system, []).append(measure_likeness(encoder, class_words, pairs(name)))
    numbers = {system: [asdict(it) for it in found] for system, found in measured.items()}
    write_output(out / "likeness.json", as_json(numbers))
    write_output(out / "likeness.md", text := as_markdown(measured))
    terminal_console().print(text, soft_wrap=True)


def true_pairs(corpus: Corpus, words: WordPieces, num_images: int) -> list[Pair]:
    """At most so many images, evenly spread over a corpus of images and their own sentences, each with its first."""
    tokens_of = map(words.tag, corpus.object_names)
    # Of a longer name no single token means the class.
    class_of = {int(tokens[0]): number for number, tokens in enumerate(tokens_of) if len(tokens) == 1}
    pairs = []
    for item in map(corpus.__getitem__, corpus.spread(num_images)):
        image = collate_images([item.regions])
        ids = words(corpus.sentence(int(item.sentence_ids[0])).text, 60)[0]
        input_ids = torch.tensor([words.vocabulary.cls_id, *ids, words.vocabulary.sep_id])
        pairs.append(
            Pair(
                image_feature_0=image["image_feature_0"][0].float(),
                location=region_location(image["bbox"], image["image_size"])[0],
                class_id=torch.from_numpy(item.regions.class_id.astype(np.int64)),
                input_ids=input_ids,
                named=torch.tensor([class_of.get(int(token), -1) for token in input_ids]),
            )
        )
    return pairs


@torch.no_grad()
def measure_likeness(encoder: Encoder, class_words: Tensor, pairs: Sequence[Pair]) -> Likeness:
    """Measure an encoder, in evaluation mode, with its word embeddings of all classes, float [classes, hidden]."""
    embeddings, trunk = encoder.embeddings, encoder.trunk
    first = trunk.first_attentions()[0]
    centre = class_words.mean(dim=0)
    directions = normalize(class_words - centre, dim=1)
    nearest: list[Tensor] = []
    finds: list[bool] = []
    chances: list[float] = []
    for pair in pairs:
        projected = embeddings.project_features(pair.image_feature_0)
        likeliest = (normalize(projected - centre, dim=1) @ directions.T).argmax(dim=1)
        nearest.append(likeliest == pair.class_id)
        texts = embeddings.embed_text(pair.input_ids[None])[0]
        regions = embeddings.embed_regions(projected[None], pair.location[None])[0]
        query, key = (
            (states @ weight.T + bias)[:, : encoder.config.head_size]
            for states, (weight, bias) in ((texts, first.query), (regions, first.key))
        )
        looked_at = pair.class_id[(query @ key.T).argmax(dim=1)]
        for token, named in enumerate(pair.named.tolist()):
            share = float((pair.class_id == named).float().mean())
            if named >= 0 and 0 < share < 1:
                finds.append(int(looked_at[token]) == named)
                chances.append(share)
    if not finds:
        raise InputError("corpus", "no word of its sentences names a region of the image", "Name one of true captions")
    # The co-attention of two streams comes after layers of each; what goes into it is not looked at here.
    found = statistics.fmean(finds) if isinstance(trunk, Trunk) else None
    return Likeness(float(torch.cat(nearest).float().mean()), found, statistics.fmean(chances))


def as_markdown(measured: dict[str, list[Likeness]]) -> str:
    """A table of systems: means over their seeds, in per cent."""

    def mean(part: str, of_system: Sequence[Likeness]) -> str:
        known = [value for it in of_system if (value := getattr(it, part)) is not None]
        return f"{statistics.fmean(known):.0%}" if known else MISSING

    rows = [
        (name, str(len(of_system)), *(mean(part, of_system) for part in ("nearest", "finds", "by_chance")))
        for name, of_system in measured.items()
    ]
    header = ("pre-training", "seeds", "nearest word", "finds its region", "by chance")
    return markdown_page("Are words and regions of one meaning still alike?", [Table(header, rows)])
