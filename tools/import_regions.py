#!/usr/bin/env python3
"""Make a region store out of detector output, without building a corpus.

    python tools/import_regions.py regions=data/toyworld/regions_tasks out=data/corpus/tasks [key=value …]

regions takes one path or a list of them, regions=[chunk0,chunk1], of VinVL folders (features.tsv, predictions.tsv), MMF
feature folders (X.npy, X_info.npy), MMF LMDBs, or region stores of former versions, which are LMDBs. Further keys:
num_workers (auto or a number), on_bad_record (skip or error), max_skipped_fraction, region_options.format (a class of
yours reads any other format), .max_regions, .feature_dim, .rect_scale, .detector_size, .rename, .label_map,
.label_offset.
An import that was killed goes on when it is started again. What was left out is listed in out/skipped.jsonl.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.pairing.commands import import_command

if __name__ == "__main__":
    sys.exit(run_command(import_command, __doc__))
