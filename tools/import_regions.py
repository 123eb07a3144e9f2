#!/usr/bin/env python3
"""Make a region store out of detector output, without building a corpus.

    python tools/import_regions.py regions=data/toyworld/regions_tasks out=data/corpus/tasks [key=value …]

regions takes one path or a list of them, regions=[chunk0,chunk1], of what these extractors write:

    VinVL                         a folder with features.tsv and predictions.tsv
    scene_graph_benchmark         a folder with predictions.tsv, features inside
    Oscar                         X.yaml, X.feature.tsv with X.label.tsv, or a folder with one pair
    bottom-up-attention, LXMERT   a TSV, or a folder with one
    bottom-up-attention.pytorch   a folder with X.npz for every image
    MMF, ViLBERT                  a folder with X.npy for every image, or an LMDB

or of region stores of former versions, which are LMDBs; or one or more region stores, in any places, which are joined:
out then says where they are, has an index of all their images, and is used like a single store. Each is recognised by
itself. Without classes (bottom-up-attention, ViLBERT's LMDBs), a store serves for fine-tuning, but not for a corpus.
Further keys: num_workers (auto or a number), on_bad_record (skip or error), max_skipped_fraction,
region_options.format (a class of yours reads any other format), .max_regions, .feature_dim, .rect_scale,
.detector_size, .rename, .label_map (names of numbered classes), .label_offset, .image_sizes (hw.tsv or a list, where
the files do not say how large images are).
With executor=ray the nodes of a Ray cluster make the parts (docs/cluster.md).
An import that was killed goes on when it is started again. What was left out is listed in out/skipped.jsonl.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.pairing.commands import import_command

if __name__ == "__main__":
    sys.exit(run_command(import_command, __doc__))
