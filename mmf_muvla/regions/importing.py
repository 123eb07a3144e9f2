"""Stage *regions*: detector output becomes a region store.

Sources are read in shards of some megabytes, by workers, whose results are written in order. Every shard is committed
together with how far the import is, so that a killed import continues with the next one.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.artifacts.files import digest_of_json, fingerprint, read_json, remove_as_a_whole, write_json
from mmf_muvla.artifacts.lock import locked
from mmf_muvla.artifacts.progress import ProgressRecord, progress_bar
from mmf_muvla.artifacts.workers import ordered_map
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, SkipLog
from mmf_muvla.regions.detection import (
    DAMAGED_FILE,
    NO_REGIONS,
    Contents,
    Detection,
    ImageWithoutRegions,
    RegionSource,
    Shard,
    ShardReader,
)
from mmf_muvla.regions.label_map import read_label_map
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.outputs import check_import, counts_path, work_path
from mmf_muvla.regions.records import EncodedRegions, Regions, encode_regions
from mmf_muvla.regions.sources import open_regions
from mmf_muvla.regions.writer import RegionStoreWriter, partial_path

# Raised when shards or what is found in them change, so that what an older version has begun is not continued.
_VERSION = 2
_COUNTS = (
    *("images", "regions", "skipped", "images_without_regions", "boxes_mended", "boxes_clipped"),
    *("regions_without_area", "regions_dropped"),
)

logger = logging.getLogger(__name__)


def import_regions(
    sources: Sequence[Path],
    options: RegionOptions,
    on_bad_record: str,
    max_skipped_fraction: float,
    store: Path,
    skipped: Path,
    num_workers: int = 1,
    progress: ProgressRecord | None = None,
) -> dict[str, int]:
    """Write the images of some sources to a region store.

    A killed import is continued by the next one that has the same sources and options; store and ``skipped`` are then
    the same, byte for byte, as if it had not been killed, whatever the number of workers. Beside the store there are
    meanwhile ``<store>.partial`` and ``<store>.work``, and after it ``<store>.counts.json``, by which an import that
    has been finished is known; remove that file, and the import is done again.

    Args:
        sources: detector output; an image id may occur once in all of them. See
            :func:`~mmf_muvla.regions.sources.open_regions` for the formats.
        options: how to read it.
        on_bad_record: ``"error"`` stops at the first image that cannot be used, ``"skip"`` leaves it out.
        max_skipped_fraction: with ``"skip"``, the share of such images beyond which the import stops.
        store: the region store to write.
        skipped: a JSON-lines file to write, with the images that were left out.
        num_workers: processes that read.
        progress: records how far the import is.

    Returns:
        Counts: images; regions; skipped (images that are damaged); images_without_regions, which are left out and
        listed as well, but are no damage; boxes_mended (images whose ``rect`` was in the detector's scale); and of the
        images: boxes_clipped, regions_without_area (left out), regions_dropped (those beyond ``max_regions``).

    Raises:
        InputError: a source cannot be read, an image is bad under ``on_bad_record=error``, too many are, or all; or
            what would be written over is a source, or somebody else's.
    """
    check_import(store, skipped, [*sources, *([_label_file(options)] if options.label_map else [])])
    opened = _open_all(sources, options)
    prints = [source.fingerprint() for source in opened]
    label_map = fingerprint(_label_file(options)) if options.label_map else None
    made_from = digest_of_json([_VERSION, prints, {**region_parameters(options), "label_map": label_map}])
    counts_file, work = counts_path(store), work_path(store)
    work.mkdir(parents=True, exist_ok=True)
    refusal = InputError(str(work), "another process is importing here", "Wait for it, or name another store")
    with locked(work, refusal):
        finished = read_json(counts_file)
        counts: dict[str, int] | None = finished["counts"] if finished and finished["made_from"] == made_from else None
        if counts is None or not store.is_dir() or partial_path(store).exists():
            _begin(store, work, made_from)
            importer = _Importer(opened, options, work, num_workers, progress)
            with importer.writer(store) as writer:
                if not writer.finished:
                    with SkipLog(skipped, on_bad_record, max_skipped_fraction, _skips_state(writer)) as skips:
                        counts = importer.run(writer, skips)
                    write_json(counts_file, {"made_from": made_from, "counts": counts})
                elif counts is None:
                    raise InputError(
                        str(partial_path(store)), "was left by another import", "Remove it and start again"
                    )
        shutil.rmtree(work, ignore_errors=True)
    assert counts is not None
    return counts


def region_parameters(options: RegionOptions) -> dict[str, Any]:
    """The options that a store depends on. A newer one is left out while unset, so that older stores remain valid."""
    parameters = asdict(options)
    if parameters["detector_size"] is None:
        del parameters["detector_size"]
    return parameters


def region_fingerprints(sources: Sequence[Path], options: RegionOptions) -> dict[str, Any]:
    """What identifies the content of some sources, and of the label map, by path.

    Raises:
        InputError: one cannot be read.
    """
    prints = {str(source.path): source.fingerprint() for source in _open_all(sources, options)}
    if options.label_map:
        prints[str(_label_file(options))] = fingerprint(_label_file(options))
    return prints


def _open_all(sources: Sequence[Path], options: RegionOptions) -> list[RegionSource]:
    labels = read_label_map(_label_file(options), options.label_offset) if options.label_map else None
    return [open_regions(path, options, labels) for path in sources]


def _label_file(options: RegionOptions) -> Path:
    assert options.label_map
    return Path(options.label_map).expanduser()


class _Importer:
    """One import.

    Args:
        sources: what to read.
        options: how.
        work: a folder for what is found out on the way.
        num_workers: processes that read.
        progress: see :func:`import_regions`.
    """

    def __init__(
        self,
        sources: Sequence[RegionSource],
        options: RegionOptions,
        work: Path,
        num_workers: int,
        progress: ProgressRecord | None,
    ):
        self._sources = sources
        self._options = options
        self._work = work
        self._num_workers = num_workers
        self._bar = progress.bar if progress else progress_bar
        self._contents = self._prepare()
        self._total = sum(contents.num_images for contents in self._contents)
        self._object_names = sorted({name for contents in self._contents for name in contents.object_names})
        self._attribute_names = sorted({name for contents in self._contents for name in contents.attribute_names})

    def writer(self, store: Path) -> RegionStoreWriter:
        return RegionStoreWriter(
            store, self._object_names, self._attribute_names, self._options.feature_dim, resume=True
        )

    def run(self, writer: RegionStoreWriter, skips: SkipLog) -> dict[str, int]:
        """Read what has not been read, and write it."""
        at = writer.progress or {"source": 0, "shard": 0, "lines": 0, "counts": dict.fromkeys(_COUNTS, 0)}
        counts: dict[str, int] = at["counts"]
        if writer.progress is None:
            for contents in self._contents:
                for problem in contents.problems:
                    skips.add_bad(problem)
            skips.check(self._total)
        items = self._items(at["source"], at["shard"])
        arguments = (self._sources, self._work, self._object_names, self._attribute_names)
        with self._bar(self._total, "regions", "image", initial=_num_done(counts)) as bar:
            for result in ordered_map(_read_shard, items, self._num_workers, _Worker, arguments):
                before = _num_done(counts)
                self._add(writer, skips, counts, result, at["lines"])
                if result.is_last:
                    for problem in self._sources[result.source].leftovers(self._index(result.source)):
                        _leave_out(problem, skips)
                skips.check(self._total)
                counts["skipped"] = skips.num_bad
                counts["images_without_regions"] = skips.filtered[NO_REGIONS]
                if result.is_last:
                    at = {"source": result.source + 1, "shard": 0, "lines": 0}
                else:
                    at = {"source": result.source, "shard": result.shard + 1, "lines": at["lines"] + len(result.images)}
                writer.commit({**at, "counts": counts, "skips": skips.state()})
                bar.update(_num_done(counts) - before)
        if not counts["images"]:
            places = ", ".join(str(source.path) for source in self._sources)
            raise InputError(places, "no image can be used", "See the list of what was left out")
        return counts

    def _add(
        self, writer: RegionStoreWriter, skips: SkipLog, counts: dict[str, int], result: _ShardResult, lines: int
    ) -> None:
        """Add a shard's images; ``lines`` is how many lines of the source came before it."""
        source = self._sources[result.source]
        for number, image in enumerate(result.images, start=1):
            if isinstance(image, BadRecord):
                if image.line is not None and image.file == source.lines_file:
                    image.line += lines
                _leave_out(image, skips)
            elif image.regions.image_id in writer:
                image_id = image.regions.image_id
                file, line = (source.lines_file, lines + number) if source.lines_file else (source.path, None)
                skips.add_bad(BadRecord(file, line, image_id, "image id occurs twice", image_id, DAMAGED_FILE))
            else:
                writer.put_encoded(image.regions)
                counts["images"] += 1
                counts["regions"] += len(image.regions.class_id)
                counts["boxes_mended"] += image.mended
                counts["boxes_clipped"] += image.num_clipped
                counts["regions_without_area"] += image.num_without_area
                counts["regions_dropped"] += image.num_dropped
        source.mark(self._index(result.source), result.found)

    def _prepare(self) -> list[Contents]:
        """Find out what the sources hold, or remember it."""
        contents = []
        with self._bar(len(self._sources), "looking at sources", "source") as bar:
            for number, source in enumerate(self._sources):
                note = self._work / f"contents-{number:04d}.json"
                if not note.exists():
                    write_json(note, source.prepare(self._index(number), self._num_workers).to_json())
                contents.append(Contents.from_json(json.loads(note.read_text(encoding="utf-8"))))
                if contents[-1].remark:
                    logger.info("%s: %s", source.path, contents[-1].remark)
                bar.update()
        return contents

    def _items(self, first_source: int, first_shard: int) -> Iterator[tuple[int, int, Shard, bool]]:
        """Number of the source and of the shard, the shard, and whether it is the source's last."""
        for number in range(first_source, len(self._sources)):
            shards = enumerate(self._sources[number].shards(self._index(number)))
            waiting = next(shards, None)
            for following in shards:
                assert waiting is not None
                if number > first_source or waiting[0] >= first_shard:
                    yield number, *waiting, False
                waiting = following
            if waiting:
                yield number, *waiting, True

    def _index(self, number: int) -> Path:
        return self._work / f"index-{number:04d}"


def _leave_out(problem: BadRecord, skips: SkipLog) -> None:
    if isinstance(problem, ImageWithoutRegions):
        skips.add_useless(problem)
    else:
        skips.add_bad(problem)


def _num_done(counts: dict[str, int]) -> int:
    return counts["images"] + counts["skipped"] + counts["images_without_regions"]


# --- what workers do


@dataclass(frozen=True)
class _EncodedImage:
    regions: EncodedRegions
    mended: bool
    num_clipped: int
    num_without_area: int
    num_dropped: int


@dataclass(frozen=True)
class _ShardResult:
    source: int
    shard: int
    is_last: bool
    images: list[_EncodedImage | BadRecord]
    found: np.ndarray


class _Worker:
    """What a worker keeps: the source that it reads from, and the numbers of names."""

    def __init__(
        self,
        sources: Sequence[RegionSource],
        work: Path,
        object_names: Sequence[str],
        attribute_names: Sequence[str],
    ):
        self._sources = sources
        self._work = work
        self._class_ids = {name: number for number, name in enumerate(object_names)}
        self._attribute_ids: dict[str | None, int] = {name: number for number, name in enumerate(attribute_names)}
        self._attribute_ids[None] = -1
        self._open: tuple[int, ShardReader] | None = None

    def reader(self, source: int) -> ShardReader:
        if self._open is None or self._open[0] != source:
            self._open = source, self._sources[source].reader(self._work / f"index-{source:04d}")
        return self._open[1]

    def encode(self, image: Detection | BadRecord) -> _EncodedImage | BadRecord:
        if isinstance(image, BadRecord):
            return image
        regions = Regions(
            image_id=image.image_id,
            width=image.width,
            height=image.height,
            image_feature_0=image.features,
            bbox=image.boxes,
            class_id=np.array([self._class_ids[name] for name in image.names], np.int32),
            attribute_id=np.array([self._attribute_ids[name] for name in image.attributes], np.int32),
            confidence=image.confidence,
        )
        return _EncodedImage(
            encode_regions(regions), image.mended, image.num_clipped, image.num_without_area, image.num_dropped
        )


def _read_shard(worker: _Worker, item: tuple[int, int, Shard, bool]) -> _ShardResult:
    source, number, shard, is_last = item
    content = worker.reader(source).read(shard)
    return _ShardResult(source, number, is_last, [worker.encode(image) for image in content.images], content.found)


# --- the folder that an import works in


def _begin(store: Path, work: Path, made_from: str) -> None:
    """Make the working folder ready, or keep what an import of the same left there."""
    note = work / "made_from.json"
    if read_json(note) != {"made_from": made_from}:
        # The note goes first: without it, nothing that is left is taken for a part of this import.
        note.unlink(missing_ok=True)
        remove_as_a_whole(partial_path(store))
        for leftover in work.iterdir():
            leftover.unlink()
        write_json(note, {"made_from": made_from})


def _skips_state(writer: RegionStoreWriter) -> dict[str, Any] | None:
    return writer.progress["skips"] if writer.progress else None
