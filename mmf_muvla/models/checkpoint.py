"""BERT checkpoints: their files, their tensors, and what a model takes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained
from mmf_muvla.reading.weight_files import read_safetensors, read_torch_file

# A module of ours -> BERT's, in each layer and elsewhere.
_IN_A_LAYER = {
    "attention.output": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "norm": "output.LayerNorm",
}
_ELSEWHERE = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.segment": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "mlm.dense": "cls.predictions.transform.dense",
    "mlm.norm": "cls.predictions.transform.LayerNorm",
    "pooler.cls_dense": "pooler.dense",
    "itm.seq_relationship": "cls.seq_relationship",
    "mlm.decoder": "cls.predictions",  # its bias; its weight is the word embeddings'
}
# Parts that not every checkpoint has, by what BERT calls their tensors.
_OPTIONAL = {
    "pooler": "pooler.",
    "next-sentence head": "cls.seq_relationship.",
    "masked-token head": "cls.predictions.",
}
_BIAS = "cls.predictions.bias"
# Second names, in some checkpoints, of the word embeddings and of the masked-token head's bias.
_TIED = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}


@dataclass(frozen=True)
class LoadReport:
    """The tensors that were taken from a checkpoint, and those that were not."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]  # in the checkpoint; they keep their initial values
    mismatched: tuple[str, ...]  # of another shape
    unused: tuple[str, ...]  # as the model lacks them
    notes: tuple[str, ...] = ()  # what that means

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded", *self.notes]
        for title, names in (
            ("not in the checkpoint", self.missing),
            ("of another shape", self.mismatched),
            ("not in the model", self.unused),
        ):
            if names:
                modules = sorted({name.rpartition(".")[0] for name in names})
                parts.append(f"{len(names)} {title}: {', '.join(modules)}")
        return "; ".join(parts)


def checkpoint_file(name: str, filename: str) -> str | None:
    """Path of one file of a pretrained checkpoint (fetched from the hub if need be), None where it has no such file."""
    resolved = resolve_pretrained(name)
    if Path(resolved).is_dir():
        path = Path(resolved) / filename
        return str(path) if path.is_file() else None
    from transformers.utils import cached_file

    try:
        return cached_file(resolved, filename, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        problem = f"not a folder here, and the hub could not give {filename} ({error})"
        remedy = "Name a local folder with the checkpoint, or a package:…, or connect to the hub"
        raise InputError(f"pretrained={name}", problem, remedy) from error


def read_checkpoint(name: str) -> dict[str, Tensor]:
    """The tensors of a BERT checkpoint, from safetensors or from an old ``.bin`` (weights only, no code is run).

    A leading ``bert.`` is removed, old LayerNorm names (gamma, beta) are brought up to date, and the bias of the
    masked-token head has its own name, where a checkpoint has it under that of its decoder alone.

    Raises:
        InputError: the checkpoint has no weights file, or a damaged one.
    """
    if path := checkpoint_file(name, "model.safetensors"):
        tensors, _ = read_safetensors(Path(path))
    elif path := checkpoint_file(name, "pytorch_model.bin"):
        tensors = read_torch_file(Path(path))
    else:
        problem = "there is neither model.safetensors nor pytorch_model.bin"
        raise InputError(f"pretrained={name}", problem, "Name a BERT checkpoint")
    named = {
        key.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): value
        for key, value in tensors.items()
    }
    if "cls.predictions.decoder.bias" in named:
        named.setdefault(_BIAS, named["cls.predictions.decoder.bias"])
    return named


def load_bert(model: nn.Module, pretrained: str) -> LoadReport:
    """Take embeddings, layers, pooler and heads from a BERT checkpoint, as far as ``muvla``, or its encoder alone, has
    them.

    Not every checkpoint has pooler and heads: that of ``BertModel`` lacks the heads, that of ``BertForMaskedLM`` pooler
    and next-sentence head. What is not there stays as it is, and the report says so.

    Raises:
        InputError: the checkpoint cannot be read, or lacks embeddings or layers.
    """
    tensors = read_checkpoint(pretrained)
    # The matrix of a vocabulary head is that of the word embeddings.
    wanted = {name: names_in_bert(name) for name in model.state_dict() if not name.endswith("decoder.weight")}
    used = {theirs for names in wanted.values() for theirs in names}
    for lacking in sorted(used - set(tensors)):
        if lacking.startswith(("embeddings.", "encoder.")):
            raise InputError(f"pretrained={pretrained}", f"it lacks {lacking}", "Name a whole BERT checkpoint")
    state = {
        ours: torch.cat([tensors[name] for name in theirs])
        for ours, theirs in wanted.items()
        if theirs and set(theirs) <= set(tensors)
    }
    model.load_state_dict(state, strict=False)
    if _BIAS in used:
        used |= _TIED
    absent = used - set(tensors) - _TIED
    return LoadReport(
        loaded=tuple(state),
        missing=tuple(name for name in wanted if name not in state),
        mismatched=(),
        unused=tuple(name for name in tensors if name not in used),
        notes=tuple(
            f"no {part}: starts at random"
            for part, prefix in _OPTIONAL.items()
            if any(name.startswith(prefix) for name in absent)
        ),
    )


def names_in_bert(name: str) -> list[str]:
    """What a tensor of the model is in BERT's checkpoint: one tensor, several one after the other, or none."""
    module, _, kind = name.removeprefix("encoder.").removeprefix("heads.").rpartition(".")
    if layer := re.fullmatch(r"trunk\.layers\.(\d+)\.(.+)", module):
        number, part = layer.groups()
        qkv = [f"attention.self.{it}" for it in ("query", "key", "value")]
        theirs = qkv if part == "attention.qkv" else [_IN_A_LAYER[part]]
        return [f"encoder.layer.{number}.{it}.{kind}" for it in theirs]
    return [f"{_ELSEWHERE[module]}.{kind}"] if module in _ELSEWHERE else []
