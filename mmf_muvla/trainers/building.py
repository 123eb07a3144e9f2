"""What a run is made of, from its configuration: data sets, batches, optimizer, schedule."""

from __future__ import annotations

import math
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
from mmf_muvla.objectives.registry import heads_are_left_out
from mmf_muvla.options.kinds import as_list
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.checkpoints import plain
from mmf_muvla.trainers.sampler import TrainingBatches, batches_per_epoch

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
        raise InputError(
            f"datasets={name}",
            "there is no dataset_config of that name",
            "Check the name, and that env.user_dir names the package that registers it",
        )
    datasets = {split: build_dataset(name, config.dataset_config[name], split) for split in ("train", "val", "test")}
    if trains and datasets["train"] is None:
        raise InputError(f"datasets={name}", "it has no training split", "Give its training files")
    for split, dataset in datasets.items():
        if dataset is not None:
            log_message(f"{name} {split}: {len(dataset):,} samples")
    _warn_of_few_held_out(datasets["val"], f"dataset_config.{name}.held_out_fraction")
    return datasets


def _warn_of_few_held_out(dataset: Any, option: str) -> None:
    if isinstance(dataset, PretrainingDataset) and len(dataset) < _FEW_HELD_OUT:
        images = "1 image" if len(dataset) == 1 else f"{len(dataset)} images"
        enough = min(0.5, _FEW_HELD_OUT / len(dataset.corpus))
        left = round(enough * len(dataset.corpus))
        log_message(
            f"{option}={dataset.config.held_out_fraction} leaves {images} for validation and test, which says little "
            f"about which checkpoint is the best one; {enough:.2g} would leave about {left}",
            "warning",
        )


def run_length(training: Any, dataset: Any, accumulation: int) -> tuple[float, int]:
    """Updates per epoch, and updates of the whole run: max_updates or max_epochs, whichever comes first.

    Raises:
        InputError: neither is a positive number.
    """
    if dataset is None:
        return 1, 1
    batches = batches_per_epoch(len(dataset), int(training.batch_size), accumulation)
    updates_per_epoch = batches / accumulation
    limits = []
    if training.max_updates is not None:
        limits.append(int(training.max_updates))
    if training.max_epochs is not None:
        limits.append(math.ceil(training.max_epochs * updates_per_epoch))
    if not limits or min(limits) < 1:
        raise InputError(
            f"training.max_updates={training.max_updates}, training.max_epochs={training.max_epochs}",
            "the run has no length",
            "Set one of the two to a positive number",
        )
    return updates_per_epoch, min(limits)


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
    losses = config.model_config[config.model].get("losses")
    return dataset.turns > 1 or heads_are_left_out(losses, dataset.predicts)


def training_loader(dataset: Any, training: Any, accumulation: int, done: int) -> DataLoader[Any]:
    """Batches without end, from those on that come after ``done`` updates.

    Raises:
        InputError: the batch size does not fit, or there is nothing to group by.
    """
    lengths = None
    if training.get("group_by_length"):
        if not hasattr(dataset, "region_counts"):
            problem = f"{dataset.dataset_name} does not tell the lengths of its items"
            raise InputError("training.group_by_length=true", problem, "Set it to false")
        lengths = dataset.region_counts()
    sampler = TrainingBatches(
        num_items=len(dataset),
        batch_size=training.batch_size,
        seed=int(training.seed),
        rank=get_rank(),
        world_size=get_world_size(),
        start_batch=done * accumulation,
        lengths=lengths,
        turns=getattr(dataset, "turns", 1),
        batches_per_update=accumulation,
    )
    pin_memory, workers = bool(training.pin_memory), training.num_workers
    return loader_of(dataset, batch_sampler=sampler, num_workers=workers, pin_memory=pin_memory)


def loader_of(dataset: Any, **options: Any) -> DataLoader[Any]:
    """PyTorch's loader of MMF's batches."""
    return DataLoader(dataset, collate_fn=BatchCollator(dataset.dataset_name, dataset.dataset_type), **options)
