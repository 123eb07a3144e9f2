"""How well a pre-trained model tells true captions from captions of other images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from tqdm import tqdm

from mmf_muvla.datasets.collate import collate_images, lengths_to_mask, pad
from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.tasks import pooled_states
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import RegionStore


@torch.no_grad()
def match_logits(
    model: MuVLA, words: WordPieces, regions: RegionStore, pairs: Sequence[tuple[str, str]], batch_size: int = 64
) -> torch.Tensor:
    """The matching head's logit for each (image id, sentence), float [pairs]."""
    pad_id, cls_id, sep_id = words.vocabulary.pad_id, words.vocabulary.cls_id, words.vocabulary.sep_id
    heads = cast(PretrainingHeads, model.heads)
    logits = []
    for start in tqdm(range(0, len(pairs), batch_size), desc="matching", unit="batch", disable=None):
        part = pairs[start : start + batch_size]
        texts = [np.concatenate([[cls_id], words(sentence, 60)[0], [sep_id]]) for _, sentence in part]
        batch = collate_images([regions.get(image) for image, _ in part])
        batch["input_ids"] = pad(texts, pad_id, torch.long)
        batch["attention_mask"] = lengths_to_mask([len(text) for text in texts])
        pooled = pooled_states(model.encoder, heads.pooler, batch)
        logits.append(heads.itm(pooled).squeeze(-1).float())
    return torch.cat(logits)


def evaluate_matching(
    model: MuVLA, words: WordPieces, regions: RegionStore, pairs: Sequence[tuple[str, str]], seed: int
) -> tuple[float, float]:
    """How well a model tells true (image id, caption) pairs, of two images at least, from pairs of other captions: the
    share of all on the right side of probability 0.5, and of the true ones that score higher than their counterpart."""
    rng = np.random.default_rng(seed)
    images = np.array([image for image, _ in pairs])
    others = [(image, pairs[int(rng.choice(np.flatnonzero(images != image)))][1]) for image, _ in pairs]
    true, random = (match_logits(model, words, regions, some) for some in (pairs, others))
    accuracy = ((true > 0).float().mean() + (random <= 0).float().mean()) / 2
    return accuracy.item(), (true > random).float().mean().item()
