"""Training steps at BERT-base's size on made-up samples: ours, and the authors' formulation of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.datasets.collate import PretrainingSample, collate_pretraining
from mmf_muvla.models.embeddings import region_location
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.objectives.image_sentence import image_sentence_row
from mmf_muvla.objectives.masking import IGNORE, MaskingConfig, Vocabulary
from mmf_muvla.objectives.region_phrase import Links, region_phrase_row
from mmf_muvla.objectives.region_tag import region_tag_row
from mmf_muvla.objectives.registry import HEADS, LOSSES
from mmf_muvla.regions.regions import Regions

BATCH = 16
VIEWS = ("region_tag", "region_phrase", "image_sentence")
MEAN_REGIONS, MEAN_WORDS = 36, 10
FEATURES, CLASSES = 2048, 1600
TEXT_ROOM, REGION_ROOM = 60, 100
BERT_BASE = TrunkConfig()


# ---------------------------------------------------------------------------------------------------- the samples


def make_samples(
    tag_per_region: bool = False, seed: int = 0, *, count: int = BATCH, words: int = MEAN_WORDS, paired: bool = True
) -> list[PretrainingSample]:
    """Samples with 36 regions and so many words on average, with the masks of the real views.

    Where they are ``paired``, each second sample makes up for the one before: the averages hold for every batch, and
    all batches have as many positions in use. Otherwise they hold for many batches together, as in real training.
    """
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(cls_id=101, sep_id=102, mask_id=103, pad_id=0, ordinary_ids=np.arange(1000, 30000))
    masking = MaskingConfig()
    samples = []
    for number in range(count):
        if not paired or number % 2 == 0:
            more_regions, more_words = int(rng.integers(-26, 27)), int(rng.integers(-5, 6))
        else:
            more_regions, more_words = -more_regions, -more_words
        n, t = MEAN_REGIONS + more_regions, words + more_words
        own, other = (rng.integers(1000, 30000, size=t) for _ in range(2))
        nothing = np.zeros(0, np.int64)
        tags = [rng.integers(1000, 30000, size=1) if tag_per_region or i < t else nothing for i in range(n)]
        phrase_of_token = np.where(np.arange(t) < t // 2, 0, 1)
        links = Links(phrase_of_token, rng.integers(-1, 2, size=n), rng.random(n))
        rows = {
            "region_tag": region_tag_row(tags, rng, vocabulary, masking, max_tokens=120),
            "region_phrase": region_phrase_row(own, links, rng, vocabulary, masking),
            "matched": image_sentence_row(own, n, True, rng, vocabulary, masking),
            "mismatched": image_sentence_row(other, n, False, rng, vocabulary, masking),
        }
        corners = rng.integers(0, 300, size=(n, 2))
        image = Regions(
            image_id=str(number),
            width=400,
            height=400,
            image_feature_0=rng.random((n, FEATURES)).astype(np.float16),
            bbox=np.concatenate([corners, corners + 50], axis=1).astype(np.float32),
            class_id=rng.integers(0, CLASSES, size=n).astype(np.int32),
            attribute_id=np.full(n, -1, np.int32),
            confidence=np.ones(n, np.float32),
        )
        samples.append(PretrainingSample(image, rows, 1, "matched"))
    return samples


def positions_in_use(samples: Sequence[PretrainingSample]) -> int:
    """Tokens and regions of all rows, without padding."""
    return sum(len(row.input_ids) + len(sample.image.bbox) for sample in samples for row in sample.rows.values())


def flops_in_use(samples: Sequence[PretrainingSample], config: TrunkConfig = BERT_BASE) -> float:
    """Floating-point operations of a step that does nothing but its matrix products, on positions in use alone."""
    width, inner = config.hidden_size, config.intermediate_size
    per_position = 2 * (4 * width * width + 2 * width * inner)
    lengths = [len(row.input_ids) + len(sample.image.bbox) for sample in samples for row in sample.rows.values()]
    trunk = config.num_hidden_layers * sum(length * per_position + 4 * length**2 * width for length in lengths)
    words = sum(
        int((row.mlm_labels != IGNORE).sum()) + sum(len(ids) > 0 for ids in row.phrase_targets)
        for sample in samples
        for row in sample.rows.values()
    )
    masked = sum(int(sample.rows["region_tag"].region_targets.sum()) for sample in samples)
    regions = sum(len(sample.image.bbox) for sample in samples)
    heads = 2 * words * (width * config.vocab_size + width**2) + 2 * masked * width * (CLASSES + FEATURES)
    return 3.0 * (trunk + heads + 2 * regions * FEATURES * width)  # backward is twice forward


# --------------------------------------------------------------------------------------------------------- ours


@dataclass
class Learner:
    """A model with its optimizer, and the steps of the trainer ``muvla``: products in ``dtype``, or in float32."""

    device: torch.device
    dtype: torch.dtype | None = None
    config: TrunkConfig = BERT_BASE
    checkpointing: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.encoder = Encoder(self.config, FEATURES, self.checkpointing)
        heads: dict[str, Any] = {"itm_pooling": "bert", "share_vocabulary_head": True}  # as by default
        self.heads = PretrainingHeads(self.encoder, FEATURES, CLASSES, warmup_epochs=1, **heads)
        self.model = nn.ModuleDict({"encoder": self.encoder, "heads": self.heads}).to(self.device).train()
        if self.compiled:
            self.encoder.trunk.compile_layers()
        self.losses = [LOSSES[name]() for name in HEADS]
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, fused=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)

    def batch_of(self, samples: Sequence[PretrainingSample]) -> dict[str, Any]:
        """What comes from the loader for some samples."""
        return self.ready(collate_pretraining(samples, pad_id=0))

    def ready(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A collated batch with what the trainer adds to it before the step, pinned where that helps."""
        batch["plan"] = self.heads.planner(self.encoder)(batch)
        if self.device.type == "cuda":
            batch = {name: it.pin_memory() if hasattr(it, "pin_memory") else it for name, it in batch.items()}
        return batch

    def add_gradients(self, batch: dict[str, Any], share: float = 1.0) -> None:
        """Forward and backward; ``share`` is the batch's of all samples of the step."""
        batch = {name: it.to(self.device, non_blocking=True) if hasattr(it, "to") else it for name, it in batch.items()}
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            output = self.heads(self.encoder, batch)
            loss = torch.stack([loss({}, output) for loss in self.losses]).sum()
        self.scaler.scale(loss * share).backward()

    def update(self) -> None:
        """Clipping and AdamW."""
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scaler.get_scale()  # was the update skipped? With fp16, this waits for a GPU
        self.optimizer.zero_grad(set_to_none=True)

    def steps(self, batches: Sequence[dict[str, Any]]) -> Callable[[], None]:
        """A function that takes a step with the next of the batches, round and round."""
        rotation = itertools.cycle(batches)

        def step() -> None:
            self.add_gradients(next(rotation))
            self.update()

        return step


def build_ours(size: int, device: torch.device, tag_per_region: bool = False) -> Callable[[], None]:
    """A step of 16 samples, of which ``size`` at a time go through the model; gradients are added up."""
    learner, samples = Learner(device), make_samples(tag_per_region)

    def step() -> None:
        for start in range(0, BATCH, size):
            part = samples[start : start + size]
            learner.add_gradients(learner.batch_of(part), len(part) / BATCH)
        learner.update()

    return step


# --------------------------------------------------------------------------------------------------------- the peer


class PlainLayer(nn.Module):
    """A BERT layer as the textbook writes it."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads = config.num_attention_heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.expand, self.contract = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        rows, length, width = hidden.shape

        def split(states: Tensor) -> Tensor:
            return states.view(rows, length, self.heads, -1).transpose(1, 2)

        query, key, value = split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + mask
        context = (self.dropout(scores.softmax(dim=-1)) @ value).transpose(1, 2).reshape(rows, length, width)
        hidden = self.norm1(hidden + self.dropout(self.output(context)))
        return self.norm2(hidden + self.dropout(self.contract(F.gelu(self.expand(hidden)))))


class PlainModel(nn.Module):
    """Padded text and regions in, logits of everything at all positions out."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        width, words = config.hidden_size, config.vocab_size
        self.word, self.position = nn.Embedding(words, width), nn.Embedding(512, width)
        self.segment = nn.Embedding(2, width)
        self.feature, self.location = nn.Linear(FEATURES, width), nn.Linear(5, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(0.1)
        self.layers = nn.ModuleList(PlainLayer(config) for _ in range(config.num_hidden_layers))
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.vocabulary = nn.Linear(width, words)
        self.vocabulary.weight = self.word.weight
        self.classes, self.regression, self.matching = (nn.Linear(width, n) for n in (CLASSES, FEATURES, 1))

    def forward(self, ids: Tensor, features: Tensor, location: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        text = self.word(ids) + self.position.weight[:TEXT_ROOM] + self.segment.weight[0]
        regions = self.feature(features) + self.location(location) + self.segment.weight[1]
        hidden = self.dropout(self.norm(torch.cat([text, regions], dim=1)))
        additive = torch.where(mask, 0.0, -10000.0)[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, additive)
        return hidden, self.vocabulary(self.transform(hidden))


def build_peer(size: int, device: torch.device) -> Callable[[], None]:
    """Three steps of the authors' formulation, one for each view, of ``size`` samples."""
    return peer_steps([make_samples(count=size)], device)


def peer_steps(
    batches: Sequence[list[PretrainingSample]],
    device: torch.device,
    dtype: torch.dtype | None = None,
    config: TrunkConfig = BERT_BASE,
) -> Callable[[], None]:
    """A function that takes three steps, one for each view, with the next of the batches, round and round."""
    torch.manual_seed(0)
    model = PlainModel(config).to(device).train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    rotation = itertools.cycle([[padded_batch(samples, view, device) for view in VIEWS] for samples in batches])

    def step() -> None:
        for view, batch in zip(VIEWS, next(rotation), strict=True):
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                hidden, words = model(batch["ids"], batch["features"], batch["location"], batch["mask"])
                loss = F.cross_entropy(words.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=IGNORE)
                states = hidden[:, TEXT_ROOM:]
                if view == "region_tag":
                    chosen = batch["chosen"].flatten()
                    classes = model.classes(states).flatten(0, 1).float()
                    loss = loss + F.cross_entropy(classes, torch.where(chosen, batch["classes"].flatten(), IGNORE))
                    distance = (model.regression(states).float() - batch["features"]).square().mean(dim=-1)
                    loss = loss + (distance.flatten() * chosen).sum() / chosen.sum().clamp(min=1)
                if view == "image_sentence":
                    matched = model.matching(hidden[:, 0]).squeeze(1).float()
                    loss = loss + F.binary_cross_entropy_with_logits(matched, batch["matched"])
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return step


def padded_batch(samples: Sequence[PretrainingSample], view: str, device: torch.device) -> dict[str, Tensor]:
    """One view of the samples, each padded to the room for text and regions; half of the pairs of I-S are false."""
    count = len(samples)
    batch = {
        "ids": torch.zeros(count, TEXT_ROOM, dtype=torch.long),
        "features": torch.zeros(count, REGION_ROOM, FEATURES),
        "bbox": torch.zeros(count, REGION_ROOM, 4),
        "mask": torch.zeros(count, TEXT_ROOM + REGION_ROOM, dtype=torch.bool),
        "labels": torch.full((count, TEXT_ROOM + REGION_ROOM), IGNORE),
        "classes": torch.zeros(count, REGION_ROOM, dtype=torch.long),
        "chosen": torch.zeros(count, REGION_ROOM, dtype=torch.bool),
        "matched": torch.arange(count).remainder(2).float(),
    }
    for i, sample in enumerate(samples):
        false_pair = view == "image_sentence" and i % 2 == 0
        row = sample.rows["mismatched" if false_pair else "matched" if view == "image_sentence" else view]
        t, n = min(len(row.input_ids), TEXT_ROOM), len(sample.image.bbox)
        batch["ids"][i, :t] = torch.from_numpy(row.input_ids[:t])
        batch["labels"][i, :t] = torch.from_numpy(row.mlm_labels[:t])
        for region, ids in enumerate(row.phrase_targets):
            if len(ids):
                batch["labels"][i, TEXT_ROOM + region] = int(ids[0])
        batch["features"][i, :n] = torch.from_numpy(sample.image.image_feature_0).float()
        batch["bbox"][i, :n] = torch.from_numpy(sample.image.bbox)
        batch["classes"][i, :n] = torch.from_numpy(sample.image.class_id)
        batch["chosen"][i, :n] = torch.from_numpy(row.region_targets)
        batch["mask"][i, :t] = batch["mask"][i, TEXT_ROOM : TEXT_ROOM + n] = True
    sizes = torch.tensor([(sample.image.width, sample.image.height) for sample in samples], dtype=torch.float32)
    batch["location"] = region_location(batch.pop("bbox"), sizes)
    return {name: value.to(device) for name, value in batch.items()}


def sample_batches(count: int, size: int, words: int) -> Iterator[list[PretrainingSample]]:
    """Batches of different lengths, as they come in training."""
    for seed in range(count):
        yield make_samples(seed=seed, count=size, words=words, paired=False)
