#!/usr/bin/env python3
"""Make a region store out of pictures with a detector.

    python tools/extract_regions.py images=data/pictures detector=PekingU/rtdetr_v2_r50vd out=data/regions [key=value …]

images takes one path or a list of them, images=[train2014,val2014]: folders with pictures at any depth, tar shards in
WebDataset's layout or a folder of them, parquet files or data sets as Hugging Face's library saves them, text files
that list pictures. detector is a hub name or a folder of a detector of transformers, torchvision:NAME, or a class of
yours, my_package.my_detector:MyDetector. Open-vocabulary detectors need vocabulary=names.txt. Further keys: num_workers
(auto or a number), device, dtype, batch_size, min_confidence, max_overlap, min_regions, max_regions, rename,
thumbnails, max_pixels, image_column, id_column, detector_options, on_bad_record (skip or error), max_skipped_fraction;
projects/muvla/corpus/pictures.yaml explains them.
With executor=ray the nodes of a Ray cluster make the parts (docs/cluster.md).
A run that was killed goes on when it is started again. What was left out is listed in out/skipped.jsonl.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.detection.extraction import extract_command

if __name__ == "__main__":
    sys.exit(run_command(extract_command, __doc__))
