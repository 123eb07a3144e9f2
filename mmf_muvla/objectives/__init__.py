"""What the model learns from: each objective's rows of input, heads and losses; and the curriculum.

======================  =======  ==================================================================
:mod:`.region_tag`      3.1      R-T: tags and regions masked at random; MRC, MRFR
:mod:`.region_phrase`   3.2      R-P: linked phrases or regions masked; p-MRTC
:mod:`.image_sentence`  3.3      I-S: retrieved and random sentences; ITM
:mod:`.curriculum`      3.4      the sum of all, with ``w_ITM``
:mod:`.mlm`             3.1-3.3  MLM, in all three of them
:mod:`.plain`           –        objectives of the systems in the comparison
======================  =======  ==================================================================

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
