"""Text to word pieces, with the character span of each piece."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mmf_muvla.errors import InputError
from mmf_muvla.objectives.masking import Ints, Vocabulary
from mmf_muvla.pretrained import resolve_pretrained


class WordPieces:
    """The tokenizer of a BERT checkpoint, to which a text is nothing but text.

    ``[MASK]`` or ``[SEP]`` in a caption is a word in brackets, which never gets the id of a special token.

    Raises:
        InputError: the checkpoint's tokenizer does not give the characters that a token covers.
    """

    def __init__(self, pretrained: str):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(resolve_pretrained(pretrained))
        if not tokenizer.is_fast:
            problem = "this tokenizer does not tell which characters a token covers"
            remedy = "Name a BERT checkpoint with a tokenizer.json or a vocab.txt"
            raise InputError(f"tokenizer={pretrained}", problem, remedy)
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        special = set(tokenizer.all_special_ids)
        self._unknown = tokenizer.unk_token_id
        # A tokenizer that does not take brackets apart can still find these in its vocabulary.
        self._reserved = special - {self._unknown}
        self.vocabulary = Vocabulary(
            cls_id=tokenizer.cls_token_id,
            sep_id=tokenizer.sep_token_id,
            mask_id=tokenizer.mask_token_id,
            pad_id=tokenizer.pad_token_id,
            ordinary_ids=np.array(sorted(set(tokenizer.get_vocab().values()) - special)),
        )

    def __call__(self, text: str, max_tokens: int) -> tuple[Ints, Ints]:
        """Tokenize one text, without [CLS] and [SEP], and cut it after so many tokens.

        Returns:
            Token ids, int [t], and character spans, int [t, 2].
        """
        self._backend.encode_special_tokens = True  # as text; a copy in another process does not keep it
        encoding = self._backend.encode(text, add_special_tokens=False)
        pieces = encoding.ids[:max_tokens]
        if not self._reserved.isdisjoint(pieces):
            pieces = [self._unknown if piece in self._reserved else piece for piece in pieces]
        ids = np.array(pieces, dtype=np.int64)
        return ids, np.array(encoding.offsets[:max_tokens], dtype=np.int64).reshape(-1, 2)

    def input_ids(self, text: str, max_tokens: int) -> Ints:
        """``[CLS] text [SEP]``, int [at most max_tokens + 2]."""
        return self.with_ends(self(text, max_tokens)[0])

    def piece(self, token_id: int) -> str:
        """The word piece of an id."""
        return str(self._backend.id_to_token(token_id))

    def with_ends(self, tokens: Sequence[int] | Ints) -> Ints:
        """Word pieces with [CLS] and [SEP] around them."""
        return np.concatenate([[self.vocabulary.cls_id], tokens, [self.vocabulary.sep_id]]).astype(np.int64)

    @lru_cache(maxsize=65536)  # noqa: B019 - one tokenizer lives as long as its data set; tags are few and come often
    def tag(self, text: str) -> Ints:
        """Token ids of an object tag, int [t]; kept, since a detector has few tags."""
        return self(text, max_tokens=16)[0]
