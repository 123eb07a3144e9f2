#!/usr/bin/env python3
"""Make a region store out of detector output in VinVL's format, without building a corpus.

    python tools/import_regions.py source=data/toyworld/regions_vqa out=data/corpus/toyworld_vqa_regions [key=value …]

source takes one folder or a list of them: source=[chunk0,chunk1]. Further keys: on_bad_record (skip or error),
max_skipped_fraction, region_options.max_regions, region_options.feature_dim, region_options.rect_scale.
"""

import sys

from mmf_muvla.corpus.commands import import_command, run_command

if __name__ == "__main__":
    sys.exit(run_command(import_command, __doc__))
