"""Metrics that keep a few numbers per sample instead of a whole split's scores.

MMF gathers the scores and targets of all samples and then computes each metric once. Of VQA's validation split that
would be 214,354 x 3,129 numbers, twice. These metrics :meth:`~StreamedMetric.reduce` each batch, and
:meth:`~StreamedMetric.combine` all that it gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmf.modules.metrics import BaseMetric
from torch import Tensor


class StreamedMetric(BaseMetric):
    """A metric, by its name in MMF's registry, in two steps, of which the first reads ``fields``."""

    key: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(self.key)
        self.required_params = list(self.fields)

    def reduce(self, fields: Mapping[str, Any]) -> Tensor:
        """What a batch's samples contribute, [M, …] on any device, from batch and model output together.

        Samples that do not count are left out.
        """
        raise NotImplementedError

    def combine(self, reduced: Tensor) -> Tensor:
        """The metric's value from the contributions of all samples: a scalar, NaN where no sample counts."""
        raise NotImplementedError

    def calculate(
        self, sample_list: Mapping[str, Any], model_output: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Both steps at once, as MMF asks for it."""
        return self.combine(self.reduce({**sample_list, **model_output}))


class SampleMean(StreamedMetric):
    """The mean of one number per sample."""

    def combine(self, reduced: Tensor) -> Tensor:
        return reduced.double().mean()
