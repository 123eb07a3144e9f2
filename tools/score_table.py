#!/usr/bin/env python3
"""Compare the test scores of fine-tuned runs.

    python tools/score_table.py runs=outputs/compare [out=outputs/scores] [systems=base,muvla_cc,…]

Prints a table, systems by tasks, with mean and standard deviation over seeds and Meta-Ave, and writes it to scores.md,
scores.csv and scores.html in out (by default runs), the first and last with every run.

runs       a folder; every folder in it, at any depth, that holds the config.yaml and results.json of a run is a run.
           Its task is datasets, its seed training.seed, and its system
             - the top-level key system of its configuration, where there is one; else
             - base, where it started from BERT alone (no checkpoint.resume_file); else
             - the key system of the configuration beside its checkpoint, where there is one; else
             - the name of the folder of its checkpoint: muvla_cc of outputs/muvla_cc/muvla_final.safetensors.
           Two runs of the same system, task and seed are an error.
systems    the systems to show, in this order; * stands for anything: systems=base,muvla_*
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.score_page import score_command

if __name__ == "__main__":
    sys.exit(run_command(score_command, __doc__))
