"""The top of the tree of options, and its groups ``training``, ``optimizer``, ``scheduler``, ``checkpoint`` and others.

``projects/muvla/trainer.yaml`` explains the options of the trainer, MMF's defaults the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from mmf_muvla.options.kinds import (
    Count,
    CountOrNone,
    Flag,
    Name,
    Number,
    Options,
    Share,
    Text,
    Whole,
    accept,
    kind,
    names,
)

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


_RUN = "(train|val|test|inference|predict)"


def _metrics(value: Any) -> list[Any]:
    """Names, or groups of ``type`` and ``params``."""
    if not isinstance(value, list):
        return names(value)
    types = [it.get("type") if isinstance(it, dict) else it for it in value]
    return accept(value, all(isinstance(it, str) for it in types))


def _matching(pattern: str, problem: str, remedy: str) -> Any:
    return kind(lambda text: accept(text, re.fullmatch(pattern, text) is not None), problem, remedy)


Device = Annotated[str, _matching(r"cpu|xla|cuda(:\d+)?", "is no device", "Give cpu, cuda or one of several: cuda:1")]
RunType = Annotated[
    str, _matching(f"{_RUN}([_+]{_RUN})*", "is no kind of run", "Join train, val and inference with underscores")
]
DatasetNames = Annotated[Any, kind(names, "is no name of a data set", "Give a name: datasets=vqa2")]
Metrics = Annotated[Any, kind(_metrics, "is no list of metrics", "Write names: [vqa_accuracy]")]


@dataclass
class EarlyStop(Options):
    enabled: Flag = False
    criteria: Name | None = "total_loss"
    minimize: Flag | None = True
    patience: Count = 4000


@dataclass
class Wandb(Options):
    """Weights & Biases, under the names that MMF has for it. ``name``: not given, the name of ``env.save_dir``."""

    enabled: Flag = False
    project: Name = "mmf"
    entity: Name | None = None
    name: Name | None = None


@dataclass
class Training(Options):
    """``training``: first what the trainer ``muvla`` reads, then what MMF itself reads, then keys of older versions,
    whose values MMF writes to the present ones. :mod:`~mmf_muvla.options.unread` has what is refused with ``muvla``."""

    trainer: Name = "muvla"
    seed: Annotated[Whole, Field(ge=-1, le=2**32 - 1)] = -1
    device: Device = "cuda"
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    update_frequency: Count = 1
    batch_size: Count = 512
    max_updates: Count | None = None
    max_epochs: Positive | None = None
    num_workers: CountOrNone = 4
    pin_memory: Flag | None = None
    deterministic: Flag = False
    clip_gradients: Flag = False
    max_grad_l2_norm: Positive | None = None
    lr_scheduler: Flag = False
    log_interval: Count = 100
    evaluation_interval: Count = 1000
    checkpoint_interval: Count = 1000
    tensorboard: Flag = False
    wandb: Wandb = field(default_factory=Wandb)
    find_unused_parameters: Flag = False
    group_by_length: Flag = False
    start_over: Flag = False
    early_stop: EarlyStop = field(default_factory=EarlyStop)

    experiment_name: Text = "run"
    local_rank: CountOrNone | None = None
    fast_read: Flag = False
    dataset_size_proportional_sampling: Flag = True
    logger_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_format: Literal["simple", "json"] = "simple"
    log_detailed_config: Flag = False
    should_not_log: Flag = False
    stdout_capture: Flag = False
    colored_logs: Flag = False
    evaluate_metrics: Flag = False
    verbose_dump: Flag = False
    clip_norm_mode: Name = "all"
    lr_steps: list[CountOrNone] = field(default_factory=list)
    lr_ratio: NotNegative = 0.1
    use_warmup: Flag = False
    warmup_factor: NotNegative = 0.2
    warmup_iterations: CountOrNone = 1000

    resume: Flag = False
    resume_best: Flag = False
    resume_file: Name | None = None
    load_pretrained: Flag = False
    pretrained_state_mapping: dict[str, Any] = field(default_factory=dict)
    run_type: RunType = "train_inference"


@dataclass
class Part(Options):
    """``optimizer`` and ``scheduler``: what it is, and its own options."""

    type: Name | None = None
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class TorchOptimizer(Options):
    """Options that all optimizers of PyTorch have."""

    lr: NotNegative = 1e-3
    weight_decay: NotNegative = 0.0
    foreach: Flag | None = None
    fused: Flag | None = None
    maximize: Flag = False
    differentiable: Flag = False


@dataclass
class Adam(TorchOptimizer):
    """Options of ``torch.optim.Adam`` and ``AdamW``."""

    betas: Annotated[list[Annotated[Number, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: [0.9, 0.999]
    )
    eps: NotNegative = 1e-8
    amsgrad: Flag = False
    capturable: Flag = False


@dataclass
class SGD(TorchOptimizer):
    momentum: NotNegative = 0.0
    dampening: NotNegative = 0.0
    nesterov: Flag = False


@dataclass
class WarmupLinear(Options):
    """Options of ``muvla_warmup_linear``."""

    warmup_fraction: Share = 0.1
    total_updates: Count | None = None


OPTIMIZERS: dict[str, type[Options]] = {"Adam": Adam, "AdamW": Adam, "SGD": SGD}
SCHEDULERS: dict[str, type[Options]] = {"muvla_warmup_linear": WarmupLinear}


@dataclass
class Reset(Options):
    all: Flag = False
    optimizer: Flag = False
    counts: Flag = False


@dataclass
class Checkpoint(Options):
    resume: Flag = False
    resume_best: Flag = False
    resume_file: Name | None = None
    resume_pretrained: Flag = False
    pretrained_state_mapping: dict[str, Any] = field(default_factory=dict)
    resume_zoo: Name | None = None
    zoo_config_override: Flag = False
    save_git_details: Flag = False
    max_to_keep: Annotated[Whole, Field(ge=-1)] = -1
    reset: Reset = field(default_factory=Reset)


@dataclass
class Evaluation(Options):
    metrics: Metrics = field(default_factory=list)
    use_cpu: Flag = False
    predict: Flag = False
    predict_file_format: Literal["json", "csv"] = "json"


@dataclass
class Env(Options):
    cache_dir: Name = "."
    data_dir: Name = "."
    save_dir: Name = "./save"
    log_dir: Text | None = None
    report_dir: Text | None = None
    tensorboard_logdir: Text | None = None
    user_dir: Text | None = None
    dataset_zoo: Name = "none"
    model_zoo: Name = "none"


@dataclass
class Distributed(Options):
    init_method: Name | None = None
    rank: CountOrNone | None = 0
    world_size: Count = 1
    backend: Literal["nccl", "gloo", "mpi"] = "nccl"
    port: Annotated[Whole, Field(ge=-1, le=65535)] = -1
    no_spawn: Flag = False


@dataclass
class Run(Options):
    """The top of the tree. ``system`` names the system in ``tools/score_table.py``."""

    system: Text | None = None
    config: Text | None = None
    model: Name = "muvla"
    datasets: DatasetNames = field(default_factory=list)
    dataset: DatasetNames = None
    run_type: RunType = "train_inference"
    training: Training = field(default_factory=Training)
    optimizer: Part = field(default_factory=Part)
    scheduler: Part = field(default_factory=Part)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    evaluation: Evaluation = field(default_factory=Evaluation)
    env: Env = field(default_factory=Env)
    distributed: Distributed = field(default_factory=Distributed)
    model_config: dict[str, Any] = field(default_factory=dict)
    dataset_config: dict[str, Any] = field(default_factory=dict)
    includes: list[Name] = field(default_factory=list)
    config_version: Number = 1.0
    # Written into the configuration of a run by MMF.
    learning_rate: Number | None = None
    device_id: Whole | None = None
    start_rank: Whole | None = None
