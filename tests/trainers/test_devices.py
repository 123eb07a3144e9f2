"""How a run uses its device: precision, loading, the order of sums."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.trainers import devices
from mmf_muvla.trainers.building import loading
from mmf_muvla.trainers.devices import choose_precision, multiplies_faster_in_bf16, take_device

CPU = torch.device("cpu")
TESTS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize("answers", [(True, False), (False, True), (False, False)])
def test_a_cpu_is_asked_for_its_instructions(answers: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, answer in zip(TESTS, answers, strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda answer=answer: answer, raising=False)
    assert multiplies_faster_in_bf16(CPU) is any(answers)


def test_a_pytorch_that_cannot_tell_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TESTS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert multiplies_faster_in_bf16(CPU) is False


@pytest.mark.parametrize(("capability", "faster"), [((8, 0), True), ((9, 0), True), ((7, 5), False)])
def test_gpus_since_ampere_have_them(
    capability: tuple[int, int], faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert multiplies_faster_in_bf16(torch.device("cuda", 0)) is faster


@pytest.mark.parametrize(
    ("faster", "precision", "warned"), [(False, "bf16", True), (True, "bf16", False), (False, "auto", False)]
)
def test_emulated_bf16_is_warned_of(
    faster: bool, precision: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[tuple[str, str]] = []
    monkeypatch.setattr(devices, "multiplies_faster_in_bf16", lambda device: faster)
    monkeypatch.setattr(devices, "log_message", lambda message, level="info": messages.append((level, message)))
    assert choose_precision(precision, CPU) is (None if precision == "auto" else torch.bfloat16)
    warnings = [message for level, message in messages if level == "warning"]
    assert bool(warnings) is warned and all("training.precision=bf16" in it and "processor" in it for it in warnings)


@pytest.mark.parametrize(
    ("device", "said", "pins"),
    [("cuda", None, True), ("cpu", None, False), ("cuda", False, False), ("cpu", True, True)],
)
def test_memory_is_pinned_for_gpus_where_nothing_is_said(device: str, said: bool | None, pins: bool) -> None:
    training = OmegaConf.create({"num_workers": 3, "pin_memory": said})
    assert loading(training, torch.device(device)) == {"num_workers": 3, "pin_memory": pins}


CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that seems to have one; what is set for it is of this test alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setenv(CUBLAS, "")
    monkeypatch.delenv(CUBLAS)
    yield
    torch.use_deterministic_algorithms(False)


def take(device: str, deterministic: bool) -> torch.device:
    training = {"device": device, "deterministic": deterministic}
    return take_device(OmegaConf.create({"training": training, "distributed": {"backend": "nccl"}}))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("device", "deterministic", "fixed"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_a_gpu_adds_in_a_fixed_order_when_told(device: str, deterministic: bool, fixed: bool) -> None:
    assert take(device, deterministic).type == device
    assert torch.are_deterministic_algorithms_enabled() is fixed
    assert os.environ.get(CUBLAS) == (":4096:8" if fixed else None)


@pytest.mark.usefixtures("gpu")
def test_a_setting_of_cublas_counts_unless_it_is_not_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUBLAS, ":16:8")
    take("cuda", True)
    assert os.environ[CUBLAS] == ":16:8"
    monkeypatch.setenv(CUBLAS, ":4096:2:16:8")
    with pytest.raises(InputError, match=r"training.deterministic=true: .*=:4096:2:16:8.* Unset it"):
        take("cuda", True)
