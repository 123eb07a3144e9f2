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
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmf.common.batch_collator import BatchCollator
from mmf.common.registry import registry
from mmf.common.report import Report
from mmf.datasets.base_dataset import BaseDataset
from mmf.modules.metrics import Metrics
from mmf.utils.build import build_dataset, build_model, build_optimizer
from mmf.utils.distributed import get_rank, get_world_size, is_master, synchronize
from omegaconf import OmegaConf, open_dict
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmf_muvla.cli import as_list
from mmf_muvla.compat.messages import log_message
from mmf_muvla.corpus.files import publish_file, write_json
from mmf_muvla.datasets.pretraining import PretrainingDataset
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.losses.objectives import HEADS, heads_of
from mmf_muvla.metrics.streamed import StreamedMetric
from mmf_muvla.trainers.checkpoints import link_atomically, load_matching, read_checkpoint_file, save_atomically
from mmf_muvla.trainers.devices import multiplies_faster_in_bf16
from mmf_muvla.trainers.history import History, RunningMeans, gather
from mmf_muvla.trainers.memory import give_free_memory_back
from mmf_muvla.trainers.progress import UpdateBar
from mmf_muvla.trainers.sampler import EvaluationBatches, TrainingBatches, batches_per_epoch, in_order_of_items

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        self.save_dir = Path(config.env.save_dir)
        self.num_updates = 0
        self.best_update = 0
        self.best_value: float | None = None

    # ------------------------------------------------------------------ set-up

    def load(self) -> None:
        """Build data sets, model, optimizer and schedule, and load the checkpoint; called by MMF."""
        self.rank, self.world_size = get_rank(), get_world_size()
        self.device = self._choose_device()
        registry.register("current_device", self.device)
        self.autocast_dtype = self._choose_precision()
        self._load_datasets()
        self._load_model()
        self._load_checkpoint()
        if distributed.is_initialized():
            self.parallel_model: torch.nn.Module = DistributedDataParallel(
                self.model, find_unused_parameters=self._has_unused_parameters()
            )
        else:
            self.parallel_model = self.model
        self._load_metrics()
        if is_master():
            self.save_dir.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, self.save_dir / "config.yaml", resolve=True)
        self.history = History(self.save_dir, enabled=is_master(), tensorboard=bool(self.training.tensorboard))

    def _load_metrics(self) -> None:
        """Make the metrics: those that are computed batch by batch, and MMF's own, which want all samples at once."""
        names = as_list(self.config.evaluation.get("metrics", []))
        for name in names:
            if isinstance(name, str) and registry.get_metric_class(name) is None:
                raise InputError(f"evaluation.metrics={name}", "there is no such metric", "Check its name")
        self.metrics = Metrics(names)
        every: dict[str, Any] = self.metrics.metrics
        self.metric_names = set(every)
        self.streamed = {name: metric for name, metric in every.items() if isinstance(metric, StreamedMetric)}
        for name in self.streamed:
            del every[name]
        self.fields_kept = {field for metric in every.values() for field in metric.required_params}

    def _has_unused_parameters(self) -> bool:
        """Whether a step may leave heads out: because the option says so, or views or losses are left out."""
        option, dataset = bool(self.training.find_unused_parameters), self.datasets["train"]
        if option or not isinstance(dataset, PretrainingDataset):
            return option
        losses = self.config.model_config[self.config.model].get("losses")
        return dataset.turns > 1 or (heads_of(losses) & dataset.predicts) != HEADS

    def _choose_device(self) -> torch.device:
        if "cuda" in str(self.training.device) and torch.cuda.is_available():
            # MMF leaves device_id at 0 for every process that torchrun starts.
            local_rank = int(os.environ.get("LOCAL_RANK", self.config.get("device_id", 0)))
            torch.cuda.set_device(local_rank)
            return torch.device("cuda", local_rank)
        return torch.device("cpu")

    def _choose_precision(self) -> torch.dtype | None:
        precision = self.training.get("precision", "fp32")
        if precision == "auto":
            precision = "bf16" if multiplies_faster_in_bf16(self.device) else "fp32"
            self._log(f"training.precision=auto: {precision}")
        if precision not in PRECISIONS:
            raise InputError(
                f"training.precision={precision}", "unknown", f"Choose one of {', '.join(PRECISIONS)}, auto"
            )
        if precision == "fp16" and self.device.type != "cuda":
            raise InputError("training.precision=fp16", f"not available on {self.device.type}", "Choose bf16 or fp32")
        return PRECISIONS[precision]

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

    def _load_model(self) -> None:
        options = self.config.model_config[self.config.model]
        with open_dict(options):
            options.model = self.config.model
        self.model = build_model(options).to(self.device)
        self._log(
            f"{self.config.model}: {sum(p.numel() for p in self.model.parameters()):,} parameters on {self.device}"
        )
        self.optimizer = build_optimizer(self.model, self.config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast_dtype is torch.float16)
        self.updates_per_epoch, self.total_updates = self._run_length()
        self.scheduler = None
        if self.training.lr_scheduler:
            scheduler_class = registry.get_scheduler_class(self.config.scheduler.type)
            params = dict(self.config.scheduler.get("params", {}))
            if self.config.scheduler.type.startswith("muvla_"):
                params["total_updates"] = self.total_updates
            self.scheduler = scheduler_class(self.optimizer, **params)

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
        own = self.save_dir / ("best.ckpt" if options.resume_best else "current.ckpt")
        if options.resume and own.is_file():
            self._restore(own)
        elif options.resume_file:
            if options.resume_pretrained or options.reset.all:
                content = read_checkpoint_file(options.resume_file)
                self._log(f"{options.resume_file}: {load_matching(self.model, content['model'], options.resume_file)}")
            else:
                self._restore(Path(options.resume_file))
        elif options.resume:
            self._log(f"checkpoint.resume: there is no {own} yet; starting from the beginning", "warning")

    def _restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same run: weights, optimizer, schedule, counts."""
        content = read_checkpoint_file(path)
        reset = self.config.checkpoint.reset
        try:
            self.model.load_state_dict(content["model"])
            if not reset.optimizer and "optimizer" in content:
                self.optimizer.load_state_dict(content["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise InputError(
                str(path),
                f"it was written by a run with another model or optimizer ({error})",
                "To take only the weights that fit, add checkpoint.resume_pretrained=True",
            ) from error
        if not reset.counts and "num_updates" in content:
            self.num_updates = int(content["num_updates"])
            self.best_update = int(content.get("best_update", 0))
            self.best_value = content.get("best_metric_value")
            if self.scheduler is not None and content.get("scheduler"):
                self.scheduler.load_state_dict(content["scheduler"])
            if content.get("scaler"):
                self.scaler.load_state_dict(content["scaler"])
        self._log(f"{path}: going on after update {self.num_updates}")

    def _save(self, best: bool = False) -> None:
        """Write ``models/model_N.ckpt``, and make it ``current.ckpt`` (and ``best.ckpt``)."""
        if is_master():
            path = self.save_dir / "models" / f"model_{self.num_updates}.ckpt"
            save_atomically(self._state(), path)
            link_atomically(path, self.save_dir / "current.ckpt")
            if best:
                link_atomically(path, self.save_dir / "best.ckpt")
            keep = int(self.config.checkpoint.max_to_keep)
            if keep >= 0:
                written = sorted(path.parent.glob("model_*.ckpt"), key=lambda p: int(p.stem.partition("_")[2]))
                for old in written[: max(0, len(written) - keep)]:
                    old.unlink()
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
            "config": OmegaConf.to_container(self.config, resolve=True),
        }

    # ---------------------------------------------------------------- training

    def train(self) -> None:
        """Run what ``run_type`` asks for: training with validation, then the test."""
        if "train" not in self.run_type:
            self.inference()
            return
        self._log(
            f"{self.total_updates:,} updates of {self.training.batch_size * self.accumulation} samples, "
            f"{self.updates_per_epoch:,.1f} to an epoch"
        )
        self.model.train()
        batches = iter(self._training_loader())
        means = RunningMeans(self.device)
        samples_per_update = int(self.training.batch_size) * self.accumulation
        with UpdateBar(self.total_updates, self.num_updates, samples_per_update, shown=is_master()) as bar:
            while self.num_updates < self.total_updates:
                self._update(batches, means)
                bar.update()
                if self._stop_after_update(means, bar):
                    break
        if self.num_updates % self.training.evaluation_interval:
            self._validate()
        self._save()
        self._export()
        best = self.save_dir / "best.ckpt"
        if best.is_file() and self.best_update not in (0, self.num_updates):  # 0: it is another run's
            self.model.load_state_dict(read_checkpoint_file(best)["model"])
        self.inference()

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
                output = self._forward(self.parallel_model, batch)
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

    def _forward(self, model: torch.nn.Module, batch: Any) -> Mapping[str, Any]:
        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None):
            return model(batch)

    def _stop_after_update(self, means: RunningMeans, bar: UpdateBar) -> bool:
        """Log, save and validate where it is time to; True where early stopping says so."""
        if self.num_updates % self.training.log_interval == 0 or self.num_updates == self.total_updates:
            values = means.collect()
            if not math.isfinite(values["total_loss"]):
                raise MuvlaError(
                    f"update {self.num_updates}: the loss is {values['total_loss']} ({values}). Lower the learning "
                    "rate, use training.precision=bf16 or fp32, or look at the data; the last checkpoint is in "
                    f"{self.save_dir}"
                )
            values["lr"] = self.optimizer.param_groups[0]["lr"]
            self.history.write("train", self.num_updates, self._epoch(), values)
            bar.show_loss(values["total_loss"])
            self._log_values("train", values)
            if self.device.type == "cpu":
                give_free_memory_back()
        validated = self.num_updates % self.training.evaluation_interval == 0
        saved = self.num_updates % self.training.checkpoint_interval == 0
        if validated or saved:
            with bar.paused(), means.paused():
                improved = validated and self._validate()
                if improved or saved:
                    self._save(best=improved)
        early_stop = self.training.early_stop
        return bool(validated and early_stop.enabled and self.num_updates - self.best_update >= early_stop.patience)

    def _epoch(self) -> float:
        return round(self.num_updates / self.updates_per_epoch, 3)

    def _current_epoch(self) -> int:
        """The epoch of the next update, counted from 1 as MMF does."""
        return int(self.num_updates / self.updates_per_epoch) + 1

    # -------------------------------------------------------------- evaluation

    def _validate(self) -> bool:
        """Evaluate on the validation split; True where the monitored value is the best so far."""
        if self.datasets["val"] is None:
            return False
        values = self.evaluate("val")
        self.history.write("val", self.num_updates, self._epoch(), values)
        self._log_values("val", values)
        criterion = self.training.early_stop.criteria.removeprefix("val/").removeprefix(f"{self.dataset_name}/")
        if criterion not in values and criterion in {"total_loss", *self.metric_names}:
            self._log(
                f"no sample of the val split has what {criterion} is computed from: no checkpoint is best", "warning"
            )
            return False
        if criterion not in values:
            raise InputError(
                f"training.early_stop.criteria={self.training.early_stop.criteria}",
                "the validation gives no such value",
                f"It gives {', '.join(values)}",
            )
        value = values[criterion]
        better = self.best_value is None or (
            value < self.best_value if self.training.early_stop.minimize else value > self.best_value
        )
        if better:
            self.best_value, self.best_update = value, self.num_updates
        return better

    def _evaluation_loader(self, split: str) -> DataLoader[Any]:
        dataset = self.datasets[split]
        batch_size = max(1, self.training.batch_size // self.world_size)
        return DataLoader(
            dataset,
            batch_sampler=EvaluationBatches(len(dataset), batch_size, self.rank, self.world_size),
            num_workers=self.training.num_workers,
            collate_fn=BatchCollator(dataset.dataset_name, dataset.dataset_type),
        )

    @torch.no_grad()
    def evaluate(self, split: str) -> dict[str, float]:
        """Losses and metrics on a split.

        Args:
            split: ``train``, ``val`` or ``test``.

        Returns:
            Name -> value: every loss, ``total_loss``, and every metric of ``evaluation.metrics``. Where no sample has
            what a value is computed from, as on hidden test splits, the value is left out.
        """
        self.model.eval()
        means = RunningMeans(self.device)
        kept: dict[str, list[Tensor]] = {}
        reduced: dict[str, list[Tensor]] = {name: [] for name in self.streamed}
        for batch in tqdm(
            self._evaluation_loader(split), desc=split, leave=False, disable=None if is_master() else True
        ):
            batch = batch.to(self.device)
            output = self._forward(self.model, batch)
            losses = {name: loss.mean() for name, loss in output["losses"].items()}
            total = torch.stack(list(losses.values())).sum() if losses else torch.zeros((), device=self.device)
            means.add_batch(losses, total, output, batch)
            report = Report(batch, output)
            for name, metric in self.streamed.items():
                reduced[name].append(metric.reduce(report).cpu())
            for name in self.fields_kept & set(report):
                if isinstance(report[name], Tensor):
                    kept.setdefault(name, []).append(report[name].cpu())
        values = means.collect()
        for name, metric in self.streamed.items():
            values[name] = float(metric.combine(gather(torch.cat(reduced[name]))))
        if self.metrics.metrics:
            fields = [(name, gather(torch.cat(kept[name]))) for name in sorted(kept)]
            report = Report([("dataset_name", self.dataset_name), ("dataset_type", split), *fields])
            for name, value in self.metrics(report, report).items():
                values[name.rpartition("/")[2]] = float(value)
        self.model.train()
        return {name: value for name, value in values.items() if not isinstance(value, float) or not math.isnan(value)}

    def inference(self) -> None:
        """Evaluate on, or predict, the splits that ``run_type`` names; called by MMF for prediction runs."""
        splits = ["val"] if "val" in self.run_type else []
        if any(word in self.run_type for word in ("inference", "test", "predict")):
            splits.append("test")
        results = {}
        for split in splits:
            if self.datasets[split] is None:
                self._log(f"{self.dataset_name} has no {split} split", "warning")
            elif self.config.evaluation.predict:
                self._predict(split)
            else:
                results[split] = self.evaluate(split)
                self._log_values(split, results[split])
        if results and is_master():
            write_json(self.save_dir / "results.json", {"update": self.num_updates, **results})

    @torch.no_grad()
    def _predict(self, split: str) -> None:
        dataset = self.datasets[split]
        if type(dataset).format_for_prediction is BaseDataset.format_for_prediction:
            raise InputError(f"datasets={self.dataset_name}", "it makes no predictions", "Choose a downstream task")
        self.model.eval()
        predictions: list[Any] = []
        for batch in tqdm(
            self._evaluation_loader(split), desc=f"predict {split}", disable=None if is_master() else True
        ):
            batch = batch.to(self.device)
            predictions.extend(dataset.format_for_prediction(Report(batch, self._forward(self.model, batch))))
        gathered: list[Any] = [predictions]
        if distributed.is_initialized():
            gathered = [None] * self.world_size
            distributed.all_gather_object(gathered, predictions)
        if is_master():
            suffix = getattr(dataset, "prediction_suffix", ".json")
            path = self.save_dir / "predictions" / f"{self.dataset_name}_{split}{suffix}"
            getattr(dataset, "write_predictions", write_json)(path, in_order_of_items(gathered))
            self._log(f"predictions: {path}")

    # ------------------------------------------------------------------ output

    def _export(self) -> None:
        """Write the final weights, for other programs too (safetensors)."""
        if is_master():
            from safetensors.torch import save_model

            path = self.save_dir / f"{self.config.model}_final.safetensors"
            with publish_file(path) as temporary:
                save_model(self.model, str(temporary))
            self._log(f"weights: {path}")
        synchronize()

    def _log(self, message: str, level: str = "info") -> None:
        log_message(message, level)

    def _log_values(self, split: str, values: Mapping[str, Any]) -> None:
        shown = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
        self._log(f"{split} at update {self.num_updates}/{self.total_updates}, epoch {self._epoch()}: {shown}")


def _dropout_seed(seed: int, update: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, update, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _short(value: float | Sequence[float]) -> str:
    if isinstance(value, float | int):
        return f"{value:.4g}"
    return "[" + " ".join(f"{part:.2f}" for part in value) + "]"
