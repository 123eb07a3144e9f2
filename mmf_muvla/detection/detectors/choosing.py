"""Which class stands for a detector of ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmf_muvla.detection.detectors.detector import Detector
from mmf_muvla.errors import InputError


def transformers_detector(name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any]) -> Detector:
    """The detector of a hub name or folder; an InputError where there is none that is understood."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING

    from mmf_muvla.detection.detectors.open_vocabulary import OPEN_VOCABULARY
    from mmf_muvla.detection.detectors.queries import QueryDetector, load_pretrained

    config = load_pretrained(AutoConfig, name)
    if config.model_type in OPEN_VOCABULARY:
        return OPEN_VOCABULARY[config.model_type](name, vocabulary, options, config)
    if type(config) in MODEL_FOR_OBJECT_DETECTION_MAPPING:
        return QueryDetector(name, vocabulary, options, config)
    problem = f"is a {config.model_type}, which is no detector that is understood"
    remedy = f"Use one that AutoModelForObjectDetection loads, or one of {', '.join(OPEN_VOCABULARY)}"
    raise InputError(f"detector={name}", problem, f"{remedy}; or write a class for it")
