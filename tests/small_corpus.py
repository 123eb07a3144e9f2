"""A hand-made weakly aligned corpus, in the real format, for tests that must not wait for a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmf_muvla.artifacts.arrow import TableWriter, list_array
from mmf_muvla.pairing.store import (
    BUILD_KEY,
    PAIRS_FILE,
    PAIRS_SCHEMA,
    REGIONS_FOLDER,
    SENTENCES_FILE,
    SENTENCES_SCHEMA,
    write_meta,
)
from mmf_muvla.regions.store import Regions, RegionStoreWriter

NAMES = ["bird", "car", "cat", "dog", "house", "tree"]
K, DIM = 3, 16


def sentence(number: int) -> tuple[str, tuple[int, int]]:
    """Sentence ``number`` speaks of class ``number % 6``; with the span of its noun phrase."""
    name = NAMES[number % len(NAMES)]
    text = f"Somebody saw a {name} on day {number}"
    start = text.index(name)
    return text, (start, start + len(name))


def write_small_corpus(folder: Path, images: int = 80, sentences: int = 60, seed: int = 0) -> Path:
    """Write a corpus in which an image's sentences speak of the class of its first region, which they are linked to."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    looks = rng.normal(size=(len(NAMES), DIM)) * 2
    rows = []
    with RegionStoreWriter(folder / REGIONS_FOLDER, NAMES, ["red"], DIM) as store:
        for number in range(images):
            n = int(rng.integers(2, 6))
            classes = rng.integers(len(NAMES), size=n)
            corner = rng.integers(0, 50, size=(n, 2))
            store.put(
                Regions(
                    image_id=str(1000 + number),
                    width=100,
                    height=120,
                    image_feature_0=(looks[classes] + rng.normal(size=(n, DIM)) * 0.3).astype(np.float16),
                    bbox=np.concatenate([corner, corner + rng.integers(5, 50, size=(n, 2))], axis=1).astype(np.float32),
                    class_id=classes.astype(np.int32),
                    attribute_id=np.where(rng.random(n) < 0.2, 0, -1).astype(np.int32),
                    confidence=np.full(n, 0.9, np.float32),
                )
            )
            candidates = np.arange(classes[0], sentences, len(NAMES))
            linked = classes == classes[0]
            rows.append(
                (
                    str(1000 + number),
                    rng.choice(candidates, size=K, replace=False),
                    np.sort(rng.random(K))[::-1],
                    np.tile(np.where(linked, 0, -1), K),
                    np.tile(np.where(linked, 0.9, 0.0), K),
                )
            )
    ids, own, scores, phrases, similarities = zip(*rows, strict=True)
    texts = [sentence(number) for number in range(sentences)]
    with TableWriter(folder / SENTENCES_FILE, SENTENCES_SCHEMA, {BUILD_KEY: "hand-made"}) as writer:
        writer.write(
            [text for text, _ in texts],
            list(range(1, sentences + 1)),
            list_array([np.array([start]) for _, (start, _) in texts], np.int32),
            list_array([np.array([end]) for _, (_, end) in texts], np.int32),
        )
    with TableWriter(folder / PAIRS_FILE, PAIRS_SCHEMA, {BUILD_KEY: "hand-made"}) as writer:
        writer.write(
            list(ids),
            list_array(own, np.int32),
            list_array(scores, np.float32),
            list_array(phrases, np.int16),
            list_array(similarities, np.float32),
        )
    write_meta(folder, K, {"images": images}, build="hand-made")
    return folder
