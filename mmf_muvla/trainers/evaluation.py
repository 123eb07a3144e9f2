"""Losses, metrics and predictions on the splits of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmf.common.report import Report
from mmf.datasets.base_dataset import BaseDataset
from mmf.modules.metrics import Metrics
from mmf.utils.distributed import get_rank, get_world_size, is_master
from torch import Tensor
from tqdm import tqdm

from mmf_muvla.artifacts.files import write_json
from mmf_muvla.datasets.tasks.retrieval.metric import RankMetric
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.streamed_metric import StreamedMetric
from mmf_muvla.options.kinds import as_list
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.building import loader_of, loading
from mmf_muvla.trainers.history import RunningMeans, gather, of_all_processes
from mmf_muvla.trainers.retrieval import RankedPool, mean_values, rank_split
from mmf_muvla.trainers.sampler import evaluation_batches, in_order_of_items


class Evaluator:
    """Evaluates a model as it is at that moment, on the splits of its data set; matrices are multiplied in
    ``autocast_dtype``, or in float32."""

    def __init__(
        self,
        model: torch.nn.Module,
        datasets: Mapping[str, Any],
        config: Any,
        device: torch.device,
        autocast_dtype: torch.dtype | None,
    ):
        self.model = model
        self.datasets = datasets
        self.dataset_name: str = as_list(config.datasets)[0]
        self.training = config.training
        self.device = device
        self.autocast_dtype = autocast_dtype
        # Some metrics are computed batch by batch; MMF's own want all samples at once.
        self.metrics = Metrics(as_list(config.evaluation.get("metrics", [])))
        every: dict[str, Any] = self.metrics.metrics
        self.fields_of = {name: tuple(metric.required_params) for name, metric in every.items()}
        self.streamed = {name: metric for name, metric in every.items() if isinstance(metric, StreamedMetric)}
        # And some are of the ranks of a whole split.
        self.ranked = {name: metric for name, metric in every.items() if isinstance(metric, RankMetric)}
        for name in (*self.streamed, *self.ranked):
            del every[name]
        self.fields_kept = {field for name in every for field in self.fields_of[name]}

    def forward(self, model: torch.nn.Module, batch: Any) -> Mapping[str, Any]:
        """A model's output for a batch, in the run's precision."""
        with self._precision():
            return model(batch)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)

    def measure(self, model: torch.nn.Module, batch: Any, means: RunningMeans) -> tuple[Mapping[str, Any], Tensor]:
        """A model's output for a batch, and the sum of its losses; ``means`` takes them in."""
        output = self.forward(model, batch)
        losses = {name: loss.mean() for name, loss in output["losses"].items()}
        total = torch.stack(list(losses.values())).sum() if losses else torch.zeros((), device=self.device)
        means.add_batch(losses, total, output, batch)
        return output, total

    def criterion(self, said: str | None = None) -> str:
        """The name, among the values of a validation, of ``training.early_stop.criteria`` (``None``: this run's)."""
        criteria: str = self.training.early_stop.criteria if said is None else said
        return criteria.removeprefix("val/").removeprefix(f"{self.dataset_name}/")

    @torch.no_grad()
    def refuse_what_cannot_be_measured(self) -> None:
        """Look at one small batch, so that a validation does not fail after hours. Nothing random is drawn.

        Raises:
            InputError: a metric, or ``training.early_stop.criteria``, is of what neither data set nor model give, or
                a split has fewer samples than there are processes.
        """
        for name in ("val", "test"):
            if (dataset := self.datasets[name]) is not None and len(dataset) < get_world_size():
                where, problem = f"dataset_config.{self.dataset_name}", f"'{name}' has {len(dataset)} samples"
                problem = f"{problem}, and {get_world_size()} processes share them"
                remedy = "Hold more out (held_out_fraction)" if hasattr(dataset, "corpus") else "Give more samples"
                raise InputError(where, problem, f"{remedy}, or start fewer processes")
        split = next((split for split in ("val", "test") if self.datasets[split] is not None), None)
        if split is None:
            return
        if self.ranked and not hasattr(self.datasets[split], "pools"):
            problem = f"{self.dataset_name} has nothing to rank"
            raise InputError(f"evaluation.metrics={next(iter(self.ranked))}", problem, "Leave it out")
        items = [(0, item) for item in range(min(2, len(self.datasets[split])))]
        # With a generator of its own, or the loader would draw from the run's.
        loader = loader_of(self.datasets[split], self.model, batch_sampler=[items], generator=torch.Generator())
        self.model.eval()
        batch = next(iter(loader)).to(self.device)
        means = RunningMeans(self.device)
        output, _ = self.measure(self.model, batch, means)
        self.model.train()
        report = Report(batch, output)
        for name, fields in self.fields_of.items():
            missing = [field for field in fields if field not in (*report, "dataset_name", "dataset_type")]
            if missing:
                given = f"{self.dataset_name} with this model gives no {', '.join(missing)}"
                problem = f"it is computed from {', '.join(fields)}, and {given}"
                remedy = "Leave it out (evaluation.metrics=[]), or add what it measures to the data set's objectives"
                raise InputError(f"evaluation.metrics={name}", problem, remedy)
        names = sorted(means.names | set(self.fields_of))
        if self.datasets["val"] is not None and self.criterion() not in names:
            where = f"training.early_stop.criteria={self.training.early_stop.criteria}"
            raise InputError(where, "the validation gives no such value", f"It gives {', '.join(names)}")

    @property
    def _batch_size(self) -> int:
        return max(1, self.training.batch_size // get_world_size())

    def _batches(self, split: str, title: str, leave: bool) -> Iterator[Any]:
        """This process's share of a split."""
        dataset = self.datasets[split]
        sampler = evaluation_batches(len(dataset), self._batch_size, get_rank(), get_world_size())
        loader = loader_of(dataset, self.model, batch_sampler=sampler, **loading(self.training, self.device))
        for batch in tqdm(loader, desc=title, leave=leave, disable=None if is_master() else True):
            yield batch.to(self.device)

    @torch.no_grad()
    def evaluate(self, split: str, keep_in: Path | None = None) -> dict[str, float]:
        """Every loss, ``total_loss``, and every metric of ``evaluation.metrics`` on a split, by name.

        A value is left out if no sample has what it is computed from, as on hidden test splits. What takes long is kept
        in a folder, where one is given, for an evaluation of the same that is killed to go on with.
        """
        self.model.eval()
        means = RunningMeans(self.device)
        kept: dict[str, list[Tensor]] = {}
        reduced: dict[str, list[Tensor]] = {name: [] for name in self.streamed}
        for batch in self._batches(split, split, leave=False):
            output, _ = self.measure(self.model, batch, means)
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
        if self.ranked:
            found = mean_values(self._rank(split, keep_in))
            values |= {name: metric.value(found) for name, metric in self.ranked.items()}
            values |= {f"muvla_{name}": it for name, it in found.items() if name.endswith("_candidate_recall")}
        self.model.train()
        return {name: value for name, value in values.items() if not isinstance(value, float) or not math.isnan(value)}

    def _rank(self, split: str, keep_in: Path | None) -> list[RankedPool]:
        rows = 2 * self._batch_size  # which take less memory than a batch that is learned from
        return rank_split(self.model, self.datasets[split], rows, self._precision, keep_in)

    @torch.no_grad()
    def predict(self, split: str, folder: Path, keep_in: Path | None = None) -> None:
        """Write predictions of a split, in the benchmark's format, into a folder; see :meth:`evaluate`.

        Raises:
            InputError: the data set makes none.
        """
        dataset = self.datasets[split]
        suffix = getattr(dataset, "prediction_suffix", ".json")
        path = folder / f"{self.dataset_name}_{split}{suffix}"
        if hasattr(dataset, "pools"):
            self.model.eval()
            pools = self._rank(split, keep_in)
            if is_master():
                dataset.write_lists(path, (line for pool in pools for line in pool.lists(dataset.config.top_k)))
                log_message(f"predictions: {path}")
            return
        if type(dataset).format_for_prediction is BaseDataset.format_for_prediction:
            raise InputError(f"datasets={self.dataset_name}", "it makes no predictions", "Choose a downstream task")
        self.model.eval()
        predictions: list[Any] = []
        for batch in self._batches(split, f"predict {split}", leave=True):
            predictions.extend(dataset.format_for_prediction(Report(batch, self.forward(self.model, batch))))
        gathered = of_all_processes(predictions)
        if is_master():
            getattr(dataset, "write_predictions", write_json)(path, in_order_of_items(gathered))
            log_message(f"predictions: {path}")
