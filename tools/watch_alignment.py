#!/usr/bin/env python3
"""Measure how well w_ITM tells well from badly aligned pairs, at every checkpoint of a run on the toy world.

    python tools/watch_alignment.py run=save [world=data/toyworld] [out=save/alignment] [num_images=500] [badly=0.5]

A retrieved sentence is well aligned where every kind of object that it speaks of is in the image, badly where at most
half of them are (badly=0: none): the generated world knows.
Prints a table and writes alignment.json and alignment.svg. Train with checkpoint.max_to_keep=-1, so that there are
checkpoints to look back at:

    mmf_run config=projects/muvla/pretrain_toyworld.yaml training.checkpoint_interval=100 checkpoint.max_to_keep=-1
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.alignment import alignment_command

if __name__ == "__main__":
    sys.exit(run_command(alignment_command, __doc__))
