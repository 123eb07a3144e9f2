"""The registered MMF model ``muvla``: one encoder, and the heads of the task at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmf.common.registry import registry
from mmf.models.base_model import BaseModel
from omegaconf import OmegaConf, open_dict
from torch import nn

from mmf_muvla.errors import InputError
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.region_init import start_regions
from mmf_muvla.models.tasks import ClassificationHeads, GroundingHeads, ImagePairHeads
from mmf_muvla.objectives.registry import heads_of
from mmf_muvla.paths import resource_path
from mmf_muvla.terminal import log_message

TASKS = ("pretraining", "classification", "image_pair", "grounding")


@registry.register_model("muvla")
class MuVLA(BaseModel):
    """μ-VLA (paper section 3).

    Args:
        config: ``model_config.muvla``; every key is explained in ``configs/models/muvla/defaults.yaml``.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        self.options: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]

    @classmethod
    def config_path(cls) -> str:
        return resource_path("configs/models/muvla/defaults.yaml")

    def build(self) -> None:
        """Make encoder and heads; called by MMF after the datasets are known.

        Raises:
            InputError: ``task`` is unknown, or the number of classes is neither given nor known from the data.
        """
        task, pretrained = self.options["task"], self.options["trunk"]["pretrained"]
        if task not in TASKS:
            raise InputError("model_config.muvla.task", f"unknown task {task!r}", f"The tasks are {', '.join(TASKS)}")
        self.encoder = Encoder.from_options(self.options["trunk"])
        self.heads: nn.Module = self._make_heads(task)
        if self.encoder.load_report is not None:
            report = self.encoder.load_report
            if isinstance(self.heads, PretrainingHeads):
                report = self.heads.load_bert(pretrained, report)
            else:
                report = replace(report, missing=(*report.missing, *(f"heads.{n}" for n in self.heads.state_dict())))
            log_message(f"{pretrained}: {report}")

    def init_losses(self) -> None:
        """Make the losses; called by MMF.

        Raises:
            InputError: there are none, and no data set has told them.
        """
        if self.config.get("losses") is None:
            raise InputError("model_config.muvla.losses", "not given, and do not follow from the data", "Name them")
        super().init_losses()

    def _make_heads(self, task: str) -> nn.Module:
        dropout, pooling = self.options["classifier_dropout"], self.options["classifier_pooling"]
        if task == "classification":
            return ClassificationHeads(self.encoder, self._size("num_labels"), dropout, pooling)
        if task == "image_pair":
            return ImagePairHeads(self.encoder, self._size("num_labels"), dropout, pooling)
        if task == "grounding":
            return GroundingHeads(self.encoder, dropout)
        if (start := self.options["region_init"]) is not None:
            explained = start_regions(self.encoder, start, self.options["trunk"]["pretrained"])
            log_message(f"regions start at the words of their tags: {explained:.0%} of the variance explained")
        losses = self.options["losses"]
        return PretrainingHeads(
            self.encoder,
            feature_dim=self.options["trunk"]["feature_dim"],
            num_object_classes=self._size("num_object_classes"),
            warmup_epochs=(self.options["curriculum"] or {}).get("warmup_epochs"),
            itm_pooling=self.options["itm_pooling"],
            learned=None if losses is None else heads_of(losses),
        )

    def _size(self, option: str) -> int:
        """A number of classes: from the config, else from the loaded data set (and then kept in the config)."""
        size = self.options[option] or registry.get(f"muvla_{option}", no_warning=True)
        if not size:
            raise InputError(
                f"model_config.muvla.{option}", "not given, and no data set has told it", "Set it in the config"
            )
        with open_dict(self.config):
            self.config[option] = int(size)
        return int(size)

    def forward(self, sample_list: Mapping[str, Any]) -> dict[str, Any]:
        """Run the task's forward pass; see its heads for the batch's fields and for what is returned."""
        return self.heads(self.encoder, sample_list)

    def get_optimizer_parameters(self, config: Any) -> list[dict[str, Any]]:
        """Two parameter groups: weight decay for matrices, none for biases and LayerNorms (as for BERT)."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.dim() > 1]
        plain = [p for p in self.parameters() if p.requires_grad and p.dim() <= 1]
        return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
