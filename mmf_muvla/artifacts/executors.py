"""Where the parts of a stage are made. Which executor it is changes how long that takes, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmf_muvla.artifacts.workers import count_workers, ordered_map
from mmf_muvla.errors import InputError
from mmf_muvla.options.executors import ClusterOptions, ExecutorName, ExecutorOptions

if TYPE_CHECKING:
    from mmf_muvla.artifacts.ray_executor import RayExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")
# The kinds of parts, by what they need; see ExecutorOptions.
Kind = Literal["regions", "sentences", "embed", "retrieve", "phrases", "link"]


class Executor(ABC):
    """Runs a function over many items in several processes, somewhere."""

    @abstractmethod
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
        """``function(state, item)`` of every item, in the order of the items, which are taken only a few ahead.

        Every item is worked on with one thread: with another number of threads, sums are rounded differently. Where
        there is no item, nothing is set up.

        Args:
            function: a function of a module's top level, given a worker's state and an item.
            items: what to work on; has to be picklable, as the results have.
            setup: makes the state of a worker (a loaded model, say), once, out of ``arguments``; ``None``: no state.
            arguments: see ``setup``.
            kind: what a worker needs on a cluster.
            folder: what the items are written to; has to be the same folder for all workers.
            processes: how many processes of this machine are to work where so many are allowed; not given, all.

        Raises:
            InputError: workers were killed, or cannot be used. Errors of ``function`` and ``setup`` are raised as they
                are; those that cannot be pickled, as a ``RuntimeError`` that says what they said.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What a manifest says of it."""


@dataclass(frozen=True)
class LocalExecutor(Executor):
    """Processes of this machine; a single one is this process."""

    num_workers: int = 1

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
        num_workers = processes(self.num_workers) if processes else self.num_workers
        return ordered_map(function, items, num_workers, setup, arguments)

    def settings(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers}


def open_executor(name: ExecutorName, options: ExecutorOptions, num_workers: object) -> Executor:
    """The executor that options ask for, connected; ``num_workers`` is a number, or ``auto`` for all that there can be.

    Raises:
        InputError: ``num_workers`` is neither, Ray is not installed, or there is no such cluster.
    """
    if name == "local":
        return LocalExecutor(count_workers(num_workers))
    return open_ray_executor(options, num_workers)


def open_ray_executor(options: ClusterOptions, num_workers: object) -> RayExecutor:
    """See :func:`open_executor`."""
    count = count_workers(num_workers)
    try:
        from mmf_muvla.artifacts.ray_executor import RayExecutor
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise InputError("executor=ray", "the package ray is not installed", "Install it: pip install ray") from error
    return RayExecutor(options, None if num_workers == "auto" else count)


class GivenUp(InputError):
    """What was to be done has lost its worker again and again."""
