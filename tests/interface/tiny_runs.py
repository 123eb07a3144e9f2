"""Folders of runs with tiny models of random weights, and data to ask them about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.trainers.checkpoints import save_weights
from tests.datasets.small_tasks import DIM, MINILM

KINDS = {
    "vqa2": "classification", "visual_entailment": "classification", "nlvr2": "image_pair",
    "refcoco_plus": "grounding",
}  # fmt: skip
LOSSES = {"vqa2": "muvla_answer_bce", "refcoco_plus": "muvla_grounding"}
LEARNED = [{"type": f"muvla_{name}"} for name in ("mlm", "mrc", "mrfr", "p_mrtc", "itm")]


def make_run(folder: Path, dataset: str, data: dict[str, Any], **options: Any) -> Path:
    """The folder of a run on a data set, whose model says something else of every row."""
    task = KINDS.get(dataset, "pretraining")
    losses = LEARNED if task == "pretraining" else [{"type": LOSSES.get(dataset, "muvla_cross_entropy")}]
    defaults = OmegaConf.load(MuVLA.config_path()).model_config.muvla
    made = {
        "task": task, "losses": losses, "num_object_classes": 6,
        "trunk": {
            "pretrained": MINILM, "random_init": True, "num_hidden_layers": 2, "hidden_size": 32,
            "num_attention_heads": 4, "intermediate_size": 32, "feature_dim": DIM,
        },
    }  # fmt: skip
    model = MuVLA(OmegaConf.merge(defaults, made, options))
    torch.manual_seed(0)
    model.build()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "embeddings.word" not in name:
                torch.nn.init.normal_(weight, std=0.5)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "training": {"seed": 7},
        "datasets": dataset,
        "model_config": {"muvla": model.config},
        "dataset_config": {dataset: data},
    }
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    save_weights(model, folder / "muvla_final.safetensors", update=3)
    return folder
