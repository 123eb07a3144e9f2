"""Parts of a few things each, so that small corpora are built of many."""

from __future__ import annotations

from mmf_muvla.pairing import embed, link, phrases, retrieve
from mmf_muvla.regions import predicted_images
from mmf_muvla.regions.sources import RegionSource
from mmf_muvla.sentences import files as sentence_files


def make_small_parts() -> None:
    """From now on, in this process; it is the one that builds that cuts parts, and workers need not know."""
    embed.part_size = lambda *_: 16
    phrases._SENTENCES_PER_PART = 8
    retrieve.part_size = lambda *_: 8
    link._IMAGES_PER_PART = 8
    sentence_files._BLOCK_BYTES = 256
    predicted_images._BYTES_PER_SHARD = 512
    RegionSource.pieces_per_shard = 2
