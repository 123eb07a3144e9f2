"""Builds a corpus, as ``tools/build_corpus.py`` does, in the smallest parts. Run by ``test_ray_build.py``.

python tests/pairing/ray_builds.py OPTION=VALUE …
"""

from __future__ import annotations

import sys

from mmf_muvla.pairing import embed, link, phrases, retrieve
from mmf_muvla.pairing.commands import build_command
from mmf_muvla.regions import predicted_images
from mmf_muvla.regions.sources import RegionSource
from mmf_muvla.sentences import files as sentence_files

# Parts are cut in the process that builds: workers need not know of it.
embed.part_size = lambda *_: 16
phrases._SENTENCES_PER_PART = 8
retrieve.part_size = lambda *_: 8
link._IMAGES_PER_PART = 8
sentence_files._BLOCK_BYTES = 256
predicted_images._BYTES_PER_SHARD = 512
RegionSource.pieces_per_shard = 2

if __name__ == "__main__":
    build_command(sys.argv[1:])
