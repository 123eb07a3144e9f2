"""What tests on a GPU share. They are skipped where there is none.

``GPU_TESTS_ON=cpu`` runs them on the CPU instead, to try the tests themselves: what only a GPU has is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.gpu.material import write_bert
from tests.trainers.conftest import own_registry

__all__ = ["own_registry"]

TRIED_ON_CPU = os.environ.get("GPU_TESTS_ON") == "cpu"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available() and not TRIED_ON_CPU:
        pytest.skip("no GPU")


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cpu" if TRIED_ON_CPU else "cuda")


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """For what only a GPU has."""
    if device.type != "cuda":
        pytest.skip("needs a GPU itself")
    return device


@pytest.fixture(autouse=True)
def without_tf32() -> Iterator[None]:
    """float32 products in float32: in TF32, which has ten bits, they would be off by some 3e-4."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert")
