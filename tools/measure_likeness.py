#!/usr/bin/env python3
"""Measure whether pre-trainings have kept words and regions of one meaning alike, or undone it.

    python tools/measure_likeness.py results=[docs/results/ablation] corpus=outputs/studies/step/aligned-…

results     folders of studies' results; all their pre-trainings are measured
corpus      a corpus of images and their own sentences (the step `aligned` of the studies)
work        folder of the studies' jobs, where the weights are (outputs/studies)
out         where likeness.md and likeness.json are written (the first folder of results)
num_images  how many images to look at (250)
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.studies.likeness import likeness_command

if __name__ == "__main__":
    sys.exit(run_command(likeness_command, __doc__))
