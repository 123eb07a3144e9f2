"""A batch's plan is made on the CPU; the step after it asks nothing of the batch's content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.layout import Layout
from mmf_muvla.models.moving import _tensors as tensors_of
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.objectives import HEADS, LOSSES
from tests.datasets.small_tasks import TASKS, make
from tests.models.test_tasks import HIDDEN, encoder, folder, heads_of  # noqa: F401 (fixtures)
from tests.objectives.test_equations import CLASSES, FEATURES, WORDS, random_batch

CONFIG = TrunkConfig(vocab_size=WORDS, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4)


class Questions(TorchDispatchMode):
    """Counts the operations whose result, or its size, a GPU would have to tell the host."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            it is not None and it.dtype == torch.bool for it in arguments[1]
        )
        if by_mask or name in ("nonzero", "_local_scalar_dense", "bincount", "masked_select", "_unique2", "equal"):
            self.asked.append(name)
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("pooling", ["cls", "bert", "mean"])
def test_a_step_of_pretraining_asks_nothing(pooling: str) -> None:
    torch.manual_seed(0)
    model = Encoder(CONFIG, FEATURES)
    heads = PretrainingHeads(model, FEATURES, CLASSES, warmup_epochs=1, itm_pooling=pooling)
    batch = random_batch(seed=3, epoch=2)
    losses = [LOSSES[name]() for name in HEADS]

    def step(batch: dict[str, Any]) -> tuple[list[str], torch.Tensor]:
        torch.manual_seed(1)
        with Questions() as questions:
            output = heads(model, batch)
            torch.stack([loss({}, output) for loss in losses]).sum().backward()
        gradient = model.embeddings.word.weight.grad.clone()
        model.zero_grad()
        return questions.asked, gradient

    asked, gradient = step(batch)
    assert "nonzero" in asked
    planned, same = step({**batch, "plan": heads.planner(model)(batch)})
    assert planned == []
    assert torch.equal(same, gradient)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_asks_nothing(folder: Path, encoder: Encoder, task: str) -> None:  # noqa: F811
    heads, batch = heads_of(task, encoder), make(folder, task).__getitems__(range(4))
    expected = heads(encoder, batch)["scores"]
    batch["plan"] = heads.planner(encoder)(batch)
    with Questions() as questions:
        scores = heads(encoder, batch)["scores"]
        scores.nan_to_num(neginf=0.0).sum().backward()
    assert questions.asked == []
    assert torch.equal(scores, expected)


def test_a_plan_moves_with_all_its_tensors() -> None:
    model = Encoder(CONFIG, FEATURES)
    heads = PretrainingHeads(model, FEATURES, CLASSES, warmup_epochs=1)
    plan = heads.planner(model)(random_batch(seed=3, epoch=0))
    moved = plan.to(torch.device("meta"))
    (layout,) = moved.layouts
    tensors = [layout.mask, layout.index, layout.wanted, moved.places["mlm"].state]
    assert {it.device.type for it in [*tensors, moved.pairs["itm"].rows]} == {"meta"}
    assert isinstance(layout, Layout) and layout.lengths == plan.layouts[0].lengths
    assert moved.places["mlm"].state.shape == plan.places["mlm"].state.shape
    assert plan.to(torch.device("cpu")) is plan
    back = plan._with(torch.clone)
    for one, other in zip(tensors_of(back), tensors_of(plan), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    buffers = {it.untyped_storage().data_ptr() for it in tensors_of(back) if it.numel()}
    assert len(buffers) == len({it.dtype for it in tensors_of(back) if it.numel()})
    assert plan.layouts[0].mask.device.type == plan.places["mlm"].state.device.type == "cpu"
