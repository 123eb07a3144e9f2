"""Losses, outputs and gradients on the GPU are those of float32 on the CPU, where rows are computed one by one.

Errors are relative, ‖value − reference‖ / ‖reference‖, with TF32 off. Bounds: in float32 1e-4; with products of bf16,
which has 8 bits, 2e-2 in losses and scores and 3e-2 in all gradients together; of fp16, which has 11, an eighth of
that. (With products in these formats on a CPU the largest are 1.4e-2 and 1.1e-2, 1.8e-3 and 1.2e-3.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.datasets.small_tasks import TASKS
from tests.gpu.material import (
    PretrainingModel,
    TaskModel,
    autocast,
    prepared,
    pretraining_batch,
    relative_error,
    task_batch,
)
from tests.small_corpus import write_small_corpus

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("own_registry")]

FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
# Of losses and scores, of all gradients together.
BOUNDS = {FP32: (1e-4, 1e-4), BF16: (2e-2, 3e-2), FP16: (2.5e-3, 4e-3)}
LOSS_SCALE = 1024.0  # small gradients are not to be rounded to zero in fp16

PRETRAINING: dict[str, Callable[[], PretrainingModel]] = {
    "single_stream": PretrainingModel,
    "two_streams": lambda: PretrainingModel(two_streams=True),
    "mean_pooling": lambda: PretrainingModel(pooling="mean"),
    "published_heads": lambda: PretrainingModel(pooling="bert", shared=True),
    "checkpointing": lambda: PretrainingModel(checkpointing=True),
}


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Any:
    return pretraining_batch(write_small_corpus(tmp_path_factory.mktemp("corpus") / "small"), bert)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


def step(
    model: nn.Module, batch: Any, device: torch.device, dtype: torch.dtype, compiled: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the model gives for a batch, and the gradient of each parameter that the loss reaches."""
    model = copy.deepcopy(model).to(device).train()
    if compiled:
        model.encoder.trunk.compile_layers()
    with autocast(device, dtype):
        outputs = model(prepared(model, batch, device))
    loss = outputs["loss"] if "loss" in outputs else torch.stack(list(outputs.values())).sum()
    scale = LOSS_SCALE if dtype is FP16 else 1.0
    (loss * scale).backward()
    gradients = {name: it.grad / scale for name, it in model.named_parameters() if it.grad is not None}
    return {name: value.detach() for name, value in outputs.items()}, gradients


def assert_close(actual: Any, expected: Any, dtype: torch.dtype) -> None:
    (outputs, gradients), (right_outputs, right_gradients) = actual, expected
    of_outputs, of_gradients = BOUNDS[dtype]
    for name, right in right_outputs.items():
        assert relative_error(outputs[name], right) < of_outputs, name
    assert gradients.keys() == right_gradients.keys()
    flat = torch.cat([gradients[name].cpu().flatten() for name in right_gradients])
    right_flat = torch.cat([right.flatten() for right in right_gradients.values()])
    assert relative_error(flat, right_flat) < of_gradients
    if dtype is FP32:
        # Each of them by itself; what is nothing but rounding in the reference has no relative error.
        for name, right in right_gradients.items():
            if right.norm() > 1e-4 * right_flat.norm():
                assert relative_error(gradients[name], right) < of_gradients, name


@pytest.mark.parametrize("dtype", [FP32, BF16, FP16])
@pytest.mark.parametrize("kind", PRETRAINING)
def test_pretraining(kind: str, dtype: torch.dtype, batch: Any, device: torch.device) -> None:
    model = PRETRAINING[kind]()
    expected = step(model, batch, torch.device("cpu"), FP32)
    assert len(expected[0]) == 5 and all(loss > 0 for loss in expected[0].values())
    assert_close(step(model, batch, device, dtype), expected, dtype)


@pytest.mark.parametrize("dtype", [FP32, BF16, FP16])
@pytest.mark.parametrize("task", TASKS)
def test_tasks(task: str, dtype: torch.dtype, tasks: Path, bert: Path, device: torch.device) -> None:
    batch = task_batch(tasks, bert, task)
    model = TaskModel(task)
    assert_close(step(model, batch, device, dtype), step(model, batch, torch.device("cpu"), FP32), dtype)


@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_compiled_layers(dtype: torch.dtype, batch: Any, device: torch.device) -> None:
    """``trunk.compile=true`` changes no number, on batches of other lengths neither."""
    torch._dynamo.reset()
    model = PretrainingModel()
    for samples in (24, 7):
        part = batch if samples == 24 else first_samples(batch, samples)
        expected = step(model, part, torch.device("cpu"), FP32)
        assert_close(step(model, part, device, dtype, compiled=True), expected, dtype)


def first_samples(batch: Any, count: int) -> Any:
    """A batch of fewer samples; every tensor's first dimension is the sample."""
    part = batch.copy()
    for name, value in batch.items():
        if isinstance(value, Tensor):
            part[name] = value[:count]
    return part
