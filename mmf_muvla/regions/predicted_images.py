"""Images of which lines of VinVL's kind say size, boxes and classes: what is decided for all, and how one is made.

What boxes called ``rect`` are measured in is decided once for a source (:mod:`mmf_muvla.regions.rect_scale`), as is
where the images' sizes come from: the lines, a file of sizes, or, where features have boxes of their own, these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.artifacts.files import fingerprint, read_json, write_json
from mmf_muvla.errors import InputError
from mmf_muvla.regions import boxes, checks, rect_scale
from mmf_muvla.regions.base64_rows import ROWS_TRIED
from mmf_muvla.regions.checks import FoundImage, Place
from mmf_muvla.regions.image_sizes import REMEDY as SIZES_REMEDY
from mmf_muvla.regions.image_sizes import ImageSizes, sizes_beside
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.rect_scale import Scale, ScaleEvidence
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.sources import Contents, NameIds, RegionSource, Shard, beside
from mmf_muvla.regions.tsv_lines import BYTES_PER_PIECE, byte_ranges, piece_bytes
from mmf_muvla.regions.vinvl_predictions import Prediction, PredictionPart, PredictionsFile

_BYTES_PER_SHARD = BYTES_PER_PIECE
# Of predictions, workers take a quarter of that at a time, so that there is some for each of them.
_LOOKS_PER_SHARD = 4
_DECIDED, _SIZES = "scale.json", "sizes.sqlite"
# How far a size that follows from boxes may be from whole pixels; it is that of boxes with two decimals.
_ROUNDING = 0.1


class PredictedSource(RegionSource):
    """A source with a file of predictions."""

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None, predictions: PredictionsFile):
        super().__init__(path, options, labels)
        self.predictions = predictions
        self._sizes_file = Path(options.image_sizes).expanduser() if options.image_sizes else None

    def fingerprint(self) -> dict[str, Any]:
        return {file.name: fingerprint(file) for file in (self.predictions.path, *self._sizes_beside())}

    def look_over(
        self, index: Path, executor: Executor, widths: set[int], add: Callable[[PredictionPart, PredictionPart], None]
    ) -> Contents:
        """Read the predictions once, for their names, and what their boxes are measured in.

        Args:
            index: see :class:`~mmf_muvla.regions.sources.RegionSource`.
            executor: who reads.
            widths: how many numbers the first rows of features have.
            add: is told the whole so far and each part, before this is added.
        """
        needs_scale = self.options.feature_dim in widths
        predictions, sizes_remark = self._with_sizes(index, has_boxes=bool(widths) and not needs_scale)
        whole = PredictionPart(ScaleEvidence(rect_scale.possible_scales(self.options)))
        shards = byte_ranges(predictions.path, -(-_BYTES_PER_SHARD // _LOOKS_PER_SHARD))
        arguments = tuple(vars(predictions).values())
        look_at = PredictionsFile.look_at
        for part in executor.map(look_at, shards, PredictionsFile, arguments, kind="regions", folder=index.parent):
            add(whole, part)
            for problem in part.problems:
                assert problem.line is not None
                problem.line += whole.num_lines
            whole.problems += part.problems
            whole.num_lines += part.num_lines
            whole.object_names |= part.object_names
            whole.attribute_names |= part.attribute_names
            whole.evidence.counts += part.evidence.counts
        scale, remark = rect_scale.choose_scale(self.options, whole.evidence, needs_scale, predictions.path)
        decided = {
            "is_known": scale is not None,
            "detector_size": (scale and scale.detector_size) or (),
            "evidence": str(whole.evidence),
            "sizes": str(predictions.sizes.source) if predictions.sizes else None,
            "needs_size": predictions.needs_size,
        }
        write_json(beside(index, _DECIDED), decided)
        problems = sorted(whole.problems, key=lambda problem: problem.line or 0)
        names = sorted(whole.object_names), sorted(whole.attribute_names)
        return Contents(whole.num_lines, *names, problems, remark + sizes_remark)

    def _with_sizes(self, index: Path, has_boxes: bool) -> tuple[PredictionsFile, str]:
        """The predictions, with the sizes of images as they are known; and a remark on these."""
        said, beside_it = self.predictions.says_sizes(ROWS_TRIED), self._sizes_beside()
        if len(beside_it) > 1:
            named = " and ".join(file.name for file in beside_it[:2])
            problem = f"has several files of images' sizes, {named}"
            raise InputError(str(beside_it[0].parent), problem, "Name one with region_options.image_sizes")
        for file in [self._sizes_file] if self._sizes_file else beside_it:
            sizes = ImageSizes(file, beside(index, _SIZES))
            sizes.make_table()
            return replace(self.predictions, sizes=sizes), f"; sizes of images are those of {file}"
        if False in said and has_boxes:
            return replace(self.predictions, needs_size=False), "; sizes of images follow from their two kinds of boxes"
        if said == {False}:
            problem = f"nothing says how large images are: lines of {self.predictions.path.name} have no image_w"
            raise InputError(str(self.path), problem, SIZES_REMEDY)
        return self.predictions, ""

    def shards_of(self, file: Path) -> Iterator[Shard]:
        """The ranges of bytes in which a file is read."""
        return byte_ranges(file, piece_bytes(self.feature_dim, _BYTES_PER_SHARD))

    def _sizes_beside(self) -> list[Path]:
        """The files of sizes that lie beside, where these are needed and none is named."""
        is_needed = not self._sizes_file and False in self.predictions.says_sizes(ROWS_TRIED)
        return sizes_beside(self.predictions.path) if is_needed else []

    def maker(self, index: Path, names: NameIds) -> ImageMaker:
        """What makes images, as was decided."""
        decided = read_json(beside(index, _DECIDED))
        assert decided is not None
        scale = Scale(tuple(decided["detector_size"]) or None) if decided["is_known"] else None
        file = decided.get("sizes")  # an older version has noted neither of the two
        sizes = ImageSizes(Path(file), beside(index, _SIZES)) if file else None
        predictions = replace(self.predictions, sizes=sizes, needs_size=decided.get("needs_size", True))
        return ImageMaker(predictions, self.options, names, scale, decided["evidence"])


@dataclass(frozen=True)
class ImageMaker:
    """Puts an image together of its prediction and its features."""

    predictions: PredictionsFile
    options: RegionOptions
    names: NameIds
    scale: Scale | None  # of ``rect``, where that is known
    evidence: str  # why it is not

    def make(self, prediction: Prediction, matrix: np.ndarray, bad: Place) -> FoundImage:
        """An image of n regions: ``matrix`` [n, d] or, with boxes relative to the image, [n, d + 6].

        Raises:
            BadRecord: the two do not fit each other, the image cannot be used, or it has no regions.
        """
        if len(matrix) != len(prediction.names):
            counts = f"{len(matrix)} and {len(prediction.names)}"
            raise bad("features and predictions differ in the number of regions", counts)
        if not len(matrix):
            raise bad.without_regions("0 regions")
        features, relative = np.split(matrix, [self.options.feature_dim], axis=1)
        half = checks.as_half(features, bad)
        size = prediction.size or self._size_of_boxes(prediction.rects, relative, bad)
        bbox, mended = self._boxes(prediction.rects, size, relative, bad)
        regions = Regions(
            bad.image_id,
            *size,
            image_feature_0=half,
            bbox=bbox,
            class_id=self.names.class_ids(prediction.names),
            attribute_id=self.names.attribute_ids(prediction.attributes),
            confidence=prediction.confidence,
        )
        return checks.check_image(regions, self.options, bad, mended=mended)

    def _boxes(
        self, rects: np.ndarray, size: tuple[int, int], relative: np.ndarray, bad: Place
    ) -> tuple[np.ndarray, bool]:
        """Boxes in pixels of the image, and whether ``rect`` is in another scale."""
        if not relative.size:
            if self.scale is None:
                raise bad("it is not known what rect is measured in", self.evidence, rect_scale.REMEDY)
            return rects / self.scale.factor(size), self.scale.detector_size is not None
        trusted = checks.relative_boxes(relative, size, bad)
        is_scaled, region = boxes.compare(rects, trusted, size)
        if region is not None:
            rect, box = (np.round(it[region], 1).tolist() for it in (rects, trusted))
            value = f"region {region}: rect {rect}, box {box}"
            remedy = "The two files do not belong together, or their regions are in different orders"
            raise bad("rect and the features' box are different boxes", value, remedy)
        return trusted, is_scaled

    def _size_of_boxes(self, rects: np.ndarray, relative: np.ndarray, bad: Place) -> tuple[int, int]:
        """Width and height of an image of which boxes are known in pixels as well as relative to it."""
        sides = []
        for axis in (2, 3):
            if not relative.size or not np.isfinite(relative).all() or relative[:, axis].max() <= 0:
                raise bad("image has no size", "its features have no boxes that would tell it", SIZES_REMEDY)
            farthest = relative[:, axis].argmax()
            sides.append(float(rects[farthest, axis] / relative[farthest, axis]))
        size = round(sides[0]), round(sides[1])
        is_whole = max(abs(np.subtract(size, sides))) <= _ROUNDING and 0 < min(size) <= max(size) < 2**31
        if not is_whole or (self.options.rect_scale != "original" and self._is_detectors(size)):
            value = "{:.2f} x {:.2f}".format(*sides)
            remedy = (
                f"{SIZES_REMEDY}; or set region_options.rect_scale=original where rect is in pixels of the original"
            )
            raise bad("image size that follows from its boxes is none, or the detector's", value, remedy)
        return size

    def _is_detectors(self, size: tuple[int, int]) -> bool:
        """Whether an image of that size looks like one that the detector has resized."""
        resized = [scale.detector_size for scale in rect_scale.possible_scales(self.options) if scale.detector_size]
        return any(min(size) == short or max(size) == long for short, long in resized)
