"""Every score of the tasks, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mmf_muvla.datasets.tasks.nlvr2 import metric as nlvr2
from mmf_muvla.datasets.tasks.refcoco_plus import metric as grounding
from mmf_muvla.datasets.tasks.visual_entailment import metric as entailment
from mmf_muvla.datasets.tasks.vqa2 import metric as vqa
from mmf_muvla.objectives.matching_metric import ImageTextMatchingAccuracy
from mmf_muvla.objectives.streamed_metric import StreamedMetric


def chosen(labels: list[int], classes: int) -> torch.Tensor:
    """Scores by which these labels win."""
    return torch.nn.functional.one_hot(torch.tensor(labels), classes).float() * 3 - 1


# Five questions, three answers. The second question's winner is worth 0.3; the fifth has no annotators.
VQA = {
    "scores": chosen([0, 1, 2, 0, 1], 3),
    "answer_accuracy": torch.tensor([[1.0, 0, 0], [0.9, 0.3, 0], [0, 0, 0.6], [0, 1.0, 0], [0, 0, 0]]),
    "question_kind": torch.tensor([0, 0, 1, 2, -1]),
}
# Four sentences: 7 with a right and a wrong example, 3 with two right ones, 5 with one right, 9 of unknown label.
NLVR2 = {
    "scores": chosen([1, 0, 1, 0, 1, 1], 2),
    "targets": torch.tensor([1, 1, 1, 0, 1, -1]),
    "sentence_group": torch.tensor([7, 7, 3, 3, 5, 9]),
}
ENTAILMENT = {"scores": chosen([0, 1, 1, 2, 0, 2], 3), "targets": torch.tensor([0, 0, 1, 2, -1, 1])}
GROUNDING = {
    "chosen_is_right": torch.tensor([True, False, True, False]),
    "labelled": torch.tensor([True, True, True, False]),
}

CASES = [
    (vqa.VQAAccuracy, VQA, (1.0 + 0.3 + 0.6 + 0.0) / 4),
    (vqa.VQAYesNoAccuracy, VQA, (1.0 + 0.3) / 2),
    (vqa.VQANumberAccuracy, VQA, 0.6),
    (vqa.VQAOtherAccuracy, VQA, 0.0),
    (nlvr2.NLVR2Accuracy, NLVR2, 4 / 5),
    (nlvr2.NLVR2Consistency, NLVR2, 2 / 3),
    (entailment.EntailmentAccuracy, ENTAILMENT, 3 / 5),
    (entailment.EntailedAccuracy, ENTAILMENT, 1 / 2),
    (entailment.NeutralAccuracy, ENTAILMENT, 1 / 2),
    (entailment.ContradictedAccuracy, ENTAILMENT, 1.0),
    (grounding.GroundingAccuracy, GROUNDING, 2 / 3),
    (
        ImageTextMatchingAccuracy,
        {"scores": torch.tensor([2.0, -1.0, 0.5, -3.0]), "targets": torch.tensor([1.0, 1.0, 0.0, 0.0])},
        1 / 2,
    ),
]


@pytest.mark.parametrize(("kind", "fields", "expected"), CASES, ids=[case[0].key for case in CASES])
def test_the_score_is_the_one_worked_out_by_hand(
    kind: type[StreamedMetric], fields: dict[str, torch.Tensor], expected: float
) -> None:
    metric = kind()
    required = {name: fields[name] for name in metric.required_params}
    assert float(metric.calculate(required, {})) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "fields", "expected"), CASES, ids=[case[0].key for case in CASES])
def test_batches_of_any_size_give_the_same(
    kind: type[StreamedMetric], fields: dict[str, torch.Tensor], expected: float
) -> None:
    metric = kind()
    size = len(next(iter(fields.values())))
    parts = [metric.reduce({name: value[i : i + 1] for name, value in fields.items()}) for i in range(size)]
    assert float(metric.combine(torch.cat(parts))) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [case[0] for case in CASES if case[0] is not ImageTextMatchingAccuracy])
def test_without_labels_there_is_no_score(kind: type[StreamedMetric]) -> None:
    fields = {
        "scores": torch.rand(4, 3),
        "targets": torch.full((4,), -1),
        "answer_accuracy": torch.zeros(4, 3),
        "question_kind": torch.full((4,), -1),
        "sentence_group": torch.arange(4),
        "chosen_is_right": torch.zeros(4, dtype=torch.bool),
        "labelled": torch.zeros(4, dtype=torch.bool),
    }
    assert math.isnan(kind().calculate(fields, {}))


def test_mmf_knows_them_by_the_names_of_the_score_table() -> None:
    from mmf.common.registry import registry

    import mmf_muvla.datasets.tasks.registered  # noqa: F401

    for kind, _, _ in CASES:
        assert registry.get_metric_class(kind.key) is kind
    names = {kind.key for kind, _, _ in CASES}
    assert names == {
        "muvla_vqa_accuracy", "muvla_vqa_accuracy_yes_no", "muvla_vqa_accuracy_number", "muvla_vqa_accuracy_other",
        "muvla_nlvr2_accuracy", "muvla_nlvr2_consistency",
        "muvla_entailment_accuracy", "muvla_entailment_accuracy_entailment", "muvla_entailment_accuracy_neutral",
        "muvla_entailment_accuracy_contradiction", "muvla_grounding_accuracy", "muvla_itm_accuracy",
    }  # fmt: skip
