"""A Ray cluster: how a process connects to it, and what it has room for."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading

import ray

from mmf_muvla.errors import InputError
from mmf_muvla.options.executors import WorkerOptions

_SECONDS_TO_ANSWER = 10


def connect(address: str) -> None:
    """Connect this process to a cluster; an InputError where there is none, or one of other versions."""
    if ray.is_initialized():
        return
    where = f"executor_options.address={address}"
    if "://" in address:
        raise InputError(where, "is the address of a Ray client", "Run this on a machine of the cluster, with auto")
    # Counts only where this process starts a cluster, with address=local.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address not in ("auto", "local"):
            # Ray itself would try for minutes.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
        before = signal.getsignal(signal.SIGTERM)
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False)
    except (OSError, RuntimeError, ValueError) as error:
        problem = f"there is no Ray cluster that can be used ({' '.join(str(error).split())})"
        raise InputError(where, problem, "Start one (ray start --head), or correct the address") from error
    # Ray's own handler prints traces.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def room(kind: str, needed: WorkerOptions) -> int:
    """How many workers the nodes of the cluster have room for; an InputError where it is none."""
    wanted = {"CPU": needed.cpus, "GPU": needed.gpus, "memory": (needed.memory or 0) * 2**30}
    wanted = {name: amount for name, amount in wanted.items() if amount}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        min((math.floor(node.get(name, 0) / amount + 1e-6) for name, amount in wanted.items()), default=1)
        for node in nodes
    )
    if not room:
        problem = f"no node of the cluster has {in_words(needed)}"
        remedy = "Ask for less; or say with num_workers how many are to be waited for"
        raise InputError(f"executor_options.{kind}", problem, remedy)
    return room


def in_words(needed: WorkerOptions) -> str:
    """What a worker needs, for messages."""
    words = [counted(needed.cpus, "CPU"), counted(needed.gpus, "GPU") if needed.gpus else ""]
    words.append(f"{needed.memory:g} GiB of memory" if needed.memory else "")
    return ", ".join(filter(None, words))


def counted(count: float, thing: str) -> str:
    """``2 CPUs``."""
    return f"{count:g} {thing}{'' if count == 1 else 's'}"
