"""How what was retrieved for images compares with their true captions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmf_muvla.artifacts.arrow import MappedTable, read_batches
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import PhraseOptions
from mmf_muvla.pairing.store import PAIRS_FILE, SENTENCES_FILE, Corpus
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.report.corpus_sample import SAMPLED_IMAGES, sample_images
from mmf_muvla.report.corpus_tables import share
from mmf_muvla.sentences.cleaning import clean_sentence

_SHUFFLES = 5


@dataclass(frozen=True)
class KnownCaptions:
    """True captions of images of a corpus."""

    by_image: dict[int, list[str]]  # of each chosen image, by its number in the corpus, in ascending order
    images: int  # of the corpus with a caption, chosen or not
    captions: int  # of these
    unknown: int  # captions of images that the corpus does not have


def read_captions(path: str | Path) -> Iterator[tuple[str, str]]:
    """Image ids and captions, cleaned as sentences are, of JSON lines ``{"image_id", "caption"}``, or ``"captions"``
    with a list of them (``.gz`` as well).

    Raises:
        InputError: there is no such file, it is damaged, or a line is no such object or has no caption.
    """
    remedy = 'Every line is a JSON object {"image_id": …, "caption": …} in UTF-8; mend or remove this one'
    for number, record in read_json_lines(path):
        image_id, several = record.get("image_id"), record.get("captions")
        if isinstance(image_id, bool) or not isinstance(image_id, (int, str)) or image_id == "":
            problem = f"image_id is {image_id!r}, neither a name nor a whole number"
            raise InputError(f"{path}, line {number}", problem, remedy)
        one = [record.get("caption")]
        for caption in several if several and isinstance(several, list) and one == [None] else one:
            text = clean_sentence(caption) if isinstance(caption, str) else ""
            if not text:
                raise InputError(f"{path}, line {number}", f"caption is {caption!r}, not a text with words", remedy)
            yield str(image_id), text


def known_captions(corpus: Corpus, path: str | Path, seed: int = 0, wanted: int = SAMPLED_IMAGES) -> KnownCaptions:
    """Read the true captions of at most ``wanted`` images of a corpus, chosen at random.

    Raises:
        InputError: the file cannot be used, or has no caption of an image of the corpus.
    """
    names = pa.chunked_array([batch.column("image_id") for batch in MappedTable(corpus.path / PAIRS_FILE).batches])
    numbers = pc.index_in(pa.array((image_id for image_id, _ in read_captions(path)), pa.string()), names)
    captioned = np.unique(numbers.drop_null().to_numpy())
    if not len(captioned):
        raise InputError(
            str(path),
            f"none of its {len(numbers):,} captions is of an image of {corpus.path}",
            f"Give captions of this corpus's images; these are named like {', '.join(names[:3].to_pylist())}",
        )
    chosen = captioned[sample_images(len(captioned), wanted, seed)]
    by_image: dict[int, list[str]] = {number: [] for number in chosen.tolist()}
    # Once more, so that the captions of other images take no memory.
    for (_, caption), number in zip(read_captions(path), numbers, strict=True):
        if (own := by_image.get(number.as_py())) is not None:
            own.append(caption)
    return KnownCaptions(by_image, len(captioned), len(numbers) - numbers.null_count, numbers.null_count)


def measure_captions(corpus: Corpus, captions: KnownCaptions, seed: int) -> dict[str, Any]:
    """How many captions there are, and how many of them are among the sentences used and in the pool; ``recall_at`` 1
    to K (the share of images with an own caption among the first sentences, by equal text); ``pool`` (see
    :func:`_measure_ranks`); and ``nouns`` (see :func:`noun_agreement`)."""
    by_image = captions.by_image
    texts = pa.array(sorted({caption for own in by_image.values() for caption in own}), pa.string())
    tables = (corpus.path / SENTENCES_FILE, corpus.path / "build" / "sentences" / SENTENCES_FILE)
    used, pool = (_found_texts(table, texts, by_image.values()) for table in tables)
    retrieved = {image: [corpus.sentence(number).text for number in corpus.sentence_ids(image)] for image in by_image}
    true_nouns, retrieved_nouns = _head_nouns_of_images(by_image.values(), retrieved.values())
    first = [
        min((retrieved[image].index(caption) for caption in own if caption in retrieved[image]), default=corpus.k)
        for image, own in by_image.items()
    ]
    return {
        "images": captions.images,
        "captions": captions.captions,
        "captions_of_unknown_images": captions.unknown,
        "sampled_images": len(by_image),
        "distinct_captions": len(texts),
        "captions_in_used": used[0],
        "captions_in_pool": pool[0],
        "images_with_caption_in_used": used[1],
        "images_with_caption_in_pool": pool[1],
        "recall_at": {str(k): share(sum(rank < k for rank in first), len(by_image)) for k in range(1, corpus.k + 1)},
        "pool": _measure_ranks(corpus, by_image),
        "nouns": noun_agreement(true_nouns, retrieved_nouns, seed),
    }


def _found_texts(
    table: Path, texts: pa.Array, of_images: Iterable[Sequence[str]]
) -> tuple[int, int] | tuple[None, None]:
    """How many texts are sentences of a table, and how many images have one that is; ``None`` without the table."""
    if not table.is_file():
        return None, None
    found: set[str] = set()
    for batch in read_batches([table]):
        sentences = batch.column("sentence")
        found.update(sentences.filter(pc.is_in(sentences, value_set=texts)).to_pylist())
    return len(found), sum(not found.isdisjoint(own) for own in of_images)


def _measure_ranks(corpus: Corpus, captions: Mapping[int, Sequence[str]]) -> dict[str, Any] | None:
    """The ranks of own captions in the whole pool: ``ranked``, images with one there; ``recall_at`` 5, 10 and 100, a
    share of all images with captions; ``recall_at_of_ranked``; ``median_rank``. ``None`` if users removed the build."""
    from mmf_muvla.pairing import own_captions  # loads torch and a model

    if not all((corpus.path / "build" / stage).is_dir() for stage in ("sentences", "embed", "retrieve")):
        return None
    by_id = {corpus.image_ids[number]: own for number, own in captions.items()}
    found = np.array(list(own_captions.own_caption_ranks(corpus.path, by_id).values()), np.int64)
    hits = {str(rank): int((found <= rank).sum()) for rank in (5, 10, 100)}
    return {
        "ranked": len(found),
        "recall_at": {rank: share(count, len(captions)) for rank, count in hits.items()},
        "recall_at_of_ranked": {rank: share(count, len(found)) for rank, count in hits.items()},
        "median_rank": float(np.median(found)) if len(found) else None,
    }


def _head_nouns_of_images(*sides: Collection[Sequence[str]]) -> list[list[list[str]]]:
    """The head nouns of all texts of each image, for several kinds of texts of the same images."""
    texts = sorted({text for side in sides for of_image in side for text in of_image})
    nouns = dict(zip(texts, _head_nouns(texts), strict=True))
    return [[[noun for text in of_image for noun in nouns[text]] for of_image in side] for side in sides]


def _head_nouns(texts: Sequence[str]) -> Iterator[list[str]]:
    """The head nouns of each text's noun phrases, lower-case."""
    from mmf_muvla.pairing.phrases import PhraseFinder  # loads spaCy, which is not needed without captions

    with progress_bar(len(texts), "nouns", "sentence") as progress:
        for text, spans in zip(texts, PhraseFinder(PhraseOptions()).find(list(texts)), strict=True):
            yield [text[start:end].lower() for _, _, start, end in spans.tolist()]
            progress.update()


def noun_agreement(true: Sequence[Sequence[str]], retrieved: Sequence[Sequence[str]], seed: int = 0) -> dict[str, Any]:
    """How much the nouns of each image's retrieved sentences tell about those of its true captions.

    The joint distribution ``p(x, y)``: draw an image, each equally likely; a noun x of its true captions and a noun y
    of its retrieved sentences, each occurrence equally likely. Then ``NMI = I(X; Y) / sqrt(H(X) H(Y))``: 0 if the two
    are independent, 1 if each noun determines the other; 0 if one side has a single noun. Images without a noun on
    either side take no part.

    A few observations of many nouns look dependent by chance. How much of the value is due to that shows when images
    swap their retrieved sentences at random (``shuffled``); the ``difference`` is what the retrieval is worth.
    """
    both = [(x, y) for x, y in zip(true, retrieved, strict=True) if x and y]
    if not both:
        return {"images": 0, "nmi": None, "shuffled": None, "difference": None, "true_nouns": 0, "retrieved_nouns": 0}
    x, y = (_noun_shares(side) for side in zip(*both, strict=True))
    rng = np.random.default_rng([seed, 2])
    nmi = _normalised_information(x, y)
    shuffled = float(np.mean([_normalised_information(x, y[rng.permutation(len(both))]) for _ in range(_SHUFFLES)]))
    measured = {"nmi": round(nmi, 6), "shuffled": round(shuffled, 6), "difference": round(nmi - shuffled, 6)}
    return {"images": len(both), **measured, "true_nouns": x.shape[1], "retrieved_nouns": y.shape[1]}


def _noun_shares(nouns_of_images: Sequence[Sequence[str]]) -> Any:
    """How likely each noun is to be drawn, given the image: sparse [images, nouns], rows sum to 1."""
    from scipy import sparse

    numbers: dict[str, int] = {}
    columns = [numbers.setdefault(noun, len(numbers)) for nouns in nouns_of_images for noun in nouns]
    lengths = np.array([len(nouns) for nouns in nouns_of_images])
    rows = np.repeat(np.arange(len(lengths)), lengths)
    # Entries of the same place are added up.
    return sparse.coo_array((1 / lengths[rows], (rows, columns)), (len(lengths), len(numbers))).tocsr()


def _normalised_information(x: Any, y: Any) -> float:
    from scipy.stats import entropy

    of_x, of_y, of_both = (float(entropy(p)) for p in (x.sum(axis=0), y.sum(axis=0), (x.T @ y).data))
    return max(of_x + of_y - of_both, 0.0) / float(np.sqrt(of_x * of_y)) if min(of_x, of_y) > 1e-12 else 0.0
