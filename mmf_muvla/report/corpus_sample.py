"""What shows on a random sample of a corpus's images: which tags are linked, and which are mentioned in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.corpus_tables import share

SAMPLED_IMAGES = 10_000
_TOP_TAGS = 40
# Words whose plural no rule makes.
_IRREGULAR = {
    "men": "man", "women": "woman", "people": "person", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "knives": "knife", "wolves": "wolf", "shelves": "shelf", "leaves": "leaf",
    "loaves": "loaf", "calves": "calf", "scarves": "scarf",
}  # fmt: skip


def sample_images(num_images: int, wanted: int, seed: int) -> np.ndarray:
    """Numbers of ``wanted`` different images (of all, if there are fewer), ascending, int64."""
    if num_images <= wanted:
        return np.arange(num_images)
    return np.sort(np.random.default_rng(seed).choice(num_images, wanted, replace=False))


def measure_tags(corpus: Corpus, images: Sequence[int]) -> dict[str, Any]:
    """How often classes were detected, and how often they are linked, frequent ones first.

    Shares are those of :func:`~mmf_muvla.report.corpus_tables.measure_tables`. A frequent class that is never linked
    most likely has no word vector, or is not what sentences call the object.
    """
    regions, pairs, linked_in_any = (np.zeros(len(corpus.object_names), np.int64) for _ in range(3))
    with progress_bar(len(images), "tags", "image") as progress:
        for item in map(corpus.__getitem__, images):
            linked, classes = item.link_phrase >= 0, item.regions.class_id
            np.add.at(regions, classes, 1)
            np.add.at(pairs, classes, linked.sum(axis=0))
            np.add.at(linked_in_any, classes, linked.any(axis=0))
            progress.update()
    order = np.argsort(-regions, kind="stable")
    order = order[regions[order] > 0]
    rows = [
        {
            "tag": corpus.object_names[number],
            "regions": int(regions[number]),
            "of_pairs": share(int(pairs[number]), int(regions[number]) * corpus.k),
            "of_regions": share(int(linked_in_any[number]), int(regions[number])),
        }
        for number in order.tolist()
    ]
    never = order[pairs[order] == 0]
    return {
        "images": len(images),
        "regions": int(regions.sum()),
        "classes": len(rows),
        "most_frequent": rows[:_TOP_TAGS],
        "never_linked": [row for row in rows if row["of_pairs"] == 0][:_TOP_TAGS],
        "never_linked_classes": len(never),
        "never_linked_regions": share(int(regions[never].sum()), int(regions.sum())),
    }


def measure_mentions(
    corpus: Corpus, images: Sequence[int], captions: Mapping[int, Sequence[str]] | None, seed: int
) -> dict[str, Any]:
    """The share of an image's distinct tags (class names) that sentences mention; the mean over images.

    Retrieved sentences are compared with as many at random, and with true captions: ``any`` is the share of tags that
    at least one of the image's sentences mentions, ``single`` the share that one of them mentions on average, which
    alone compares different numbers of ``sentences``.
    """
    rng = np.random.default_rng([seed, 1])
    sums: dict[str, Any] = dict.fromkeys(("retrieved", "random", *(["true"] if captions else [])), 0)
    looked_at = 0
    with progress_bar(len(images), "mentions", "image") as progress:
        for image in images:
            item = corpus[image]
            progress.update()
            tags = {corpus.object_names[number] for number in item.regions.class_id.tolist()}
            if not tags:
                continue
            looked_at += 1
            drawn = rng.integers(corpus.num_sentences, size=corpus.k)
            texts = {"retrieved": item.sentence_ids, "random": drawn}
            sentences = {kind: [corpus.sentence(number).text for number in texts[kind]] for kind in texts}
            for kind, of_kind in (sentences | ({"true": captions[image]} if captions else {})).items():
                found = mentions(tags, of_kind)
                sums[kind] += np.array([found.any(axis=1).mean(), found.mean(), len(of_kind)])
    result: dict[str, Any] = {"images": looked_at, "retrieved": None, "random": None, "true": None}
    for kind, total in sums.items() if looked_at else ():
        shares = np.round(total / looked_at, 6).tolist()
        result[kind] = dict(zip(("any", "single", "sentences"), shares, strict=True))
    return result


def mentions(tags: Iterable[str], sentences: Iterable[str]) -> np.ndarray:
    """Whether each sentence has each tag's words, whole and in a row, singular or plural, bool [tags, sentences]."""
    texts = [_words(sentence) for sentence in sentences]
    return np.array([[_has_words(text, words) for text in texts] for words in map(_words, tags)])


def _words(text: str) -> list[frozenset[str]]:
    return [_word_forms(word) for word in re.findall(r"[^\W_]+", text.lower())]


def _has_words(text: Sequence[frozenset[str]], tag: Sequence[frozenset[str]]) -> bool:
    starts = range(len(text) - len(tag) + 1) if tag else ()
    return any(all(not forms.isdisjoint(text[start + n]) for n, forms in enumerate(tag)) for start in starts)


@lru_cache(maxsize=100_000)
def _word_forms(word: str) -> frozenset[str]:
    """A word, and what it may be the plural of. Some of it is no word, and so will not be met."""
    forms = {word, _IRREGULAR.get(word, word)}
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
        elif word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
            forms.add(word[:-2])
    return frozenset(forms)
