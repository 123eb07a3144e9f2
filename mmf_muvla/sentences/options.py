"""How texts are read: ``sentence_options`` of a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from mmf_muvla.options.kinds import Column, Options, Whole

USUAL_NAMES = ("sentence", "caption", "text")
"""Of the columns or keys that hold sentences."""


@dataclass
class SentenceOptions(Options):
    """How texts are read.

    Attributes:
        format: ``text`` (a sentence a line), ``tsv`` (the sentence is one column), ``csv`` (the same, with quotes),
            ``jsonl`` (an object a line), ``parquet``, or ``auto``: by the name of the file, and ``text`` where that
            says nothing. All but ``parquet`` may be gzipped.
        column: where the sentence is: of ``tsv``, a number from 0 (``null``: 0); of ``jsonl`` and ``parquet``, a name
            (``null``: the first there is of ``sentence``, ``caption`` and ``text``); of ``csv``, either.
        image_id_column: where it says which image a sentence belongs to; ``null`` where that is unknown or unwanted.
            ``retrieval.exclude_own`` and ``pairing.source: captions`` need it.
        min_words, max_words: sentences with fewer or more words are left out.
        max_characters, max_word_characters: sentences with more characters, or with a word of more, are left out.
    """

    format: Literal["auto", "text", "tsv", "csv", "jsonl", "parquet"] = "auto"
    column: Column = None
    image_id_column: Column = None
    min_words: Annotated[Whole, Field(ge=1, le=10**6)] = 3
    max_words: Annotated[Whole, Field(ge=1, le=10**6)] = 60
    # spaCy takes no longer texts than a million characters
    max_characters: Annotated[Whole, Field(ge=1, le=10**6)] = 2000
    max_word_characters: Annotated[Whole, Field(ge=1, le=10**6)] = 250
