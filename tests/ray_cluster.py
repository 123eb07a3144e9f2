"""A Ray cluster of two nodes on this machine, for the tests of what is built on one. They are skipped without Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mmf_muvla.options.executors import ExecutorOptions

ray = pytest.importorskip("ray")

_NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 * 2**20}


class TwoNodes:
    """A head and another node, each of a core and of something that Ray takes for a GPU."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # Workers are otherwise given less of the machine than all else that runs on it.
        head = {**_NODE, "include_dashboard": False, "_system_config": {"worker_niceness": 0}}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.second = self.cluster.add_node(**_NODE)

    def options(self, **changes: Any) -> ExecutorOptions:
        return ExecutorOptions(address=self.cluster.address, **changes)

    def kill_second(self) -> None:
        self.cluster.remove_node(self.second, allow_graceful=False)

    def add_second(self) -> None:
        self.second = self.cluster.add_node(**_NODE)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    before = os.environ.get("RAY_USAGE_STATS_ENABLED")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = TwoNodes()
    try:
        yield nodes
    finally:
        ray.shutdown()
        nodes.cluster.shutdown()
        del os.environ["RAY_USAGE_STATS_ENABLED"]
        if before is not None:
            os.environ["RAY_USAGE_STATS_ENABLED"] = before
