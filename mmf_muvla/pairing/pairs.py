"""Which sentences belong to which image, and pairs that follow from that, for comparisons with what retrieval finds."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path

import numpy as np

from mmf_muvla.artifacts.arrow import read_batches
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import PairingOptions
from mmf_muvla.regions.regions import image_digests
from mmf_muvla.regions.store import RegionStore

# A hash is compared with the share by so many of its bits: as many as a float has.
_BITS = 53


def digests_of_images(regions: RegionStore) -> np.ndarray:
    """What stands for each image of a store, in its order, uint64 [n]."""
    return np.concatenate([image_digests(block.column("image_id").to_pylist()) for block in regions.blocks()])


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


class GivenPairs:
    """Which K sentences each image of a corpus gets.

    What an image gets depends on the seed, its id and its own sentences alone: not on other images, nor on their order.

    Args:
        regions: the images.
        table: the table of owners that the stage *sentences* writes.
        pool_size: how many sentences there are.
        k: sentences per image.
        options: the share of images that get their own, and the seed.

    Raises:
        InputError: an image has no sentence of its own and should get some, or so many that too few others are left and
            should get these.
    """

    def __init__(self, regions: RegionStore, table: Path, pool_size: int, k: int, options: PairingOptions):
        self._pool_size, self._k, self._options = pool_size, k, options
        images = digests_of_images(regions)
        self._owners = Owners(table, images)
        self._check(regions, images)

    def get_own(self, images: np.ndarray) -> np.ndarray:
        """Whether images, given by their digests, get sentences of their own, bool [n]."""
        # Whole numbers are compared with a float exactly: a share of 1 is all images, one of 0 none.
        limit = self._options.true_fraction * 2**_BITS
        draws = (next(self._chance(b"share", image)) >> (64 - _BITS) for image in map(int, images))
        return np.fromiter((draw < limit for draw in draws), bool, len(images))

    def sentences(self, images: np.ndarray) -> np.ndarray:
        """The sentences of images, given by their digests; of own ones the first K, or all in turn, int64 [n, K]."""
        mine = [self._owners.rows[begin:end] for begin, end in zip(*self._owners.spans(images), strict=True)]
        given = [
            np.resize(rows, self._k) if is_own else self._others(int(image), rows)
            for image, rows, is_own in zip(images, mine, self.get_own(images), strict=True)
        ]
        return np.array(given, np.int64)

    def _others(self, image: int, own: np.ndarray) -> list[int]:
        """K distinct sentences of the whole pool, none of them the image's own."""
        drawn: dict[int, None] = {}
        rows = (number % self._pool_size for number in self._chance(b"others", image))
        excluded = set(own.tolist())
        while len(drawn) < self._k:
            if (row := next(rows)) not in excluded:
                drawn[row] = None
        return list(drawn)

    def _chance(self, purpose: bytes, image: int) -> Iterator[int]:
        """Endless random numbers of 64 bits, the same with every release of every library."""
        for block in count():
            content = f"{self._options.seed}/{image}/{block}".encode()
            yield from struct.unpack("<8Q", hashlib.blake2b(content, person=purpose).digest())

    def _check(self, regions: RegionStore, images: np.ndarray) -> None:
        begins, ends = self._owners.spans(images)
        own = self.get_own(images)
        lacking = np.flatnonzero(own & (begins == ends))
        if len(lacking):
            raise InputError(
                "pairing.source=captions",
                f"{len(lacking)} of {int(own.sum())} images that should get their own sentences have none, the first "
                f"is {_image_id(regions, lacking[0])}",
                "Give each a sentence (of those in the files, sentence_options.min_words and max_words may have left "
                "some out), take these images out of regions, or check sentence_options.image_id_column",
            )
        crowded = np.flatnonzero(~own & (self._pool_size - (ends - begins) < self._k))
        if len(crowded):
            image = f"image {_image_id(regions, crowded[0])} should get sentences of other images"
            problem = f"{image}, and of the {self._pool_size} sentences fewer than {self._k} are not its own"
            raise InputError(f"retrieval.k={self._k}", problem, "Give more text, or lower retrieval.k")


def _image_id(regions: RegionStore, number: int) -> str:
    """The id of an image by its number in the store."""
    blocks = (block.column("image_id") for block in regions.blocks())
    return next(islice(chain.from_iterable(blocks), number, None)).as_py()
