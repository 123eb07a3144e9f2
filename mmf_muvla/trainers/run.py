"""A run: what it is made of, and how it is saved and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmf.common.registry import registry
from mmf.utils.build import build_model
from mmf.utils.distributed import get_rank, get_world_size, is_master, synchronize
from omegaconf import OmegaConf, open_dict

from mmf_muvla.errors import InputError
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.building import build_datasets, build_steps, run_length
from mmf_muvla.trainers.checkpoints import first_not_finite, load_matching, read_checkpoint_file
from mmf_muvla.trainers.devices import choose_precision, take_device
from mmf_muvla.trainers.evaluation import Evaluator
from mmf_muvla.trainers.resume import StepSizes, content_of, refuse_another_run, refuse_other_data, refuse_other_heads
from mmf_muvla.trainers.run_folder import BEST, RunFolder


class Run:
    """A run of MMF's configuration, in its folder."""

    def __init__(self, config: Any):
        self.config = config
        self.training = config.training
        self.run_type: str = config.get("run_type", "train_inference")
        self.folder = RunFolder(Path(config.env.save_dir), model=str(config.model))
        self.accumulation = int(config.training.get("update_frequency", 1))
        self.num_updates = 0
        self.skipped_updates = 0  # of these, in fp16
        self.best_update = 0
        self.best_value: float | None = None
        self.last_validation = 0  # the update after which the last one was
        self.tested: dict[str, Any] = {"update": 0, "weights": None}  # the weights that the model has, for results
        self._last_checkpoint: Path | None = None
        self._owns_folder = False

    def _claim_folder(self) -> None:
        if is_master():
            go_on, start = bool(self.config.checkpoint.resume), self.config.checkpoint.resume_file
            start_over = bool(self.training.get("start_over", False))
            if start_over and start and Path(start).resolve().is_relative_to(self.folder.path.resolve()):
                problem = "would be removed with the training in its folder, by training.start_over=True"
                raise InputError(f"checkpoint.resume_file={start}", problem, "Name another env.save_dir")
            self.folder.claim(go_on, start_over)
        self._owns_folder = True
        synchronize()

    def _build(self) -> None:
        config = self.config
        self.rank, self.world_size = get_rank(), get_world_size()
        self.device = take_device(config)
        registry.register("current_device", self.device)
        autocast_dtype = choose_precision(self.training.get("precision", "fp32"), self.device)
        self.datasets = build_datasets(config, trains="train" in self.run_type)
        options = config.model_config[config.model]
        with open_dict(options):
            options.model = config.model
        self.model = build_model(options).to(self.device)
        parameters = sum(p.numel() for p in self.model.parameters())
        log_message(f"{config.model}: {parameters:,} parameters on {self.device}")
        train = self.datasets["train"]
        self.updates_per_epoch, self.total_updates = run_length(self.training, train, self.accumulation)
        self.optimizer, self.scheduler = build_steps(config, self.model, self.total_updates)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=autocast_dtype is torch.float16)
        self.step_sizes = StepSizes(self.optimizer, self.scheduler)
        self.evaluator = Evaluator(self.model, self.datasets, config, self.device, autocast_dtype)

    def _current_epoch(self) -> int:
        """The epoch of the next update, counted from 1 as MMF does."""
        return int(self.num_updates / self.updates_per_epoch) + 1

    @cached_property
    def _data(self) -> dict[str, Any]:
        return {split: content_of(dataset) for split, dataset in self.datasets.items()}

    def _save(self, best: bool = False) -> None:
        """Write ``models/model_N.ckpt``, and make it ``current.ckpt`` (and ``best.ckpt``)."""
        if is_master():
            state = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
                "num_updates": self.num_updates,
                "skipped_updates": self.skipped_updates,
                "current_iteration": self.num_updates * self.accumulation,
                "current_epoch": self._current_epoch(),
                "best_update": self.best_update,
                "best_iteration": self.best_update * self.accumulation,
                "best_metric_value": self.best_value,
                "last_validation": self.last_validation,
                "world_size": self.world_size,
                "data": self._data,
                "config": OmegaConf.to_container(self.config, resolve=True),
            }
            self._last_checkpoint = self.folder.save(state, best, keep=int(self.config.checkpoint.max_to_keep))
        synchronize()

    def _load_checkpoint(self) -> None:
        options = self.config.checkpoint
        own = self.folder.checkpoint(best=bool(options.resume_best)) if options.resume else None
        if own is None and options.resume_file and (options.resume_pretrained or options.reset.all):
            path = Path(options.resume_file)
            content = read_checkpoint_file(path)
            model = self.config.model_config[self.config.model]
            # Another head of a task may start anew; retrieval goes on with the one that there is.
            if "train" not in self.run_type or model.get("task") == "retrieval":
                refuse_other_heads(model, content["model"], path, evaluates="train" not in self.run_type)
            log_message(f"{path}: {load_matching(self.model, content['model'], str(path))}")
            self.tested = {"update": content.get("num_updates"), "weights": str(path)}
        elif own is not None or options.resume_file:
            self._restore(own or Path(options.resume_file))
        elif options.resume:
            problem = f"there is no checkpoint in {self.folder.path} yet; starting from the beginning"
            log_message(f"checkpoint.resume: {problem}", "warning")
        elif not self._owns_folder:
            weights = "the weights that a training starts from"
            log_message(f"no checkpoint is given: what is evaluated are {weights}", "warning")

    def _restore(self, path: Path) -> None:
        """Load the weights of a checkpoint of the same model; for a training, go on with its run."""
        content, reset = read_checkpoint_file(path), self.config.checkpoint.reset
        if not isinstance(content.get("config"), Mapping):
            content["config"] = {}  # MMF's own trainer writes it as text
        afresh = f"checkpoint.resume_pretrained=True and checkpoint.resume_file={path}, in another env.save_dir"
        needed = {}
        if self._owns_folder:
            if not (reset.optimizer or reset.all):
                needed["optimizer"] = "the optimizer's state"
            if not (reset.counts or reset.all):
                needed["num_updates"] = "the number of updates done"
            if missing := [part for name, part in needed.items() if content.get(name) is None]:
                problem = f"is no checkpoint to go on from: it lacks {' and '.join(missing)}"
                raise InputError(str(path), problem, f"To start a new run from its weights: {afresh}")
            if "num_updates" in needed:
                self._compare(path, content)
        refuse_other_heads(self.config.model_config[self.config.model], content["model"], path)
        try:
            self.model.load_state_dict(content["model"])
            if "optimizer" in needed:
                self.optimizer.load_state_dict(self.step_sizes.put_into(content["optimizer"]))
        except (RuntimeError, ValueError, KeyError) as error:
            problem = f"it was written by a run with another model or optimizer ({error})"
            raise InputError(str(path), problem, f"To start a new run from the weights that fit: {afresh}") from error
        self.tested = {"update": content.get("num_updates"), "weights": str(path)}
        if self._owns_folder:
            self._go_on(path, content, counts="num_updates" in needed)

    def _compare(self, path: Path, content: Mapping[str, Any]) -> None:
        """Refuse to go on with another run, and log what has changed in this one."""
        config: Any = OmegaConf.to_container(self.config, resolve=True)
        before, data, changed = content["config"], content.get("data"), []
        # What a checkpoint does not have, as one of an older version, is not compared.
        if before:
            changed += refuse_another_run(before, config, path)
        if data:
            changed += refuse_other_data(data, self._data, path, content.get("best_metric_value") is not None)
        if content["num_updates"] > self.total_updates:
            where = f"training.max_updates={self.training.max_updates}, training.max_epochs={self.training.max_epochs}"
            problem = f"are {self.total_updates} updates, and {path} has {content['num_updates']} behind it"
            raise InputError(where, problem, "Give a longer run, or start a new one in another env.save_dir")
        if (processes := content.get("world_size", self.world_size)) != self.world_size:
            changed.append(f"processes: {processes} -> {self.world_size} (dropout and rounding differ)")
        for line in changed:
            log_message(f"changed since {path}: {line}", "warning")
        if not before:
            return
        self.step_sizes.refuse_change(before, config)
        # What the run started from stays in the configuration; it is not said again when going on.
        start, said = before.get("checkpoint", {}).get("resume_file"), self.config.checkpoint.resume_file
        if said not in (start, str(path)):
            if said:
                log_message(f"checkpoint.resume_file={said} is not used: the run has started from {start}", "warning")
            self.config.checkpoint.resume_file = start

    def _go_on(self, path: Path, content: Mapping[str, Any], counts: bool) -> None:
        """Go on with the run of a checkpoint: its schedule and counts."""
        if (place := first_not_finite({name: content.get(name) for name in ("model", "optimizer")})) is not None:
            remedy = "Go on from an older checkpoint, in another folder (checkpoint.resume_file)"
            raise InputError(str(path), f"{place} is not finite", remedy)
        if counts:
            self.num_updates = int(content["num_updates"])
            self.skipped_updates = int(content.get("skipped_updates", 0))
            self.best_update = int(content.get("best_update", 0))
            self.best_value = content.get("best_metric_value")
            self._forget_best_by_another_measure(content)
            self.last_validation = int(content.get("last_validation", self.num_updates))
            if self.scheduler is not None and content.get("scheduler"):
                self.scheduler.load_state_dict(content["scheduler"])
            if content.get("scaler"):
                self.scaler.load_state_dict(content["scaler"])
        self.step_sizes.set_rates(self.optimizer, self.scheduler, self.num_updates - self.skipped_updates)
        self._last_checkpoint = path
        log_message(f"{path}: going on after update {self.num_updates}")

    def _forget_best_by_another_measure(self, content: Mapping[str, Any]) -> None:
        """Values of another criterion say nothing about which checkpoint is the best by the present one."""
        before = content["config"].get("training", {}).get("early_stop", {})
        if not before or self.best_value is None:
            return
        same_name = self.evaluator.criterion(before.get("criteria")) == self.evaluator.criterion()
        if not same_name or bool(before.get("minimize")) != bool(self.training.early_stop.minimize):
            log_message(
                "training.early_stop now says that another value makes a checkpoint the best one; that of update "
                f"{self.best_update} no longer is",
                "warning",
            )
            self.best_value, self.best_update = None, self.num_updates

    def _load_best(self) -> None:
        """Take the weights that validation says are best, for the test."""
        if self.best_value is None or self.best_update == self.num_updates:
            return
        path = self.folder.path / BEST
        try:
            content = read_checkpoint_file(path)
            if (update := content.get("num_updates")) != self.best_update:
                raise InputError(str(path), f"is of update {update}", "")
        except InputError as error:
            log_message(
                f"{path}: {error.problem}, though update {self.best_update} is the best by validation: what is tested "
                f"are the weights of update {self.num_updates}",
                "warning",
            )
        else:
            self.model.load_state_dict(content["model"])
            self.tested = {"update": self.best_update, "weights": BEST}
