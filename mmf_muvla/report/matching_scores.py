"""Images with their captions, and how they are scored: by a model, and by the retrieval that pairs are made with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmf_muvla.datasets.images import ImageSource
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.masking import Bools, Floats, Ints
from mmf_muvla.objectives.region_phrase import tokens_in_phrases
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.config import EmbeddingOptions, PhraseOptions, QueryOptions
from mmf_muvla.regions.index import META_FILE
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.report.corpus_captions import read_captions
from mmf_muvla.report.corpus_sample import mentions, sample_images
from mmf_muvla.report.matching_measures import Group

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionedImages:
    """Some images, and of each the caption by which it is compared with others.

    ``own`` are all captions of each. ``counts``: ``images`` and ``captions`` that there are to draw from;
    ``unknown_images`` and ``captions_of_unknown_images``, of which there are no regions; and ``repeated_captions``,
    which their image has twice.
    """

    image_ids: list[str]
    captions: list[str]
    own: list[frozenset[str]]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.image_ids)

    def owned(self, group: Group) -> Bools:
        """Which captions (columns) of a group are also captions of which of its images (rows), bool [C, C]."""
        texts = [self.captions[number] for number in group.images]
        return np.array([[text in self.own[number] for text in texts] for number in group.images])


def captioned_images(path: str | Path, images: ImageSource, num_images: int, seed: int) -> CaptionedImages:
    """Read captions, and draw at most so many images that have one, and a caption of each.

    Raises:
        InputError: the file cannot be used, or has captions of fewer than two of the images.
    """
    found: dict[str, dict[str, None]] = {}
    unknown: dict[str, int] = {}
    repeated = 0
    for image_id, text in read_captions(path):
        if image_id in unknown or (image_id not in found and image_id not in images):
            unknown[image_id] = unknown.get(image_id, 0) + 1
            continue
        own = found.setdefault(image_id, {})
        repeated += text in own
        own[text] = None
    counts = {
        "images": len(found),
        "captions": sum(map(len, found.values())),
        "unknown_images": len(unknown),
        "captions_of_unknown_images": sum(unknown.values()),
        "repeated_captions": repeated,
    }
    if len(found) < 2:
        problem = f"its {sum(counts.values()) - len(found) - len(unknown):,} captions are of {len(found)} of the images"
        named = "" if not unknown else f"; it calls them {', '.join(list(unknown)[:3])}"
        remedy = f"Give captions of two images at least; those of {images.path} are called {images.first_key()}"
        raise InputError(str(path), f"{problem} in {images.path}{named}", remedy)
    if unknown:
        _log.warning(
            "%s: %d captions are left out: there are no regions of their %d images (%s, …)",
            *(path, counts["captions_of_unknown_images"], len(unknown), next(iter(unknown))),
        )
    ids = list(found)
    chosen = [ids[number] for number in sample_images(len(ids), num_images, seed)]
    rng = np.random.default_rng([seed, 2])
    drawn = [list(found[image_id])[rng.integers(len(found[image_id]))] for image_id in chosen]
    return CaptionedImages(chosen, drawn, [frozenset(found[image_id]) for image_id in chosen], counts)


def model_scores(
    captioned: CaptionedImages,
    groups: Sequence[Group],
    logits_of: Callable[[list[tuple[str, str]]], Floats],
) -> list[Floats]:
    """A model's scores, float [C, C] for each group, NaN for pairs that nobody asks for.

    Args:
        captioned, groups: what is compared.
        logits_of: gives the logit of each (image id, caption), float [pairs].
    """
    places = [group.pairs() for group in groups]
    pairs = [
        (captioned.image_ids[group.images[row]], captioned.captions[group.images[column]])
        for group, at in zip(groups, places, strict=True)
        for row, column in zip(*(it.tolist() for it in at), strict=True)
    ]
    ends = np.cumsum([len(rows) for rows, _ in places])
    scores = []
    for group, at, logits in zip(groups, places, np.split(logits_of(pairs), ends[:-1]), strict=True):
        score = np.full((len(group.images),) * 2, np.nan)
        score[at] = logits
        scores.append(score)
    return scores


def store_with_names(regions: Path) -> RegionStore | None:
    """The region store in a folder, where it is one and its classes have names: Sentence-BERT goes by these."""
    store = RegionStore(regions) if (regions / META_FILE).is_file() else None
    return store if store is not None and store.object_names else None


def retrieval_scores(
    captioned: CaptionedImages,
    groups: Sequence[Group],
    regions: RegionStore,
    embedding: EmbeddingOptions,
    query: QueryOptions,
) -> list[Floats]:
    """Cosine similarities of tags and captions by Sentence-BERT, as in the retrieval, float [C, C] for each group."""
    from mmf_muvla.pairing.own_captions import tag_similarities  # loads sentence-transformers

    alike = tag_similarities(regions, captioned.image_ids, captioned.captions, embedding, query).astype(np.float64)
    return [alike[np.ix_(group.images, group.images)] for group in groups]


def scores_together(one: Sequence[Floats], other: Sequence[Floats]) -> list[Floats]:
    """The sum of two scores of the same pairs, float [C, C] for each group, each divided by its standard deviation over
    all pairs, so that both count alike."""
    scales = [np.nanstd(np.concatenate([group.ravel() for group in scores])) or 1.0 for scores in (one, other)]
    return [mine / scales[0] + its / scales[1] for mine, its in zip(one, other, strict=True)]


@dataclass(frozen=True)
class MaskedNouns:
    """The head nouns of captions, each to be hidden by itself.

    Attributes:
        image: number of the image whose caption it is in, int [m].
        tokens: word pieces of its caption, int [t] each.
        hidden: which of them are the noun's, bool [t] each.
        detected: whether the image has a region of a class of that name; ``None`` where classes have no names.
    """

    image: Ints
    tokens: list[Ints]
    hidden: list[Bools]
    detected: Bools | None

    def rows(self) -> Iterator[tuple[int, Ints, Bools]]:
        """Image, tokens and what is hidden, noun by noun."""
        yield from zip(self.image.tolist(), self.tokens, self.hidden, strict=True)


def masked_nouns(
    captioned: CaptionedImages, words: WordPieces, max_tokens: int, regions: RegionStore | None, options: PhraseOptions
) -> MaskedNouns:
    """Find the head nouns of all noun phrases of the captions, by spaCy, as in the stage *phrases* of a build."""
    from mmf_muvla.pairing.phrases import PhraseFinder

    image, all_tokens, hidden, detected = [], [], [], []
    for number, (text, spans) in enumerate(
        zip(captioned.captions, PhraseFinder(options).find(captioned.captions), strict=True)
    ):
        tokens, offsets = words(text, max_tokens)
        heads = spans[:, 2:].astype(np.int64)
        noun_of_token = tokens_in_phrases(offsets, heads)
        tags = _class_words(regions, captioned.image_ids[number]) if regions else set()
        for noun, (start, end) in enumerate(heads.tolist()):
            if not (here := noun_of_token == noun).any():
                continue  # cut off
            image.append(number)
            all_tokens.append(tokens)
            hidden.append(here)
            detected.append(bool(tags) and bool(mentions(tags, [text[start:end]]).any()))
    return MaskedNouns(np.array(image, np.int64), all_tokens, hidden, np.array(detected, bool) if regions else None)


def _class_words(regions: RegionStore, image_id: str) -> set[str]:
    """The last words of the names of what was detected: "table" of "dining table"."""
    classes = regions.get(image_id).class_id.tolist()
    names = (regions.object_names[number] for number in classes if number >= 0)
    return {name.split()[-1] for name in names if name.split()}


def other_images(num_images: int, seed: int) -> Ints:
    """For each image another one, at random, each of them once, int [images]."""
    order = np.random.default_rng([seed, 3]).permutation(num_images)
    other = np.empty(num_images, np.int64)
    other[order] = np.roll(order, 1)
    return other
