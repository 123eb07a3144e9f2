"""How pictures become regions: the options of ``tools/extract_regions.py``, and of ``regions`` in a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from mmf_muvla.options.checking import check
from mmf_muvla.options.executors import ExecutorName, ExecutorOptions
from mmf_muvla.options.kinds import Name, Options, Paths, Share, Text, Whole, Workers


@dataclass
class DetectionOptions(Options):
    """Pictures, a detector, and which of its detections are regions.

    Attributes:
        images: folders with pictures at any depth; tar shards as WebDataset has them, or folders of them; parquet
            files, data sets that Hugging Face's library has saved, or folders of these; text files that list pictures.
        detector: a hub name or a folder of a detector that ``transformers`` loads; ``torchvision:NAME``; or a class of
            yours, ``my_package.my_detector:MyDetector``: see :mod:`~mmf_muvla.detection.detectors.detector`.
        detector_options: what a detector that is no name of ``transformers`` takes, by name.
        vocabulary: a file with the names that an open-vocabulary detector is to look for, one a line; see
            :func:`~mmf_muvla.regions.label_map.read_label_map`.
        rename: other names for object classes, e.g. ``{tvmonitor: tv monitor}``.
        min_confidence: detections below are no regions, unless a picture had fewer than ``min_regions`` without them.
        max_overlap: of two boxes that overlap more (intersection over union), whatever they are called, the more
            confident one stays.
        min_regions, max_regions: regions of a picture; never more than ``max_regions``.
        batch_size: pictures in one pass of the detector; only those are put together that have the same size then, so
            that none is padded.
        dtype: what the detector computes in.
        device: ``auto`` (all GPUs where there are any), ``cpu``, ``cuda:1``, or several: ``cuda:0,cuda:1``.
        thumbnails: keep a copy of every picture whose longer side has this many pixels, for pages; 0 keeps none.
        max_pixels: pictures with more are left out as damaged.
        image_column, id_column: of tables, where the pictures and their ids are; not given: found out.
    """

    images: Paths
    detector: Name
    detector_options: dict[str, Any] = field(default_factory=dict)
    vocabulary: Name | None = None
    rename: dict[str, Text] = field(default_factory=dict)
    # What VinVL's detector was run with for the paper: boxes compared whatever their class, 10 to 100 regions.
    min_confidence: Share = 0.2
    max_overlap: Share = 0.5
    min_regions: Annotated[Whole, Field(ge=1, le=2**15)] = 10
    max_regions: Annotated[Whole, Field(ge=1, le=2**15)] = 100
    batch_size: Annotated[Whole, Field(ge=1, le=4096)] = 16
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Name = "auto"
    thumbnails: Annotated[Whole, Field(ge=0, le=4096)] = 0
    max_pixels: Annotated[Whole, Field(ge=1, le=178_956_970)] = 100_000_000  # at most what Pillow decodes
    image_column: Name | None = None
    id_column: Name | None = None


@dataclass
class ExtractConfig(DetectionOptions):
    """The options of ``tools/extract_regions.py``."""

    out: Name = field(kw_only=True)
    on_bad_record: Literal["error", "skip"] = "skip"
    max_skipped_fraction: Share = 0.01
    num_workers: Workers = "auto"
    executor: ExecutorName = "local"
    executor_options: ExecutorOptions = field(default_factory=ExecutorOptions)

    def detection(self) -> DetectionOptions:
        """Those of them that a corpus has under ``regions`` as well."""
        return DetectionOptions(**{name: getattr(self, name) for name in DetectionOptions.__dataclass_fields__})


def check_detection(content: Mapping[str, Any], prefix: str, where: str) -> DetectionOptions:
    """Check the options of detection inside a configuration; an InputError where one cannot be used."""
    return check(DetectionOptions, content, lambda _: where, prefix)
