"""SNLI-VE: sentences that an image entails, contradicts or leaves open, from github.com/necla-ml/SNLI-VE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf_muvla.datasets.tasks.conversion.published import Counts, Options, write_json_lines
from mmf_muvla.datasets.tasks.conversion.report import Report, Sieve
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_values import text_of
from mmf_muvla.regions.regions import id_problem

LABELS = ("entailment", "neutral", "contradiction")  # in the order of MMF's stock data set
# MMF reads the first, which is how the dataset's first files have it; later ones are written by a script with the next.
_IMAGE_FIELDS = ("Flikr30kID", "Flickr30K_ID", "Flickr30kID")


@dataclass
class SnliVeCounts(Counts):
    """The last five are of what is written."""

    entailment: int = 0
    neutral: int = 0
    contradiction: int = 0
    images: int = 0  # different ones
    repeated_pairs: int = 0  # have a pairID that was there before; they are written all the same


def convert_snli_ve(
    source: Path, out: Path, options: Options | None = None, report: Report | None = None
) -> SnliVeCounts:
    """Check a published split, and write it as the task's file; no field is lost.

    Args:
        source: ``snli_ve_train.jsonl``, ``snli_ve_dev.jsonl`` or ``snli_ve_test.jsonl``, an object a line with
            ``sentence2`` (the hypothesis), ``gold_label``, ``pairID`` and the image under ``Flikr30kID`` or
            ``Flickr30K_ID``, with or without ending; where both are missing, ``captionID`` (``123.jpg#0``) tells it.
        out: the ``.jsonl`` to write; every line has ``Flikr30kID``.
        options: records on which the annotators did not agree (``gold_label`` ``"-"``, or none) are left out unless
            they say otherwise: MMF's own dataset cannot read those.
        report: collects what concerns all splits.

    Raises:
        InputError: the file or a record cannot be used.
    """
    sieve = Sieve(out.stem, SnliVeCounts(), options, report, unlabelled="skip")
    write_json_lines(out, _records(source, sieve), source)
    return sieve.counts


def _records(source: Path, sieve: Sieve[SnliVeCounts]) -> Iterator[dict[str, Any]]:
    counts, pairs = sieve.counts, set()
    for record in sieve.lines(source, _check):
        counts.repeated_pairs += record["pairID"] in pairs
        pairs.add(record["pairID"])
        counts.images = sieve.num_images
        if (label := record.get("gold_label")) in LABELS:
            setattr(counts, label, getattr(counts, label) + 1)
        yield record


def _check(record: dict[str, Any], where: str) -> tuple[tuple[str, ...], str, bool]:
    """A record's image, its hypothesis, and whether it has a label; the image's name is put where MMF looks for it."""
    where = f"{where} (pair {text_of(record, 'pairID', where)[:60]})"
    sentence = text_of(record, "sentence2", where)
    label = record.get("gold_label")
    if label not in (*LABELS, "-", "", None):
        raise InputError(where, f"gold_label is {shown(label)}", f"It must be {', '.join(LABELS)} or -")
    given = (record.get(field) for field in _IMAGE_FIELDS)
    names = [str(name) for name in given if type(name) is int or (isinstance(name, str) and name.strip())]
    if not names and record.get("captionID") is None:
        fields = ", ".join(_IMAGE_FIELDS)
        raise InputError(where, "does not say which image it is about", f"One of {fields} must be there")
    name = names[0] if names else text_of(record, "captionID", where).partition("#")[0]
    image = name.partition(".")[0]
    if id_problem(image):
        raise InputError(where, f"the image is called {shown(name)}", "It must be a name with something before the .")
    record["Flikr30kID"] = name
    return (image,), sentence, label in LABELS
