"""The pre-training data set: a corpus of images with sentences, as the objectives of a system show them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mmf.common.registry import registry
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset
from omegaconf import OmegaConf

from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.errors import InputError
from mmf_muvla.objectives import OBJECTIVES, Material, RowOptions
from mmf_muvla.objectives.masking import Ints, Row
from mmf_muvla.objectives.registry import check_objectives, targets_of
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.options.checking import check
from mmf_muvla.options.data import Pretraining
from mmf_muvla.pairing.store import Corpus

# (epoch, item), or with the objective whose turn it is: (epoch, item, its number among those of the data set).
Key = tuple[int, int] | tuple[int, int, int]


class PretrainingDataset(BaseDataset):
    """Images of a corpus, each with one of its K sentences, drawn anew every epoch.

    What an item looks like depends on (seed, epoch, item) alone: not on the number of workers, the order of
    reading, or restarts.

    Args:
        dataset_name: name under which MMF knows the data set.
        config: ``dataset_config.NAME``; every key is explained in ``configs/datasets/muvla/defaults.yaml``.
        dataset_type: ``train``, or ``val`` / ``test`` for the held-out share.
        seed: seed of sentences, masks and negatives.

    Attributes:
        predicts: the losses that the objectives together can have targets for, by name.
        turns: how many kinds of step take turns: one for each objective where they alternate, else one.
    """

    def __init__(self, dataset_name: str, config: Any, dataset_type: str, seed: int):
        super().__init__(dataset_name, config, dataset_type)
        where = f"dataset_config.{dataset_name}"
        plain: Any = OmegaConf.to_container(config, resolve=True)
        options = pretraining_options(plain, where)
        self.seed = seed
        self.corpus = Corpus(options.corpus)
        if self.corpus.num_sentences <= self.corpus.k:
            problem = f"{self.corpus.num_sentences} sentences for K={self.corpus.k}"
            problem = f"{problem}: there is nothing to draw negatives from"
            raise InputError(options.corpus, problem, "Build the corpus with more sentences")
        self.objectives = tuple(options.objectives)
        self.predicts = targets_of(self.objectives, options.masking)
        self.turns = len(self.objectives) if options.schedule == "alternate" else 1
        self.row_options = RowOptions(
            options.masking, options.max_text_tokens, options.max_tag_tokens, options.tag_positions
        )
        self.words = WordPieces(options.tokenizer)
        self.indices = held_out_split(self.corpus.image_id_blocks(), options.held_out_fraction, dataset_type)
        if len(self.indices) == 0:
            problem = f"{options.held_out_fraction} of {len(self.corpus)} images leaves none for '{dataset_type}'"
            raise InputError(f"{where}.held_out_fraction", problem, "Choose another fraction")

    def __len__(self) -> int:
        return len(self.indices)

    def region_counts(self) -> Ints:
        """The number of regions of each item, int [len(self)]: what a batch's length is made of."""
        return self.corpus.region_counts[self.indices]

    def sample(self, index: int, epoch: int, turn: int | None = None) -> PretrainingSample:
        """One sample, after ``epoch`` finished epochs, of all objectives or of the one whose turn it is."""
        number = int(self.indices[index])
        material = Material(self.corpus, number, self.words, self.row_options, seed=(self.seed, epoch))
        chosen = self.objectives if turn is None else self.objectives[turn : turn + 1]
        rows: dict[str, Row] = {}
        for name, objective in OBJECTIVES.items():  # the rows' order does not depend on the configuration's
            if name in chosen:
                rows |= objective.make(material)
        return PretrainingSample(material.item.regions, rows, epoch, self._weight_row(rows))

    def _weight_row(self, rows: Collection[str]) -> str:
        """Where the matching head sees the retrieved pair. A head that is never trained must not weigh anything."""
        if "matched" in rows:
            return "matched"
        return "region_phrase" if "region_phrase" in rows and "itm" in self.predicts else ""

    def __getitem__(self, key: int | Key) -> PretrainingSample:
        """One sample, for a key of this project's sampler, or an item of the epoch that MMF's registry knows."""
        if isinstance(key, tuple):
            epoch, index, *turn = key
            return self.sample(index, epoch, *turn)
        return self.sample(key, registered_epoch())

    def __getitems__(self, keys: Sequence[int | Key]) -> SampleList:
        """A whole batch, collated: PyTorch's loaders call this where it exists, whatever the trainer."""
        if self.turns > 1 and not isinstance(keys[0], tuple):
            # A sampler that knows nothing of turns: the objective is drawn, the same one for the whole batch.
            epoch = registered_epoch()
            turn = int(np.random.default_rng((self.seed, epoch, int(keys[0]))).integers(self.turns))
            keys = [(epoch, int(index), turn) for index in keys]  # type: ignore[arg-type]
        return SampleList(collate_pretraining([self[key] for key in keys], self.words.vocabulary.pad_id))


def pretraining_options(values: Mapping[str, Any], where: str) -> Pretraining:
    """The options that stand under ``where``; an InputError where one is unknown or cannot be used."""
    options = check(Pretraining, values, lambda key: "configuration", f"{where}.")
    check_objectives(options.objectives, f"{where}.objectives")
    return options


def held_out_split(blocks: Iterable[Sequence[str]], fraction: float, dataset_type: str) -> np.ndarray:
    """The images of one split, as positions, int [m]; a hash of their ids chooses, whatever else the corpus holds.

    The ids come in blocks. ``fraction`` of the images is held out from training, for all splits but ``train``.
    """
    first, positions = 0, [np.zeros(0, np.int32)]
    for ids in blocks:
        digests = b"".join(hashlib.blake2b(image_id.encode(), digest_size=4).digest() for image_id in ids)
        held_out = np.frombuffer(digests, ">u4") < fraction * 2**32
        chosen = first + np.flatnonzero(held_out if dataset_type != "train" else ~held_out)
        first += len(ids)
        positions.append(chosen.astype(np.int32 if first < 2**31 else np.int64))
    return np.concatenate(positions)


def registered_epoch() -> int:
    """Epochs finished before the present one, as MMF's registry knows it."""
    # MMF counts from 1 and registers nothing before the first epoch.
    return max(int(registry.get("current_epoch", default=1, no_warning=True) or 1) - 1, 0)
