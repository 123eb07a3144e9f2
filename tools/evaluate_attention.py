#!/usr/bin/env python3
"""Measure whether words look at what they name, on the generated world, where that is known.

    python tools/evaluate_attention.py world=data/toyworld regions=data/regions_heldout \\
        runs.muvla=[save/0,save/1] runs.u_visualbert=save_uvb out=attention [key=value …]

Prints, and writes to results.json and attention.html: the share of a noun's attention to regions that falls on the
object that it names, for each layer (mean of heads, and the best head, which is chosen on other images), beside what
it would be without a preference, and beside a shuffled picture. Each has a 95 % interval.

world       folder of a generated world (tools/make_toyworld.py)
regions     a region store of images that were not trained on: regions_heldout of the world, imported by
            tools/import_regions.py
runs.NAME   one or several runs (seeds) of a system, or exported models; several systems are compared with the first
out         where the two files are written
captions    true captions: {"image_id": …, "caption": …} a line (WORLD/heldout_pairs.jsonl)
weights     which of the runs' weights: muvla_final.safetensors, best.ckpt
num_images  at most so many images, drawn at random, with a caption each (500)
seed        of images, captions, the shuffled pictures and intervals (0)
batch_size  rows in a pass (64)
device      auto (a GPU where there is one), cpu, cuda:1
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.attention_table import evaluate_command

if __name__ == "__main__":
    sys.exit(run_command(evaluate_command, __doc__))
