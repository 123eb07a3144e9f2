"""Pictures and a detector as a source of regions, like files of detector output."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mmf_muvla.artifacts.executors import Executor
from mmf_muvla.artifacts.files import publish_file
from mmf_muvla.artifacts.parts import chunks, part_size
from mmf_muvla.artifacts.workers import worker_cores, worker_number
from mmf_muvla.detection.decoding import NotAPicture, decode, thumbnail
from mmf_muvla.detection.detectors.detector import Detections, Detector, Inputs, open_detector
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.detection.pictures.source import REMEDY, Columns, Listed, PictureSource, Reader, open_pictures
from mmf_muvla.detection.selection import select
from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import FoundImage, check_image
from mmf_muvla.regions.label_map import read_label_map
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import Regions, id_problem
from mmf_muvla.regions.sources import Contents, NameIds, RegionSource, ShardContent, beside

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_LIST = "pictures.list"
# What a worker holds the regions of, and does again after a kill.
_PICTURES_PER_SHARD = 256
# Batches that may wait for pictures of their size.
_WAITING_BATCHES = 4
# What their errors have in them.
_DEVICE_LIBRARIES = ("CUDA", "cuDNN", "CUBLAS")
# While one of them writes a shard, the other one keeps the GPU busy.
_PROCESSES_PER_GPU = 2


class Detection:
    """A detector, and how it is used. It is pickled to the processes that detect, and loaded there."""

    def __init__(self, options: DetectionOptions):
        self.options = options
        self._threads = 1
        self._device: torch.device | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_device": None}

    @cached_property
    def detector(self) -> Detector:
        options = self.options
        vocabulary = None
        if options.vocabulary is not None:
            labels = read_label_map(Path(options.vocabulary).expanduser(), option="vocabulary")
            vocabulary = [labels.objects[number] for number in sorted(labels.objects)]
        return open_detector(options.detector, vocabulary, options.detector_options)

    @cached_property
    def names(self) -> list[str]:
        """The names of what the detector's labels stand for."""
        return [self.options.rename.get(name, name) for name in self.detector.names]

    def num_processes(self, num_workers: int) -> int:
        """How many processes are to detect: all workers, or on GPUs two for each; the other workers decode."""
        devices = devices_of(self.options.device, "device")
        if devices[0].type == "cpu":
            return num_workers
        processes = min(num_workers, _PROCESSES_PER_GPU * len(devices))
        self._threads = num_workers // processes
        return processes

    def load(self) -> torch.device:
        """Load the detector, unless this process has done so; processes take the devices in turn."""
        import torch

        if self._device is None:
            devices = devices_of(self.options.device, "device")
            self._device = devices[worker_number() % len(devices)]
            self.detector.load(self._device, getattr(torch, self.options.dtype))
        return self._device

    def in_order(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """``function`` of every item, on a GPU a few ahead of it, in threads: Pillow works without Python's lock."""
        assert self._device is not None
        if self._device.type == "cpu":
            yield from map(function, items)
            return
        threads = max(self._threads, worker_cores())
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Result]] = deque()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= threads + 2 * self.options.batch_size:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


@dataclass(frozen=True)
class _Prepared:
    """A picture that is ready to be looked at."""

    number: int  # among those of a shard
    size: tuple[int, int]
    inputs: Inputs
    thumbnail: bytes | None

    @property
    def shape(self) -> tuple[Any, ...]:
        """What those have in common that can be put together."""
        return tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in sorted(self.inputs.items()))


class PictureRegions(RegionSource):
    """The regions that a detector finds in the pictures of a folder or file."""

    pieces_per_shard = 1

    def __init__(self, path: Path, detection: Detection, pictures: PictureSource | None = None):
        options = detection.options
        super().__init__(path, RegionOptions(max_regions=options.max_regions))
        self.detection = detection
        self.pictures = pictures or open_pictures(path, Columns(options.image_column, options.id_column))

    @property
    def feature_dim(self) -> int:
        return self.detection.detector.feature_dim

    def num_processes(self, num_workers: int) -> int:
        return self.detection.num_processes(num_workers)

    def fingerprint(self) -> dict[str, Any]:
        return self.pictures.fingerprint()

    def prepare(self, index: Path, executor: Executor) -> Contents:
        names = sorted(set(self.detection.names))
        problems: list[BadRecord] = []
        count = 0
        with publish_file(beside(index, _LIST)) as file, file.open("w", encoding="ascii", newline="\n") as listed:
            for picture in self.pictures.pictures(problems):
                problem = id_problem(picture.image_id)
                if problem is None:
                    # Names of files that are no Unicode go through JSON, too.
                    listed.write(json.dumps([picture.image_id, picture.at]) + "\n")
                    count += 1
                else:
                    bad = replace(self.pictures.place(picture), image_id="")
                    problems.append(bad("image id cannot be used", problem, "Give the file another name"))
        return Contents(count + len(problems), names, [], problems, self.pictures.remark())

    def shards(self, index: Path) -> Iterator[list[Listed]]:
        with beside(index, _LIST).open(encoding="ascii") as lines:
            total = sum(1 for _ in lines)
            lines.seek(0)
            yield from chunks((Listed(*json.loads(line)) for line in lines), part_size(total, _PICTURES_PER_SHARD))

    def read(self, shard: Sequence[Listed], index: Path, names: NameIds) -> ShardContent:
        self.detection.load()
        images: list[FoundImage | BadRecord | None] = [None] * len(shard)
        tasks = zip(range(len(shard)), shard, self.pictures.readers(shard), strict=True)
        ready = self.detection.in_order(self._prepare, tasks)
        for batch in _batches(ready, images, self.detection.options.batch_size):
            for picture, found in zip(batch, self._detect(batch), strict=True):
                listed = shard[picture.number]
                images[picture.number] = (
                    self._regions(listed, picture, found, names)
                    if isinstance(found, Detections)
                    else self._unusable(listed, picture.size, found)
                )
        return ShardContent([image for image in images if image is not None])

    def _prepare(self, task: tuple[int, Listed, Reader]) -> _Prepared | tuple[int, BadRecord]:
        """Read and decode a picture. In a thread, or several."""
        try:
            return self._prepare_one(*task)
        except MemoryError as error:
            raise self._short_of_memory(error) from error

    def _prepare_one(self, number: int, listed: Listed, read: Reader) -> _Prepared | tuple[int, BadRecord]:
        options = self.detection.options
        bad = self.pictures.place(listed)
        try:
            picture = decode(read(), options.max_pixels)
        except NotAPicture as problem:
            return number, bad(problem.reason, problem.value, REMEDY)
        except BadRecord as problem:
            return number, problem
        except (OSError, ValueError) as error:  # a name in a list may have a null character
            return number, bad("picture cannot be read", getattr(error, "strerror", None) or str(error), REMEDY)
        try:
            inputs = self.detection.detector.prepare(picture)
        except ValueError as error:
            return number, self._unusable(listed, picture.size, error)
        small = thumbnail(picture, options.thumbnails) if options.thumbnails else None
        return _Prepared(number, picture.size, inputs, small)

    def _detect(self, batch: Sequence[_Prepared]) -> Sequence[Detections | Exception]:
        """What is found in pictures, or, where their shape is one that the detector cannot work with, why not."""
        import torch

        inputs = {name: torch.cat([picture.inputs[name] for picture in batch]) for name in batch[0].inputs}
        try:
            return self.detection.detector.detect(inputs, [picture.size for picture in batch])
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise self._short_of_memory(error) from error
        except (RuntimeError, ValueError) as error:
            # What is wrong with the detector or the device is no fault of the pictures.
            if "tried to allocate" in str(error):  # as PyTorch says it of a CPU's
                raise self._short_of_memory(error) from error
            if isinstance(error, InputError) or any(name in str(error) for name in _DEVICE_LIBRARIES):
                raise
            return [error] * len(batch)

    def _short_of_memory(self, error: Exception) -> InputError:
        where = f"batch_size={self.detection.options.batch_size}"
        said = (str(error).splitlines() or [type(error).__name__])[0]
        problem = f"so many pictures do not fit into memory ({said})"
        return InputError(where, problem, "Give a smaller one, or fewer workers: what is done is kept")

    def _unusable(self, listed: Listed, size: tuple[int, int], error: Exception) -> BadRecord:
        value = f"{size[0]} x {size[1]}: {type(error).__name__}: {error}"
        remedy = "Leave such pictures out with on_bad_record=skip, or choose another detector"
        return self.pictures.place(listed)("detector cannot use the picture", value, remedy)

    def _regions(self, listed: Listed, picture: _Prepared, found: Detections, names: NameIds) -> FoundImage | BadRecord:
        chosen = select(found, picture.size, self.detection.options)
        regions = Regions(
            listed.image_id,
            *picture.size,
            image_feature_0=chosen.features,
            bbox=chosen.boxes.astype(np.float64),
            class_id=names.class_ids(self.detection.names[label] for label in chosen.labels.tolist()),
            attribute_id=np.full(len(chosen), -1, np.int32),
            confidence=chosen.scores,
        )
        try:
            options = replace(self.options, feature_dim=self.feature_dim)
            return replace(check_image(regions, options, self.pictures.place(listed)), thumbnail=picture.thumbnail)
        except BadRecord as problem:
            return problem


def _batches(
    ready: Iterable[_Prepared | tuple[int, BadRecord]], images: list[FoundImage | BadRecord | None], batch_size: int
) -> Iterator[list[_Prepared]]:
    """Pictures of equal shapes; those that could not be read go to ``images``. The order of pictures decides alone."""
    waiting: dict[Any, list[_Prepared]] = {}
    for picture in ready:
        if isinstance(picture, tuple):
            number, problem = picture
            images[number] = problem
            continue
        batch = waiting.setdefault(picture.shape, [])
        batch.append(picture)
        if len(batch) == batch_size:
            yield waiting.pop(picture.shape)
        elif sum(map(len, waiting.values())) >= _WAITING_BATCHES * batch_size:
            yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
    yield from waiting.values()
