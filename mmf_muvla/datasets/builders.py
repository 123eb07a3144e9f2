"""The builders of the pre-training data sets: ``muvla_cc``, ``muvla_bookcorpus`` and ``muvla_toyworld``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmf.common.registry import registry
from mmf.datasets.base_dataset_builder import BaseDatasetBuilder
from omegaconf import OmegaConf
from torch.utils.data import Dataset

from mmf_muvla.datasets.pretraining import PretrainingDataset, pretraining_options
from mmf_muvla.errors import InputError
from mmf_muvla.models.embeddings import check_feature_dim
from mmf_muvla.objectives.registry import learned
from mmf_muvla.options.data import Pretraining
from mmf_muvla.paths import resource_path


class Builder(BaseDatasetBuilder):
    """What all builders share: nothing is downloaded; the project's defaults are in ``configs/datasets/NAME``."""

    name: str = ""

    def __init__(self) -> None:
        super().__init__(self.name)

    @classmethod
    def config_path(cls) -> str | None:
        try:
            return resource_path(f"configs/datasets/{cls.name}/defaults.yaml")
        except InputError:  # a user's own
            return None

    def build(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> None:
        """Nothing to do: corpora are built beforehand by ``tools/build_corpus.py``."""

    def update_registry_for_model(self, config: Any) -> None:
        """Nothing to do here: a model learns its sizes when the data set is loaded."""


class PretrainingBuilder(Builder):
    """Builder of a pre-training corpus."""

    options_schema = Pretraining

    @classmethod
    def config_path(cls) -> str:
        return resource_path("configs/datasets/muvla/defaults.yaml")

    @classmethod
    def learned(cls, options: Mapping[str, Any], losses: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """What is learned with these options, see :func:`mmf_muvla.objectives.registry.learned`."""
        checked = pretraining_options(options, f"dataset_config.{cls.name}")
        return learned(checked.objectives, checked.masking, losses)

    def load(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> Dataset[Any]:
        seed = registry.get("config").training.seed
        dataset = PretrainingDataset(self.name, config, dataset_type, seed=int(seed))
        wanted = OmegaConf.select(registry.get("config"), "model_config.muvla.trunk.feature_dim")
        check_feature_dim(config.corpus, dataset.corpus.feature_dim, wanted)
        registry.register("muvla_num_object_classes", len(dataset.corpus.object_names))
        return dataset


for _name in ("muvla_cc", "muvla_bookcorpus", "muvla_toyworld"):
    registry.register_builder(_name)(type("PretrainingBuilder", (PretrainingBuilder,), {"name": _name}))
