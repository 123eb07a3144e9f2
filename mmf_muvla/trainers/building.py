"""What a run is made of, from its configuration: data sets, batches, optimizer, schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from mmf.common.batch_collator import BatchCollator
from mmf.common.registry import registry
from mmf.utils.build import build_dataset, build_optimizer
from mmf.utils.distributed import get_rank, get_world_size
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from mmf_muvla.datasets.pretraining import PretrainingDataset
from mmf_muvla.errors import InputError
from mmf_muvla.models.layout import Planner
from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.objectives.registry import heads_are_left_out
from mmf_muvla.options.kinds import as_list
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.checkpoints import plain
from mmf_muvla.trainers.sampler import TrainingBatches, batches_per_epoch, refuse_batch_beyond

# Fewer samples than these say little about which checkpoint is the best one.
_FEW_HELD_OUT = 32


def build_datasets(config: Any, trains: bool) -> dict[str, Any]:
    """The run's data set: split -> data set, ``None`` for a split that it does not have.

    Raises:
        InputError: there is not exactly one data set, or it has no configuration, or no training split to train on.
    """
    names = as_list(config.datasets)
    if len(names) != 1:
        raise InputError(f"datasets={','.join(names)}", "this trainer takes one data set", "Name one data set")
    (name,) = names
    if name not in config.dataset_config:
        remedy = "Check the name, and that env.user_dir names the package that registers it"
        raise InputError(f"datasets={name}", "there is no dataset_config of that name", remedy)
    datasets = {split: build_dataset(name, config.dataset_config[name], split) for split in ("train", "val", "test")}
    if trains and datasets["train"] is None:
        raise InputError(f"datasets={name}", "it has no training split", "Give its training files")
    for split, dataset in datasets.items():
        if dataset is not None:
            log_message(f"{name} {split}: {len(dataset):,} samples")
    val = datasets["val"]
    if isinstance(val, PretrainingDataset) and len(val) < _FEW_HELD_OUT:
        images = "1 image" if len(val) == 1 else f"{len(val)} images"
        enough = min(0.5, _FEW_HELD_OUT / len(val.corpus))
        log_message(
            f"dataset_config.{name}.held_out_fraction={val.config.held_out_fraction} leaves {images} for validation "
            "and test, which says little about which checkpoint is the best one; "
            f"{enough:.2g} would leave about {round(enough * len(val.corpus))}",
            "warning",
        )
    return datasets


def run_length(training: Any, dataset: Any, accumulation: int) -> tuple[float, int]:
    """Updates per epoch, and updates of the whole run: max_updates or max_epochs, whichever comes first.

    Raises:
        InputError: neither is a positive number, or a batch is larger than the data set.
    """
    if dataset is None:
        return 1, 1
    refuse_batch_beyond(len(dataset), int(training.batch_size))
    updates_per_epoch = batches_per_epoch(len(dataset), int(training.batch_size), accumulation) / accumulation
    epochs = training.max_epochs
    limits = (training.max_updates, None if epochs is None else math.ceil(epochs * updates_per_epoch))
    total = min((int(limit) for limit in limits if limit is not None), default=0)
    if total < 1:
        where = f"training.max_updates={training.max_updates}, training.max_epochs={epochs}"
        raise InputError(where, "the run has no length", "Set one of the two to a positive number")
    return updates_per_epoch, total


def build_steps(config: Any, model: torch.nn.Module, total_updates: int) -> tuple[Optimizer, Any]:
    """The optimizer, and its scheduler, or ``None`` without one."""
    optimizer = build_optimizer(model, config)
    for group in optimizer.param_groups:
        # OmegaConf's lists, such as betas, are not for checkpoints.
        group.update(plain({name: value for name, value in group.items() if name != "params"}))
    if not config.training.lr_scheduler:
        return optimizer, None
    kind, params = config.scheduler.type, dict(config.scheduler.get("params", {}))
    if kind.startswith("muvla_"):
        params["total_updates"] = total_updates
    return optimizer, registry.get_scheduler_class(kind)(optimizer, **params)


def leaves_heads_out(config: Any, dataset: Any) -> bool:
    """Whether a step may leave out parameters: because the option says so, or objectives or losses are left out."""
    option = bool(config.training.find_unused_parameters)
    if option or not isinstance(dataset, PretrainingDataset):
        return option
    model = config.model_config[config.model]
    shares = bool(model.get("share_vocabulary_head"))
    return dataset.turns > 1 or heads_are_left_out(model.get("losses"), dataset.predicts, shares)


def training_loader(
    dataset: Any, model: torch.nn.Module, training: Any, accumulation: int, done: int
) -> DataLoader[Any]:
    """Batches without end for a model, from those on that come after the first ``done``.

    Raises:
        InputError: the batch size does not fit, or there is nothing to group by.
    """
    groups = bool(training.get("group_by_length"))
    if groups and not hasattr(dataset, "region_counts"):
        problem = f"{dataset.dataset_name} does not tell the lengths of its items"
        raise InputError("training.group_by_length=true", problem, "Set it to false")
    sampler = TrainingBatches(
        num_items=len(dataset),
        batch_size=training.batch_size,
        seed=int(training.seed),
        rank=get_rank(),
        world_size=get_world_size(),
        start_batch=done,
        lengths=dataset.region_counts() if groups else None,
        turns=getattr(dataset, "turns", 1),
        batches_per_update=accumulation,
    )
    return loader_of(dataset, model, batch_sampler=sampler, **loading(training, next(model.parameters()).device))


def loading(training: Any, device: torch.device) -> dict[str, Any]:
    """How batches are loaded for a device: the options of PyTorch's loader that ``training`` has."""
    pins = device.type == "cuda" if training.pin_memory is None else bool(training.pin_memory)
    return {"num_workers": training.num_workers, "pin_memory": pins}


def loader_of(dataset: Any, model: torch.nn.Module, **options: Any) -> DataLoader[Any]:
    """PyTorch's loader of MMF's batches, with plans where the model is one that wants them."""
    collate = BatchCollator(dataset.dataset_name, dataset.dataset_type)
    if isinstance(model, MuVLA):  # not one of MMF's own
        collate = _WithPlan(collate, model.planner())
    return DataLoader(dataset, collate_fn=collate, **options)


class _WithPlan:
    """Makes batches with their plans, in the loader's processes."""

    def __init__(self, collate: Callable[[Any], Any], planner: Planner):
        self.collate = collate
        self.planner = planner

    def __call__(self, samples: Any) -> Any:
        batch = self.collate(samples)
        batch["plan"] = self.planner(batch)
        return batch
