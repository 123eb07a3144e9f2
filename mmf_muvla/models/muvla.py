"""The registered MMF model ``muvla``: one encoder, and the heads of the task at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmf.common.registry import registry
from mmf.models.base_model import BaseModel
from omegaconf import OmegaConf, open_dict

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import load_bert
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.layout import Planner
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.region_init import start_regions
from mmf_muvla.models.retrieval import RetrievalHeads
from mmf_muvla.models.tasks import ClassificationHeads, GroundingHeads, ImagePairHeads, TaskHeads
from mmf_muvla.objectives.registry import heads_of
from mmf_muvla.paths import resource_path
from mmf_muvla.terminal import log_message


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
        """Make encoder and heads, and give them their first weights; called by MMF after the datasets are known."""
        trunk = self.options["trunk"]
        self.encoder = Encoder.from_options(trunk)
        self.heads = self._make_heads()
        if not trunk["random_init"]:
            log_message(f"{trunk['pretrained']}: {load_bert(self, trunk['pretrained'])}")
            self.encoder.embeddings.start_regions_at_the_size_of_words()
        if self.options["task"] == "pretraining" and (start := self.options["region_init"]) is not None:
            explained = start_regions(self.encoder, start, trunk["pretrained"])
            log_message(f"regions start at the words of their tags: {explained:.0%} of the variance explained")

    def init_losses(self) -> None:
        """Make the losses; called by MMF."""
        if self.config.get("losses") is None:
            raise InputError("model_config.muvla.losses", "not given, and do not follow from the data", "Name them")
        super().init_losses()

    def _make_heads(self) -> TaskHeads | PretrainingHeads:
        options = self.options
        task, dropout = options["task"], options["classifier_dropout"]
        if task in ("classification", "image_pair"):
            kind = ClassificationHeads if task == "classification" else ImagePairHeads
            return kind(self.encoder, self._size("num_labels"), dropout, options["classifier_pooling"])
        if task == "grounding":
            return GroundingHeads(self.encoder, dropout)
        if task == "retrieval":
            return RetrievalHeads(self.encoder, options["itm_pooling"])
        return PretrainingHeads(
            self.encoder,
            feature_dim=options["trunk"]["feature_dim"],
            num_object_classes=self._size("num_object_classes"),
            warmup_epochs=(options["curriculum"] or {}).get("warmup_epochs"),
            itm_pooling=options["itm_pooling"],
            share_vocabulary_head=options["share_vocabulary_head"],
            learned=None if options["losses"] is None else heads_of(options["losses"]),
        )

    def _size(self, option: str) -> int:
        """A number of classes: from the config, else from the loaded data set (and then kept in the config).

        Raises:
            InputError: it is neither given nor known from the data.
        """
        size = self.options[option] or registry.get(f"muvla_{option}", no_warning=True)
        if not size:
            problem = "not given, and no data set has told it"
            raise InputError(f"model_config.muvla.{option}", problem, "Set it in the config")
        with open_dict(self.config):
            self.config[option] = int(size)
        return int(size)

    def planner(self) -> Planner:
        """Makes of a batch on the CPU what a step on the model's device has to know of its content, as ``plan``.

        A batch without a plan gives the same, but the host has to wait for a GPU several times in each step.
        """
        return self.heads.planner(self.encoder)

    def forward(self, sample_list: Mapping[str, Any]) -> dict[str, Any]:
        """Run the task's forward pass; see its heads for the batch's fields and for what is returned."""
        return self.heads(self.encoder, sample_list)

    def get_optimizer_parameters(self, config: Any) -> list[dict[str, Any]]:
        """Two parameter groups: weight decay for matrices, none for biases and LayerNorms (as for BERT)."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.dim() > 1]
        plain = [p for p in self.parameters() if p.requires_grad and p.dim() <= 1]
        return [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
