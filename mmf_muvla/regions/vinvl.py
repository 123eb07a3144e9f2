"""Reads folders of detector output in the format that VinVL publishes its features in.

``features.tsv``: ``image_id \t number of regions \t base64(float32 [n, d] or [n, d + 6])``; the six further numbers
are x1/W, y1/H, x2/W, y2/H and the box's size, relative to the image as well. In some of the published folders, the
boxes of ``predictions.tsv`` are in pixels of the image that the detector saw, so that these six count. Where rows have
none, it is decided for the whole folder what those boxes are measured in (:mod:`mmf_muvla.regions.rect_scale`).
"""

from __future__ import annotations

from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.regions.bottom_up_tsv import BottomUpTsv
from mmf_muvla.regions.checks import Place
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.lxmert_tsv import LxmertTsv
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.paired_files import PairedFiles
from mmf_muvla.regions.scene_graph_benchmark import SceneGraphPredictions
from mmf_muvla.regions.sources import first_names

FEATURES_FILE, PREDICTIONS_FILE = "features.tsv", "predictions.tsv"


class VinvlFolder(PairedFiles):
    """A folder of detector output; an InputError where one of its files is not there or is empty."""

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels, *(_find_file(path, name) for name in (FEATURES_FILE, PREDICTIONS_FILE)))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        features, predictions = path / FEATURES_FILE, path / PREDICTIONS_FILE
        if features.is_file():
            # Others call their files so, too.
            return predictions.exists() or not any(it.recognises(features) for it in (BottomUpTsv, LxmertTsv))
        return features.exists() or (predictions.exists() and not SceneGraphPredictions.recognises(path))

    def columns(self, line: bytes, bad: Place) -> tuple[bytes, bytes, str | bytes]:
        columns = line.rstrip(b"\r\n").split(b"\t")
        if len(columns) != 3:
            raise bad("line has not three columns", f"it has {len(columns)}")
        raw_id, digits, text = columns
        return raw_id, digits, text


def _find_file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        remedy = f"Name a folder with {FEATURES_FILE} and {PREDICTIONS_FILE}"
        raise InputError(str(folder), f"has no {name} (it has {first_names(folder)})", remedy)
    return path
