"""Detectors of ``transformers`` that are told the names to look for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from mmf_muvla.artifacts.parts import chunks
from mmf_muvla.detection.detectors.detector import Inputs
from mmf_muvla.detection.detectors.queries import Queries, TransformersDetector
from mmf_muvla.errors import InputError

_NAMES_AT_ONCE = 256


class OpenVocabularyDetector(TransformersDetector):
    """What they have in common."""

    auto_model = AutoModelForZeroShotObjectDetection

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any], config: Any):
        super().__init__(name, vocabulary, options, config)
        if not vocabulary:
            problem = f"detector {name} has to be told what to look for"
            raise InputError("vocabulary not given", problem, "Name a file with a name a line: vocabulary=names.txt")
        self.names = list(dict.fromkeys(vocabulary))  # to look for a name twice would find everything twice

    def _load_processor(self) -> None:
        processor = self._load(AutoProcessor)
        self._image_processor, self._tokenizer = processor.image_processor, processor.tokenizer


class Owl(OpenVocabularyDetector):
    """OWL-ViT and OWLv2. A query is a patch of the picture, its state what box and class are made of. Names are
    embedded once, not with every picture."""

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any], config: Any):
        super().__init__(name, vocabulary, options, config)
        self.feature_dim = config.vision_config.hidden_size

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        super().load(device, dtype)
        length = self.config.text_config.max_position_embeddings
        embeds = []
        for names in chunks(self.names, _NAMES_AT_ONCE):
            tokens = self._tokenizer(
                names, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
            with torch.inference_mode(), self._half_precision():
                # The base model is called owlvit or owlv2.
                found = self._model.base_model.get_text_features(**tokens.to(device))
            embeds.append(getattr(found, "pooler_output", found))
        self._names = torch.cat(embeds)

    def _look(self, inputs: Inputs) -> Queries:
        features, _ = self._model.image_embedder(pixel_values=inputs["pixel_values"])
        states = features.flatten(1, 2)
        names = self._names.expand(len(states), -1, -1)
        return Queries(
            self._model.class_predictor(states, names)[0], self._model.box_predictor(states, features), states
        )


class GroundingDino(OpenVocabularyDetector):
    """Grounding DINO and MM Grounding DINO. They read the names as one text of so many tokens at most, and look at each
    picture as often as it takes for all names. A name's logit is the highest of its tokens'; what they say of the
    periods between the names does not count."""

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any], config: Any):
        super().__init__(name, vocabulary, options, config)
        self.feature_dim = config.hidden_size

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        super().load(device, dtype)
        tokens_of = self._tokenizer(self.names, add_special_tokens=False)["input_ids"]
        (period,) = self._tokenizer(".", add_special_tokens=False)["input_ids"]
        begin, end = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        most = self.config.max_text_len
        self._texts: list[_Text] = []
        tokens: list[int] = [begin]
        spans: list[tuple[int, int]] = []
        for number, ids in enumerate(tokens_of):
            if not ids or len(ids) + 3 > most:
                problem = f"{self.names[number]!r} has {len(ids)} tokens, at most {most - 3} can be used"
                raise InputError("vocabulary", problem, "Give shorter names, and none that is empty")
            if len(tokens) + len(ids) + 2 > most:
                self._texts.append(_Text(number - len(spans), [*tokens, end], spans, device))
                tokens, spans = [begin], []
            spans.append((len(tokens), len(tokens) + len(ids)))
            tokens += [*ids, period]
        self._texts.append(_Text(len(self.names) - len(spans), [*tokens, end], spans, device))

    def _looks(self, inputs: Inputs) -> Iterator[Queries]:
        for text in self._texts:
            with self._half_precision():
                outputs = self._model(**inputs, input_ids=text.input_ids.expand(len(inputs["pixel_values"]), -1))
            logits = torch.stack([outputs.logits[..., a:b].amax(-1) for a, b in text.spans], dim=-1)
            yield Queries(logits, outputs.pred_boxes, outputs.last_hidden_state, text.first_name)


class _Text:
    """Some names as a text: the first one's place, token ids, and where the tokens of each name are."""

    def __init__(self, first_name: int, tokens: list[int], spans: list[tuple[int, int]], device: torch.device):
        self.first_name = first_name
        self.input_ids = torch.tensor([tokens], device=device)
        self.spans = spans


OPEN_VOCABULARY: dict[str, Any] = {
    "owlvit": Owl,
    "owlv2": Owl,
    "grounding-dino": GroundingDino,
    "mm-grounding-dino": GroundingDino,
}
