"""What has been measured: a line of JSON for every finished run, which is not run again, wherever its folder is."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmf_muvla.artifacts.files import read_json
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.reading.json_lines import read_json_lines
from mmf_muvla.report.history import RunHistory, read_history
from mmf_muvla.report.scores import TASK_NAMED
from mmf_muvla.studies.jobs import Job, folder_of

RECORDS = "runs.jsonl"
_BEGINNING = b'{"digest": "'  # of every line
_MATCHING = "muvla_itm_accuracy"
_NO_LOSSES = ("epoch", "lr", "samples_per_s")


@dataclass(frozen=True)
class Record:
    """A finished run, with what its job says of itself."""

    digest: str
    kind: str
    system: str
    task: str
    seed: int
    rate: float
    values: dict[str, float]  # metrics of the split that it was evaluated on, or the last losses of a pre-training
    updates: int
    seconds: float  # wall-clock time of its process
    # Of a pre-training that learns to match: update, and the share of held-out retrieved pairs that it tells right.
    matching: Sequence[Sequence[float]] = ()

    @property
    def score(self) -> float:
        """The task's score, in per cent."""
        return 100 * self.values[TASK_NAMED[self.task].metric]


def record_of(job: Job, seconds: float) -> Record:
    """Read what a finished run has left; a :class:`MuvlaError` where that is no result."""
    results = read_json(job.folder / "results.json") or {}
    is_pretraining = job.kind == "pretrain"
    history = _history(job.folder) if is_pretraining else None
    values = _last_losses(history) if history else results.get("val" if job.kind == "search" else "test")
    if not isinstance(values, dict) or (job.task and TASK_NAMED[job.task].metric not in values):
        raise MuvlaError(f"{job.kind} {job.name} has left no result in {job.folder}; its output is in {job.log}")
    numbers = {name: value for name, value in values.items() if isinstance(value, float) and name not in _NO_LOSSES}
    updates = int(results.get("updates_trained", results.get("update", 0)))
    curve = tuple(zip(*history.curve(_MATCHING, "val"), strict=True)) if history else ()
    return Record(job.digest, job.kind, job.system, job.task, job.seed, job.rate, numbers, updates, seconds, curve)


def pretraining_folder(record: Record, work: Path) -> Path:
    """Where a pre-training has run; an :class:`InputError` where its folder is not there."""
    folder = folder_of(work / "pretrain", record.digest)
    if folder is None or not (folder / "history.jsonl").is_file():
        problem = f"does not hold the pre-training of {record.system}, seed {record.seed}"
        raise InputError(f"work={work}", problem, "Name the folder that the study ran in")
    return folder


def _history(folder: Path) -> RunHistory | None:
    return read_history(folder) if (folder / "history.jsonl").is_file() else None


def _last_losses(history: RunHistory) -> dict[str, float] | None:
    """Means over the last tenth of a training's log lines: single ones are noisy."""
    last = history.train[-max(1, len(history.train) // 10) :]
    names = [name for line in last[-1:] for name, value in line.items() if isinstance(value, float)]
    return {name: statistics.fmean(line[name] for line in last if name in line) for name in names} or None


class Records:
    """The records of a study, in a file that is made with the first, and those that other studies' files have.

    Raises:
        InputError: a line of a file is damaged or no record, or there is no such other file.
    """

    def __init__(self, path: Path, others: Iterable[Path] = ()):
        self.path = path
        self._found = _read(path) if path.exists() else {}
        self._elsewhere = {digest: record for other in others for digest, record in _read(other).items()}

    def get(self, job: Job) -> Record | None:
        """The record of a job, if it has run."""
        return self._found.get(job.digest) or self._elsewhere.get(job.digest)

    def all(self) -> list[Record]:
        """Those of its own file."""
        return list(self._found.values())

    def of(self, jobs: Iterable[Job]) -> list[Record]:
        """The records of the jobs that have run."""
        return [record for record in map(self.get, jobs) if record is not None]

    def take_over(self, records: Iterable[Record]) -> None:
        """Keep those that are on record in another study only."""
        for record in records:
            if record.digest not in self._found:
                self.add(record)

    def add(self, record: Record) -> None:
        """Keep a record; it is on disk when this returns."""
        self._found[record.digest] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        last = _last_line(self.path)
        is_half = _is_half_a_record(last)
        with open(self.path, "ab") as file:
            if is_half:
                file.truncate(file.tell() - len(last))
            file.write(b"\n" if last and not is_half else b"")
            file.write(json.dumps(dataclasses.asdict(record)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _read(path: Path) -> dict[str, Record]:
    found = {}
    remedy = "Remove the line or, if it is another kind of file, move it away"
    is_cut = _is_half_a_record(_last_line(path))
    for number, values in read_json_lines(path, remedy=remedy, may_end_in_half=is_cut):
        try:
            record = Record(**values)
        except TypeError as error:
            raise InputError(f"{path}, line {number}", f"is no record ({error})", remedy) from error
        found[record.digest] = record
    return found


def _last_line(path: Path) -> bytes:
    """What stands after the last line end."""
    return path.read_bytes().rpartition(b"\n")[2] if path.is_file() else b""


def _is_half_a_record(line: bytes) -> bool:
    """Whether a process was killed while it wrote this line; what does not begin like a record is somebody else's."""
    try:
        json.loads(line)
    except ValueError:
        return line != b"" and line[: len(_BEGINNING)] == _BEGINNING[: len(line)]
    return False
