"""Steps that fp16 leaves out since its scaled gradients were not finite; the scaler is PyTorch's, on the CPU."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmf_muvla.trainers import run
from tests.small_corpus import write_small_corpus
from tests.trainers.test_runs import RESUME, first_difference, load, pretrain

pytestmark = pytest.mark.usefixtures("own_registry", "scaled")
# Not fused: the optimizer is not even called, of which PyTorch's schedules know.
OPTIONS = ("training.max_updates=8", "checkpoint.max_to_keep=-1", "optimizer.params.fused=false")


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loss of about 20 is too large for float32 when it is multiplied by more than 2^123; each time half is tried."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(run.torch.amp, "GradScaler", lambda device, enabled: scaler(device, init_scale=2.0**126))
    yield


def test_the_schedule_waits_for_the_first_step_and_a_resumed_run_goes_on_alike(tmp_path: Path) -> None:
    corpus = write_small_corpus(tmp_path / "corpus")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*lr_scheduler.step.*")
        pretrain(corpus, tmp_path / "save", *OPTIONS)
    whole = load(tmp_path / "save" / "current.ckpt")
    skipped = whole["skipped_updates"]
    assert 0 < skipped < 8
    assert (whole["num_updates"], whole["scheduler"]["last_epoch"]) == (8, 8 - skipped)
    assert whole["scaler"]["scale"] == 2.0 ** (126 - skipped)

    # Resumed after all of the skipped ones, and between them.
    for update in (2, 6):
        part = tmp_path / f"from_{update}"
        shutil.copytree(tmp_path / "save", part)
        for path in (*part.glob("*.ckpt"), *part.glob("models/*.ckpt")):
            if path.stem != f"model_{update}":
                path.unlink()
        pretrain(corpus, part, *OPTIONS, RESUME)
        assert first_difference(load(part / "current.ckpt"), whole) is None
