"""The words of a larger BERT, in fewer numbers, for a small one to begin with.

A small corpus says little about its rare words. A model that has read much knows what they are like: "puppy" is near
"dog", also where no text at hand says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import read_checkpoint
from mmf_muvla.pretrained import resolve_pretrained

_EMBEDDING = "embeddings.word_embeddings.weight"


def borrow_words(
    checkpoint: str, texts: Iterable[str], special: Iterable[str], vocab_size: int, hidden_size: int
) -> tuple[Any, Tensor]:
    """A tokenizer with those word pieces of a BERT that texts have, and their embeddings in their principal components.

    Args:
        checkpoint: of a BERT with WordPiece, by folder, hub or package name.
        texts: what pieces are looked for in; letters and digits alone are kept too, so that other words are spelled.
        special: the special tokens, which come first.
        vocab_size: pieces at most; the most frequent are kept.
        hidden_size: numbers of an embedding.

    Returns:
        The tokenizer, and float32 [pieces, hidden_size] around 0, with a standard deviation of 1.

    Raises:
        InputError: it is no such checkpoint, or its embeddings are smaller.
    """
    from transformers import AutoTokenizer, BertTokenizer

    where = f"words={checkpoint}"
    large: Any = AutoTokenizer.from_pretrained(resolve_pretrained(checkpoint, "words"))
    numbers: dict[str, int] = large.get_vocab()
    special = list(special)
    if not large.is_fast or (absent := [it for it in special if it not in numbers]):
        problem = "is not the tokenizer of a BERT" + (f": it has no {absent[0]}" if large.is_fast else "")
        raise InputError(where, problem, "Name a BERT with WordPiece")
    stored = read_checkpoint(checkpoint).get(_EMBEDDING)
    if stored is None or stored.shape[1] < hidden_size or len(stored) <= max(numbers.values()):
        size = "no word embeddings" if stored is None else f"word embeddings of {tuple(stored.shape)} numbers"
        raise InputError(
            where, f"has {size}, for hidden_size={hidden_size}", "Name a larger BERT, or lower hidden_size"
        )
    encoder = large.backend_tokenizer
    encoder.no_truncation()
    counts = Counter[str]()
    for text in texts:
        counts.update(encoder.encode(text, add_special_tokens=False).tokens)
    single = [it for it in numbers if len(it.removeprefix("##")) == 1 and it.isascii()]
    used = sorted(counts, key=lambda piece: (-counts[piece], piece))
    pieces = list(dict.fromkeys([*special, *sorted(single), *used]))[:vocab_size]
    tokenizer = BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        do_lower_case=bool(getattr(large, "do_lower_case", True)),
    )
    chosen = stored[[numbers[piece] for piece in pieces]].double()
    left, scales, _ = torch.linalg.svd(chosen - chosen.mean(dim=0), full_matrices=False)
    reduced = left[:, :hidden_size] * scales[:hidden_size]
    return tokenizer, (reduced / reduced.std()).float()
