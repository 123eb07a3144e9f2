"""Studies: many systems, seeds and tasks as one plan of jobs, run in parallel, resumed, and summed up honestly."""
