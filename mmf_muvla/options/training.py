"""How long, how fast and where: ``training``, ``optimizer``, ``scheduler``, ``checkpoint``, ``evaluation``, ``env`` and
``distributed``. ``projects/muvla/trainer.yaml`` explains the options of the trainer, MMF's defaults the others."""

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
    kind,
    names,
)

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


def _device(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"cpu|xla|cuda(:\d+)?", value):
        raise ValueError
    return value


def _run_type(value: Any) -> str:
    words = re.split(r"[_+]", value) if isinstance(value, str) else []
    if not words or not set(words) <= {"train", "val", "test", "inference", "predict"}:
        raise ValueError
    return value


def _metrics(value: Any) -> list[Any]:
    """Names, or groups of ``type`` and ``params``."""
    if isinstance(value, list):
        if not all(isinstance(it, str) or (isinstance(it, dict) and isinstance(it.get("type"), str)) for it in value):
            raise ValueError
        return value
    return names(value)


Device = Annotated[Any, kind(_device, "is no device", "Give cpu, cuda or one of several: cuda:1")]
RunType = Annotated[Any, kind(_run_type, "is no kind of run", "Join train, val and inference with underscores")]
Metrics = Annotated[Any, kind(_metrics, "is no list of metrics", "Write names: [vqa_accuracy]")]


@dataclass
class EarlyStop(Options):
    """``training.early_stop``."""

    enabled: Flag = False
    criteria: Name | None = "total_loss"
    minimize: Flag | None = True
    patience: Count = 4000


@dataclass
class Training(Options):
    """``training``: first what the trainer ``muvla`` reads, then what MMF itself reads, then keys of older versions."""

    trainer: Name = "muvla"
    seed: Annotated[Whole, Field(ge=-1, le=2**32 - 1)] = -1
    device: Device = "cuda"
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    update_frequency: Count = 1
    batch_size: Count = 512
    max_updates: Count | None = None
    max_epochs: Positive | None = None
    num_workers: CountOrNone = 4
    pin_memory: Flag = False
    clip_gradients: Flag = False
    max_grad_l2_norm: Positive | None = None
    lr_scheduler: Flag = False
    log_interval: Count = 100
    evaluation_interval: Count = 1000
    checkpoint_interval: Count = 1000
    tensorboard: Flag = False
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
class Adam(Options):
    """Options of ``torch.optim.Adam`` and ``AdamW``."""

    lr: NotNegative = 1e-3
    betas: Annotated[list[Annotated[Number, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: [0.9, 0.999]
    )
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    amsgrad: Flag = False
    foreach: Flag | None = None
    fused: Flag | None = None
    maximize: Flag = False
    capturable: Flag = False
    differentiable: Flag = False


@dataclass
class SGD(Options):
    """Options of ``torch.optim.SGD``."""

    lr: NotNegative = 1e-3
    momentum: NotNegative = 0.0
    dampening: NotNegative = 0.0
    weight_decay: NotNegative = 0.0
    nesterov: Flag = False
    foreach: Flag | None = None
    fused: Flag | None = None
    maximize: Flag = False
    differentiable: Flag = False


@dataclass
class WarmupLinear(Options):
    """Options of ``muvla_warmup_linear``."""

    warmup_fraction: Share = 0.1
    total_updates: Count | None = None


OPTIMIZERS: dict[str, type[Options]] = {"Adam": Adam, "AdamW": Adam, "SGD": SGD}
SCHEDULERS: dict[str, type[Options]] = {"muvla_warmup_linear": WarmupLinear}


@dataclass
class Reset(Options):
    """``checkpoint.reset``."""

    all: Flag = False
    optimizer: Flag = False
    counts: Flag = False


@dataclass
class Checkpoint(Options):
    """``checkpoint``."""

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
    """``evaluation``."""

    metrics: Metrics = field(default_factory=list)
    use_cpu: Flag = False
    predict: Flag = False
    predict_file_format: Literal["json", "csv"] = "json"


@dataclass
class Env(Options):
    """``env``: folders."""

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
    """``distributed``."""

    init_method: Name | None = None
    rank: CountOrNone | None = 0
    world_size: Count = 1
    backend: Literal["nccl", "gloo", "mpi"] = "nccl"
    port: Annotated[Whole, Field(ge=-1, le=65535)] = -1
    no_spawn: Flag = False
