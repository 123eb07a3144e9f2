"""Runs a function over many items in several processes; what comes out does not depend on how many there are."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, islice
from multiprocessing import connection
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from mmf_muvla.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that each worker has waiting, so that it never idles and little is held in memory.
_AHEAD = 2
_SECONDS_FOR_INTERRUPT = 0.5

_function: Callable[[Any, Any], Any]
_state: Any
_limits: AbstractContextManager[None]
_number = 0
_cores = 1


def ordered_map(
    function: Callable[[Any, Item], Result],
    items: Iterable[Item],
    num_workers: int,
    setup: Callable[..., Any] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """``function(state, item)`` of every item, in the order of the items, which are taken only a few ahead.

    Every item is worked on with one thread: with another number of threads, sums are rounded differently. A single item
    is worked on in this process, and where there is none, nothing is set up.

    Args:
        function: a function of a module's top level, given a worker's state and an item.
        items: what to work on; has to be picklable, as the results have.
        num_workers: processes; with 1, this process does the work itself.
        setup: makes the state of a worker (a loaded model, say) out of ``arguments``; ``None`` for no state.
        arguments: see ``setup``.

    Raises:
        InputError: a worker was killed, for want of memory most likely. Errors of ``function`` and ``setup`` are raised
            as they are; those that cannot be pickled, as a ``RuntimeError`` that says what they said.
    """
    remaining = iter(items)
    first = list(islice(remaining, 2))
    if num_workers <= 1 or len(first) < 2:
        if first:
            with one_thread():
                state = setup(*arguments) if setup else None
            for item in chain(first, remaining):
                with one_thread():
                    result = function(state, item)
                yield result
        return
    # Never a plain fork: the parent may have threads (of BLAS, of torch) that a forked child would wait for.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else None)
    # Imported once, before workers are forked from there. Takes effect with the first pool of this process.
    context.set_forkserver_preload([getattr(it, "func", it).__module__ for it in (function, setup) if it])
    pool = ProcessPoolExecutor(
        num_workers, context, initializer=_start_worker, initargs=(function, setup, arguments, context.Value("i", 0))
    )
    waiting: deque[Future[Result | Failure]] = deque()
    try:
        for item in chain(first, remaining):
            with _explained():
                waiting.append(pool.submit(work_on, item))
            if len(waiting) >= _AHEAD * num_workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: sums are then rounded in the same way everywhere, and nothing waits for threads."""
    before = None
    if "torch" in sys.modules:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        if before is not None:
            torch.set_num_threads(before)


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_workers(value: object) -> int:
    """How many processes an option ``num_workers`` asks for: a number, or ``auto`` for one a core; else InputError."""
    if value == "auto":
        return available_cores()
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"num_workers={value}", "is neither 'auto' nor a number of processes", "Use auto, 1, 2 …")
    return value


def worker_number() -> int:
    """The number of this worker among those of its pool, from 0; 0 outside of one."""
    return _number


def worker_cores() -> int:
    """How many cores this worker has to itself, for threads that wait or decode; computing is done with one."""
    return _cores


class Failure:
    """An error, as a worker's result: of one in setup, or that cannot be pickled, a pool says only that it broke."""

    def __init__(self, error: BaseException):
        self.error = error
        self.trace = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            self.error = RuntimeError(f"{type(error).__name__}: {error}")


def become_worker(
    function: Callable[[Any, Any], Any],
    setup: Callable[..., Any] | None,
    arguments: tuple[Any, ...],
    number: int = 0,
    cores: int = 1,
) -> None:
    """Make this process one that does nothing but :func:`work_on` items; an error of ``setup`` is told there."""
    global _function, _state, _limits, _number, _cores
    _function, _number, _cores = function, number, cores
    try:
        _state = setup(*arguments) if setup else None
    # A library may want to end the process.
    except (Exception, SystemExit) as error:
        _state = Failure(error)
    # For good: a worker does nothing else.
    _limits = one_thread()
    _limits.__enter__()


def setup_failure() -> Failure | None:
    """The error of this worker's setup, where there was one."""
    return _state if isinstance(_state, Failure) else None


def work_on(item: Any) -> Any:
    """What this worker makes of an item, or a Failure."""
    if isinstance(_state, Failure):
        return _state
    try:
        return _function(_state, item)
    except Exception as error:
        return Failure(error)


def opened(result: Any) -> Any:
    """What :func:`work_on` has returned in a worker; the error, where that is one, is raised."""
    if isinstance(result, Failure):
        raise result.error from RuntimeError(f"in a worker process:\n{result.trace}")
    return result


def _start_worker(
    function: Callable[[Any, Any], Any], setup: Callable[..., Any] | None, arguments: tuple[Any, ...], started: Any
) -> None:
    # A worker whose parent was killed would wait for work forever.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches all processes of a terminal: it is this process's parent that says so.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with started.get_lock():
        number = started.value
        started.value += 1
    become_worker(function, setup, arguments, number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _result(future: Future[Any]) -> Any:
    with _explained():
        result = future.result()
    return opened(result)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        # Where Ctrl-C has ended the workers, it ends this process as well, but perhaps a little later.
        time.sleep(_SECONDS_FOR_INTERRUPT)
        problem = "a worker process was killed, most likely because the machine ran out of memory"
        raise InputError("num_workers", problem, "Start again with fewer workers: what is done is kept") from error
