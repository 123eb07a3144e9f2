"""The dataset builders that MMF knows: ``muvla_cc``, ``muvla_bookcorpus``, ``muvla_toyworld`` and ``vqa2``."""

from __future__ import annotations

from typing import Any

from mmf.common.registry import registry
from mmf.datasets.base_dataset_builder import BaseDatasetBuilder
from torch.utils.data import Dataset

from mmf_muvla.datasets.pretraining import PretrainingDataset
from mmf_muvla.datasets.vqa2 import VQA2Dataset
from mmf_muvla.paths import resource_path


class Builder(BaseDatasetBuilder):
    """What the builders share: nothing is downloaded, and the defaults lie in ``configs/datasets/NAME``."""

    name: str

    def __init__(self) -> None:
        super().__init__(self.name)

    @classmethod
    def config_path(cls) -> str:
        return resource_path(f"configs/datasets/{cls.name}/defaults.yaml")

    def build(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> None:
        """Nothing to do: corpora are built beforehand by ``tools/build_corpus.py``."""

    def update_registry_for_model(self, config: Any) -> None:
        """Nothing to do here: a model learns its sizes when the data set is loaded."""


class PretrainingBuilder(Builder):
    """Builder of a pre-training corpus."""

    def load(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> Dataset[Any]:
        seed = registry.get("config").training.seed
        dataset = PretrainingDataset(self.name, config, dataset_type, seed=int(seed))
        registry.register("muvla_num_object_classes", len(dataset.corpus.object_names))
        return dataset


@registry.register_builder("muvla_cc")
class ConceptualCaptionsBuilder(PretrainingBuilder):
    """Images and captions of Conceptual Captions, re-paired by retrieval."""

    name = "muvla_cc"


@registry.register_builder("muvla_bookcorpus")
class BookCorpusBuilder(PretrainingBuilder):
    """Images of Conceptual Captions with sentences retrieved from BookCorpus."""

    name = "muvla_bookcorpus"


@registry.register_builder("muvla_toyworld")
class ToyWorldBuilder(PretrainingBuilder):
    """The generated world that comes with the project."""

    name = "muvla_toyworld"


@registry.register_builder("vqa2")
class VQA2Builder(Builder):
    """VQA 2.0 in MMF's stock annotation format, with regions from a region store."""

    name = "vqa2"

    def load(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> Dataset[Any] | None:
        if not config.annotations.get(dataset_type):
            return None
        dataset = VQA2Dataset(self.name, config, dataset_type)
        registry.register("muvla_num_labels", len(dataset.answers))
        return dataset
