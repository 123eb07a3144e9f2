"""Retrieval on Flickr30k and COCO: images with five captions each, from Karpathy's split files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.datasets.tasks.conversion.published import (
    Counts,
    Options,
    check_key,
    nothing_left,
    read_json_object,
    usable_text,
    write_json_lines,
)
from mmf_muvla.datasets.tasks.conversion.report import Report, Sieve
from mmf_muvla.errors import InputError, shown
from mmf_muvla.reading.json_values import GET_AGAIN, check_record, number_of, text_of

# Published name -> the task's; COCO's restval is trained on as well, as everybody does since the splits were made.
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
NO_SPLIT = "without a split"  # the name under which images are counted whose split is not known


@dataclass
class RetrievalCounts(Counts):
    """A record is a caption; an image that is damaged is one bad record."""

    images: int = 0  # different ones that have a caption that is written


def convert_retrieval(
    source: Path, out: Path, options: Options | None = None, report: Report | None = None
) -> dict[str, RetrievalCounts]:
    """Write all splits as the task's files, a caption a line, in the order of the images.

    Args:
        source: ``dataset_flickr30k.json`` or ``dataset_coco.json``: ``images``, each with ``filename``, ``split``,
            ``imgid``, ``sentences`` (``raw``, ``sentid``) and, of COCO, ``cocoid``.
        out: the folder for ``train.jsonl``, ``val.jsonl`` and ``test.jsonl``, those of which there are captions.
        options: which records are written.
        report: collects what concerns all splits.

    Returns:
        Split -> what became of its captions; under :data:`NO_SPLIT` what became of images without one.

    Raises:
        InputError: the file, an image or a caption cannot be used, or one of them is there twice.
    """
    converter = _Converter(options or Options(), report or Report())
    images = read_json_object(source, "images")["images"]
    lines: dict[str, list[dict[str, Any]]] = {}
    with progress_bar(len(images), source.name, "image") as progress:
        for number, image in enumerate(images):
            progress.update()
            for split, line in converter.lines_of(image, f"{source}, images[{number}]"):
                lines.setdefault(split, []).append(line)
    if not lines:
        raise nothing_left(source)
    for split, of_split in lines.items():
        write_json_lines(out / f"{split}.jsonl", of_split, source)
    counts = {split: sieve.counts for split, sieve in converter.sieves.items()}
    return {split: its for split, its in counts.items() if its.written or its.bad_records}


class _Converter:
    def __init__(self, options: Options, report: Report):
        self._options = options
        splits = (*dict.fromkeys(SPLITS.values()), NO_SPLIT)
        self.sieves = {split: Sieve(split, RetrievalCounts(), options, report) for split in splits}
        self._image_with: dict[str | int, str] = {}  # key, or number, of an image -> the name of its file
        self._captions: set[int] = set()

    def lines_of(self, image: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The split and the line of each caption of an image that is to be written."""
        split = image.get("split") if isinstance(image, dict) else None
        sieve = self.sieves[SPLITS.get(split, NO_SPLIT) if isinstance(split, str) else NO_SPLIT]
        with sieve.leaving_out():
            check_record(image, where)
            if sieve.split == NO_SPLIT:
                raise InputError(where, f"split is {shown(split)}", f"It must be one of {', '.join(SPLITS)}")
            about = self._about(image, where)
            sentences = image.get("sentences")
            if not isinstance(sentences, list):
                raise InputError(where, f"sentences are {shown(sentences)}, not a list", GET_AGAIN)
            sieve.counts.records += len(sentences)
            for sentence in sentences:
                with sieve.leaving_out():
                    sentid, caption = self._caption(sentence, where)
                    if sieve.admits((about["image_id"],), caption):
                        yield sieve.split, {"sentid": sentid, **about, "caption": caption}
            sieve.counts.images = sieve.num_images

    def _about(self, image: dict[str, Any], where: str) -> dict[str, Any]:
        """What is written of an image, of which there is none before."""
        name, number = text_of(image, "filename", where), number_of(image, "imgid", where)
        stem = PurePosixPath(name).stem
        cocoid = number_of(image, "cocoid", where) if "cocoid" in image else stem
        key = check_key(self._options.key_of(stem, cocoid), where)
        for known, what in ((number, f"imgid {number}"), (key, f"the key {shown(key, 80)}")):
            if known in self._image_with:
                other = self._image_with[known]
                problem = f"the image {shown(name, 80)} has {what}, as {shown(other, 80)} has"
                raise InputError(where, problem, "Remove one of the two, or use on_bad_record=skip to keep the first")
        self._image_with |= {number: name, key: name}
        return {"imgid": number, "image_id": key}

    def _caption(self, sentence: Any, where: str) -> tuple[int, str]:
        """The id and text of a caption, of which there is none before."""
        if not isinstance(sentence, dict):
            raise InputError(where, f"a sentence is {shown(sentence)}, not an object", GET_AGAIN)
        sentid = number_of(sentence, "sentid", where)
        text = usable_text(sentence.get("raw"), f"raw of sentid {sentid}", where, GET_AGAIN).strip()
        if not text:
            raise InputError(where, f"raw of sentid {sentid} has no words", GET_AGAIN)
        if sentid in self._captions:
            raise InputError(where, f"sentid {sentid} is there twice", GET_AGAIN)
        # Only now: what is left out does not make another caption a second one.
        self._captions.add(sentid)
        return sentid, text
