"""NLVR2: sentences about pairs of photographs, from the files of github.com/lil-lab/nlvr."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmf_muvla.datasets.tasks.conversion.published import Counts, Options, check_key, write_json_lines
from mmf_muvla.datasets.tasks.conversion.report import Report, Sieve
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_values import text_of

LABELS = {"false": 0, "true": 1}
# split, set of eight images, pair of images in it, sentence
_IDENTIFIER = re.compile(r"([A-Za-z][A-Za-z0-9]*-[0-9]+)-([0-9]+)-([0-9]+)")


@dataclass
class NLVR2Counts(Counts):
    """The last three are of what is written."""

    true: int = 0
    false: int = 0
    sentences: int = 0  # groups of one sentence with several pairs, by which consistency is measured


def convert_nlvr2(source: Path, out: Path, options: Options | None = None, report: Report | None = None) -> NLVR2Counts:
    """Check a published split, and write it as the task's file; no field is lost.

    Args:
        source: ``train.json``, ``dev.json``, ``test1.json`` or ``test2.json``, an object a line with ``sentence``,
            ``identifier`` (``dev-850-0-0``: split, set, pair, sentence) and ``label`` (``"True"`` or ``"False"``).
        out: the ``.jsonl`` to write.
        options: records without a label are kept unless they say otherwise.
        report: collects what concerns all splits.

    Raises:
        InputError: the file or a record cannot be used, or an identifier is there twice.
    """
    sieve = Sieve(out.stem, NLVR2Counts(), options, report)
    write_json_lines(out, _records(source, sieve), source)
    return sieve.counts


def _records(source: Path, sieve: Sieve[NLVR2Counts]) -> Iterator[dict[str, Any]]:
    sentences = set()
    for record in sieve.lines(source, partial(_check, line_of={})):
        sentences.add(_IDENTIFIER.sub(r"\1-\3", record["identifier"]))
        sieve.counts.sentences = len(sentences)
        sieve.counts.true += record.get("label") == "True"
        sieve.counts.false += record.get("label") == "False"
        yield record


def _check(record: dict[str, Any], where: str, line_of: dict[str, str]) -> tuple[tuple[str, ...], str, bool]:
    """A record's images, its sentence, and whether it has a label, which becomes "True" or "False"."""
    identifier = text_of(record, "identifier", where)
    parts = _IDENTIFIER.fullmatch(identifier)
    if parts is None:
        raise InputError(where, f"identifier is {shown(identifier)}", "It must be split-set-pair-sentence: dev-850-0-0")
    if identifier in line_of:
        raise InputError(where, f"identifier {identifier} is that of {line_of[identifier]} as well", "Remove one")
    images = tuple(check_key(f"{parts[1]}-{parts[2]}-img{side}", where) for side in (0, 1))
    sentence = text_of(record, "sentence", where)
    label = record.get("label")
    if label is None:
        record.pop("label", None)
    elif isinstance(label, str | bool) and str(label).capitalize() in ("True", "False"):
        record["label"] = str(label).capitalize()
    else:
        raise InputError(where, f"label of {identifier} is {shown(label)}", "Write True or False")
    line_of[identifier] = where.rpartition(", ")[2]
    return images, sentence, label is not None
