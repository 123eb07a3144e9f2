"""The trainer ``muvla`` (``training.trainer: muvla``), for pre-training and fine-tuning alike.

It stands in for MMF's own trainer and reads the same configuration; ``projects/muvla/trainer.yaml`` lists every
option. What it adds: bf16 and fp16, gradient accumulation, distributed training on GPUs and CPUs, checkpoints
that are written whole, and an exact resume: data order, masks, dropout, optimizer and schedule go on as if the run
had never stopped. Nothing random is left to chance: dropout is seeded by (seed, update, rank), everything
else by (seed, epoch, sample).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmf.common.batch_collator import BatchCollator
from mmf.common.registry import registry
from mmf.utils.build import build_dataset, build_model, build_optimizer
from mmf.utils.distributed import get_rank, get_world_size, is_master, synchronize
from omegaconf import OmegaConf, open_dict
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mmf_muvla.artifacts.files import write_json
from mmf_muvla.cli import as_list
from mmf_muvla.compat.messages import log_message
from mmf_muvla.datasets.pretraining import PretrainingDataset
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.objectives.registry import heads_are_left_out
from mmf_muvla.trainers.checkpoints import (
    first_not_finite,
    load_matching,
    plain,
    read_checkpoint_file,
    refuse_parts_of_a_run,
    save_weights,
)
from mmf_muvla.trainers.devices import choose_device, choose_precision
from mmf_muvla.trainers.evaluation import Evaluator
from mmf_muvla.trainers.history import History, RunningMeans
from mmf_muvla.trainers.memory import give_free_memory_back
from mmf_muvla.trainers.progress import UpdateBar
from mmf_muvla.trainers.resume import RunIdentity, StepSizes, content_of
from mmf_muvla.trainers.run_folder import BEST, CURRENT, EVALUATION, PREDICTIONS, RESULTS, RunFolder
from mmf_muvla.trainers.sampler import TrainingBatches, batches_per_epoch

# Fewer samples than these say little about which checkpoint is the best one.
_FEW_HELD_OUT = 32


@registry.register_trainer("muvla")
class MuVLATrainer:
    """Trains, validates, tests and predicts, as MMF's command line tells.

    Args:
        config: the whole MMF configuration.
    """

    def __init__(self, config: Any):
        self.config = config
        self.training = config.training
        self.run_type: str = config.get("run_type", "train_inference")
        self.folder = RunFolder(Path(config.env.save_dir), model=str(config.model))
        self.num_updates = 0
        self.best_update = 0
        self.best_value: float | None = None
        self.last_validation = 0  # the update after which the last one was
        self.tested: dict[str, Any] = {"update": 0, "weights": None}  # the weights that the model has, for results
        self._last_checkpoint: Path | None = None
        self._owns_folder = False

    # ------------------------------------------------------------------ set-up

    def load(self) -> None:
        """Build data sets, model, optimizer and schedule, and load the checkpoint; called by MMF.

        Raises:
            InputError: an option or an input cannot be used, or the folder is another run's.
        """
        # mmf_predict says so by evaluation.predict, whatever run_type is.
        if "train" in self.run_type and not self.config.evaluation.predict:
            self._claim_folder()
        try:
            self._load()
        except BaseException:
            self.folder.release()
            raise

    def _claim_folder(self) -> None:
        if is_master():
            go_on, start = bool(self.config.checkpoint.resume), self.config.checkpoint.resume_file
            inside = start and Path(start).resolve().is_relative_to(self.folder.path.resolve())
            if inside and self.training.get("start_over", False):
                raise InputError(
                    f"checkpoint.resume_file={start}",
                    "would be removed with the training in its folder, by training.start_over=True",
                    "Name another env.save_dir",
                )
            self.folder.claim(go_on, start_over=bool(self.training.get("start_over", False)))
        self._owns_folder = True
        synchronize()

    def _load(self) -> None:
        self.rank, self.world_size = get_rank(), get_world_size()
        self.device = choose_device(self.config)
        registry.register("current_device", self.device)
        self.autocast_dtype = choose_precision(self.training.get("precision", "fp32"), self.device)
        self._load_datasets()
        self._load_model()
        self.evaluator = Evaluator(self.model, self.datasets, self.config, self.device, self.autocast_dtype)
        self._load_checkpoint()
        if distributed.is_initialized():
            self.parallel_model: torch.nn.Module = DistributedDataParallel(
                self.model, find_unused_parameters=self._has_unused_parameters()
            )
        else:
            self.parallel_model = self.model

    def _has_unused_parameters(self) -> bool:
        """Whether a step may leave heads out: because the option says so, or objectives or losses are left out."""
        option, dataset = bool(self.training.find_unused_parameters), self.datasets["train"]
        if option or not isinstance(dataset, PretrainingDataset):
            return option
        losses = self.config.model_config[self.config.model].get("losses")
        return dataset.turns > 1 or heads_are_left_out(losses, dataset.predicts)

    def _load_datasets(self) -> None:
        names = as_list(self.config.datasets)
        if len(names) != 1:
            raise InputError(f"datasets={','.join(names)}", "this trainer takes one data set", "Name one data set")
        self.dataset_name: str = names[0]
        if self.dataset_name not in self.config.dataset_config:
            raise InputError(
                f"datasets={self.dataset_name}",
                "there is no dataset_config of that name",
                "Check the name, and that env.user_dir names the package that registers it",
            )
        options = self.config.dataset_config[self.dataset_name]
        self.datasets = {split: build_dataset(self.dataset_name, options, split) for split in ("train", "val", "test")}
        if "train" in self.run_type and self.datasets["train"] is None:
            raise InputError(f"datasets={self.dataset_name}", "it has no training split", "Give its training files")
        for split, dataset in self.datasets.items():
            if dataset is not None:
                self._log(f"{self.dataset_name} {split}: {len(dataset):,} samples")
        _warn_of_few_held_out(self.datasets["val"], f"dataset_config.{self.dataset_name}.held_out_fraction")

    def _load_model(self) -> None:
        options = self.config.model_config[self.config.model]
        with open_dict(options):
            options.model = self.config.model
        self.model = build_model(options).to(self.device)
        self._log(
            f"{self.config.model}: {sum(p.numel() for p in self.model.parameters()):,} parameters on {self.device}"
        )
        self.optimizer = build_optimizer(self.model, self.config)
        for group in self.optimizer.param_groups:
            # OmegaConf's lists, as of betas, are for no checkpoint.
            group.update(plain({name: value for name, value in group.items() if name != "params"}))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast_dtype is torch.float16)
        self.updates_per_epoch, self.total_updates = self._run_length()
        self.scheduler = None
        if self.training.lr_scheduler:
            scheduler_class = registry.get_scheduler_class(self.config.scheduler.type)
            params = dict(self.config.scheduler.get("params", {}))
            if self.config.scheduler.type.startswith("muvla_"):
                params["total_updates"] = self.total_updates
            self.scheduler = scheduler_class(self.optimizer, **params)
        self.step_sizes = StepSizes(self.optimizer, self.scheduler)

    def _run_length(self) -> tuple[float, int]:
        """Updates per epoch, and updates of the whole run: max_updates or max_epochs, whichever comes first."""
        self.accumulation = int(self.training.get("update_frequency", 1))
        if self.datasets["train"] is None:
            return 1, 1
        batches = batches_per_epoch(len(self.datasets["train"]), int(self.training.batch_size), self.accumulation)
        updates_per_epoch = batches / self.accumulation
        limits = []
        if self.training.max_updates is not None:
            limits.append(int(self.training.max_updates))
        if self.training.max_epochs is not None:
            limits.append(math.ceil(self.training.max_epochs * updates_per_epoch))
        if not limits or min(limits) < 1:
            raise InputError(
                f"training.max_updates={self.training.max_updates}, training.max_epochs={self.training.max_epochs}",
                "the run has no length",
                "Set one of the two to a positive number",
            )
        return updates_per_epoch, min(limits)

    # ------------------------------------------------------------- checkpoints

    def _load_checkpoint(self) -> None:
        options = self.config.checkpoint
        own = self.folder.checkpoint(best=bool(options.resume_best)) if options.resume else None
        if own is not None:
            self._restore(own)
        elif options.resume_file:
            if options.resume_pretrained or options.reset.all:
                path = Path(options.resume_file)
                content = read_checkpoint_file(path)
                self._log(f"{path}: {load_matching(self.model, content['model'], str(path))}")
                self._has_weights_of(path, content)
            else:
                self._restore(Path(options.resume_file))
        elif options.resume:
            self._log(
                f"checkpoint.resume: there is no checkpoint in {self.folder.path} yet; starting from the beginning",
                "warning",
            )
        elif not self._owns_folder:
            self._log(
                "no checkpoint is given: what is evaluated are the weights that a training starts from", "warning"
            )

    def _has_weights_of(self, path: Path, content: Mapping[str, Any]) -> None:
        """Remember, for ``results.json``, which weights the model has."""
        self.tested = {"update": content.get("num_updates"), "weights": str(path)}

    def _restore(self, path: Path) -> None:
        """Load the weights of a checkpoint of the same model; for a training, go on with its run."""
        content = read_checkpoint_file(path)
        if self._owns_folder:
            reset = self.config.checkpoint.reset
            parts = [("optimizer", reset.optimizer or reset.all), ("num_updates", reset.counts or reset.all)]
            needed = [name for name, is_reset in parts if not is_reset]
            refuse_parts_of_a_run(content, path, needed)
            if "num_updates" in needed:
                self._compare(path, content)
        try:
            self.model.load_state_dict(content["model"])
            if self._owns_folder and "optimizer" in needed:
                self.optimizer.load_state_dict(self.step_sizes.put_into(content["optimizer"]))
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                str(path),
                f"it was written by a run with another model or optimizer ({error})",
                "To start a new run from the weights that fit: checkpoint.resume_pretrained=True and "
                f"checkpoint.resume_file={path}, in another env.save_dir",
            ) from error
        self._has_weights_of(path, content)
        if self._owns_folder:
            self._go_on(path, content, counts="num_updates" in needed)

    def _go_on(self, path: Path, content: Mapping[str, Any], counts: bool) -> None:
        """Go on with the run of a checkpoint: its schedule and counts."""
        if (place := first_not_finite({name: content.get(name) for name in ("model", "optimizer")})) is not None:
            remedy = "Go on from an older checkpoint, in another folder (checkpoint.resume_file)"
            raise InputError(str(path), f"{place} is not finite", remedy)
        if counts:
            self.num_updates = int(content["num_updates"])
            self.best_update = int(content.get("best_update", 0))
            self.best_value = content.get("best_metric_value")
            self._forget_best_by_another_measure(content)
            self.last_validation = int(content.get("last_validation", self.num_updates))
            if self.scheduler is not None and content.get("scheduler"):
                self.scheduler.load_state_dict(content["scheduler"])
            if content.get("scaler"):
                self.scaler.load_state_dict(content["scaler"])
        self.step_sizes.set_rates(self.optimizer, self.scheduler, self.num_updates)
        self._last_checkpoint = path
        self._log(f"{path}: going on after update {self.num_updates}")

    def _compare(self, path: Path, content: Mapping[str, Any]) -> None:
        """Refuse to go on with another run, and log what has changed of this one."""
        config: Any = OmegaConf.to_container(self.config, resolve=True)
        this = RunIdentity(config, self._data(), self.world_size, self.total_updates)
        for line in this.changes_since(content, path):
            self._log(f"changed since {path}: {line}", "warning")
        if isinstance(before := content.get("config"), Mapping):
            self.step_sizes.refuse_change(before, config)
            self._keep_start(path, before)

    def _forget_best_by_another_measure(self, content: Mapping[str, Any]) -> None:
        """Values of another criterion say nothing about which checkpoint is the best one by that of now."""
        before = content.get("config", {}).get("training", {}).get("early_stop", {})
        now = self.training.early_stop
        if not before or self.best_value is None:
            return
        same_name = self.evaluator.criterion(before.get("criteria")) == self.evaluator.criterion()
        if same_name and bool(before.get("minimize")) == bool(now.minimize):
            return
        self._log(
            f"training.early_stop says now that another value makes a checkpoint the best one; that of update "
            f"{self.best_update} is so no longer",
            "warning",
        )
        self.best_value, self.best_update = None, self.num_updates

    def _keep_start(self, path: Path, before: Mapping[str, Any]) -> None:
        """Keep in the configuration what the run started from, which is not said again when it is gone on with."""
        start, said = before.get("checkpoint", {}).get("resume_file"), self.config.checkpoint.resume_file
        if said not in (start, str(path)):
            if said:
                self._log(f"checkpoint.resume_file={said} is not used: the run has started from {start}", "warning")
            self.config.checkpoint.resume_file = start

    def _data(self) -> dict[str, Any]:
        if not hasattr(self, "_content"):
            self._content = {split: content_of(dataset) for split, dataset in self.datasets.items()}
        return self._content

    def _save(self, best: bool = False) -> None:
        """Write ``models/model_N.ckpt``, and make it ``current.ckpt`` (and ``best.ckpt``)."""
        if is_master():
            keep = int(self.config.checkpoint.max_to_keep)
            self._last_checkpoint = self.folder.save(self._state(), best, keep)
        synchronize()

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "num_updates": self.num_updates,
            "current_iteration": self.num_updates * self.accumulation,
            "current_epoch": self._current_epoch(),
            "best_update": self.best_update,
            "best_iteration": self.best_update * self.accumulation,
            "best_metric_value": self.best_value,
            "last_validation": self.last_validation,
            "world_size": self.world_size,
            "data": self._data(),
            "config": OmegaConf.to_container(self.config, resolve=True),
        }

    def _refuse_what_is_not_finite(self, means: RunningMeans) -> None:
        """Nothing is saved of a run that has come to NaN or infinity. All processes agree on it.

        Raises:
            MuvlaError: weights, the optimizer's state or a loss are not finite.
        """
        place = first_not_finite({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()["state"]})
        if place is None and not means.is_finite():
            place = "the loss"
        finite = torch.tensor(float(place is None), device=self.device)
        if distributed.is_initialized():
            distributed.all_reduce(finite, op=distributed.ReduceOp.MIN)
        if not finite:
            raise self._not_finite(f"{place or 'the loss of another process'} is not finite")

    def _not_finite(self, problem: str) -> MuvlaError:
        last = self._last_checkpoint
        kept = "no checkpoint has been written" if last is None else f"the last good checkpoint is {last}"
        return MuvlaError(
            f"update {self.num_updates}: {problem}. Lower the learning rate, use training.precision=bf16 or fp32, or "
            f"look at the data; {kept}"
        )

    # ---------------------------------------------------------------- training

    def train(self) -> None:
        """Run what ``run_type`` asks for: training with validation, then the test."""
        try:
            if "train" not in self.run_type:
                self.evaluator.refuse_what_cannot_be_measured()
                self.inference()
                return
            if not self._owns_folder:  # it is to predict at its end
                self._claim_folder()
                self._load_checkpoint()
            self.evaluator.refuse_what_cannot_be_measured()
            self._train()
            self._load_best()
            self.inference()
        finally:
            self.folder.release()

    def _train(self) -> None:
        self._log(
            f"{self.total_updates:,} updates of {self.training.batch_size * self.accumulation} samples, "
            f"{self.updates_per_epoch:,.1f} to an epoch"
        )
        if is_master():
            self.folder.begin(self.config)
            self._data()  # as they are now
        self.history = History(self.folder.path, enabled=is_master(), tensorboard=bool(self.training.tensorboard))
        self.model.train()
        batches = iter(self._training_loader())
        means = RunningMeans(self.device)
        samples_per_update = int(self.training.batch_size) * self.accumulation
        if self.num_updates and self._is_time_for("evaluation") and self.last_validation != self.num_updates:
            self._validate_and_keep_best()  # the process ended between checkpoint and validation
        with UpdateBar(self.total_updates, self.num_updates, samples_per_update, shown=is_master()) as bar:
            while self.num_updates < self.total_updates and not self._has_stopped_early():
                self._update(batches, means)
                bar.update()
                self._after_update(means, bar)
        # First saved, then validated: a validation can fail.
        self._refuse_what_is_not_finite(means)
        self._save()
        if self.last_validation != self.num_updates:
            self._validate_and_keep_best()
        self._export()
        self.tested = {"update": self.num_updates, "weights": CURRENT}

    def _load_best(self) -> None:
        """Take the weights that validation says are best, for the test."""
        if self.best_value is None or self.best_update == self.num_updates:
            return
        path = self.folder.path / BEST
        problem = None
        try:
            content = read_checkpoint_file(path)
            if content.get("num_updates") != self.best_update:
                problem = f"{path}: is of update {content.get('num_updates')}"
        except InputError as error:
            problem = f"{path}: {error.problem}"
        if problem is not None:
            self._log(
                f"{problem}, though update {self.best_update} is the best by validation: what is tested are the "
                f"weights of update {self.num_updates}",
                "warning",
            )
            return
        self.model.load_state_dict(content["model"])
        self.tested = {"update": self.best_update, "weights": BEST}

    def _training_loader(self) -> DataLoader[Any]:
        dataset = self.datasets["train"]
        sampler = TrainingBatches(
            num_items=len(dataset),
            batch_size=self.training.batch_size,
            seed=int(self.training.seed),
            rank=self.rank,
            world_size=self.world_size,
            start_batch=self.num_updates * self.accumulation,
            lengths=self._lengths(dataset),
            turns=getattr(dataset, "turns", 1),
            batches_per_update=self.accumulation,
        )
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=self.training.num_workers,
            pin_memory=bool(self.training.pin_memory),
            collate_fn=BatchCollator(dataset.dataset_name, dataset.dataset_type),
        )

    def _lengths(self, dataset: Any) -> Any:
        """What to group by: the number of regions of each item; None without grouping."""
        if not self.training.get("group_by_length"):
            return None
        if not hasattr(dataset, "region_counts"):
            raise InputError(
                "training.group_by_length=true",
                f"{self.dataset_name} does not tell the lengths of its items",
                "Set it to false",
            )
        return dataset.region_counts()

    def _update(self, batches: Iterator[Any], means: RunningMeans) -> None:
        """One optimizer step over ``update_frequency`` batches."""
        registry.register("current_epoch", self._current_epoch())
        torch.manual_seed(_dropout_seed(int(self.training.seed), self.num_updates, self.rank))
        self.optimizer.zero_grad(set_to_none=True)
        for number in range(self.accumulation):
            batch = next(batches).to(self.device)
            last = number == self.accumulation - 1
            # Gradients of distributed processes are averaged once, with the last batch.
            with self._gradients_averaged(last):
                output = self.evaluator.forward(self.parallel_model, batch)
                losses = {name: loss.mean() for name, loss in output["losses"].items()}
                loss = torch.stack(list(losses.values())).sum()
                means.add_batch(losses, loss, output, batch)
                self.scaler.scale(loss / self.accumulation).backward()
        self.scaler.unscale_(self.optimizer)
        if self.training.clip_gradients:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_l2_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scheduler is not None:
            self.scheduler.step()
        self.num_updates += 1

    def _gradients_averaged(self, averaged: bool) -> contextlib.AbstractContextManager[None]:
        if averaged or not isinstance(self.parallel_model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.parallel_model.no_sync()

    def _is_time_for(self, what: str) -> bool:
        """Whether ``training.WHAT_interval`` says so."""
        return self.num_updates % int(self.training[f"{what}_interval"]) == 0

    def _after_update(self, means: RunningMeans, bar: UpdateBar) -> None:
        """Log, save and validate where it is time to."""
        if self._is_time_for("log") or self.num_updates == self.total_updates:
            values = means.collect()
            if not math.isfinite(values["total_loss"]):
                raise self._not_finite(f"the loss is {values['total_loss']} ({values})")
            values["lr"] = self.optimizer.param_groups[0]["lr"]
            self.history.write("train", self.num_updates, self._epoch(), values)
            bar.show_loss(values["total_loss"])
            self._log_values("train", values)
            if self.device.type == "cpu":
                give_free_memory_back()
        validated, saved = self._is_time_for("evaluation"), self._is_time_for("checkpoint")
        if validated or saved:
            with bar.paused(), means.paused():
                self._refuse_what_is_not_finite(means)
                if saved:
                    self._save()
                if validated:
                    self._validate_and_keep_best()

    def _has_stopped_early(self) -> bool:
        """Whether early stopping says, after the last validation, that this is the end."""
        early_stop = self.training.early_stop
        waited = self.num_updates - self.best_update
        just_validated = self.last_validation == self.num_updates > 0 and self._is_time_for("evaluation")
        return bool(early_stop.enabled and just_validated and waited >= early_stop.patience)

    def _epoch(self) -> float:
        return round(self.num_updates / self.updates_per_epoch, 3)

    def _current_epoch(self) -> int:
        """The epoch of the next update, counted from 1 as MMF does."""
        return int(self.num_updates / self.updates_per_epoch) + 1

    # -------------------------------------------------------------- evaluation

    def _validate_and_keep_best(self) -> None:
        """Evaluate on the validation split; where the monitored value is the best so far, so is the checkpoint."""
        values = {} if self.datasets["val"] is None else self.evaluator.evaluate("val")
        self.last_validation = self.num_updates
        if self.datasets["val"] is None:
            return
        self.history.write("val", self.num_updates, self._epoch(), values)
        self._log_values("val", values)
        criterion = self.evaluator.criterion()
        value = values.get(criterion, math.nan)
        if not math.isfinite(value):
            why = "no sample of the val split has what it is computed from, or it is not finite"
            self._log(f"the validation has no value of {criterion} ({why}): this checkpoint is not the best", "warning")
            return
        better = self.best_value is None or (
            value < self.best_value if self.training.early_stop.minimize else value > self.best_value
        )
        if better:
            self.best_value, self.best_update = value, self.num_updates
            self._save(best=True)

    def inference(self) -> None:
        """Evaluate on, or predict, the splits that ``run_type`` names; called by MMF for prediction runs."""
        splits = ["val"] if "val" in self.run_type else []
        if any(word in self.run_type for word in ("inference", "test", "predict")):
            splits.append("test")
        predicts = bool(self.config.evaluation.predict)
        # A training has its own place; what comes later does not touch that.
        folder = PREDICTIONS if predicts else "" if self._owns_folder else EVALUATION
        if is_master() and folder:
            self.folder.write_config(self.config, folder)
        results = {}
        for split in splits:
            if self.datasets[split] is None:
                self._log(f"{self.dataset_name} has no {split} split", "warning")
            elif predicts:
                self.evaluator.predict(split, self.folder.path / folder)
            else:
                results[split] = self.evaluator.evaluate(split)
                update = self.tested["update"]
                tested = "weights of an unknown update" if update is None else f"weights of update {update}"
                self._log(f"{split}, {tested}: {_shown(results[split])}")
        if results and is_master():
            trained = {"updates_trained": self.num_updates} if self._owns_folder else {}
            write_json(self.folder.path / folder / RESULTS, {**self.tested, **trained, **results})

    # ------------------------------------------------------------------ output

    def _export(self) -> None:
        """Write the final weights, for other programs too (safetensors)."""
        if is_master():
            path = self.folder.path / self.folder.weights
            save_weights(self.model, path, self.num_updates)
            self._log(f"weights: {path}")
        synchronize()

    def _log(self, message: str, level: str = "info") -> None:
        log_message(message, level)

    def _log_values(self, split: str, values: Mapping[str, Any]) -> None:
        where = f"update {self.num_updates}/{self.total_updates}, epoch {self._epoch()}"
        self._log(f"{split} at {where}: {_shown(values)}")


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


def _dropout_seed(seed: int, update: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, update, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: float | Sequence[float]) -> str:
    if isinstance(value, float | int):
        return f"{value:.4g}"
    return "[" + " ".join(f"{part:.2f}" for part in value) + "]"
