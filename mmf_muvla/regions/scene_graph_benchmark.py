"""Reads ``predictions.tsv`` as scene_graph_benchmark writes it: lines of VinVL's kind, with the features inside.

Each object has its ``feature``, float32 [d] in base64. The lines do not say how large images are: ``hw.tsv`` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.reading.problems import BadRecord, shown
from mmf_muvla.regions.base64_rows import (
    LINES_TRIED,
    ROWS_TRIED,
    check_widths,
    decode_features,
    image_id_of,
    rows_of_any_width,
    shown_id,
)
from mmf_muvla.regions.checks import FoundImage, Place
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.predicted_images import ImageMaker, PredictedSource
from mmf_muvla.regions.sources import Contents, NameIds, Shard, ShardContent
from mmf_muvla.regions.tsv_lines import LONGEST_LINE, first_lines, lines_in
from mmf_muvla.regions.vinvl_predictions import PredictionsFile, features_inside

_BUFFER = 2**22


class SceneGraphPredictions(PredictedSource):
    """A file, or a folder with ``predictions.tsv`` and no ``features.tsv``."""

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        file = _file_of(path)
        super().__init__(path, options, labels, PredictionsFile(file, options, labels, longest=LONGEST_LINE))
        self.lines_file = file

    @classmethod
    def recognises(cls, path: Path) -> bool:
        file = _file_of(path)
        return file.is_file() and next(_features_of(file, LINES_TRIED), None) is not None

    def prepare(self, index: Path, executor: Executor) -> Contents:
        contents = self.look_over(index, executor, self._look_at_features(), lambda whole, part: None)
        # Lines that are none are reported when images are read.
        return replace(contents, problems=[])

    def shards(self, index: Path) -> Iterator[Shard]:
        return self.shards_of(self.predictions.path)

    def read(self, shard: Shard, index: Path, names: NameIds) -> ShardContent:
        start, end = shard
        content, maker = ShardContent(), self.maker(index, names)
        with self.predictions.path.open("rb", buffering=_BUFFER) as file:
            for number, (_, line) in enumerate(lines_in(file, start, end, LONGEST_LINE), start=1):
                content.add(self._read_line, number, line, maker)
        return content

    def _read_line(self, number: int, line: bytes, maker: ImageMaker) -> FoundImage:
        raw_id, tab, text = line.partition(b"\t")
        brief = Place(self.predictions.path, number, shown_id(raw_id, 80))
        if not tab:
            raise brief("line is not 'image id, tab, JSON'", f"{line[:40]!r}")
        if len(line) >= LONGEST_LINE:
            raise brief("line is too long", f"{len(line)} bytes or more")
        bad = replace(brief, image_id=image_id_of(raw_id, brief))
        prediction = maker.predictions.parse(text, bad)
        return maker.make(prediction, self._matrix(prediction.features, bad), bad)

    def _matrix(self, features: list[Any], bad: Place) -> np.ndarray:
        rows = [np.zeros((0, self.options.feature_dim), np.float32)]
        for number, text in enumerate(features):
            if not isinstance(text, str):
                raise bad("object has no feature", f"object {number}: {shown(text, quoted=True)}")
            rows.append(decode_features(1, text, self.options, partial(_of_object, bad, number)))
        widths = {row.shape[1] for row in rows[1:]}
        if len(widths) > 1:
            raise bad("features of objects differ in length", f"there are {min(widths)} and {max(widths)} numbers")
        return np.concatenate(rows[1:] or rows)

    def _look_at_features(self) -> set[int]:
        """How many numbers the first features have; see :func:`check_widths`."""
        file = self.predictions.path
        texts = islice(_features_of(file, LINES_TRIED), ROWS_TRIED)
        rows = (rows for text in texts if (rows := rows_of_any_width(1, text)) is not None)
        return check_widths(rows, file, self.options)


def _of_object(bad: Place, number: int, reason: str, value: str, *remedy: str) -> BadRecord:
    return bad(reason, f"object {number}: {value}", *remedy)


def _file_of(path: Path) -> Path:
    return path / "predictions.tsv" if path.is_dir() else path


def _features_of(file: Path, num_lines: int) -> Iterator[str]:
    """The features inside of the first lines."""
    for line in first_lines(file, num_lines):
        yield from features_inside(line.partition(b"\t")[2])
