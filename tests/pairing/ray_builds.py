"""Builds a corpus, as ``tools/build_corpus.py`` does, in the smallest parts. Run by ``test_ray_build.py``.

python tests/pairing/ray_builds.py OPTION=VALUE …
"""

from __future__ import annotations

import sys
from pathlib import Path

from mmf_muvla.pairing.commands import build_command

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.pairing.small_parts import make_small_parts

if __name__ == "__main__":
    make_small_parts()
    build_command(sys.argv[1:])
