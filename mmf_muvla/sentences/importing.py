"""Stage *sentences*: files of text become a pool of distinct, clean sentences."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.arrow import TableWriter, read_batches
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.artifacts.parts import once, part_files, publish_part, read_notes, remove_parts, run_parts
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.problems import BadRecord, SkipLog
from mmf_muvla.sentences.cleaning import SentenceBlock, clean_block
from mmf_muvla.sentences.files import read_blocks
from mmf_muvla.sentences.options import SentenceOptions
from mmf_muvla.sentences.text_shapes import looks_like_a_name

logger = logging.getLogger(__name__)

SENTENCES_SCHEMA = pa.schema([("sentence", pa.string()), ("source", pa.int64())])
# Which sentences belong to which image, where the input says so; sentences by their number in the pool.
OWNERS_SCHEMA = pa.schema([("image_id", pa.string()), ("pool_row", pa.int64())])
SENTENCES_FILE, OWNERS_FILE, SKIPPED_FILE = "sentences.arrow", "owners.arrow", "skipped.jsonl"

_CLEAN = "clean"
_CLEAN_SCHEMA = pa.schema([*SENTENCES_SCHEMA, ("image_id", pa.string())])
# Digests are compared so many at a time, whatever the size of the corpus.
_DIGESTS_AT_ONCE, _MOST_PASSES = 2**18, 512
# Where fewer lines than this share become sentences, it is said what happened to the others.
_SMALL_SHARE = 0.5


def import_sentences(
    files: Sequence[Path],
    options: SentenceOptions,
    on_bad_record: str,
    max_skipped_fraction: float,
    at_least: int,
    work: Work,
) -> dict[str, int]:
    """Write the distinct sentences of some files to ``sentences.arrow``.

    Of sentences that are equal when they have been cleaned, the first stays. ``source`` in the table is the line it was
    on, counted from 1 and on from file to file. Where images are named, ``owners.arrow`` says which sentences belong to
    them, those included that were dropped for an equal one.

    Args:
        files, options: what to read, and how.
        on_bad_record, max_skipped_fraction: what to do about damaged lines.
        at_least: how many sentences there must be.
        work: folder, progress, workers.

    Returns:
        Counts: sentences, lines, skipped (damaged lines), empty, duplicates, too_short, too_long (in words, in
        characters, or in the characters of a word).

    Raises:
        InputError: a file cannot be read, a line is bad under ``on_bad_record=error``, too many are, or fewer than
            ``at_least`` sentences remain.
    """

    def clean() -> dict[str, Any]:
        clean_part = partial(_clean_part, options, on_bad_record == "error")
        blocks = enumerate(read_blocks(list(files), options))
        with work.progress.bar(None, "sentences", "line") as progress:
            for _, note in run_parts(work.folder, _CLEAN, clean_part, blocks, work.executor, kind="sentences"):
                progress.update(note["lines"])
        return {}

    def select() -> dict[str, int]:
        left_out = _list_skipped(work.folder, on_bad_record, max_skipped_fraction)
        has_owners = options.image_id_column is not None
        keep, first_of = _find_duplicates(work, has_owners)
        sentences, duplicates = int(keep.sum()), int((~keep).sum())
        if sentences < at_least:
            raise InputError(
                ", ".join(map(str, files)),
                f"{sentences} distinct sentences can be used, fewer than the {at_least} to retrieve for each image: "
                f"{left_out.describe(duplicates)}",
                left_out.remedy(),
            )
        if sentences < _SMALL_SHARE * left_out.counts["lines"]:
            logger.warning("%d sentences, %s", sentences, left_out.describe(duplicates))
        _write_pool(work, keep)
        if has_owners:
            _write_owners(work.folder, keep, first_of)
        counts = {"sentences": sentences, "duplicates": duplicates, **left_out.counts}
        order = ("sentences", "lines", "skipped", "empty", "duplicates", "too_short", "too_long")
        return {name: counts[name] for name in order}

    once(work.folder, "cleaned", clean)
    counts = once(work.folder, "selected", select)
    remove_parts(work.folder, _CLEAN)
    return counts


def _clean_part(
    options: SentenceOptions, stop_at_bad: bool, _: None, block: SentenceBlock, path: Path
) -> dict[str, Any]:
    cleaned = clean_block(block, options, stop_at_bad)
    with publish_part(path, ".arrow") as file, TableWriter(file, _CLEAN_SCHEMA) as writer:
        writer.write(cleaned.sentences, cleaned.sources, cleaned.image_ids)
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in cleaned.sentences)
    with publish_part(path, ".digests") as file:
        file.write_bytes(digests)
    return {
        "file": str(block.file),
        "lines": cleaned.num_lines,
        "sentences": len(cleaned.sentences),
        "bad": cleaned.bad,
        "filtered": dict(cleaned.filtered),
        "listed": cleaned.listed,
    }


@dataclass
class _LeftOut:
    """What became of the lines that are no sentences of the pool."""

    counts: dict[str, int]  # lines, skipped, empty, too_short, too_long
    reasons: Counter[str]  # how many lines were left out for each reason
    examples: dict[str, tuple[Path, int, str]]  # the first line of each reason: file, line, value

    def describe(self, num_duplicates: int) -> str:
        """How many lines were left out and why, with an example of each reason."""
        parts = []
        for reason, count in self.reasons.most_common(6):
            file, line, value = self.examples[reason]
            example = f": {shown(value, 60)}" if value else ""
            parts.append(f"{count} × {reason} ({file.name}, line {line}{example})")
        if num_duplicates:
            parts.append(f"{num_duplicates} × equal to another one")
        return f"of {self.counts['lines']} lines, left out: {'; '.join(parts) or 'none'}"

    def remedy(self) -> str:
        """What the user can do about it, by what the lines look like."""
        if _FILTERS[0] in self.examples and looks_like_a_name(self.examples[_FILTERS[0]][2]):
            return (
                "Lines look like addresses, names of files or numbers: name the column of the sentences with "
                "sentence_options.column. Give more text where that is right"
            )
        return "Give more text, or lower retrieval.k or sentence_options.min_words"


_FILTERS = ("too few words", "too many words", "too many characters", "too many characters in a word")


def _list_skipped(folder: Path, on_bad_record: str, max_skipped_fraction: float) -> _LeftOut:
    """Write the list of what was left out, and refuse input of which too much is damaged."""
    lines, filtered = 0, Counter[str]()
    examples: dict[str, tuple[Path, int, str]] = {}
    with SkipLog(folder / SKIPPED_FILE, on_bad_record, max_skipped_fraction) as skips:
        for note in read_notes(folder, _CLEAN):
            file = Path(note["file"])
            for line, reason, value, remedy in note["bad"]:
                skips.add_bad(BadRecord(file, line, "", reason, value, remedy))
                examples.setdefault(reason, (file, line, value))
            for line, reason, value in note["listed"]:
                skips.add_filtered(file, line, reason, value)
                examples.setdefault(reason, (file, line, value))
            filtered.update(note["filtered"])
            lines += note["lines"]
        skips.check(lines)
    counts = {"lines": lines, "skipped": skips.num_bad, "empty": filtered["empty line"]}
    counts |= {"too_short": filtered[_FILTERS[0]], "too_long": sum(filtered[reason] for reason in _FILTERS[1:])}
    return _LeftOut(counts, filtered + skips.bad, examples)


def _find_duplicates(work: Work, has_owners: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which sentences are the first of their kind, bool [n], and of each the first that equals it, int64 [n].

    Without owners, the latter is empty. Sentences are compared by 128-bit digests, and to need little memory, in passes
    over those that have the same last bits.
    """
    files = part_files(work.folder, _CLEAN, ".digests")
    total = sum(file.stat().st_size for file in files) // 16
    # A power of two. Beyond the most, the time of all passes would grow by the square, and each takes more memory.
    num_passes = min(_MOST_PASSES, 1 << (max(total - 1, 0) // _DIGESTS_AT_ONCE).bit_length())
    keep, first_of = np.zeros(total, bool), np.zeros(total if has_owners else 0, np.int64)
    with work.progress.bar(num_passes, "duplicates", "round") as progress:
        for number in range(num_passes):
            rows, digests = _digests_of_pass(files, number, num_passes)
            _, first, same = np.unique(digests, return_index=True, return_inverse=True)
            keep[rows[first]] = True
            if has_owners:
                first_of[rows] = rows[first][same]
            progress.update()
    return keep, first_of


def _digests_of_pass(files: Sequence[Path], number: int, num_passes: int) -> tuple[np.ndarray, np.ndarray]:
    rows, digests = [np.zeros(0, np.int64)], [np.zeros(0, "V16")]
    begin = 0
    for file in files:
        part = np.fromfile(file, "V16")
        chosen = np.flatnonzero((part.view("<u8")[::2] & np.uint64(num_passes - 1)) == number)
        rows.append(chosen + begin)
        digests.append(part[chosen])
        begin += len(part)
    return np.concatenate(rows), np.concatenate(digests)


def _write_pool(work: Work, keep: np.ndarray) -> None:
    first = 0
    with (
        publish_file(work.folder / SENTENCES_FILE) as file,
        TableWriter(file, SENTENCES_SCHEMA) as writer,
        work.progress.bar(len(keep), "pool", "sentence") as progress,
    ):
        for batch in read_batches(part_files(work.folder, _CLEAN, ".arrow")):
            chosen = batch.filter(pa.array(keep[first : first + batch.num_rows]))
            if chosen.num_rows:
                writer.write(*(chosen.column(name) for name in SENTENCES_SCHEMA.names))
            first += batch.num_rows
            progress.update(batch.num_rows)


def _write_owners(folder: Path, keep: np.ndarray, first_of: np.ndarray) -> None:
    # Number in the pool of a kept sentence: how many were kept before it.
    pool_row = (np.cumsum(keep) - 1)[first_of]
    first = 0
    with publish_file(folder / OWNERS_FILE) as file, TableWriter(file, OWNERS_SCHEMA) as writer:
        for batch in read_batches(part_files(folder, _CLEAN, ".arrow")):
            owners, rows = batch.column("image_id"), pa.array(pool_row[first : first + batch.num_rows])
            if batch.num_rows:
                writer.write(owners.drop_null(), rows.filter(owners.is_valid()))
            first += batch.num_rows
