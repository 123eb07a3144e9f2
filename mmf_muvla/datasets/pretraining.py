"""The pre-training data set: a weakly aligned corpus, seen as three views."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from mmf.common.registry import registry
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset
from omegaconf import OmegaConf

from mmf_muvla.corpus.store import Corpus
from mmf_muvla.datasets.collate import ImageArrays, PretrainingSample, collate_pretraining
from mmf_muvla.datasets.tokens import WordPieces
from mmf_muvla.datasets.views import (
    OBJECTIVES,
    Links,
    MaskingConfig,
    Row,
    draw_negative,
    image_sentence_row,
    region_phrase_row,
    region_tag_row,
    tokens_in_phrases,
)
from mmf_muvla.errors import InputError

# One stream of random numbers per use, so that switching a view off leaves the others' masks as they are.
STREAMS = ("sentence", "region_tag", "region_phrase", "matched", "mismatched", "negative")


class PretrainingDataset(BaseDataset):
    """Images of a corpus, each with one of its K sentences, drawn anew every epoch.

    What an item looks like depends on (seed, epoch, item) alone: not on the number of workers, the order of
    reading, or restarts.

    Args:
        dataset_name: name under which MMF knows the data set.
        config: ``dataset_config.NAME``; every key is explained in ``configs/datasets/NAME/defaults.yaml``.
        dataset_type: ``train``, or ``val`` / ``test`` for the held-out share.
        seed: seed of sentences, masks and negatives.
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
        self.objectives = tuple(config.objectives)
        unknown = set(self.objectives) - set(OBJECTIVES)
        if unknown or not self.objectives:
            raise InputError(
                f"dataset_config.{dataset_name}.objectives",
                f"{list(self.objectives)} is not a choice of views",
                f"Choose at least one of {', '.join(OBJECTIVES)}",
            )
        self.masking = masking_config(config.masking, f"dataset_config.{dataset_name}.masking")
        self.max_text_tokens: int = config.max_text_tokens
        self.max_tag_tokens: int = config.max_tag_tokens
        self.words = WordPieces(config.tokenizer)
        self.indices = held_out_split(self.corpus.image_ids, config.held_out_fraction, dataset_type)
        if len(self.indices) == 0:
            raise InputError(
                f"dataset_config.{dataset_name}.held_out_fraction",
                f"{config.held_out_fraction} of {len(self.corpus)} images leaves none for '{dataset_type}'",
                "Choose another fraction",
            )

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int, epoch: int) -> PretrainingSample:
        """Make one sample.

        Args:
            index: item, in ``range(len(self))``.
            epoch: epochs finished before this one.
        """
        number = int(self.indices[index])
        item = self.corpus[number]
        streams = np.random.SeedSequence((self.seed, epoch, number)).spawn(len(STREAMS))
        rng = {name: np.random.default_rng(stream) for name, stream in zip(STREAMS, streams, strict=True)}
        n = len(item.regions.bbox)
        vocabulary, masking = self.words.vocabulary, self.masking
        rows: dict[str, Row] = {}
        if "region_tag" in self.objectives:
            tags = [self.words.tag(tag) for tag in item.tags]
            rows["region_tag"] = region_tag_row(tags, rng["region_tag"], vocabulary, masking, self.max_tag_tokens)
        rank = int(rng["sentence"].integers(len(item.sentence_ids)))
        sentence = self.corpus.sentence(int(item.sentence_ids[rank]))
        tokens, offsets = self.words(sentence.text, self.max_text_tokens)
        if "region_phrase" in self.objectives:
            links = Links(
                phrase_of_token=tokens_in_phrases(offsets, sentence.phrases),
                phrase=item.link_phrase[rank].astype(np.int64),
                similarity=item.link_similarity[rank].astype(np.float64),
            )
            rows["region_phrase"] = region_phrase_row(tokens, links, rng["region_phrase"], vocabulary, masking)
        if "image_sentence" in self.objectives:
            rows["matched"] = image_sentence_row(tokens, n, True, rng["matched"], vocabulary, masking)
            other = draw_negative(item.sentence_ids, self.corpus.sentence_ids, len(self.corpus), rng["negative"])
            other_tokens, _ = self.words(self.corpus.sentence(other).text, self.max_text_tokens)
            rows["mismatched"] = image_sentence_row(other_tokens, n, False, rng["mismatched"], vocabulary, masking)
        image = ImageArrays(
            image_id=item.regions.image_id,
            image_feature=item.regions.image_feature_0,
            bbox=item.regions.bbox,
            image_size=(item.regions.width, item.regions.height),
        )
        return PretrainingSample(image, item.regions.class_id.astype(np.int64), rows, epoch)

    def __getitem__(self, key: int | tuple[int, int]) -> PretrainingSample:
        """One sample.

        Args:
            key: ``(epoch, item)`` as this project's sampler gives it; or, from any other sampler, the item alone
                (the epoch is then the one that MMF's registry knows).
        """
        epoch, index = key if isinstance(key, tuple) else (_registered_epoch(), key)
        return self.sample(index, epoch)

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> SampleList:
        """A whole batch, collated: PyTorch's loaders call this where it exists, whatever the trainer."""
        return SampleList(collate_pretraining([self[key] for key in keys], self.words.vocabulary.pad_id))


def masking_config(options: Any, where: str) -> MaskingConfig:
    """Read the masking options.

    Raises:
        InputError: an option is unknown, or a probability lies outside [0, 1].
    """
    values: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(options), resolve=True)  # type: ignore[assignment]
    known = {field.name for field in fields(MaskingConfig)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{where}.{name}", "unknown option", f"The options are {', '.join(sorted(known))}")
        if not isinstance(value, bool) and not 0 <= value <= 1:
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
