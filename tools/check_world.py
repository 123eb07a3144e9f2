#!/usr/bin/env python3
"""Measure whether the toy world, and the way the studies use it, can tell systems apart.

    python tools/run_study.py config=projects/muvla/studies/conditions.yaml seeds=[10,11,12] num_workers=2
    python tools/check_world.py results=outputs/studies/results/conditions

results   folder of that study's results. Of its runs.jsonl counts what the study, as it is today, asks for
config    the study (projects/muvla/studies/conditions.yaml)
seeds     those of the comparison: seeds=[10,11,12] (all that are on record)
work      folder of the studies' jobs, for the curves of the pre-trainings (outputs/studies)
out       where world.md and world.json are written (the folder of the results)
lower     the system without pre-training (base)
upper     the one with true pairs (aligned_vlp)
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.studies.conditions import conditions_command

if __name__ == "__main__":
    sys.exit(run_command(conditions_command, __doc__))
