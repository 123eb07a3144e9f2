"""What a pre-trained model says of images with texts: whether they belong together, and what masked words are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
import torch
from mmf.common.sample import SampleList
from torch.nn import functional as F

from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.models.pair_scoring import PairScorer
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.objectives.masking import IGNORE, Bools, Ints, Row, make_row
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.regions.regions import Regions

_ROW = "masked_text"
_PAIRS_TOGETHER = 16384
# Pairs come image by image, or so that an image soon comes again.
_IMAGES_IN_MEMORY = 256


class Images(Protocol):
    """Regions of images by their ids: a region store, or :func:`~mmf_muvla.datasets.images.open_images`."""

    def get(self, image_id: str, /) -> Regions: ...


@torch.no_grad()
def match_logits(
    model: MuVLA,
    words: WordPieces,
    regions: Images,
    pairs: Sequence[tuple[str, str]],
    batch_size: int = 64,
    max_tokens: int = 60,
) -> torch.Tensor:
    """The matching head's logit for each (image id, sentence), float [pairs], on the CPU.

    The model may be on any device. Sentences are cut after ``max_tokens`` word pieces. Pairs come image by image.
    """
    heads = cast(PretrainingHeads, model.heads)
    scorer = PairScorer(model.encoder, heads.pooler, heads.itm)
    logits = [np.zeros(0, np.float32)]
    for part in _batches(pairs, _PAIRS_TOGETHER, "matching", "pair"):
        images, of_image = np.unique([image for image, _ in part], return_inverse=True)
        texts, of_text = np.unique([text for _, text in part], return_inverse=True)
        tokens = (words.input_ids(text, max_tokens) for text in texts.tolist())
        embedded = scorer.embed_images(map(regions.get, images.tolist())), scorer.embed_texts(tokens)
        logits.append(scorer.score(*embedded, np.stack([of_image, of_text], axis=1), batch_size))
    return torch.from_numpy(np.concatenate(logits))


@torch.no_grad()
def masked_nats(
    model: MuVLA,
    words: WordPieces,
    regions: Images,
    masked: Sequence[tuple[str, Ints, Bools]],
    batch_size: int = 64,
) -> torch.Tensor:
    """What the masked word pieces of a text beside an image cost, in nats, float [m], on the CPU.

    That is minus the logarithm of the probability that the masked-token head gives to what stands there, summed over
    the pieces.

    Args:
        model: one that learns MLM, on any device.
        words: its tokenizer.
        regions: the images.
        masked: image id, the text's word pieces int [t], and which of them [MASK] hides, bool [t], at least one.
        batch_size: rows in a pass of the model.
    """
    vocabulary = words.vocabulary
    image_of = lru_cache(_IMAGES_IN_MEMORY)(regions.get)
    nats = [torch.zeros(0)]
    for part in _batches(masked, batch_size, "masked nouns", "noun"):
        samples = []
        for image_id, tokens, hidden in part:
            image = image_of(image_id)
            samples.append(PretrainingSample(image, {_ROW: _hidden_row(tokens, hidden, len(image), words)}, epoch=0))
        batch = _moved(collate_pretraining(samples, vocabulary.pad_id), model)
        found = model.heads(model.encoder, batch)["pretraining"].predictions["mlm"]
        each = F.cross_entropy(found.prediction.float(), found.target, reduction="none")
        of_sample = found.group.remainder(len(part))
        nats.append(each.new_zeros(len(part)).index_add(0, of_sample, each).cpu())
    return torch.cat(nats)


def _hidden_row(tokens: Ints, hidden: Bools, num_regions: int, words: WordPieces) -> Row:
    vocabulary = words.vocabulary
    shown, labels = np.where(hidden, vocabulary.mask_id, tokens), np.where(hidden, tokens, IGNORE)
    return make_row(shown, labels, vocabulary, hidden_regions=np.zeros(num_regions, bool), predicts=("mlm",))


def _batches(items: Sequence[Any], size: int, title: str, unit: str) -> Iterator[Sequence[Any]]:
    with progress_bar(len(items), title, unit) as progress:
        for start in range(0, len(items), size):
            yield items[start : start + size]
            progress.update(len(items[start : start + size]))


def _moved(batch: Mapping[str, Any], model: MuVLA) -> Any:
    """A batch on the model's device."""
    return SampleList(dict(batch)).to(next(model.parameters()).device)
