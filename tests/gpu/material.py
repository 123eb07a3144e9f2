"""Small models and real batches, from files that need neither a network nor packages with weights."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.tasks import ClassificationHeads, GroundingHeads, ImagePairHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.models.two_stream import TwoStreamShape
from mmf_muvla.objectives.registry import HEADS, LOSSES
from mmf_muvla.paths import resource_path
from tests.datasets import small_tasks
from tests.small_corpus import DIM, NAMES

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["somebody", "saw", "the", "on", "day", "there", "is", "no", "left", "picture", "has", "in", "old", "red"]
PIECES = [*SPECIAL, *WORDS, *NAMES, *string.ascii_lowercase, *string.digits, *".?"]
PIECES += [f"##{piece}" for piece in (*string.ascii_lowercase, *string.digits)]

# Heads of 64 numbers, as BERT's are, so that the GPU takes the kernels that it takes for BERT. No dropout: it draws
# other numbers on every device.
CONFIG = TrunkConfig(
    vocab_size=len(PIECES),
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=192,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
TASK_LOSSES = {"vqa2": "muvla_answer_bce", "refcoco_plus": "muvla_grounding"}
EPOCH = 3  # the curriculum's warm-up, one epoch, is over: pairs are weighed


def write_bert(folder: Path) -> Path:
    """A folder with the tokenizer and the shape of :data:`CONFIG`, without weights."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    shape = {"model_type": "bert", **vars(CONFIG)}
    (folder / "config.json").write_text(json.dumps(shape))
    return folder


def pretraining_batch(corpus: Path, bert: Path, items: Sequence[int] = range(24)) -> Any:
    """What the loader gives: all three objectives, four rows a sample."""
    from mmf_muvla.datasets.pretraining import PretrainingDataset

    config = OmegaConf.load(resource_path("configs/datasets/muvla/defaults.yaml")).dataset_config.muvla_cc
    own = {"corpus": str(corpus), "tokenizer": str(bert), "held_out_fraction": 0.0}
    dataset = PretrainingDataset("muvla_cc", OmegaConf.merge(config, own), "train", seed=1)
    return dataset.__getitems__([(EPOCH, item) for item in items])


def task_batch(folder: Path, bert: Path, task: str, items: Sequence[int] = range(12)) -> Any:
    return small_tasks.make(folder, task, tokenizer=str(bert)).__getitems__(list(items))


class PretrainingModel(nn.Module):
    """Encoder, heads and the sum of the five losses."""

    def __init__(
        self, two_streams: bool = False, pooling: str = "cls", shared: bool = False, checkpointing: bool = False
    ):
        super().__init__()
        torch.manual_seed(0)
        shape = TwoStreamShape(region_layers=1, co_layers=1) if two_streams else None
        self.encoder = Encoder(CONFIG, DIM, checkpointing, shape)
        self.heads = PretrainingHeads(
            self.encoder, DIM, len(NAMES), warmup_epochs=1, itm_pooling=pooling, share_vocabulary_head=shared
        )
        self.losses = {name: LOSSES[name]() for name in HEADS}
        enliven(self)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        output = self.heads(self.encoder, batch)
        return {name: loss(batch, output) for name, loss in self.losses.items()}


class TaskModel(nn.Module):
    """Encoder, the heads of a task, and its loss."""

    def __init__(self, task: str):
        from mmf.common.registry import registry

        super().__init__()
        torch.manual_seed(0)
        self.encoder = Encoder(CONFIG, DIM)
        self.heads: nn.Module
        if task == "refcoco_plus":
            self.heads = GroundingHeads(self.encoder, dropout=0.0)
        else:
            labels = {"vqa2": len(small_tasks.ANSWERS), "nlvr2": 2, "visual_entailment": 3}[task]
            kind = ImagePairHeads if task == "nlvr2" else ClassificationHeads
            self.heads = kind(self.encoder, labels, dropout=0.0, pooling="mean")
        self.loss = registry.get_loss_class(TASK_LOSSES.get(task, "muvla_cross_entropy"))()
        enliven(self)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        output = self.heads(self.encoder, batch)
        scores = output["scores"]
        # Minus infinity stands at padding.
        return {"loss": self.loss(batch, output), "scores": scores.masked_fill(scores.isneginf(), 0.0)}


def enliven(model: nn.Module) -> None:
    """Matrices large enough that states differ from each other: at BERT's initial values they are nearly alike."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.08)


def prepared(model: nn.Module, batch: Any, device: torch.device) -> Any:
    """A batch of the loader as the trainer hands it to a model, which is on the device already."""
    ready = batch.copy()
    ready["plan"] = model.heads.planner(model.encoder)(ready)
    return ready.to(device, non_blocking=True)


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Products in ``dtype``, as the trainer has them."""
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
        yield


def relative_error(value: Tensor, reference: Tensor) -> float:
    """‖value − reference‖ / ‖reference‖; infinity where the value is not finite."""
    if not torch.isfinite(value).all():
        return float("inf")
    value, reference = value.detach().cpu().double(), reference.detach().cpu().double()
    return ((value - reference).norm() / reference.norm().clamp(min=1e-30)).item()
