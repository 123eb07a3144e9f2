"""The base of all losses: from a head's predictions to one value per sample, and to the batch's loss.

Every loss is a mean over a sample's own targets: only then can the curriculum weigh each (image, sentence) pair by
itself. A sample without targets has the value 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadKit:
    """What heads are made of. All layers start as BERT's do."""

    # BERT's masked-token head, on the word embeddings: [M, hidden] -> [M, vocabulary]
    vocabulary: Callable[[], nn.Module]
    linear: Callable[[int], nn.Module]  # a fully connected layer: [M, hidden] -> [M, n]
    matching: Callable[[], nn.Module]  # whether two things belong together, a logit: [M, hidden] -> [M, 1]
    hidden_size: int
    feature_dim: int
    num_object_classes: int


@dataclass(frozen=True)
class Predictions:
    """Predictions for ``M`` targets of one loss; where M is 0, the tensors are empty but keep their graph."""

    prediction: Tensor  # float [M, C] or [M]
    target: Tensor  # [M] class or token ids; [M, d] features; [M, P] phrase word pieces; or [M] 0/1
    group: Tensor  # int [M], number of the objective x B + number of the sample, in the order of OBJECTIVES
    confidence: Tensor | None = None  # float [M], the detector's, of classes


@dataclass
class PretrainingOutput:
    """Everything the losses need."""

    num_samples: int  # B, also those without targets: means over accumulated batches or processes are those over all
    view_weight: Tensor  # float [objectives x B], the curriculum's weight of each objective for each sample
    pair_weight: Tensor  # float [B], w_ITM (1 during warm-up)
    match_probability: Tensor | None = None  # float [B], the matching head's, of retrieved pairs, without gradient
    predictions: dict[str, Predictions] = field(default_factory=dict)  # by the name of the head
    # For logs, added by each loss: name -> unweighted sum over samples, number of samples with targets.
    statistics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class PretrainingLoss(nn.Module):
    """One loss, with its head and its targets; ``weight`` is its factor in the sum of all.

    Attributes:
        name: its name; MMF knows it as ``muvla_NAME``.
        at: what its head looks at: states of ``text`` or of ``regions``, or of whole ``pairs``, pooled.
        metric: MMF's name of the metric by which the best checkpoint is chosen; None: the loss alone tells.
    """

    name: ClassVar[str]
    at: ClassVar[Literal["text", "regions", "pairs"]]
    metric: ClassVar[str | None] = None

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    @classmethod
    def head_name(cls) -> str:
        """The head that it reads; another loss's name where it shares that one's head and targets."""
        return cls.name

    @staticmethod
    def head(kit: HeadKit) -> nn.Module:
        """Make the head, float [M, hidden] -> float [M, C]."""
        raise NotImplementedError

    @staticmethod
    def chosen(batch: Mapping[str, Any]) -> Any:
        """Where its targets are in a batch (see :func:`mmf_muvla.datasets.collate.collate_pretraining`): bool [B, V, T]
        for text, bool [B, V, R] for regions; for pairs the names of the rows."""
        raise NotImplementedError

    @staticmethod
    def targets(batch: Mapping[str, Any], sample: Tensor, row: Tensor, position: Tensor) -> dict[str, Tensor]:
        """What is to be predicted at the chosen positions, each int [M]: ``target`` [M, …], and further fields of
        :class:`Predictions`; ``pairs`` have ``pair_targets`` instead."""
        raise NotImplementedError

    @staticmethod
    def pair_targets(batch: Mapping[str, Any]) -> Tensor:
        """For pairs: the target of each of its rows, float [rows]."""
        raise NotImplementedError

    def target_losses(self, it: Predictions) -> Tensor:
        """The loss of each target, float [M]."""
        raise NotImplementedError

    def forward(self, sample_list: Mapping[str, Any], model_output: Mapping[str, Any]) -> Tensor:
        """The batch's loss, a scalar: 0 where the batch has no targets for it."""
        output: PretrainingOutput = model_output["pretraining"]
        predictions = output.predictions.get(self.head_name())
        if predictions is None:
            return output.view_weight.new_zeros(())
        values, counts = per_sample_mean(self.target_losses(predictions), predictions.group, len(output.view_weight))
        with torch.no_grad():
            output.statistics[self.name] = (values.sum(), (counts > 0).sum())
        return self.weight * (values * output.view_weight).sum() / output.num_samples


def per_sample_mean(target_losses: Tensor, group: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Average the losses of single targets, float [M], within each group, int [M] in ``range(num_groups)``.

    Returns:
        The means, float [G], 0 where a group has no target; and the numbers of targets, int [G].
    """
    # Not by bincount, for which a GPU has to tell the host the largest group.
    counts = torch.zeros(num_groups, dtype=torch.long, device=group.device).index_add(0, group, torch.ones_like(group))
    sums = target_losses.new_zeros(num_groups, dtype=torch.float32).index_add(0, group, target_losses.float())
    return sums / counts.clamp(min=1), counts
