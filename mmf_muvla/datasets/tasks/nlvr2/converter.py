"""NLVR2: sentences about pairs of photographs, from the files of github.com/lil-lab/nlvr."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmf_muvla.datasets.tasks.conversion.published import Counts, Options, Sieve, check_key, write_json_lines
from mmf_muvla.datasets.tasks.conversion.report import Report
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_values import text_of

# split, set of eight images, pair of images in it, sentence
_IDENTIFIER = re.compile(r"([A-Za-z][A-Za-z0-9]*-[0-9]+)-([0-9]+)-([0-9]+)")


@dataclass
class NLVR2Counts(Counts):
    """As :class:`~mmf_muvla.datasets.tasks.conversion.published.Counts`, of what is written also:

    Attributes:
        true, false: how many have this label.
        sentences: groups of one sentence with several pairs, by which consistency is measured.
    """

    true: int = 0
    false: int = 0
    sentences: int = 0


def convert_nlvr2(source: Path, out: Path, options: Options | None = None, report: Report | None = None) -> NLVR2Counts:
    """Check a published split, and write it as the task's file; no field is lost.

    Args:
        source: ``train.json``, ``dev.json``, ``test1.json`` or ``test2.json``, an object a line with ``sentence``,
            ``identifier`` (``dev-850-0-0``: split, set, pair, sentence) and ``label`` (``"True"`` or ``"False"``).
        out: the ``.jsonl`` to write.
        options: records without a label are kept unless they say otherwise.
        report: collects what concerns all splits, where there are several.

    Returns:
        What became of the records.

    Raises:
        InputError: the file or a record cannot be used, or an identifier is there twice.
    """
    counts = NLVR2Counts()
    sieve = Sieve(options or Options(), "keep", counts, report, out.stem)
    write_json_lines(out, _records(source, sieve, counts), source)
    return counts


def _records(source: Path, sieve: Sieve, counts: NLVR2Counts) -> Iterator[dict[str, Any]]:
    sentences = set()
    for record, (pair, sentence) in sieve.good_lines(source, partial(_check, line_of={})):
        if not sieve.admits((f"{pair}-img0", f"{pair}-img1"), record["sentence"], "label" in record):
            continue
        sentences.add(sentence)
        counts.sentences = len(sentences)
        counts.true += record.get("label") == "True"
        counts.false += record.get("label") == "False"
        yield record


def _check(record: dict[str, Any], where: str, line_of: dict[str, str]) -> tuple[str, str]:
    """The names of a record's image pair and of its sentence; its label, if it has one, becomes "True" or "False"."""
    identifier = text_of(record, "identifier", where)
    parts = _IDENTIFIER.fullmatch(identifier)
    if parts is None:
        raise InputError(where, f"identifier is {shown(identifier)}", "It must be split-set-pair-sentence: dev-850-0-0")
    if identifier in line_of:
        raise InputError(where, f"identifier {identifier} is that of {line_of[identifier]} as well", "Remove one")
    images, pair, sentence = parts.groups()
    check_key(f"{images}-{pair}-img0", where)
    text_of(record, "sentence", where)
    if record.get("label") is None:
        record.pop("label", None)
    else:
        given = record["label"]
        label = str(given).capitalize() if isinstance(given, str | bool) else None
        if label not in ("True", "False"):
            raise InputError(where, f"label of {identifier} is {shown(given)}", "Write True or False")
        record["label"] = label
    line_of[identifier] = where.rpartition(", ")[2]
    return f"{images}-{pair}", f"{images}-{sentence}"
