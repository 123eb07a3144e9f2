"""Detector output becomes a region store.

Sources are read in parts of some tens of megabytes, of each of which a worker makes a shard; when all shards are there,
the index is made of them. What a killed process has finished is not done again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmf_muvla.artifacts.artifact import Artifact, Work
from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.artifacts.outputs import refuse_inputs
from mmf_muvla.artifacts.parts import chunks, forget_steps, once, publish_part, read_notes, run_parts
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, SkipLog
from mmf_muvla.regions.checks import DAMAGED_FILE, NO_REGIONS, FoundImage, Place
from mmf_muvla.regions.index import Indexed, write_index
from mmf_muvla.regions.joining import holds_stores, joined_store
from mmf_muvla.regions.label_map import read_label_map
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.shards import SHARD, SUFFIX, StoreShard
from mmf_muvla.regions.sources import Contents, NameIds, RegionSource, Shard, open_regions
from mmf_muvla.regions.thumbnails import THUMBNAILS_SUFFIX, save_thumbnails, thumbnails_path
from mmf_muvla.regions.tsv_lines import SHORT_FEATURES

SKIPPED_FILE = "skipped.jsonl"
# Raised when parts or what is found in them change, so that what an older version has made is made anew.
_VERSION = 3
_SOURCES = "sources"  # beside the shards, while these are being written
_NO_CLASSES = (
    "Name features of a detector that gives classes (those of VinVL, scene_graph_benchmark or LXMERT, say); for "
    "fine-tuning, import these with tools/import_regions.py"
)
_COUNTS = [it.name for it in fields(FoundImage) if it.name not in ("regions", "thumbnail")]

logger = logging.getLogger(__name__)


def import_regions(
    sources: Sequence[Path],
    options: RegionOptions,
    on_bad_record: str,
    max_skipped_fraction: float,
    store: Path,
    executor: Executor | None = None,
) -> dict[str, int]:
    """Write the images of some sources to a region store, unless that has been done.

    Whoever the workers are, and however often it is killed and begun again, the store is the same, byte for
    byte. ``skipped.jsonl`` in it lists the images that were left out.

    Args:
        sources: detector output; an image id may occur once in all of them.
        options: how to read it.
        on_bad_record: ``"error"`` stops at the first image that cannot be used, ``"skip"`` leaves it out.
        max_skipped_fraction: with ``"skip"``, the share of such images beyond which the import stops.
        store: the folder to write.
        executor: who reads and writes; this process where there is none.

    Returns:
        Counts: images; regions; skipped (images that are damaged); images_without_regions, which are left out and
        listed as well, but are no damage; and the fields of :class:`~mmf_muvla.regions.checks.FoundImage`.

    Raises:
        InputError: a source cannot be read, an image is bad under ``on_bad_record=error``, too many are, or all; or
            what would be written over is a source, or somebody else's.
    """
    artifact = region_store(store, sources, options, on_bad_record, max_skipped_fraction)
    refuse_inputs([store, artifact.work_folder], [*sources, *_files_of(options)])
    state = artifact.state()
    if not state.done:
        artifact.check()
        state = artifact.run(executor)
    return state.counts


def region_store(
    folder: Path,
    sources: Sequence[Path],
    options: RegionOptions,
    on_bad_record: str,
    max_skipped_fraction: float,
    *,
    needs_classes: bool = False,
) -> Artifact:
    """A region store that is to be made of some sources; see :func:`import_regions`.

    With ``needs_classes``, a source whose regions have none is an InputError: no corpus can be made of it. Where the
    sources are region stores, they are joined (:mod:`mmf_muvla.regions.joining`).
    """
    if holds_stores(sources):
        return joined_store(folder, sources, options, needs_classes)
    files = _files_of(options)
    labels = read_label_map(Path(options.label_map).expanduser(), options.label_offset) if options.label_map else None
    opened = [open_regions(path, options, labels) for path in sources]
    for source in opened:
        source.needs_classes = needs_classes
    return store_of(
        folder,
        opened,
        {"on_bad_record": on_bad_record, "max_skipped_fraction": max_skipped_fraction},
        inputs={str(file): fingerprint(file) for file in files},
        parameters=_parameters(options),
        libraries=("lmdb", "safetensors", "numpy", "pyarrow"),
    )


def store_of(
    folder: Path,
    sources: Sequence[RegionSource],
    policy: dict[str, Any],
    *,
    inputs: dict[str, Any],
    parameters: dict[str, Any],
    **described: Any,
) -> Artifact:
    """A region store that is to be made of sources that have been opened.

    Args:
        folder: the store.
        sources: an image id may occur once in all of them, and their features have equally many numbers.
        policy: ``on_bad_record`` and ``max_skipped_fraction``, as for :func:`import_regions`.
        inputs, parameters: what is read beside the sources, and the options that the store depends on.
        described: what else is to be said of the :class:`~mmf_muvla.artifacts.artifact.Artifact`.
    """

    def make(work: Work) -> dict[str, int]:
        return once(work.folder, "imported", partial(_import, sources, policy, work))

    return Artifact(
        folder,
        make,
        version=_VERSION,
        name="regions",
        inputs={str(source.path): source.fingerprint() for source in sources} | inputs,
        # Of images that have the same id, the first one counts: the order of the sources matters.
        parameters={"sources": [str(source.path) for source in sources], **parameters, **policy},
        checks_itself=(SUFFIX,),
        **described,
    )


def _files_of(options: RegionOptions) -> list[Path]:
    """The files that options name; an InputError where one is not there."""
    named = {name: getattr(options, name) for name in ("label_map", "image_sizes") if getattr(options, name)}
    for name, path in named.items():
        if not Path(path).expanduser().is_file():
            raise InputError(str(path), "no such file", f"Correct region_options.{name}")
    return [Path(path).expanduser() for path in named.values()]


def _parameters(options: RegionOptions) -> dict[str, Any]:
    # Without an option that was added later, nothing is to be made again.
    parameters = {name: value for name, value in asdict(options).items() if name != "image_sizes" or value is not None}
    # Nor where features are so long that they are read as they always were.
    if options.feature_dim < SHORT_FEATURES:
        parameters["pieces"] = "short"
    return parameters


def _import(sources: Sequence[RegionSource], policy: dict[str, Any], work: Work) -> dict[str, int]:
    (work.folder / _SOURCES).mkdir(exist_ok=True)
    feature_dim = sources[0].feature_dim
    contents = []
    with work.progress.bar(len(sources), "looking at sources", "source") as bar:
        for number, source in enumerate(sources):
            contents.append(_look_at(number, source, work))
            bar.update()
    total = sum(it.num_images for it in contents)
    object_names = sorted({name for it in contents for name in it.object_names})
    attribute_names = sorted({name for it in contents for name in it.attribute_names})
    pieces = enumerate(
        (number, shards)
        for number, source in enumerate(sources)
        for shards in chunks(source.shards(_index(work.folder, number)), source.pieces_per_shard)
    )
    worker = (sources, work.folder, NameIds(object_names, attribute_names), feature_dim)
    parts = run_parts(
        *(work.folder, SHARD, _write_shard, pieces, work.executor, _Worker),
        arguments=worker,
        kind="regions",
        processes=lambda allowed: min(source.num_processes(allowed) for source in sources),
    )
    counts = dict.fromkeys(_COUNTS, 0)
    found = [[np.zeros(0, np.int64)] for _ in sources]
    num_lines = [0] * len(sources)
    with SkipLog(work.folder / SKIPPED_FILE, **policy) as skips, work.progress.bar(total, "regions", "image") as bar:
        for problem in (problem for it in contents for problem in it.problems):
            skips.add_bad(problem)
        skips.check(total)
        for _, note in parts:
            number = note["source"]
            for problem in map(BadRecord.from_json, note["problems"]):
                _count_on(problem, sources[number].lines_file, num_lines[number])
                _leave_out(problem, skips)
            skips.check(total)
            for name in _COUNTS:
                counts[name] += sum(note[name])
            found[number].append(np.array(note["found"], np.int64))
            num_lines[number] += note["num_lines"]
            bar.update(note["num_lines"])
        indexed = write_index(work.folder, object_names, attribute_names, feature_dim)
        _leave_out_repeated(indexed, sources, work.folder, counts, skips)
        for number, source in enumerate(sources):
            for problem in source.leftovers(_index(work.folder, number), np.concatenate(found[number])):
                _leave_out(problem, skips)
        skips.check(total)
        if not indexed.num_images:
            places = ", ".join(str(source.path) for source in sources)
            raise InputError(places, "no image can be used", f"See {work.folder / SKIPPED_FILE}")
    forget_steps(work.folder, "contents-*")
    shutil.rmtree(work.folder / _SOURCES, ignore_errors=True)
    return {
        "images": indexed.num_images,
        "regions": indexed.num_regions,
        "skipped": skips.num_bad,
        "images_without_regions": skips.filtered[NO_REGIONS],
        **counts,
    }


def _look_at(number: int, source: RegionSource, work: Work) -> Contents:
    """Find out what a source holds, or remember it."""

    def prepare() -> dict[str, Any]:
        return source.prepare(_index(work.folder, number), work.executor).to_json()

    contents = Contents.from_json(once(work.folder, f"contents-{number:04d}", prepare))
    if contents.remark:
        logger.info("%s: %s", source.path, contents.remark)
    if not contents.has_classes:
        if source.needs_classes:
            raise InputError(str(source.path), "has no object classes, of which a corpus is made", _NO_CLASSES)
        source.labels = None
    return contents


def _index(folder: Path, number: int) -> Path:
    """What the files begin with in which a source notes what it finds out."""
    return folder / _SOURCES / f"index-{number:04d}"


def _leave_out(problem: BadRecord, skips: SkipLog) -> None:
    (skips.add_useless if problem.reason == NO_REGIONS else skips.add_bad)(problem)


def _count_on(problem: BadRecord, lines_file: Path | None, lines_before: int) -> None:
    """Count the line of a problem from where the lines before begin."""
    if problem.line is not None and problem.file == lines_file:
        problem.line += lines_before


def _leave_out_repeated(
    indexed: Indexed, sources: Sequence[RegionSource], folder: Path, counts: dict[str, int], skips: SkipLog
) -> None:
    """List the images whose ids earlier ones have, and take back what was counted of them."""
    notes = read_notes(folder, SHARD) if indexed.repeated else []
    for shard, image, image_id in indexed.repeated:
        note = notes[shard]
        source = sources[note["source"]]
        file, line = source.path, None
        if source.lines_file:
            before = (it["num_lines"] for it in notes[:shard] if it["source"] == note["source"])
            file, line = source.lines_file, sum(before) + note["lines"][image]
        skips.add_bad(BadRecord(file, line, image_id, "image id occurs twice", image_id, DAMAGED_FILE))
        for name in _COUNTS:
            counts[name] -= note[name][image]


class _Worker(NamedTuple):
    """What a worker keeps."""

    sources: Sequence[RegionSource]
    folder: Path
    names: NameIds
    feature_dim: int


def _write_shard(worker: _Worker, item: tuple[int, list[Shard]], path: Path) -> dict[str, Any]:
    """Read some pieces of a source into a shard; what else is known of them is the part's note."""
    number, pieces = item
    source = worker.sources[number]
    shard = StoreShard(worker.feature_dim)
    num_lines = 0
    note: dict[str, list[Any]] = {name: [] for name in ("problems", "found", "lines", *_COUNTS)}
    thumbnails: list[bytes] = []
    for piece in pieces:
        content = source.read(piece, _index(worker.folder, number), worker.names)
        note["found"] += content.found
        for line, image in enumerate(content.images, start=num_lines + 1):
            if source.needs_classes and isinstance(image, FoundImage) and (image.regions.class_id < 0).any():
                bad = Place(source.lines_file or source.path, None, image.regions.image_id)
                image = bad("image has regions without a class", "its class is -1", _NO_CLASSES)
            if isinstance(image, BadRecord):
                _count_on(image, source.lines_file, num_lines)
                note["problems"].append(image.to_json())
                continue
            shard.add(image.regions)
            thumbnails += [] if image.thumbnail is None else [image.thumbnail]
            note["lines"].append(line)
            for name in _COUNTS:
                note[name].append(int(getattr(image, name)))
        num_lines += len(content.images)
    with publish_part(path, SUFFIX) as file:
        shard.save(file)
    if thumbnails:
        with publish_part(thumbnails_path(path), THUMBNAILS_SUFFIX) as file:
            save_thumbnails(file, thumbnails)
    return {"source": number, "num_lines": num_lines, **note}
