"""The text that an image's sentences are searched with: its object tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmf_muvla.pairing.config import QueryOptions
from mmf_muvla.regions.store import RegionStore, tag_texts


def image_query(
    store: RegionStore, class_ids: np.ndarray, attribute_ids: np.ndarray, confidence: np.ndarray, options: QueryOptions
) -> str:
    """The text that an image's sentences are searched with, made of what is known of its regions."""
    if not options.attributes:
        attribute_ids = np.full_like(attribute_ids, -1)
    tags = tag_texts(class_ids, attribute_ids, store.object_names, store.attribute_names)
    return query_text(tags, confidence.tolist(), options)


def query_text(tags: Sequence[str], confidence: Sequence[float], options: QueryOptions) -> str:
    """Make one text out of the tags of an image.

    Args:
        tags: the tag of every region [n], n > 0.
        confidence: the detector's confidence in each [n].
        options: order, separator, which to say. Where no tag is confident enough, the most confident one is said.
    """
    by_confidence = sorted(range(len(tags)), key=lambda region: -confidence[region])
    confident = [tags[region] for region in by_confidence if confidence[region] >= options.min_confidence]
    chosen = confident or [tags[by_confidence[0]]]
    if options.order == "frequency":
        counts = Counter(chosen)
        # What occurs equally often stays in the order of confidence: sorting is stable, and counts keep that order.
        first = {tag: place for place, tag in enumerate(counts)}
        chosen = sorted(chosen, key=lambda tag: (-counts[tag], first[tag]))
    elif options.order == "alphabetical":
        chosen = sorted(chosen)
    if options.unique:
        chosen = list(dict.fromkeys(chosen))
    return options.separator.join(chosen)
