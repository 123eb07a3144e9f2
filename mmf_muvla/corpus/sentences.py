"""Stage *sentences*: text files become a pool of distinct, clean sentences."""

from __future__ import annotations

import gzip
import hashlib
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmf_muvla.corpus.arrow import TableWriter
from mmf_muvla.corpus.config import SentenceOptions
from mmf_muvla.corpus.problems import BadRecord, SkipLog
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.errors import InputError

SENTENCES_SCHEMA = pa.schema([("sentence", pa.string()), ("source", pa.int64())])
_SENTENCES_PER_BATCH = 65536
_BOM = "\ufeff"


def import_sentences(
    files: Sequence[Path], options: SentenceOptions, skips: SkipLog, table: Path, at_least: int
) -> dict[str, int]:
    """Write the sentences of text files to an Arrow file.

    A sentence is brought into Unicode's composed form (NFC) and single spaces. Of sentences that are then equal, the
    first stays. ``source`` in the table is the line it was on, counted from 1 and on from file to file.

    Args:
        files: text files, also gzipped (``.gz``), in UTF-8.
        options: how to read them.
        skips: takes the lines that are left out.
        table: the Arrow file to write.
        at_least: how many sentences there must be.

    Returns:
        Counts: sentences, lines, skipped (damaged lines), empty, duplicates, too_short, too_long.

    Raises:
        InputError: a file cannot be read, a line is bad under ``on_bad_record=error``, too many are, or fewer than
            ``at_least`` sentences remain.
    """
    distinct = _DistinctFilter()
    num_lines = num_sentences = num_duplicates = 0
    block: list[tuple[str, int]] = []

    def write_block() -> None:
        nonlocal num_sentences, num_duplicates
        if not block:
            return
        new = distinct.first_seen([sentence for sentence, _ in block])
        kept = [entry for entry, is_new in zip(block, new, strict=True) if is_new]
        if kept:
            writer.write([sentence for sentence, _ in kept], [source for _, source in kept])
        num_sentences += len(kept)
        num_duplicates += len(block) - len(kept)
        block.clear()

    with TableWriter(table, SENTENCES_SCHEMA) as writer, progress_bar(None, "sentences", "line") as progress:
        for file in files:
            for line_number, line in enumerate(_lines(file), start=1):
                num_lines += 1
                progress.update()
                sentence = _clean(file, line_number, line, options, skips)
                if sentence is not None:
                    block.append((sentence, num_lines))
                    if len(block) == _SENTENCES_PER_BATCH:
                        write_block()
        write_block()
    skips.check(num_lines)
    if num_sentences < at_least:
        raise InputError(
            ", ".join(map(str, files)),
            f"{num_sentences} distinct sentences can be used, fewer than the {at_least} to retrieve for each image",
            "Give more text, or lower retrieval.k or sentence_options.min_words",
        )
    return {
        "sentences": num_sentences,
        "lines": num_lines,
        "skipped": skips.num_bad,
        "empty": skips.filtered["empty line"],
        "duplicates": num_duplicates,
        "too_short": skips.filtered["too few words"],
        "too_long": skips.filtered["too many words"],
    }


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            yield from stream
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(str(file), "no such text file", "Name an existing file, one sentence a line") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(str(file), f"is not a whole gzip file ({error})", "Download the file again") from error


def _clean(file: Path, line_number: int, line: bytes, options: SentenceOptions, skips: SkipLog) -> str | None:
    """The sentence of a line, or ``None`` where it is left out."""
    remedy = "Convert the file to UTF-8, or leave such lines out with on_bad_record=skip"
    if options.format == "tsv":
        columns = line.rstrip(b"\r\n").split(b"\t")
        if len(columns) <= options.column:
            reason = f"line has no column {options.column}"
            remedy = "Set sentence_options.column, or leave such lines out with on_bad_record=skip"
            skips.add_bad(BadRecord(file, line_number, "", reason, f"it has {len(columns)}", remedy))
            return None
        line = columns[options.column]
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        value = f"byte {line[error.start]:#04x} at position {error.start}"
        skips.add_bad(BadRecord(file, line_number, "", "line is not UTF-8", value, remedy))
        return None
    words = unicodedata.normalize("NFC", text.removeprefix(_BOM)).split()
    sentence = " ".join(words)
    if not words:
        skips.add_filtered(file, line_number, "empty line", "")
    elif len(words) < options.min_words:
        skips.add_filtered(file, line_number, "too few words", sentence)
    elif len(words) > options.max_words:
        skips.add_filtered(file, line_number, "too many words", sentence)
    else:
        return sentence
    return None


class _DistinctFilter:
    """Recognises sentences that came before, in eight bytes each.

    Sentences are known by a 64-bit digest: among 74 million, the chance that a single one is dropped wrongly is 1 in
    6,000. Digests are kept in sorted runs of growing size, merged when two are of a size, so that a new block costs
    little however many there are.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def first_seen(self, sentences: Sequence[str]) -> np.ndarray:
        """Whether each sentence is new, and is the first of its kind among ``sentences``: bool [n]."""
        digests = np.frombuffer(
            b"".join(hashlib.blake2b(sentence.encode(), digest_size=8).digest() for sentence in sentences), np.uint64
        )
        new = np.zeros(len(digests), bool)
        _, first = np.unique(digests, return_index=True)
        new[first] = True
        for run in self._runs:
            position = np.searchsorted(run, digests)
            new &= run[np.minimum(position, len(run) - 1)] != digests
        self._add(np.sort(digests[new]))
        return new

    def _add(self, run: np.ndarray) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
