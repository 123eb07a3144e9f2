"""Importing it tells MMF about the tasks of the project: data sets, losses, metrics.

The names ``vqa2``, ``nlvr2`` and ``visual_entailment`` take the places of MMF's stock data sets.
"""

from importlib import import_module

TASKS = ("vqa2", "nlvr2", "visual_entailment", "refcoco_plus", "retrieval")

for _task in TASKS:
    for _part in ("dataset", "metric"):
        import_module(f"mmf_muvla.datasets.tasks.{_task}.{_part}")
