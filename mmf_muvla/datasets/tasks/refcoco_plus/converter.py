"""RefCOCO+: expressions that refer to one object of a COCO image, from the files of github.com/lichengunc/refer."""

from __future__ import annotations

from collections import defaultdict
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
from mmf_muvla.reading.json_values import GET_AGAIN, check_object, check_record, number_of, text_of
from mmf_muvla.reading.restricted_pickle import PickleProblem, load_pickle

SPLITS = ("train", "val", "testA", "testB")
NO_SPLIT = "without a split"  # the name under which objects are counted whose split is not known
# Boxes are given to a hundredth of a pixel, so that one may seem to end that little beyond its image.
_ROUNDING = 0.02
_LARGEST_SIDE = 1e6  # pixels, and less than what is not finite


@dataclass
class RefCocoCounts(Counts):
    """A record is an expression; an object that is damaged is one bad record."""

    objects: int = 0  # the file's "refs" that are referred to by what is written
    images: int = 0  # different ones that these are in
    empty_expressions: int = 0  # without a word; they are left out
    boxes_beyond_image: int = 0  # objects whose box goes beyond its image; they are written as published


def convert_refcoco_plus(
    refs: Path, instances: Path, out: Path, options: Options | None = None, report: Report | None = None
) -> dict[str, RefCocoCounts]:
    """Write all splits as the task's files.

    Args:
        refs: ``refs(unc).p``, a list of objects pickled by Python 2: ``ref_id``, ``ann_id``, ``image_id``, ``split``
            and ``sentences``, of which ``sent_id`` and ``sent`` are used. Its ``file_name`` is not: it has the object's
            number in it and is no file's (``COCO_train2014_000000581857_16.jpg``).
        instances: ``instances.json``: COCO's ``images`` (``id``, ``file_name``, ``width``, ``height``) and
            ``annotations`` (``id``, ``image_id``, ``bbox`` as x, y, width, height).
        out: the folder for ``train.jsonl``, ``val.jsonl``, ``testA.jsonl`` and ``testB.jsonl``, those of which there
            are objects.
        options: which records are written.
        report: collects what concerns all splits.

    Returns:
        Split -> what became of its expressions; under :data:`NO_SPLIT` what became of damaged objects without one.

    Raises:
        InputError: a file or an object cannot be used, or an expression is there twice.
    """
    records = _read_refs(refs)
    converter = _Converter(instances, options or Options(), report or Report())
    with progress_bar(len(records), refs.name, "object") as progress:
        for number, record in enumerate(records):
            progress.update()
            converter.add(record, f"{refs}, object number {number}")
    if not converter.lines:
        raise nothing_left(refs)
    for split, lines in converter.lines.items():
        write_json_lines(out / f"{split}.jsonl", lines, refs)
    counts = {split: sieve.counts for split, sieve in converter.sieves.items()}
    return {split: its for split, its in counts.items() if its.written or its.bad_records}


class _Converter:
    """Looks up what objects refer to, and collects the lines of each split."""

    def __init__(self, instances: Path, options: Options, report: Report):
        self._instances = instances
        self._options = options
        self.sieves = {split: Sieve(split, RefCocoCounts(), options, report) for split in (*SPLITS, NO_SPLIT)}
        self.lines: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        content = read_json_object(instances, "images", "annotations")
        self._images = self._by_id("images", content)
        self._annotations = self._by_id("annotations", content)
        self._seen: set[int] = set()

    def add(self, record: Any, where: str) -> None:
        """Add an object's expressions to the lines of its split."""
        split = record.get("split") if isinstance(record, dict) else None
        problem = f"split is {shown(split)}" if isinstance(record, dict) and "split" in record else "has no split"
        no_split = InputError(where, problem, f"It must be one of {', '.join(SPLITS)}: give refs(unc).p")
        if not isinstance(split, str):
            return self.sieves[NO_SPLIT].leave_out(no_split)
        if split not in SPLITS:  # of another dataset: an error in any case
            raise no_split
        sieve = self.sieves[split]
        with sieve.leaving_out():
            sentences = record.get("sentences")
            sieve.counts.records += len(sentences) if isinstance(sentences, list) else 0
            where = f"{where} (ref_id {number_of(record, 'ref_id', where)})"
            target, box, is_beyond_image = self._target(record, where)
            if not isinstance(sentences, list):
                raise InputError(where, f"sentences are {shown(sentences)}, not a list of dictionaries", GET_AGAIN)
            written = []
            for sentence in sentences:
                with sieve.leaving_out():
                    sent_id, text = self._expression(sentence, where)
                    sieve.counts.empty_expressions += not text
                    if text and sieve.admits((target["image_id"],), text):
                        written.append({"sent_id": sent_id, **target, "sentence": text, "split": split, "bbox": box})
            if written:
                sieve.counts.objects += 1
                sieve.counts.images = sieve.num_images
                sieve.counts.boxes_beyond_image += is_beyond_image
                self.lines[split] += written

    def _by_id(self, key: str, content: dict[str, Any]) -> dict[int, dict[str, Any]]:
        by_id: dict[int, dict[str, Any]] = {}
        for number, record in enumerate(content[key]):
            where = f"{self._instances}, {key}[{number}]"
            with self.sieves[NO_SPLIT].leaving_out():
                check_object(record, where)
                first = by_id.setdefault(number_of(record, "id", where), record)
                if first is not record and first != check_record(record, where):
                    raise InputError(where, f"id {record['id']} is there twice, with other values", GET_AGAIN)
        return by_id

    def _target(self, record: dict[str, Any], where: str) -> tuple[dict[str, Any], list[float], bool]:
        """What is written of an object, its box, and whether this goes beyond the image."""
        ann_id, image_id = number_of(record, "ann_id", where), number_of(record, "image_id", where)
        annotation, image = self._annotations.get(ann_id), self._images.get(image_id)
        if annotation is None:
            raise InputError(where, f"ann_id {ann_id} is not in {self._instances}", GET_AGAIN)
        if annotation.get("image_id") != image_id:
            problem = f"image_id is {image_id}, but that of annotation {ann_id} {shown(annotation.get('image_id'))}"
            raise InputError(where, problem, GET_AGAIN)
        if image is None:
            raise InputError(where, f"image_id {image_id} is not in {self._instances}", GET_AGAIN)
        of_image, of_annotation = f"{self._instances}, image {image_id}", f"{self._instances}, annotation {ann_id}"
        file_name = text_of(image, "file_name", of_image)
        size = [number_of(image, side, of_image) for side in ("width", "height")]
        box, is_beyond_image = _corners(annotation.get("bbox"), size, of_annotation)
        # Not before: what is wrong with what is needed has better names.
        check_record(annotation, of_annotation)
        check_record(image, of_image)
        key = check_key(self._options.key_of(PurePosixPath(file_name).stem, image_id), of_image)
        target = {"ref_id": record["ref_id"], "ann_id": ann_id, "image_id": key, "file_name": file_name}
        return target, box, is_beyond_image

    def _expression(self, sentence: Any, where: str) -> tuple[int, str]:
        """The id and text of an expression, of which there is none before."""
        if not isinstance(sentence, dict):
            raise InputError(where, f"a sentence is {shown(sentence)}, not a dictionary", GET_AGAIN)
        sent_id, sent = number_of(sentence, "sent_id", where), sentence.get("sent")
        text = _as_text(sent).strip() if isinstance(sent, str) else sent
        text = usable_text(text, f"sent of sent_id {sent_id}", where, GET_AGAIN)
        if sent_id in self._seen:
            raise InputError(where, f"sent_id {sent_id} is there twice", GET_AGAIN)
        # Only now: what is left out does not make another expression a second one.
        self._seen.add(sent_id)
        return sent_id, text


def _read_refs(path: Path) -> list[Any]:
    try:
        with path.open("rb") as file:
            # What Python 2 wrote as bytes is text; bytes that are not UTF-8 are dealt with in _as_text.
            content = load_pickle(file, encoding="utf-8", errors="surrogateescape")
    except PickleProblem as problem:
        raise InputError(str(path), problem.problem, problem.remedy) from problem
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "Check the path") from error
    if not isinstance(content, list):
        raise InputError(str(path), f"holds a {type(content).__name__}, not a list of objects", "Give refs(unc).p")
    return content


def _as_text(text: str) -> str:
    """Text of which bytes that are not UTF-8 are taken for Latin-1."""
    if not any("\udc80" <= character <= "\udcff" for character in text):
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:  # there are other halves of surrogate pairs as well, which no bytes stand for
        return text


def _corners(bbox: Any, size: list[int], where: str) -> tuple[list[float], bool]:
    """A box [x, y, width, height] as [x1, y1, x2, y2], and whether it goes beyond an image of ``size``."""
    is_box = isinstance(bbox, list) and len(bbox) == 4
    if not is_box or not all(type(side) in (int, float) and abs(side) < _LARGEST_SIDE for side in bbox):
        raise InputError(where, f"bbox is {shown(bbox, 80)}, not four numbers", GET_AGAIN)
    x, y, width, height = bbox
    # COCO's numbers have two digits after the point; sums of them shall have no more.
    box = [round(float(side), 4) for side in (x, y, x + width, y + height)]
    if width <= 0 or height <= 0 or box[0] >= size[0] or box[1] >= size[1] or box[2] <= 0 or box[3] <= 0:
        problem = f"bbox {bbox} has no area inside of the image's {size[0]} x {size[1]} pixels"
        raise InputError(where, problem, GET_AGAIN)
    is_beyond = min(box) < -_ROUNDING or box[2] > size[0] + _ROUNDING or box[3] > size[1] + _ROUNDING
    return box, is_beyond
