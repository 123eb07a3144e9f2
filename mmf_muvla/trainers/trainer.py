"""The trainer ``muvla`` (``training.trainer: muvla``), for pre-training and fine-tuning alike.

It reads the configuration of MMF's own trainer; ``projects/muvla/trainer.yaml`` lists every option. A resumed run goes
on as if it had never stopped: dropout is seeded by (seed, update, rank), everything else by (seed, epoch, sample).

An update is ``update_frequency`` batches, learned from or not: fp16 skips the steps whose scaled gradients are not
finite, a few at the start, and the schedule goes on only with those that are taken.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmf.common.registry import registry
from mmf.utils.distributed import is_master, synchronize
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from mmf_muvla.artifacts.files import write_json
from mmf_muvla.errors import MuvlaError
from mmf_muvla.models.checkpoint import checkpoint_file
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.building import leaves_heads_out, training_loader
from mmf_muvla.trainers.checkpoints import first_not_finite, save_weights
from mmf_muvla.trainers.devices import give_free_memory_back
from mmf_muvla.trainers.history import History, RunningMeans, shown
from mmf_muvla.trainers.matching import unlearned_matching
from mmf_muvla.trainers.progress import UpdateBar
from mmf_muvla.trainers.run import Run
from mmf_muvla.trainers.run_folder import CURRENT, EVALUATION, PREDICTIONS, RESULTS, SCORES
from mmf_muvla.trainers.saved_run import SHAPE
from mmf_muvla.trainers.watching import open_watchers


@registry.register_trainer("muvla")
class MuVLATrainer(Run):
    """Trains, validates, tests and predicts, as MMF's command line says."""

    def load(self) -> None:
        """Build data sets, model, optimizer and schedule, and load the checkpoint."""
        # mmf_predict says so by evaluation.predict, whatever run_type is.
        if "train" in self.run_type and not self.config.evaluation.predict:
            self._claim_folder()
        try:
            self._build()
            self._load_checkpoint()
            self.parallel_model: torch.nn.Module = self.model
            if distributed.is_initialized():
                unused = leaves_heads_out(self.config, self.datasets["train"])
                self.parallel_model = DistributedDataParallel(self.model, find_unused_parameters=unused)
        except BaseException:
            self.folder.release()
            raise

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

    def inference(self) -> None:
        """Evaluate on, or predict, the splits that ``run_type`` names."""
        splits = ["val"] if "val" in self.run_type else []
        if any(word in self.run_type for word in ("inference", "test", "predict")):
            splits.append("test")
        predicts = bool(self.config.evaluation.predict)
        # A training has its own place, which what comes later does not touch.
        folder = PREDICTIONS if predicts else "" if self._owns_folder else EVALUATION
        if is_master() and folder:
            self.folder.write_config(self.config, folder)
        results = {}
        for split in splits:
            keep_in = self.folder.path / SCORES / split
            if self.datasets[split] is None:
                log_message(f"{self.evaluator.dataset_name} has no {split} split", "warning")
            elif predicts:
                self.evaluator.predict(split, self.folder.path / folder, keep_in)
            else:
                results[split] = self.evaluator.evaluate(split, keep_in)
                update = "an unknown update" if self.tested["update"] is None else f"update {self.tested['update']}"
                log_message(f"{split}, weights of {update}: {shown(results[split])}")
        if results and is_master():
            trained = {"updates_trained": self.num_updates} if self._owns_folder else {}
            write_json(self.folder.path / folder / RESULTS, {**self.tested, **trained, **results})

    def _train(self) -> None:
        log_message(
            f"{self.total_updates:,} updates of {self.training.batch_size * self.accumulation} samples, "
            f"{self.updates_per_epoch:,.1f} to an epoch"
        )
        if is_master():
            self.folder.begin(self.config)
            self._keep_bert()
            _ = self._data  # as they are now
        watchers = open_watchers(self.folder.path, self.config, self.num_updates) if is_master() else []
        self.history = History(self.folder.path, enabled=is_master(), watchers=watchers)
        self.model.train()
        self._scale = self.scaler.get_scale()
        done = self.num_updates * self.accumulation
        batches = iter(training_loader(self.datasets["train"], self.model, self.training, self.accumulation, done))
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
        if is_master():
            path = self.folder.path / self.folder.weights
            save_weights(self.model, path, self.num_updates)
            log_message(f"weights: {path}")
        synchronize()
        self.tested = {"update": self.num_updates, "weights": CURRENT}

    def _keep_bert(self) -> None:
        trunk = self.config.model_config[self.config.model].get("trunk") or {}
        words = getattr(self.datasets["train"], "words", None)
        shape = checkpoint_file(trunk["pretrained"], SHAPE) if trunk.get("pretrained") else None
        if words is not None and shape is not None:
            self.folder.keep_bert(shape, words.tokenizer)

    def _update(self, batches: Iterator[Any], means: RunningMeans) -> None:
        """One optimizer step over ``update_frequency`` batches."""
        registry.register("current_epoch", self._current_epoch())
        seed = np.random.SeedSequence((int(self.training.seed), self.num_updates, self.rank))
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        self.optimizer.zero_grad(set_to_none=True)
        for number in range(self.accumulation):
            batch = next(batches).to(self.device)
            # Gradients of distributed processes are averaged once, with the last batch.
            model, is_last = self.parallel_model, number == self.accumulation - 1
            waits = None if is_last or not isinstance(model, DistributedDataParallel) else model.no_sync()
            with waits or contextlib.nullcontext():
                _, loss = self.evaluator.measure(model, batch, means)
                self.scaler.scale(loss / self.accumulation).backward()
        self.scaler.unscale_(self.optimizer)
        if self.training.clip_gradients:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_l2_norm)
        if self._step():
            if self.scheduler is not None:
                self.scheduler.step()
        else:
            self.skipped_updates += 1
        self.num_updates += 1

    def _step(self) -> bool:
        """Step the optimizer; False where fp16 has skipped it, since the scaled gradients were not finite."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        before, self._scale = self._scale, self.scaler.get_scale()  # waits for the GPU; without fp16 it is always 1
        return self._scale >= before

    def _after_update(self, means: RunningMeans, bar: UpdateBar) -> None:
        """Log, save and validate if it is time to."""
        if self._is_time_for("log") or self.num_updates == self.total_updates:
            values = means.collect()
            if not math.isfinite(values["total_loss"]):
                raise self._not_finite(f"the loss is {values['total_loss']} ({values})")
            values["lr"] = self.optimizer.param_groups[0]["lr"]
            bar.show_loss(values["total_loss"])
            self._record("train", values)
            if self.device.type == "cpu":
                give_free_memory_back()
        validates, saves = self._is_time_for("evaluation"), self._is_time_for("checkpoint")
        if validates or saves:
            with bar.paused(), means.paused():
                self._refuse_what_is_not_finite(means)
                if saves:
                    self._save()
                if validates:
                    self._validate_and_keep_best()

    def _is_time_for(self, what: str) -> bool:
        """Whether ``training.WHAT_interval`` says so."""
        return self.num_updates % int(self.training[f"{what}_interval"]) == 0

    def _has_stopped_early(self) -> bool:
        """Whether early stopping says, after the last validation, that this is the end."""
        early_stop = self.training.early_stop
        waited = self.num_updates - self.best_update
        just_validated = self.last_validation == self.num_updates > 0 and self._is_time_for("evaluation")
        return bool(early_stop.enabled and just_validated and waited >= early_stop.patience)

    def _record(self, split: str, values: Mapping[str, Any]) -> None:
        """Write values to the history and the log."""
        epoch = round(self.num_updates / self.updates_per_epoch, 3)
        self.history.write(split, self.num_updates, epoch, values)
        log_message(f"{split} at update {self.num_updates}/{self.total_updates}, epoch {epoch}: {shown(values)}")

    def _refuse_what_is_not_finite(self, means: RunningMeans) -> None:
        """Nothing is saved of a run that has come to NaN or infinity. All processes agree on it."""
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

    def _validate_and_keep_best(self) -> None:
        """Evaluate on the validation split; if the monitored value is the best so far, so is the checkpoint."""
        values = None if self.datasets["val"] is None else self.evaluator.evaluate("val")
        before, self.last_validation = self.last_validation, self.num_updates
        if values is None:
            return
        self._record("val", values)
        if warning := unlearned_matching(values, before, self.num_updates, self.total_updates):
            log_message(warning, "warning")
        criterion, best = self.evaluator.criterion(), self.best_value
        value = values.get(criterion, math.nan)
        if not math.isfinite(value):
            why = "no sample of the val split has what it is computed from, or it is not finite"
            problem = f"the validation has no value of {criterion} ({why}): this checkpoint is not the best"
            log_message(problem, "warning")
        elif best is None or (value < best if self.training.early_stop.minimize else value > best):
            self.best_value, self.best_update = value, self.num_updates
            self._save(best=True)
