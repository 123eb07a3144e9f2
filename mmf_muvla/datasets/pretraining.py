"""The pre-training data set: a corpus of images with sentences, seen in the views of a system."""

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

from mmf_muvla.cli import as_list
from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.datasets.tokens import WordPieces
from mmf_muvla.errors import InputError
from mmf_muvla.objectives.views import (
    OBJECTIVES,
    PLAIN_VIEWS,
    Ints,
    Links,
    MaskingConfig,
    Row,
    draw_negative,
    image_sentence_row,
    plain_row,
    region_phrase_row,
    region_tag_row,
    tokens_in_phrases,
)
from mmf_muvla.pairing.store import Corpus

# One stream of random numbers per use, so that switching a view off leaves the others' masks as they are. A stream is
# known by its place here: new ones belong at the end.
STREAMS = (
    *("sentence", "region_tag", "region_phrase", "matched", "mismatched", "negative"),
    *("text_only", "region_only", "masked_pair", "masked_text", "masked_regions"),
)
SCHEDULES = ("joint", "alternate")
TAG_POSITIONS = ("box", "bert")

# (epoch, item), or with the view that is to be made: (epoch, item, its number among the objectives).
Key = tuple[int, int] | tuple[int, int, int]


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
        self.objectives = tuple(as_list(config.objectives))
        unknown = set(self.objectives) - set(OBJECTIVES)
        if unknown or not self.objectives:
            raise InputError(
                f"dataset_config.{dataset_name}.objectives",
                f"{list(self.objectives)} is not a choice of views",
                f"Choose at least one of {', '.join(OBJECTIVES)}",
            )
        # Streams are dealt in their order: no more than are used.
        self._num_streams = 1 + max(STREAMS.index(use) for use in ("negative", *self.objectives) if use in STREAMS)
        self.schedule = _choice(config, "schedule", SCHEDULES, dataset_name)
        self.tag_positions = _choice(config, "tag_positions", TAG_POSITIONS, dataset_name)
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

    @property
    def turns(self) -> int:
        """How many kinds of step take turns: one for each view where they alternate, else one."""
        return len(self.objectives) if self.schedule == "alternate" else 1

    @property
    def predicts(self) -> set[str]:
        """What the views together can have targets for, see :class:`~mmf_muvla.objectives.views.Row`."""
        return {name for row in self.sample(0, epoch=0).rows.values() for name in row.predicts}

    def region_counts(self) -> Ints:
        """The number of regions of each item, int [len(self)]: what a batch's length is made of."""
        return self.corpus.region_counts[self.indices]

    def sample(self, index: int, epoch: int, turn: int | None = None) -> PretrainingSample:
        """Make one sample.

        Args:
            index: item, in ``range(len(self))``.
            epoch: epochs finished before this one.
            turn: the one view to make, by its number among the objectives; None: all of them.
        """
        objectives = self.objectives if turn is None else self.objectives[turn : turn + 1]
        number = int(self.indices[index])
        item = self.corpus[number]
        streams = np.random.SeedSequence((self.seed, epoch, number)).spawn(self._num_streams)
        rng = {name: np.random.default_rng(stream) for name, stream in zip(STREAMS, streams, strict=False)}
        n = len(item.regions.bbox)
        vocabulary, masking = self.words.vocabulary, self.masking
        rows: dict[str, Row] = {}
        if "region_tag" in objectives:
            tags = [self.words.tag(tag) for tag in item.tags]
            rows["region_tag"] = region_tag_row(
                tags, rng["region_tag"], vocabulary, masking, self.max_tag_tokens, self.tag_positions == "box"
            )
        rank = int(rng["sentence"].integers(len(item.sentence_ids)))
        sentence = self.corpus.sentence(int(item.sentence_ids[rank]))
        tokens, offsets = self.words(sentence.text, self.max_text_tokens)
        if "region_phrase" in objectives:
            links = Links(
                phrase_of_token=tokens_in_phrases(offsets, sentence.phrases),
                phrase=item.link_phrase[rank].astype(np.int64),
                similarity=item.link_similarity[rank].astype(np.float64),
            )
            rows["region_phrase"] = region_phrase_row(tokens, links, rng["region_phrase"], vocabulary, masking)
        if "image_sentence" in objectives:
            rows["matched"] = image_sentence_row(tokens, n, True, rng["matched"], vocabulary, masking)
            other = draw_negative(item.sentence_ids, self.corpus.sentence_ids, len(self.corpus), rng["negative"])
            other_tokens, _ = self.words(self.corpus.sentence(other).text, self.max_text_tokens)
            rows["mismatched"] = image_sentence_row(other_tokens, n, False, rng["mismatched"], vocabulary, masking)
        for name, view in PLAIN_VIEWS.items():
            if name in objectives:
                rows[name] = plain_row(view, tokens, n, rng[name], vocabulary, masking)
        return PretrainingSample(
            item.regions,
            item.regions.class_id.astype(np.int64),
            rows,
            epoch,
            self._weight_row(tuple(rows)),
            item.regions.confidence,
        )

    def _weight_row(self, rows: tuple[str, ...]) -> str:
        """Where the matching head sees the retrieved pair. A head that is never trained must not weigh anything."""
        if "matched" in rows:
            return "matched"
        return "region_phrase" if "region_phrase" in rows and "image_sentence" in self.objectives else ""

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
            # A sampler that knows nothing of turns: the view is drawn, the same one for the whole batch.
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
