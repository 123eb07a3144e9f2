"""Encoder and heads as a model of ``transformers``, with the same names of weights as in the runs of this project."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from mmf_muvla.models.building import make_heads
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.heads import Pooler
from mmf_muvla.models.tasks import TaskHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.models.two_stream import TwoStreamShape

_WORDS = "encoder.embeddings.word.weight"
# Beside the shape of BERT, whose options have the names that they have everywhere.
_OPTIONS: dict[str, Any] = {
    "feature_dim": 2048,
    "streams": 1,
    "region_layers": None,
    "co_layers": None,
    "task": "pretraining",
    "dataset": None,
    "losses": None,
    "itm_pooling": "bert",
    "share_vocabulary_head": True,
    "num_object_classes": 1,
    "classifier_pooling": "bert",
    "classifier_dropout": 0.1,
    "max_text_tokens": 60,
    "detection": None,
}


class MuvlaConfig(PretrainedConfig):
    """``config.json`` of an exported model.

    It has the options of BERT (``hidden_size`` and so on), those of ``model_config.muvla`` that the weights depend on,
    the names of answers as ``id2label``, and

    * ``dataset``: what the model was trained on last: ``vqa2``, ``nlvr2`` …
    * ``losses``: those of a pre-training, by MMF's names; ``None``: all that its data had targets for.
    * ``max_text_tokens``: after so many word pieces texts are cut.
    * ``detection``: how regions are found in pictures (:class:`~mmf_muvla.detection.options.DetectionOptions`);
      ``None`` where the regions that it was trained on came from files.
    """

    model_type = "muvla"

    def __init__(self, **values: Any):
        for name, default in {**asdict(TrunkConfig()), **_OPTIONS}.items():
            setattr(self, name, values.pop(name, default))
        super().__init__(**{"tie_word_embeddings": True, **values})

    def trunk(self) -> TrunkConfig:
        """The shape of the encoder."""
        return TrunkConfig(**{it.name: getattr(self, it.name) for it in fields(TrunkConfig)})

    def head_options(self) -> dict[str, Any]:
        """What :func:`~mmf_muvla.models.building.make_heads` asks for."""
        return {name: getattr(self, name) for name in _OPTIONS} | {
            "trunk": {"feature_dim": self.feature_dim},
            "curriculum": None,  # of trainings alone
        }


class MuvlaModel(PreTrainedModel):
    """The encoder with the heads of what the model was trained for.

    ``AutoModel.from_pretrained`` gives one of an exported model; :func:`mmf_muvla.load` wraps it into what can be
    asked.
    """

    config_class = MuvlaConfig
    base_model_prefix = "muvla"
    main_input_name = "input_ids"

    def __init__(self, config: MuvlaConfig):
        super().__init__(config)
        options = config.head_options()
        trunk = config.trunk()
        streams = TwoStreamShape.from_options(options, trunk.num_hidden_layers)
        self.encoder = Encoder(trunk, config.feature_dim, two_streams=streams)
        self.heads = make_heads(self.encoder, options, lambda name: int(getattr(config, name)))
        names = (name for name, _ in self.named_parameters(remove_duplicate=False))
        tied = (name for name in names if name.startswith("heads.") and name.endswith("decoder.weight"))
        self._tied_weights_keys = dict.fromkeys(tied, _WORDS)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.embeddings.word

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.embeddings.word = cast(nn.Embedding, value)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_feature_0: Tensor,
        bbox: Tensor,
        image_size: Tensor,
        *,
        region_mask: Tensor,
        **_: Any,
    ) -> BaseModelOutputWithPooling:
        """States of texts with an image each.

        Args:
            input_ids: int [N, T], ``[CLS] text [SEP]``.
            attention_mask: bool or int [N, T], whether a token is real.
            image_feature_0: float [N, R, feature_dim].
            bbox: float [N, R, 4], x1, y1, x2, y2 in pixels.
            image_size: float [N, 2], width and height in pixels.
            region_mask: bool or int [N, R], whether a region is real.

        Returns:
            ``last_hidden_state`` float [N, T + R, hidden], zero at padding; and ``pooler_output`` float [N, hidden],
            where the model has a pooler, else the state of [CLS].
        """
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask.bool(),
            "image_feature_0": image_feature_0,
            "bbox": bbox,
            "image_size": image_size,
            "region_mask": region_mask.bool(),
        }
        text, regions = (it.squeeze(1) for it in self.encoder(**TaskHeads.inputs(batch)))
        pooler = getattr(self.heads, "pooler", None)
        pooled = text[:, 0]
        if isinstance(pooler, Pooler):
            pooled = pooler(text, batch["attention_mask"], regions, batch["region_mask"])
        return BaseModelOutputWithPooling(last_hidden_state=torch.cat([text, regions], dim=1), pooler_output=pooled)


AutoConfig.register(MuvlaConfig.model_type, MuvlaConfig)
AutoModel.register(MuvlaConfig, MuvlaModel)
