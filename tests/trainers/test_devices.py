"""The choice of training.precision=auto."""

from __future__ import annotations

import pytest
import torch

from mmf_muvla.trainers import devices
from mmf_muvla.trainers.devices import choose_precision, multiplies_faster_in_bf16

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
