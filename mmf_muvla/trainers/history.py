"""What a run writes about itself: means over an interval, one JSON line each."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from mmf_muvla.objectives.loss import PretrainingOutput
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.run_folder import HISTORY
from mmf_muvla.trainers.watching import Watcher


def gather(values: Tensor) -> Tensor:
    """The values of all processes, one after the other: [m_i, …] -> [sum of m_i, …]; they must be on the CPU."""
    return torch.cat(of_all_processes(values))


def of_all_processes(value: Any) -> list[Any]:
    """What each process has, in the order of ranks."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


class RunningMeans:
    """Means over the batches since the last :meth:`collect`, over all processes.

    Losses of the pre-training are averaged over the samples that have targets, unweighted; ``total_loss`` is what was
    minimised. ``w_itm`` and its deciles are of the probability that weighs the pairs, also while it does not yet.
    Sums stay on the device until they are collected.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}  # name -> sum, count
        self._match_probability: list[Tensor] = []
        # Of a task, whose samples may lack a label: what none of them has is left out.
        self._left_out_without_samples: set[str] = set()
        self._samples = 0
        self._since = time.perf_counter()

    def _add(self, name: str, total: Tensor, count: Tensor | float) -> None:
        zero = torch.zeros((), device=self.device, dtype=torch.float64)
        total_before, count_before = self._sums.get(name, (zero, zero))
        self._sums[name] = (total_before + total.detach(), count_before + count)

    def add_batch(self, losses: Mapping[str, Tensor], loss: Tensor, output: Mapping[str, Any], batch: Any) -> None:
        """Take in one batch: its weighted losses by MMF's names, their sum, and the model's output for it."""
        size = batch["image_feature_0"].shape[0] if "image_feature_0" in batch else batch.get_batch_size()
        self._samples += size
        pretraining: PretrainingOutput | None = output.get("pretraining")
        if pretraining is not None:
            for name, (total, count) in {"total_loss": (loss * size, size), **pretraining.statistics}.items():
                self._add(name, total, count)
            if pretraining.match_probability is not None:
                self._match_probability.append(pretraining.match_probability)
            return
        # A task's losses are means over its labelled samples.
        labelled = batch["labelled"].sum() if "labelled" in batch else size
        means = {"total_loss": loss} | {name.rpartition("/")[2]: value for name, value in losses.items()}
        sums = {name: (value * labelled, labelled) for name, value in means.items()}
        for name, (total, count) in (*sums.items(), *output.get("statistics", {}).items()):
            self._add(name, total, count)
            self._left_out_without_samples.add(name)

    @property
    def names(self) -> set[str]:
        """What there are means of, even if no sample so far has what they are computed from."""
        return {*self._sums, *(["w_itm"] if self._match_probability else [])}

    def is_finite(self) -> bool:
        """Whether no loss of this process has been NaN or infinite since the last :meth:`collect`."""
        return "total_loss" not in self._sums or bool(torch.isfinite(self._sums["total_loss"][0]))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of ``samples_per_s`` the time of what is done in between."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def collect(self) -> dict[str, Any]:
        """The means since the last call; starts anew."""
        names = sorted(self._sums)
        table = torch.stack([torch.stack(self._sums[name]) for name in names])
        samples = torch.tensor([float(self._samples)], device=self.device)
        if distributed.is_initialized():
            distributed.all_reduce(table)
            distributed.all_reduce(samples)
        values: dict[str, Any] = {
            name: (total / count if count else 0.0)
            for name, (total, count) in zip(names, table.tolist(), strict=True)
            if count or name not in self._left_out_without_samples
        }
        if self._match_probability:
            probability = gather(torch.cat(self._match_probability).float().cpu())
            values["w_itm"] = probability.mean().item()
            values["w_itm_deciles"] = [round(v, 4) for v in probability.quantile(torch.arange(1, 10) / 10).tolist()]
        values["samples_per_s"] = samples.item() / max(time.perf_counter() - self._since, 1e-9)
        self._reset()
        return values


class History:
    """Appends what was measured to ``history.jsonl`` in the run's folder, and shows it to ``watchers``.

    ``enabled`` is False on all processes but the first.
    """

    def __init__(self, save_dir: Path, enabled: bool, watchers: Sequence[Watcher] = ()):
        self.path = save_dir / HISTORY
        self.enabled = enabled
        self._watchers = watchers
        if enabled:
            self._cut_unfinished_line()

    def _cut_unfinished_line(self) -> None:
        """A process that ended while writing, for example on a full disk, has left a part of a line."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
            log_message(f"{self.path}: its last line was not whole, and is cut off", "warning")

    def write(self, split: str, update: int, epoch: float, values: Mapping[str, Any]) -> None:
        """Write one line: ``{"split", "update", "epoch", …values}``."""
        if not self.enabled:
            return
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"split": split, "update": update, "epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            several = {f"/{n}": part for n, part in enumerate(value, 1)} if isinstance(value, list) else {"": value}
            for number, part in several.items():
                for watch in self._watchers:
                    watch(f"{split}/{name}{number}", part, update)


def shown(values: Mapping[str, Any]) -> str:
    """Values as they appear in the log."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float | int) else f"{name} [{' '.join(f'{v:.2f}' for v in value)}]"
        for name, value in values.items()
    )
