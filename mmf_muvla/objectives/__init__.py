"""What the model learns from: each objective's rows of input, heads and losses; and the curriculum.

Objectives are numbered in the order of the imports below. See :mod:`.registry` for how to add one.
"""

# isort: off
from mmf_muvla.objectives.registry import HEADS, LOSSES, OBJECTIVES, register_loss, register_objective
from mmf_muvla.objectives.loss import HeadKit, Predictions, PretrainingLoss, PretrainingOutput
from mmf_muvla.objectives.masking import IGNORE, MaskingConfig, Row, Vocabulary, make_row
from mmf_muvla.objectives.objective import Material, Objective, RowOptions
import mmf_muvla.objectives.mlm
import mmf_muvla.objectives.region_tag
import mmf_muvla.objectives.region_phrase
import mmf_muvla.objectives.image_sentence
import mmf_muvla.objectives.plain  # noqa: F401

__all__ = [
    "HEADS",
    "IGNORE",
    "LOSSES",
    "OBJECTIVES",
    "HeadKit",
    "MaskingConfig",
    "Material",
    "Objective",
    "Predictions",
    "PretrainingLoss",
    "PretrainingOutput",
    "Row",
    "RowOptions",
    "Vocabulary",
    "make_row",
    "register_loss",
    "register_objective",
]
