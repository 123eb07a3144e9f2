"""Reads the lines of VinVL's ``predictions.tsv``, and of the files of labels of its kind.

A line is ``image_id \\t JSON`` with ``image_h``, ``image_w`` and ``objects``, each of which has ``rect`` (x1, y1, x2,
y2), ``class`` (a name, or with a label map a number), ``conf``, and perhaps ``attributes`` and ``feature``; or the JSON
is the list of objects alone. Where it does not say the image's size, a file of sizes does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mmf_muvla.reading.json_values import parse_line
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.regions.checks import DAMAGED_FILE, Place
from mmf_muvla.regions.image_sizes import REMEDY as SIZES_REMEDY
from mmf_muvla.regions.image_sizes import ImageSizes
from mmf_muvla.regions.label_map import LabelMap, is_text
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.rect_scale import ScaleEvidence, possible_scales
from mmf_muvla.regions.tsv_lines import first_lines, lines_in

# No image has so much, and an image of the longest line still fits into 200 MB several times over while it is read.
LONGEST_PREDICTION = 10 * 2**20


@dataclass(frozen=True)
class Prediction:
    """A line: an image and its n objects, each with the best of its attributes, if any."""

    size: tuple[int, int] | None  # width, height; None where nothing says it
    rects: np.ndarray  # float64 [n, 4]
    names: list[str]
    attributes: list[str | None]
    confidence: np.ndarray  # float32 [n]
    features: list[Any]  # what the objects have as ``feature``


@dataclass
class PredictionPart:
    """What a range of lines holds; they count from its first, as 1."""

    evidence: ScaleEvidence
    num_lines: int = 0
    lines: list[tuple[int, bytes, int]] = field(default_factory=list)  # number, image id, offset
    object_names: set[str] = field(default_factory=set)
    attribute_names: set[str] = field(default_factory=set)
    problems: list[BadRecord] = field(default_factory=list)


@dataclass(frozen=True)
class PredictionsFile:
    """Reads ``predictions.tsv``.

    Attributes:
        labels: the names of classes where it has numbers.
        sizes: those of images whose lines do not say them.
        needs_size: whether an image whose size nothing says is damaged.
        may_be_list: whether the objects may stand alone.
        longest: the most bytes of a line.
    """

    path: Path
    options: RegionOptions
    labels: LabelMap | None
    sizes: ImageSizes | None = None
    needs_size: bool = True
    may_be_list: bool = False
    longest: int = LONGEST_PREDICTION

    def look_at(self, shard: tuple[int, int]) -> PredictionPart:
        """Find the images of a range of bytes, their names and what boxes say about their scale."""
        part = PredictionPart(ScaleEvidence(possible_scales(self.options)))
        with self.path.open("rb") as file:
            for offset, line in lines_in(file, *shard, self.longest):
                part.num_lines += 1
                image_id, tab, text = line.partition(b"\t")
                if tab:
                    part.lines.append((part.num_lines, image_id, offset))
                    self._collect(image_id, text, part)
                else:
                    bad = Place(self.path, part.num_lines, "")
                    part.problems.append(bad("line is not 'image id, tab, JSON'", f"{line[:40]!r}"))
        return part

    def says_sizes(self, num_lines: int) -> set[bool]:
        """Whether the first lines that can be read say their images' sizes: all of them, none, or some."""
        found = set()
        for line in first_lines(self.path, num_lines):
            with suppress(ValueError, RecursionError):
                content = self._parse_content(line.partition(b"\t")[2])
                if isinstance(content, dict):
                    found.add(not {content.get("image_w"), content.get("image_h")} <= {None})
        return found

    def _collect(self, image_id: bytes, text: bytes, part: PredictionPart) -> None:
        # What is damaged here comes up again, and is reported, when the image's features are read.
        try:
            content = self._parse_content(text)
            objects = content["objects"]
            names = [self._class_name(entry["class"]) for entry in objects]
            attributes = [_first_attribute(entry) for entry in objects]
            ends = [entry["rect"][2:] for entry in objects if all(map(_is_number, entry["rect"]))]
            right, bottom = (max((end[axis] for end in ends), default=0.0) for axis in (0, 1))
            size = self._said_size(content) or (self.sizes and self.sizes.get(image_id)) or ()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return
        part.object_names.update(name for name in names if name)
        part.attribute_names.update(name for name in attributes if name)
        if ends and size and all(map(_is_side, size)):
            part.evidence.add_image((int(size[0]), int(size[1])), right, bottom)

    def parse(self, text: bytes, bad: Place) -> Prediction:
        """Read what stands behind the id of an image; a BadRecord where it is damaged."""
        try:
            content = self._parse_content(text)
        except (ValueError, RecursionError) as error:
            raise bad("predictions are not JSON", str(error)[:200]) from error
        if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
            raise bad("predictions have no list 'objects'", shown(content))
        size = self._size(content, bad)
        rects, names, attributes, confidence, features = [], [], [], [], []
        for number, entry in enumerate(content["objects"]):
            if not isinstance(entry, dict):
                raise bad("object is not a JSON object", f"object {number}: {shown(entry)}")
            rect, label, conf = entry.get("rect"), entry.get("class"), entry.get("conf")
            if not (isinstance(rect, list) and len(rect) == 4 and all(map(_is_number, rect))):
                raise bad("rect is not four numbers", f"object {number}: {shown(rect)}")
            name = self._class_name(label)
            if name is None:
                remedy = "Check region_options.label_map and label_offset"
                if self.labels is None:
                    remedy = "Say with region_options.label_map what the numbers stand for"
                if not isinstance(label, int):
                    remedy = DAMAGED_FILE
                raise bad("class is not a name", f"object {number}: {shown(label, quoted=True)}", remedy)
            if not (_is_number(conf) and 0 <= conf <= 1):
                raise bad("conf is not between 0 and 1", f"object {number}: {shown(conf, quoted=True)}")
            try:
                attributes.append(_first_attribute(entry))
            except TypeError as error:
                value = f"object {number}: {shown(entry['attributes'], quoted=True)}"
                raise bad("attributes are not a list of words", value) from error
            rects.append(rect)
            names.append(name)
            confidence.append(conf)
            features.append(entry.get("feature"))
        rect_array = np.array(rects, np.float64).reshape(-1, 4)
        return Prediction(size, rect_array, names, attributes, np.array(confidence, np.float32), features)

    def has_no_objects(self, text: bytes) -> bool:
        """Whether a line says that the detector has found nothing in its image."""
        with suppress(ValueError, RecursionError):
            content = self._parse_content(text)
            return isinstance(content, dict) and content.get("objects") == []
        return False

    def _parse_content(self, text: bytes) -> Any:
        content = parse_line(text)
        return {"objects": content} if self.may_be_list and isinstance(content, list) else content

    def _said_size(self, content: dict[str, Any]) -> tuple[Any, Any] | None:
        """Width and height as a line says them; ``None`` where it says neither, and something else may."""
        size = content.get("image_w"), content.get("image_h")
        return None if size == (None, None) and (self.sizes or not self.needs_size) else size

    def _size(self, content: dict[str, Any], bad: Place) -> tuple[int, int] | None:
        size = self._said_size(content)
        if size is not None:
            width, height = size
            if not (_is_side(width) and _is_side(height)):
                value = f"{shown(width, quoted=True)} x {shown(height, quoted=True)}"
                remedy = SIZES_REMEDY if size == (None, None) else DAMAGED_FILE
                raise bad("image_w and image_h are not a size in pixels", value, remedy)
            return int(width), int(height)
        found = self.sizes.get(bad.image_id.encode("utf-8", "surrogatepass")) if self.sizes else None
        if found is None and self.needs_size:
            raise bad("image has no size", f"it is not in {self.sizes and self.sizes.source}", SIZES_REMEDY)
        return found

    def _class_name(self, label: Any) -> str | None:
        """The name of a class, given as a name or as a number; ``None`` where it is neither."""
        if isinstance(label, int) and not isinstance(label, bool) and self.labels:
            label = self.labels.object_name(label)
        if not isinstance(label, str) or not label.strip() or not is_text(label):
            return None
        return self.options.rename.get(label, label)


def features_inside(text: bytes) -> Iterator[str]:
    """What the objects of a line have as ``feature``, as far as the line can be read."""
    with suppress(ValueError, RecursionError):
        content = parse_line(text)
        objects = content.get("objects") if isinstance(content, dict) else None
        for entry in objects if isinstance(objects, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("feature"), str):
                yield entry["feature"]


def _is_number(value: Any) -> TypeGuard[float]:
    # The bound also refuses NaN, infinity and integers that no float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _is_side(value: Any) -> TypeGuard[float]:
    return _is_number(value) and value == int(value) and 0 < value < 2**31


def _first_attribute(entry: dict[str, Any]) -> str | None:
    """The detector's best attribute of an object; most have none."""
    attributes, scores = entry.get("attributes"), entry.get("attr_scores")
    # scene_graph_benchmark always gives as many as it is asked for, those that it does not mean with a score of 0.
    if not attributes or (isinstance(scores, list) and scores and scores[0] == 0):
        return None
    if not isinstance(attributes, list) or not isinstance(attributes[0], str) or not is_text(attributes[0]):
        raise TypeError("attributes")
    attribute = attributes[0].strip()
    return None if attribute in ("", "__no_attribute__") else attribute
