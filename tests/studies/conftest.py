"""A study whose steps are a script of these tests, so that jobs take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.studies.jobs import Jobs
from mmf_muvla.studies.study import Step, Study, System, TaskPlan

WRITE = '''
"""Waits, counts its runs beside its output, and fails where it is told to."""
import os, pathlib, sys, time
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
out = pathlib.Path(options["out"])
time.sleep(float(options.get("seconds", 0)))
print("has waited", flush=True)
with open(out.with_name(out.name + ".runs"), "a") as runs:
    runs.write("run\\n")
if options.get("fail") and not pathlib.Path(options["fail"]).exists():
    sys.exit("told to fail")
out.mkdir(exist_ok=True)
(out / "made.txt").write_text(options.get("text", ""))
(out / "gpus.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
'''


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "write.py").write_text(WRITE, encoding="utf-8")
    return tmp_path / "tools"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    for name in ("pretrain", "finetune"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n", encoding="utf-8")
    pretrain = str(tmp_path / "pretrain.yaml")
    return Study(
        name="small",
        title="Small",
        reference="one",
        steps={
            "world": Step("write.py", ("out={out}", "text=world")),
            "corpus_one": Step("write.py", ("out={out}", "text=one", "world={world}")),
            "corpus_two": Step("write.py", ("out={out}", "text=two", "world={world}")),
        },
        systems={
            "base": System("Base"),
            "one": System("One", pretrain, "corpus_one"),
            "two": System("Two", pretrain, "corpus_two", rates_of="one"),
            "same": System("One again", pretrain, "corpus_one"),
        },
        tasks={"nlvr2": TaskPlan(str(tmp_path / "finetune.yaml"), (1e-4, 2e-4), ("data={world}",))},
        pretrain=("corpus={corpus}",),
    )


@pytest.fixture
def jobs(study: Study, tmp_path: Path, tools: Path) -> Jobs:
    return Jobs(study, tmp_path / "work", tools)
