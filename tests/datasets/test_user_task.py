"""A user's own package adds a task, in one file and one line of configuration, from a folder outside the clone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from mmf_muvla.reading.json_lines import read_json_lines
from tests.datasets.small_tasks import DIM, EXAMPLES, MINILM, NAMES, classes_of, write_regions
from tests.forked import Forked

MMF_RUN = Path(sys.executable).parent / "mmf_run"
PACKAGE = '''
"""How many things are in a picture?"""

from dataclasses import dataclass

import torch
from mmf.common.registry import registry
from torch.nn import functional as F

import mmf_muvla
from mmf_muvla.datasets.tasks.task import TaskDataset, TaskRecord, number_of, register_loss, register_task, text_of
from mmf_muvla.objectives.streamed_metric import SampleMean
from mmf_muvla.options.data import Task
from mmf_muvla.options.kinds import Count
from mmf_muvla.reading.json_lines import read_json_lines

mmf_muvla.register_with_mmf()


@dataclass
class CountingOptions(Task):
    most: Count = 3


@dataclass(frozen=True, slots=True)
class CountRecord(TaskRecord):
    count: int


@register_loss("counting_error")
def counting_error(scores, targets):
    return F.cross_entropy(scores.float(), targets, reduction="none")


@registry.register_metric("counting_accuracy")
class CountingAccuracy(SampleMean):
    key = "counting_accuracy"
    fields = ("scores", "targets")

    def reduce(self, fields):
        return fields["scores"].argmax(dim=1) == fields["targets"]


@register_task("counting", options=CountingOptions)
class CountingDataset(TaskDataset[CountRecord]):
    @property
    def num_labels(self):
        return self.config.most + 1

    def read_records(self):
        for line, entry in read_json_lines(self.path):
            where = f"{self.path}, line {line}"
            yield CountRecord(
                place=line,
                text=text_of(entry, "question", where),
                images=(text_of(entry, "image", where),),
                labelled=True,
                count=min(number_of(entry, "count", where), self.config.most),
            )

    def targets(self, samples):
        return {"targets": torch.tensor([sample.record.count for sample in samples])}
'''
CONFIG = f"""
includes:
- projects/muvla/finetune/visual_entailment.yaml
datasets: counting
env:
  user_dir: {{package}}
dataset_config:
  counting:
    annotations: {{{{train: {{data}}/counts.jsonl, val: {{data}}/counts.jsonl, test: {{data}}/counts.jsonl}}}}
    features: {{{{train: {{data}}/regions, val: {{data}}/regions, test: {{data}}/regions}}}}
    most: 5
model_config:
  muvla:
    trunk: {{{{pretrained: "{MINILM}", random_init: true, feature_dim: {DIM}, num_hidden_layers: 1, hidden_size: 32,
             num_attention_heads: 2, intermediate_size: 32}}}}
    losses: [counting_error]
training: {{{{device: cpu, batch_size: 4, max_updates: 2, evaluation_interval: 2, num_workers: 0,
            early_stop: {{{{criteria: counting_accuracy}}}}}}}}
evaluation:
  metrics: [counting_accuracy]
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    package = tmp_path / "counting_task"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    write_regions(tmp_path / "regions")
    questions = [
        {"question": f"how many things, {NAMES[image % 6]}s too?", "image": str(image), "count": len(classes_of(image))}
        for image in range(EXAMPLES)
    ]
    (tmp_path / "counts.jsonl").write_text("".join(f"{json.dumps(question)}\n" for question in questions))
    (tmp_path / "mine.yaml").write_text(CONFIG.format(package=package, data=tmp_path))
    return tmp_path


def command(folder: Path, *overrides: str) -> list[str]:
    return [str(MMF_RUN), f"config={folder / 'mine.yaml'}", f"env.save_dir={folder / 'save'}", *overrides]


def test_a_task_from_outside_is_trained_and_has_a_score(elsewhere: Path) -> None:
    done = subprocess.run(command(elsewhere), cwd=elsewhere, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = json.loads((elsewhere / "save" / "results.json").read_text())
    assert results["updates_trained"] == 2 and results["test"]["counting_error"] > 0
    assert 0 <= results["test"]["counting_accuracy"] <= 1
    history = [line for _, line in read_json_lines(elsewhere / "save" / "history.jsonl")]
    assert [(line["split"], line["update"]) for line in history] == [("train", 2), ("val", 2)]
    weights = load_file(elsewhere / "save" / "muvla_final.safetensors")
    sizes = [value.shape for name, value in weights.items() if name.startswith("heads.classifier")]
    assert any(shape[0] == 6 for shape in sizes), "one answer for each number from 0 to 5"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset_config.counting.moost=4", "unknown key 'dataset_config.counting.moost'. Did you mean .*most"),
        ("dataset_config.counting.most=0", "dataset_config.counting.most=0: is not a whole number from 1"),
    ],
)
def test_its_options_are_checked(elsewhere: Path, forked: Forked, override: str, message: str) -> None:
    done = forked.run(command(elsewhere, override), cwd=elsewhere)
    assert done.returncode == 2 and re.search(message, done.stderr), done.stderr[-2000:]
