#!/usr/bin/env python3
"""Run a study: pre-train and fine-tune every system with every seed, and write tables, a plot and a page.

    python tools/run_study.py config=projects/muvla/studies/main.yaml seeds=[0,1,2,3,4] num_workers=2

What two systems or studies have in common (a corpus, a pre-training) is made once: a job is known by the configuration
that it runs with, whatever files and systems are called. A study may be stopped at any time, and goes on when it is
started again; what is finished is not repeated.

seeds        the seeds of the comparison
num_workers  jobs at the same time (1), each with its share of cores and GPUs: with 4 GPUs, num_workers=1 gives a job
             all of them, num_workers=4 one. OMP_NUM_THREADS, where it is set, is every job's number of threads
memory_gb    no more jobs at the same time than fit (the study says what one may take)
executor     ray: jobs run on the nodes of a Ray cluster, as many at the same time as it has room for, or num_workers
             (docs/cluster.md)
executor_options.KIND.cpus, .gpus, .memory
             what a job has to itself there; KIND is step, pretrain or finetune: executor_options.finetune.gpus=1
systems      only these: systems=[base,muvla_cc]; and with tasks=[nlvr2] only these tasks
work         folder of all jobs, with every configuration, history and log (outputs/studies)
out          folder of the results: runs.jsonl, table.md, table.csv, plot.svg, plot.png, index.html
             (WORK/results/NAME). What stands in runs.jsonl is not run again, also where its folder is gone
records      records of other studies that count here, too: records=[docs/results/main/runs.jsonl]
setting      other data: setting=projects/muvla/studies/paper.yaml instead of the generated world
dry_run      true: print the commands and run nothing
report_only  true: run nothing, and write tables, plot and page of what is finished so far
key=value    any key of the study's file: tasks.vqa2.rates=[2e-4]
-- key=value after two dashes: arguments of every mmf_run, e.g. training.max_updates=2
"""

import sys
from functools import partial
from pathlib import Path

from mmf_muvla.command_line import run_command
from mmf_muvla.studies.command import study_command

if __name__ == "__main__":
    sys.exit(run_command(partial(study_command, tools=Path(__file__).parent.absolute()), __doc__))
