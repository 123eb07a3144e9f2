"""How what was retrieved for images compares with their true captions."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
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
from mmf_muvla.report.corpus_sample import SAMPLED_IMAGES, sample_images
from mmf_muvla.report.corpus_tables import share
from mmf_muvla.sentences.cleaning import clean_sentence

SHUFFLES = 5
RECALL_RANKS = (5, 10, 100)
# What own_caption_ranks reads; users may have removed it.
_POOL_STAGES = ("sentences", "embed", "retrieve")


@dataclass(frozen=True)
class KnownCaptions:
    """True captions of images of a corpus.

    Attributes:
        by_image: the captions of each chosen image, by the image's number in the corpus, in ascending order.
        images: images of the corpus with a caption, chosen or not.
        captions: captions of these.
        unknown: captions of images that the corpus does not have.
    """

    by_image: dict[int, list[str]]
    images: int
    captions: int
    unknown: int


def read_captions(path: str | Path) -> Iterator[tuple[str, str]]:
    """Read true captions, one JSON object ``{"image_id", "caption"}`` a line, also gzipped (``.gz``).

    Yields:
        Image id, and the caption, cleaned as the corpus's sentences are (:func:`clean_sentence`).

    Raises:
        InputError: there is no such file, it is damaged, or a line is no such object or has no caption.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _read_caption(line.removeprefix(b"\xef\xbb\xbf"), f"{path}, line {number}")
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise InputError(str(path), f"is not a whole gzip file ({error})", "Copy it again") from error
        raise InputError(
            str(path),
            f"cannot be read ({error.strerror})",
            'Give a file with {"image_id": …, "caption": …} on every line',
        ) from error
    except (EOFError, zlib.error) as error:
        raise InputError(str(path), f"is not a whole gzip file ({error})", "Copy it again") from error


def _read_caption(line: bytes, where: str) -> tuple[str, str]:
    remedy = 'Every line is a JSON object {"image_id": …, "caption": …} in UTF-8; mend or remove this one'
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"is not JSON ({error})", remedy) from error
    if not isinstance(record, dict):
        raise InputError(where, f"is not an object but {str(record)[:60]!r}", remedy)
    image_id, caption = record.get("image_id"), record.get("caption")
    if isinstance(image_id, bool) or not isinstance(image_id, (int, str)) or image_id == "":
        raise InputError(where, f"image_id is {image_id!r}, neither a name nor a whole number", remedy)
    text = clean_sentence(caption) if isinstance(caption, str) else ""
    if not text:
        raise InputError(where, f"caption is {caption!r}, not a text with words", remedy)
    return str(image_id), text


def known_captions(corpus: Corpus, path: str | Path, seed: int = 0, wanted: int = SAMPLED_IMAGES) -> KnownCaptions:
    """Read the true captions of images of a corpus; of many images, those of a random sample.

    Args:
        corpus: the corpus.
        path: see :func:`read_captions`. It is read twice.
        seed: chooses the images.
        wanted: how many images at most.

    Raises:
        InputError: the file cannot be used, or has no caption of an image of the corpus.
    """
    find = _ImageFinder(corpus)
    captioned = np.zeros(len(corpus), bool)
    num_known = num_unknown = 0
    for image_id, _ in read_captions(path):
        number = find(image_id)
        if number is None:
            num_unknown += 1
        else:
            captioned[number] = True
            num_known += 1
    if not num_known:
        examples = ", ".join(image_ids(corpus, range(min(3, len(corpus)))))
        raise InputError(
            str(path),
            f"none of its {num_unknown:,} captions is of an image of {corpus.path}",
            f"Give captions of this corpus's images; these are named like {examples}",
        )
    numbers = np.flatnonzero(captioned)
    chosen = numbers[sample_images(len(numbers), wanted, seed)]
    by_image: dict[int, list[str]] = {number: [] for number in chosen.tolist()}
    for image_id, caption in read_captions(path):
        number = find(image_id)
        if number in by_image:
            by_image[number].append(caption)
    return KnownCaptions(by_image, len(numbers), num_known, num_unknown)


class _ImageFinder:
    """The number of an image in the corpus by its id, in sixteen bytes an image.

    Ids are known by a 64-bit digest: among three million, the chance of any mistake is 1 in 4 million.
    """

    def __init__(self, corpus: Corpus):
        batches = read_batches([corpus.path / PAIRS_FILE])
        names = (name for batch in batches for name in batch.column("image_id").to_pylist())
        digests = np.fromiter(map(_digest, names), np.uint64, len(corpus))
        self._order = np.argsort(digests, kind="stable")
        self._digests = digests[self._order]

    def __call__(self, image_id: str) -> int | None:
        digest = np.uint64(_digest(image_id))
        place = int(np.searchsorted(self._digests, digest))
        if place == len(self._digests) or self._digests[place] != digest:
            return None
        return int(self._order[place])


def image_ids(corpus: Corpus, images: Iterable[int]) -> list[str]:
    """The names of images; reads neither their regions nor all names."""
    table = MappedTable(corpus.path / PAIRS_FILE)
    names = table.strings("image_id")
    return [names[batch][row] for batch, row in map(table.locate, images)]


def _digest(name: str) -> int:
    # Ids from JSON may hold halves of characters, which cannot be encoded otherwise.
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def measure_captions(corpus: Corpus, captions: KnownCaptions, seed: int) -> dict[str, Any]:
    """Compare what was retrieved with true captions.

    Returns:
        How many captions and images there are, how many of the captions are among the sentences used and in the pool,
        ``recall_at`` 1 to K (share of images with an own caption among the first sentences, by equal text), ``pool``
        (see :func:`_measure_ranks`), and ``nouns`` (see :func:`noun_agreement`).
    """
    texts = pa.array(sorted({caption for own in captions.by_image.values() for caption in own}), pa.string())
    used = _found_texts(corpus.path / SENTENCES_FILE, texts)
    pool_file = corpus.path / "build" / "sentences" / SENTENCES_FILE
    pool = _found_texts(pool_file, texts) if pool_file.is_file() else None
    own_in = {
        name: None if found is None else sum(not found.isdisjoint(own) for own in captions.by_image.values())
        for name, found in (("used", used), ("pool", pool))
    }
    retrieved = {image: _retrieved_texts(corpus, image) for image in captions.by_image}
    first = [
        min((retrieved[image].index(caption) for caption in own if caption in retrieved[image]), default=corpus.k)
        for image, own in captions.by_image.items()
    ]
    num_images = len(captions.by_image)
    return {
        "images": captions.images,
        "captions": captions.captions,
        "captions_of_unknown_images": captions.unknown,
        "sampled_images": num_images,
        "distinct_captions": len(texts),
        "captions_in_used": len(used),
        "captions_in_pool": None if pool is None else len(pool),
        "images_with_caption_in_used": own_in["used"],
        "images_with_caption_in_pool": own_in["pool"],
        "recall_at": {
            str(rank): share(sum(place < rank for place in first), num_images) for rank in range(1, corpus.k + 1)
        },
        "pool": _measure_ranks(corpus, captions.by_image),
        "nouns": _measure_nouns(captions.by_image, retrieved, seed),
    }


def _retrieved_texts(corpus: Corpus, image: int) -> list[str]:
    return [corpus.sentence(number).text for number in corpus.sentence_ids(image)]


def _found_texts(table: Path, texts: pa.Array) -> set[str]:
    """Which of ``texts`` are sentences of a table, by equal text."""
    found: set[str] = set()
    for batch in read_batches([table]):
        sentences = batch.column("sentence")
        found.update(sentences.filter(pc.is_in(sentences, value_set=texts)).to_pylist())
    return found


def _measure_ranks(corpus: Corpus, captions: Mapping[int, Sequence[str]]) -> dict[str, Any] | None:
    """Where own captions stand in the whole pool; ``None`` where the build's folder was removed.

    Returns:
        ``ranked``, images with an own caption in the pool; ``recall_at`` 5, 10 and 100, as a share of all images with
        captions; ``recall_at_of_ranked``, of the ranked ones; ``median_rank`` of these.
    """
    build = corpus.path / "build"
    if not all((build / stage).is_dir() for stage in _POOL_STAGES):
        return None
    ids = image_ids(corpus, list(captions))
    ranks = own_caption_ranks(corpus.path, dict(zip(ids, map(list, captions.values()), strict=True)))
    found = np.array(list(ranks.values()), np.int64)
    hits = {str(rank): int((found <= rank).sum()) for rank in RECALL_RANKS}
    return {
        "ranked": len(found),
        "recall_at": {rank: share(count, len(captions)) for rank, count in hits.items()},
        "recall_at_of_ranked": {rank: share(count, len(found)) for rank, count in hits.items()},
        "median_rank": float(np.median(found)) if len(found) else None,
    }


def own_caption_ranks(corpus_folder: Path, captions: dict[str, list[str]]) -> dict[str, int]:
    """See :func:`mmf_muvla.pairing.own_captions.own_caption_ranks`, which loads torch and a model."""
    from mmf_muvla.pairing import own_captions

    return own_captions.own_caption_ranks(corpus_folder, captions)


def _measure_nouns(
    captions: Mapping[int, Sequence[str]], retrieved: Mapping[int, Sequence[str]], seed: int
) -> dict[str, Any]:
    texts = sorted({text for texts in (*captions.values(), *retrieved.values()) for text in texts})
    nouns = dict(zip(texts, _head_nouns(texts), strict=True))
    return noun_agreement(
        [[noun for text in own for noun in nouns[text]] for own in captions.values()],
        [[noun for text in retrieved[image] for noun in nouns[text]] for image in captions],
        seed,
    )


def _head_nouns(texts: Sequence[str]) -> Iterator[list[str]]:
    """The head nouns of each text's noun phrases, lower-case."""
    # spaCy takes seconds to load, and is not needed without captions.
    from mmf_muvla.pairing.phrases import PhraseFinder

    with progress_bar(len(texts), "nouns", "sentence") as progress:
        for text, spans in zip(texts, PhraseFinder(PhraseOptions()).find(list(texts)), strict=True):
            yield [text[start:end].lower() for _, _, start, end in spans.tolist()]
            progress.update()


def noun_agreement(
    true: Sequence[Sequence[str]], retrieved: Sequence[Sequence[str]], seed: int = 0, shuffles: int = SHUFFLES
) -> dict[str, Any]:
    """How much the nouns of retrieved sentences tell about those of true captions: normalised mutual information.

    The joint distribution ``p(x, y)``: draw an image, each as likely; of its true captions a noun x, of its retrieved
    sentences a noun y, each occurrence as likely. Then ``NMI = I(X; Y) / sqrt(H(X) H(Y))``: 0 where the two are
    independent, 1 where each noun determines the other; 0 where one side has a single noun. Nouns are lower-cased heads
    of noun phrases. Images without a noun on either side take no part.

    Few observations of many nouns look dependent by chance. How much of the value is due to that shows when images swap
    their retrieved sentences at random; the difference is what the retrieval is worth.

    Args:
        true: the nouns of each image's true captions.
        retrieved: the nouns of each image's retrieved sentences.
        seed: shuffles the images.
        shuffles: how often.

    Returns:
        ``images`` that take part, ``nmi``, ``shuffled`` (the mean), ``difference``, and the distinct nouns of both
        sides, ``true_nouns`` and ``retrieved_nouns``.
    """
    both = [(x, y) for x, y in zip(true, retrieved, strict=True) if x and y]
    if not both:
        return {"images": 0, "nmi": None, "shuffled": None, "difference": None, "true_nouns": 0, "retrieved_nouns": 0}
    x, y = (_noun_shares(side) for side in zip(*both, strict=True))
    rng = np.random.default_rng([seed, 2])
    nmi = _normalised_information(x, y)
    shuffled = float(np.mean([_normalised_information(x, y[rng.permutation(len(both))]) for _ in range(shuffles)]))
    return {
        "images": len(both),
        "nmi": round(nmi, 6),
        "shuffled": round(shuffled, 6),
        "difference": round(nmi - shuffled, 6),
        "true_nouns": x.shape[1],
        "retrieved_nouns": y.shape[1],
    }


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
    joint = (x.T @ y / x.shape[0]).tocoo()
    p_x, p_y = (np.asarray(side.sum(axis=0)).reshape(-1) / x.shape[0] for side in (x, y))
    rows, columns = joint.coords
    information = float((joint.data * np.log(joint.data / (p_x[rows] * p_y[columns]))).sum())
    entropies = [float(-(p[p > 0] * np.log(p[p > 0])).sum()) for p in (p_x, p_y)]
    return max(information, 0.0) / float(np.sqrt(entropies[0] * entropies[1])) if min(entropies) > 1e-12 else 0.0
