"""How good a weakly aligned corpus is: its links, its retrieval, and how both compare with true captions.

What lies in the corpus's tables (links, scores, sentences, phrases) is counted over the whole corpus, batch by batch.
What needs the images' regions, or a parser, is measured on a random sample of images; the result says how many.
"""

from __future__ import annotations

from typing import Any

from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.corpus_captions import KnownCaptions, measure_captions
from mmf_muvla.report.corpus_sample import SAMPLED_IMAGES, measure_mentions, measure_tags, sample_images
from mmf_muvla.report.corpus_tables import measure_tables


def measure_corpus(
    corpus: Corpus, captions: KnownCaptions | None = None, seed: int = 0, sampled_images: int = SAMPLED_IMAGES
) -> dict[str, Any]:
    """Measure a corpus.

    Args:
        corpus: the corpus.
        captions: true captions of some of its images, where there are any.
        seed: chooses the sampled images and sentences.
        sampled_images: images that are looked at for what is not counted over the whole corpus.

    Returns:
        What ``quality.json`` holds: ``links``, ``scores``, ``sentences``, ``regions_per_image`` (the whole corpus),
        ``tags`` and ``mentions`` (a sample), and ``captions`` where there are true ones, otherwise ``None``.
    """
    sample = sample_images(len(corpus), sampled_images, seed)
    compared = list(captions.by_image) if captions else sample.tolist()
    return {
        "corpus": str(corpus.path),
        "images": len(corpus),
        "k": corpus.k,
        "counts": corpus.counts,
        "seed": seed,
        "sampled_images": len(sample),
        **measure_tables(corpus),
        "tags": measure_tags(corpus, sample.tolist()),
        "mentions": measure_mentions(corpus, compared, captions.by_image if captions else None, seed),
        "captions": measure_captions(corpus, captions, seed) if captions else None,
    }
