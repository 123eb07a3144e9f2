"""Which sentences of the pool belong to which image of a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmf_muvla.artifacts.arrow import read_batches
from mmf_muvla.regions.regions import image_digests


class Owners:
    """The sentences of each image, in 16 bytes a sentence that belongs to one of the corpus.

    Args:
        table: the table of owners that the stage *sentences* writes.
        images: digests of the corpus's images, uint64 [n].

    Attributes:
        rows: numbers of sentences, those of an image side by side, each once and in order, int64 [owned].
        most_of_one_image: the largest number of sentences that an image has.
    """

    def __init__(self, table: Path, images: np.ndarray):
        images = np.sort(images)
        digests, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for batch in read_batches([table]):
            digest = image_digests(batch.column("image_id").to_pylist())
            place = np.minimum(np.searchsorted(images, digest), len(images) - 1)
            known = images[place] == digest
            digests.append(digest[known])
            rows.append(batch.column("pool_row").to_numpy()[known])
        image, row = np.concatenate(digests), np.concatenate(rows)
        order = np.lexsort((row, image))
        image, row = image[order], row[order]
        # An image may have the same sentence twice.
        is_new = np.ones(len(row), bool)
        is_new[1:] = (image[1:] != image[:-1]) | (row[1:] != row[:-1])
        self._image, self.rows = image[is_new], row[is_new]
        _, counts = np.unique(self._image, return_counts=True)
        self.most_of_one_image = int(counts.max(initial=0))

    def spans(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the sentences of some images, given by their digests [n], begin and end in ``rows``, two int64 [n]."""
        return np.searchsorted(self._image, images, "left"), np.searchsorted(self._image, images, "right")
