"""Parts that are made on a Ray cluster, and jobs that run there.

Workers are actors, of which each has its state from one setup, as the processes of a machine have. Where they run, what
takes the place of a lost one, and how items get there, is Ray's business. Ours is that only a few items are on their
way, that results come in order, and that the items of a lost worker are given to another one.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import ray
from ray import cloudpickle, exceptions

from mmf_muvla.artifacts.executors import Executor, GivenUp, Kind
from mmf_muvla.artifacts.files import temporary_name
from mmf_muvla.artifacts.ray_cluster import connect, counted, in_words, room
from mmf_muvla.artifacts.versions import versions
from mmf_muvla.artifacts.workers import Failure, opened
from mmf_muvla.errors import InputError
from mmf_muvla.options.executors import ClusterOptions, WorkerOptions

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that each worker has, so that it never idles; and results per worker that may wait for an earlier one.
_AHEAD = 2
_RESULTS_KEPT = 64
# A part that is lost so often is lost for a reason, such as too little memory.
_LOSSES = 16
_SECONDS_UNTIL_SAID = 60
_SECONDS_TO_END = 10
# A worker that was killed or has no memory left, that does not answer, or whose node is gone.
_LOST = (
    *(exceptions.RayActorError, exceptions.NodeDiedError, exceptions.WorkerCrashedError),
    *(exceptions.OutOfMemoryError, exceptions.ObjectLostError),
)
_KEPT = "What is done is kept"

logger = logging.getLogger(__name__)


class RayExecutor(Executor):
    """Workers of a Ray cluster, whose nodes have all files that are read and written under the same paths.

    Args:
        options: the cluster, and what a worker of each kind needs.
        num_workers: how many are asked of the cluster; ``None``: as many as it has room for at the start of a stage.
    """

    def __init__(self, options: ClusterOptions, num_workers: int | None = None):
        self._options = options
        self.num_workers = num_workers
        self._versions = versions()  # now: this process goes on with the code that it has

    def map(
        self,
        function: Callable[[Any, Item], Result],
        items: Iterable[Item],
        setup: Callable[..., Any] | None = None,
        arguments: tuple[Any, ...] = (),
        *,
        kind: Kind,
        folder: Path,
        processes: Callable[[int], int] | None = None,
    ) -> Iterator[Result]:
        remaining = iter(items)
        first = list(islice(remaining, 1))
        if not first:
            return
        connect(self._options.address)
        needed = self._needed(kind)
        first += islice(remaining, (self.num_workers or room(kind, needed)) - 1)
        logger.info("%s: %s on a Ray cluster, each with %s", kind, counted(len(first), "worker"), in_words(needed))
        with _file_to_see(folder) as file:
            crew = self._crew(kind, len(first), file, (function, setup, arguments))
            try:
                yield from crew.work_on(chain(first, remaining))
            finally:
                crew.end()

    def start(self, function: Callable[[Any, Item], Result], item: Item, *, kind: str, file: Path) -> Errand[Result]:
        """``function(None, item)`` by a worker of its own, which is not waited for.

        Args:
            function: see :meth:`map`; its result is not ``None``.
            item: see :meth:`map`.
            kind: what the worker needs.
            file: one that is there, and has to be for the worker as well.

        Raises:
            InputError: there is no such cluster, or what is needed cannot be asked of it.
        """
        connect(self._options.address)
        return Errand(self._crew(kind, 1, file, (function, None, ())), item)

    def room(self, kind: str) -> int:
        """How many workers the cluster has room for; an InputError where it is none, or there is no cluster."""
        connect(self._options.address)
        return room(kind, self._needed(kind))

    def settings(self) -> dict[str, Any]:
        return {"executor": "ray", "num_workers": self.num_workers or "auto"}

    def _needed(self, kind: str) -> WorkerOptions:
        needed: WorkerOptions = getattr(self._options, kind)
        return needed

    def _crew(self, kind: str, count: int, file: Path, work: tuple[Any, ...]) -> _Crew:
        needed = self._needed(kind)
        dumped = cloudpickle.dumps((*work, max(1, int(needed.cpus))))
        return _Crew(kind, needed, count, (str(file), *_places(), self._versions, dumped))


class Errand(Generic[Result]):
    """One item, and the worker that was sent with it; another one, where that is lost."""

    def __init__(self, crew: _Crew, item: Any):
        self._crew = crew
        self._numbered = enumerate([item])

    def poll(self) -> Result | None:
        """The result, once it is there. Errors are raised as those of :meth:`RayExecutor.map` are.

        Raises:
            GivenUp: worker after worker was lost.
        """
        return self._crew.look(self._numbered).get(0)

    def end(self) -> None:
        """End the worker, whatever it is at."""
        self._crew.end()


class _Crew:
    """The workers of a stage, and what they are at."""

    def __init__(self, kind: str, needed: WorkerOptions, count: int, beginning: tuple[Any, ...]):
        self._kind, self._needed, self._count = kind, needed, count
        # Put once: every worker begins with the same.
        self._beginning = [*beginning[:-1], ray.put(beginning[-1])]
        self._starting: dict[Any, Any] = {}  # worker by what its beginning will return
        self._running: dict[Any, tuple[Any, int]] = {}  # worker and number of the item, in the order they were given
        self._load = Counter[Any]()  # items that each worker has which is ready
        self._again: list[int] = []  # numbers of items that were lost, a heap
        self._items: dict[int, Any] = {}  # of which there is no result
        self._all_taken = False
        self._losses = Counter[int]()  # by number of the item
        self._false_starts = 0
        self._said = time.monotonic()
        memory = needed.memory and int(needed.memory * 2**30)
        try:
            self._workers = ray.remote(num_cpus=needed.cpus, num_gpus=needed.gpus, memory=memory)(_worker_class())
        except ValueError as error:
            problem = f"cannot be asked of Ray ({str(error).splitlines()[0]})"
            raise InputError(f"executor_options.{kind}", problem, "Correct the value") from error
        for _ in range(count):
            self._start()

    def work_on(self, items: Iterable[Any]) -> Iterator[Any]:
        """The results of items, in their order."""
        numbered = enumerate(items)
        done: dict[int, Any] = {}
        following = 0
        while self._items or not self._all_taken:
            self._hand_out(numbered, len(done))
            if self._items or not self._load:
                done.update(self._wait())
            while following in done:
                yield done.pop(following)
                following += 1

    def look(self, numbered: Iterator[tuple[int, Any]]) -> dict[int, Any]:
        """Hand out items, and do not wait: a result by its number, or none."""
        self._hand_out(numbered, 0)
        return self._wait(0)

    def end(self) -> None:
        """End all workers, and wait for those that are at work: none writes when this returns."""
        for worker in [*self._starting.values(), *self._load]:
            ray.kill(worker)
        if self._running:
            ray.wait([*self._running], num_returns=len(self._running), timeout=_SECONDS_TO_END)

    def _hand_out(self, numbered: Iterator[tuple[int, Any]], results_kept: int) -> None:
        for load in range(_AHEAD):
            for worker in [it for it, has in self._load.items() if has == load]:
                if self._again:
                    number = heappop(self._again)
                elif results_kept >= _RESULTS_KEPT * self._count:
                    return
                elif following := next(numbered, None):
                    number, self._items[following[0]] = following[0], following[1]
                else:
                    self._all_taken = True
                    return
                self._running[worker.work_on.remote(self._items[number])] = (worker, number)
                self._load[worker] += 1

    def _wait(self, seconds: float = _SECONDS_UNTIL_SAID) -> dict[int, Any]:
        """What comes next: a result by its number, or none where a worker begins or is lost."""
        ready, _ = ray.wait([*self._running, *self._starting], num_returns=1, timeout=seconds)
        if not ready and not self._load and time.monotonic() - self._said >= _SECONDS_UNTIL_SAID:
            self._said = time.monotonic()
            logger.warning("%s: no worker yet: the cluster has no room for %s", self._kind, in_words(self._needed))
        for reference in ready:
            if reference in self._starting:
                self._begin(reference)
            else:
                worker, number = self._running[reference]
                try:
                    result = _opened(ray.get(reference))
                except _LOST as error:
                    self._replace(worker, error)
                    continue
                del self._running[reference], self._items[number]
                self._load[worker] -= 1
                return {number: result}
        return {}

    def _start(self) -> None:
        worker = self._workers.remote()
        self._starting[worker.begin.remote(*self._beginning)] = worker

    def _begin(self, reference: Any) -> None:
        """A worker is ready, or says why it is none."""
        worker = self._starting.pop(reference)
        try:
            host, said = ray.get(reference)
        except _LOST as error:
            self._false_starts += 1
            if self._false_starts >= _LOSSES * self._count:
                raise self._given_up("no worker could be started", error) from error
            self._start()
            return
        if isinstance(said, Failure):
            _opened(said)
        elif said is not None:
            raise _misfit(host, *said)
        self._false_starts = 0
        self._load[worker] = 0

    def _replace(self, worker: Any, error: Exception) -> None:
        """Have others do what a lost worker has not finished."""
        lost = [reference for reference, (of, _) in self._running.items() if of is worker]
        numbers = [self._running.pop(reference)[1] for reference in lost]
        logger.warning("%s: a worker was lost; others do what it had: %d", self._kind, len(numbers))
        # It was at the first one.
        self._losses[numbers[0]] += 1
        if self._losses[numbers[0]] >= _LOSSES:
            raise self._given_up(f"the same work has lost its worker {_LOSSES} times", error) from error
        for number in numbers:
            heappush(self._again, number)
        del self._load[worker]
        ray.kill(worker)  # It may only have been out of reach.
        self._start()

    def _given_up(self, problem: str, error: Exception) -> GivenUp:
        last = str(error).strip().splitlines() or [type(error).__name__]
        where = f"executor_options.{self._kind}"
        remedy = f"Reserve (more) memory with {where}.memory. {_KEPT}"
        return GivenUp(where, f"{problem}; at last: {last[-1].strip()}", remedy)


def _worker_class() -> type:
    """The class of a worker. Ray sends its code along: on the node there may be none of ours, or another version."""

    class Worker:
        def begin(
            self, file: str, folder: str, places: list[str], expected: dict[str, str], work: bytes
        ) -> tuple[str, Any]:
            """Make the process a worker; the name of its machine, and what is wrong: a Failure, or two of a kind."""
            import os
            import socket
            import sys

            import ray

            host = socket.gethostname()
            # Ray leaves all of a machine's GPUs to a worker that has asked for none.
            if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
                os.environ["CUDA_VISIBLE_DEVICES"] = ""
            if os.path.isdir(folder):
                os.chdir(folder)
            sys.path += [place for place in places if place not in sys.path]
            if not os.path.isfile(file):
                return host, (file, None)
            try:
                from mmf_muvla.artifacts.versions import versions
            except Exception as error:
                return host, ({"mmf_muvla": f"none ({error})"}, {"mmf_muvla": expected["mmf_muvla"]})
            if (found := versions()) != expected:
                return host, (found, expected)
            import pickle
            from pathlib import Path

            from mmf_muvla.artifacts.parts import publish_while_there
            from mmf_muvla.artifacts.workers import Failure, become_worker, setup_failure

            publish_while_there(Path(file))
            try:
                function, setup, arguments, cores = pickle.loads(work)
            except Exception as error:  # code of a user's own may be missing
                return host, Failure(error)
            become_worker(function, setup, arguments, cores=cores)
            return host, setup_failure()

        def work_on(self, item: Any) -> Any:
            from mmf_muvla.artifacts.workers import work_on

            return work_on(item)

    return Worker


def _opened(result: Any) -> Any:
    try:
        return opened(result)
    except FileNotFoundError as error:
        if error.filename and Path(os.fsdecode(error.filename)).exists():
            problem = "is there on this machine, but a node of the cluster does not see it"
            remedy = "Put it on a file system that all nodes have under the same path"
            raise InputError(os.fsdecode(error.filename), problem, remedy) from error
        raise


def _places() -> tuple[str, list[str]]:
    """The folder that paths are relative to, and where code is looked for."""
    return os.getcwd(), [os.path.abspath(place) for place in sys.path]


def _misfit(host: str, found: Any, expected: Any) -> InputError:
    """Why a machine cannot take part."""
    if expected is None:
        problem = f"the node {host} does not see the folder {Path(found).parent}"
        return InputError("executor=ray", problem, "Use a file system that all nodes have under the same path")
    differing = [name for name in expected if found.get(name) != expected[name]]
    said = ", ".join(f"{name} {found.get(name)} instead of {expected[name]}" for name in differing)
    return InputError("executor=ray", f"the node {host} has {said}", f"Install the same everywhere. {_KEPT}")


@contextmanager
def _file_to_see(folder: Path) -> Iterator[Path]:
    """A file in a folder that has not been there before.

    While it is there, workers may publish parts: see :func:`~mmf_muvla.artifacts.parts.publish_while_there`. That it
    comes and goes also tells a network file system's client that its list of the folder is an old one.
    """
    file = temporary_name(folder / "seen")
    file.touch()
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
