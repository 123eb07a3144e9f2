"""The warning that matching has not begun: when it is given, when it is not, and that a run gives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.trainers import trainer
from mmf_muvla.trainers.matching import unlearned_matching
from tests.small_corpus import write_small_corpus
from tests.trainers.test_runs import RESUME, pretrain


@pytest.mark.parametrize(
    ("values", "before", "update", "is_due"),
    [
        ({"itm": 0.6931}, 40, 50, True),
        ({"itm": 0.6835}, 40, 60, True),
        ({"itm": 0.7029}, 0, 100, True),  # the only validation, at the end
        ({"itm": 0.6831}, 40, 50, False),
        ({"itm": 0.7032}, 40, 50, False),  # it learns, if only by heart
        ({"itm": 0.6931}, 40, 49, False),
        ({"itm": 0.6931}, 50, 60, False),  # it has been said
        ({"mlm": 0.6931, "total_loss": 0.6931}, 40, 50, False),
        ({}, 40, 50, False),
    ],
)
def test_it_is_given_once_in_the_second_half(values: dict[str, float], before: int, update: int, is_due: bool) -> None:
    assert (unlearned_matching(values, before, update, total=100) is not None) == is_due


def test_it_names_value_and_remedies() -> None:
    warning = unlearned_matching({"itm": 0.69466}, 0, 1500, 3000)
    assert warning is not None and "after 1,500 of 3,000 updates the validation's itm is 0.6947" in warning
    for option in ("optimizer.params.lr", "itm_pooling=bert", "share_vocabulary_head=true", "itm_token_rate=0"):
        assert option in warning


@pytest.mark.usefixtures("own_registry")
def test_a_run_gives_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that starts at zero, and a rate of zero: every pair has probability one half, at every validation."""
    warnings: list[str] = []
    monkeypatch.setattr(trainer, "log_message", lambda text, level="info": warnings.append(text))
    monkeypatch.setattr(trainer.MuVLATrainer, "_build", _with_a_head_of_zeros(trainer.MuVLATrainer._build))
    corpus, save_dir = write_small_corpus(tmp_path / "corpus"), tmp_path / "save"
    pretrain(corpus, save_dir, "training.evaluation_interval=2", "optimizer.params.lr=0.0")
    found = [text for text in warnings if "matching has not begun" in text]
    assert len(found) == 1 and "after 4 of 6 updates the validation's itm is 0.6931" in found[0]

    warnings.clear()
    pretrain(corpus, save_dir, RESUME, "training.max_updates=7", "optimizer.params.lr=0.0")
    assert not [text for text in warnings if "matching has not begun" in text]


def _with_a_head_of_zeros(build: object) -> object:
    def zeroed(self: trainer.MuVLATrainer) -> None:
        build(self)  # type: ignore[operator]
        for parameter in self.model.heads.itm.parameters():
            parameter.data.zero_()

    return zeroed
