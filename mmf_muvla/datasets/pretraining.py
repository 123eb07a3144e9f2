"""The pre-training data set: a corpus of images with sentences, as the objectives of a system show them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from mmf.common.registry import registry
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset
from omegaconf import OmegaConf

from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.errors import InputError
from mmf_muvla.objectives import OBJECTIVES, MaskingConfig, Material, RowOptions
from mmf_muvla.objectives.masking import Ints, Row
from mmf_muvla.objectives.registry import check_objectives, targets_of
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.options.kinds import as_list
from mmf_muvla.pairing.store import Corpus

SCHEDULES = ("joint", "alternate")
TAG_POSITIONS = ("box", "bert")

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
    """

    def __init__(self, dataset_name: str, config: Any, dataset_type: str, seed: int):
        super().__init__(dataset_name, config, dataset_type)
        self.seed = seed
        self.corpus = Corpus(config.corpus)
        if self.corpus.num_sentences <= self.corpus.k:
            raise InputError(
                str(config.corpus),
                f"{self.corpus.num_sentences} sentences for K={self.corpus.k}: there is nothing to draw negatives from",
                "Build the corpus with more sentences",
            )
        where = f"dataset_config.{dataset_name}"
        self.objectives = check_objectives(as_list(config.objectives), f"{where}.objectives")
        masking = masking_config(config.masking, f"{where}.masking")
        self.predicts = targets_of(self.objectives, masking)
        self.schedule = _choice(config, "schedule", SCHEDULES, dataset_name)
        self.row_options = RowOptions(
            masking,
            config.max_text_tokens,
            config.max_tag_tokens,
            _choice(config, "tag_positions", TAG_POSITIONS, dataset_name),
        )
        self.words = WordPieces(config.tokenizer)
        self.indices = held_out_split(self.corpus.image_ids, config.held_out_fraction, dataset_type)
        if len(self.indices) == 0:
            raise InputError(
                f"{where}.held_out_fraction",
                f"{config.held_out_fraction} of {len(self.corpus)} images leaves none for '{dataset_type}'",
                "Choose another fraction",
            )

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def turns(self) -> int:
        """How many kinds of step take turns: one for each objective where they alternate, else one."""
        return len(self.objectives) if self.schedule == "alternate" else 1

    def region_counts(self) -> Ints:
        """The number of regions of each item, int [len(self)]: what a batch's length is made of."""
        return self.corpus.region_counts[self.indices]

    def sample(self, index: int, epoch: int, turn: int | None = None) -> PretrainingSample:
        """Make one sample.

        Args:
            index: item, in ``range(len(self))``.
            epoch: epochs finished before this one.
            turn: the one objective whose rows are made, by its number; None: all of them.
        """
        material = Material(
            self.corpus, int(self.indices[index]), self.words, self.row_options, seed=(self.seed, epoch)
        )
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
        """One sample.

        Args:
            key: as this project's sampler gives it; or, from any other sampler, the item alone (the epoch is then the
                one that MMF's registry knows).
        """
        if isinstance(key, tuple):
            epoch, index, *turn = key
            return self.sample(index, epoch, *turn)
        return self.sample(key, _registered_epoch())

    def __getitems__(self, keys: Sequence[int | Key]) -> SampleList:
        """A whole batch, collated: PyTorch's loaders call this where it exists, whatever the trainer."""
        if self.turns > 1 and not isinstance(keys[0], tuple):
            # A sampler that knows nothing of turns: the objective is drawn, the same one for the whole batch.
            epoch = _registered_epoch()
            turn = int(np.random.default_rng((self.seed, epoch, int(keys[0]))).integers(self.turns))
            keys = [(epoch, int(index), turn) for index in keys]  # type: ignore[arg-type]
        return SampleList(collate_pretraining([self[key] for key in keys], self.words.vocabulary.pad_id))


def _choice(config: Any, option: str, choices: Sequence[str], dataset_name: str) -> str:
    value = config.get(option, choices[0])
    if value not in choices:
        raise InputError(
            f"dataset_config.{dataset_name}.{option}", f"unknown value {value!r}", f"Choose {' or '.join(choices)}"
        )
    return value


def masking_config(options: Any, where: str) -> MaskingConfig:
    """Read the masking options.

    Raises:
        InputError: an option is unknown, or a probability lies outside [0, 1].
    """
    defaults = MaskingConfig()
    values: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(options), resolve=True)  # type: ignore[assignment]
    known = {field.name for field in fields(MaskingConfig)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{where}.{name}", "unknown option", f"The options are {', '.join(sorted(known))}")
        if value is None and getattr(defaults, name) is None:
            continue
        if not isinstance(value, bool) and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise InputError(f"{where}.{name}", f"{value} is no probability", "Give a number from 0 to 1")
    return MaskingConfig(**values)


def held_out_split(image_ids: Sequence[str], fraction: float, dataset_type: str) -> np.ndarray:
    """The images of one split, chosen by a hash of their ids: the same whatever else the corpus holds.

    Args:
        image_ids: every image of the corpus.
        fraction: share of images that is held out from training.
        dataset_type: ``train`` gives the rest, anything else the held-out images.

    Returns:
        int [m], positions in ``image_ids``.
    """
    keys = np.array([int.from_bytes(hashlib.blake2b(i.encode(), digest_size=4).digest(), "big") for i in image_ids])
    held_out = keys < fraction * 2**32
    return np.flatnonzero(~held_out if dataset_type == "train" else held_out)


def _registered_epoch() -> int:
    # MMF counts from 1 and registers nothing before the first epoch.
    return max(int(registry.get("current_epoch", default=1, no_warning=True) or 1) - 1, 0)
