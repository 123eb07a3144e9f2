"""The command line: options by name, mistakes by message."""

from __future__ import annotations

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.command import make_toyworld

TINY = [
    "scenes=3", "captions=5", "books=5", "stories=4", "heldout_scenes=2", "pictures=1",
    *(f"task_{split}_scenes=60" for split in ("train", "val", "test")),
    "vqa_train_questions=10", "vqa_val_questions=8", "vqa_test_questions=8",
    *(f"entailment_{split}_examples=9" for split in ("train", "val", "test")),
    *(f"refcoco_{split}_expressions=10" for split in ("train", "val", "test")),
    *(f"nlvr2_{split}_examples=24" for split in ("train", "val", "test")), "nlvr2_train_sentences=6",
]  # fmt: skip


def test_a_world_is_made_and_described(tmp_path, capsys):
    make_toyworld([f"out={tmp_path / 'world'}", "seed=3", "detector.misnamed=0.5", *TINY])
    said = capsys.readouterr().out
    assert str(tmp_path / "world") in said
    assert "3 images" in said and "train 10, val 8, test 8 questions" in said
    assert "6 true captions of regions/" in said
    assert "train 24, val 24, test 24 sentences about two images" in said
    assert "train 9, val 9, test 9 hypotheses" in said and "referring expressions" in said
    assert (tmp_path / "world" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("scense=3", "Did you mean scenes"),
        ("scenes", "key=value"),
        ("scenes=many", "is not a whole number"),
        ("detector.missed=often", "is not a number"),
        ("detector.missed=2", "from 0.0 to 1.0"),
        ("pictures=some", "is neither a whole number from 0 nor all"),
        ("pictures=-1", "is neither a whole number from 0 nor all"),
        ("overwrite=perhaps", "neither true nor false"),
    ],
)
def test_mistakes_are_named(tmp_path, argument, message):
    with pytest.raises(InputError, match=message):
        make_toyworld([f"out={tmp_path / 'world'}", argument])
    assert not (tmp_path / "world").exists()
