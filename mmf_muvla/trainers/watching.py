"""Programs that a run can be watched with while it trains: TensorBoard, and Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.trainers.checkpoints import plain

# Takes a value: its name, itself, and the update that it is of.
Watcher = Callable[[str, float, int], None]
_RUN_ID = "run_id.txt"


def open_watchers(save_dir: Path, config: Any, update: int) -> list[Watcher]:
    """What ``training.tensorboard`` and ``training.wandb`` ask for.

    Args:
        save_dir: the run's folder, below which both keep their files.
        config: the run's configuration.
        update: the updates that are done; a run that goes on is gone on with in Weights & Biases as well.

    Raises:
        InputError: a program is not installed, or Weights & Biases cannot be used.
    """
    watchers = []
    if config.training.get("tensorboard"):
        watchers.append(_tensorboard(save_dir))
    wandb = config.training.get("wandb")
    if wandb and wandb.enabled:
        watchers.append(_wandb(save_dir, plain(wandb), plain(config), update))
    return watchers


def _tensorboard(save_dir: Path) -> Watcher:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        problem = f"TensorBoard cannot be imported ({error})"
        raise InputError("training.tensorboard=true", problem, "pip install tensorboard") from error
    return SummaryWriter(str(save_dir / "tensorboard")).add_scalar


def _wandb(save_dir: Path, options: dict[str, Any], config: dict[str, Any], update: int) -> Watcher:
    where = "training.wandb.enabled=true"
    try:
        import wandb
    except ImportError as error:
        problem = f"Weights & Biases cannot be imported ({error})"
        raise InputError(where, problem, "pip install wandb") from error
    try:
        run = wandb.init(
            project=options["project"],
            entity=options["entity"],
            name=options["name"] or save_dir.name,
            dir=str(save_dir),
            config=config,
            id=_run_id(save_dir / "wandb" / _RUN_ID, goes_on=update > 0),
            resume="allow",
        )
    except (wandb.Error, OSError) as error:
        remedy = "Log in (wandb login), or set WANDB_MODE=offline and send the run later (wandb sync)"
        raise InputError(where, f"Weights & Biases does not start ({error})", remedy) from error
    return lambda name, value, of_update: run.log({name: value}, step=of_update)


def _run_id(file: Path, goes_on: bool) -> str:
    """The name by which Weights & Biases knows a run, the same when it goes on."""
    if goes_on and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    file.parent.mkdir(parents=True, exist_ok=True)
    name = uuid4().hex[:8]
    with publish_file(file) as temporary:
        temporary.write_text(f"{name}\n", encoding="utf-8")
    return name
