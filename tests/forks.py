"""Forks, for the programs that kill what they have started."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable

from tqdm import tqdm


def fork(work: Callable[[], None]) -> int:
    """Start a child that does some work in silence, and ends with 0 where that raised no error, which is printed
    otherwise; its process number."""
    child = os.fork()
    if child:
        return child
    # A bar's lock is shared over a fork, and a killed child would keep it for ever.
    tqdm.set_lock(threading.RLock())
    errors = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        work()
    except BaseException:
        os.write(errors, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)
