from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmf_muvla.artifacts.executors import LocalExecutor, open_executor
from mmf_muvla.artifacts.versions import versions
from mmf_muvla.errors import InputError
from mmf_muvla.options.executors import ExecutorOptions


def add(state: int, item: int) -> int:
    return state + item


def test_local_workers_are_as_many_as_is_said(tmp_path: Path) -> None:
    allowed = []

    def one(number: int) -> int:
        allowed.append(number)
        return 1

    executor = open_executor("local", ExecutorOptions(), 3)
    assert executor == LocalExecutor(3) and executor.settings() == {"num_workers": 3}
    results = executor.map(add, range(4), int, ("7",), kind="link", folder=tmp_path, processes=one)
    assert list(results) == [7, 8, 9, 10]
    assert allowed == [3]


@pytest.mark.parametrize("name", ["local", "ray"])
def test_what_is_no_number_of_workers(name: str) -> None:
    with pytest.raises(InputError, match="is neither 'auto' nor a number of processes"):
        open_executor(name, ExecutorOptions(), 0)  # type: ignore[arg-type]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "mmf_muvla.artifacts.ray_executor", raising=False)
    with pytest.raises(InputError, match="executor=ray: the package ray is not installed. Install it: pip install ray"):
        open_executor("ray", ExecutorOptions(), "auto")


def test_versions_are_those_of_what_computes() -> None:
    import torch

    found = versions()
    assert found["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found == versions()
