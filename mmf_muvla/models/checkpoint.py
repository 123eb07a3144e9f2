"""BERT checkpoints: their files, their tensors under the model's own names, and what a model took of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained
from mmf_muvla.reading.weight_files import read_safetensors, read_torch_file


@dataclass(frozen=True)
class LoadReport:
    """What was taken from a checkpoint, by tensor name.

    Attributes:
        loaded: tensors taken.
        missing: tensors of the model that the checkpoint lacks; they keep their initial values.
        mismatched: tensors of another shape in the checkpoint; not taken.
        unused: tensors of the checkpoint that the model lacks.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for title, names in (
            ("not in the checkpoint", self.missing),
            ("of another shape", self.mismatched),
            ("not in the model", self.unused),
        ):
            if names:
                parts.append(f"{len(names)} {title}: {', '.join(_modules(names))}")
        return "; ".join(parts)


def _modules(names: tuple[str, ...]) -> list[str]:
    """Tensor names without their last part, each once: shorter to read."""
    return sorted({name.rpartition(".")[0] for name in names})


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
        raise InputError(
            f"pretrained={name}",
            f"not a folder here, and the hub could not give {filename} ({error})",
            "Name a local folder with the checkpoint, or a package:…, or connect to the hub",
        ) from error


def read_checkpoint(name: str) -> dict[str, Tensor]:
    """The tensors of a BERT checkpoint, from safetensors or from an old ``.bin`` (weights only, no code is run).

    A leading ``bert.`` is removed, old LayerNorm names (gamma, beta) are brought up to date.

    Raises:
        InputError: the checkpoint has no weights file, or a damaged one.
    """
    if path := checkpoint_file(name, "model.safetensors"):
        tensors, _ = read_safetensors(Path(path))
    elif path := checkpoint_file(name, "pytorch_model.bin"):
        tensors = read_torch_file(Path(path))
    else:
        raise InputError(
            f"pretrained={name}", "there is neither model.safetensors nor pytorch_model.bin", "Name a BERT checkpoint"
        )
    return {
        key.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): value
        for key, value in tensors.items()
    }


def trunk_state(tensors: Mapping[str, Tensor], num_hidden_layers: int) -> dict[str, Tensor]:
    """Rename BERT's encoder tensors to this trunk's.

    Args:
        tensors: as from :func:`read_checkpoint`.
        num_hidden_layers: how many layers to take, from the bottom.

    Returns:
        A state dict for :class:`Trunk`.

    Raises:
        InputError: the checkpoint has fewer layers than asked for.
    """
    names = {
        "attention.output.weight": "attention.output.dense.weight",
        "attention.output.bias": "attention.output.dense.bias",
        "attention.norm.weight": "attention.output.LayerNorm.weight",
        "attention.norm.bias": "attention.output.LayerNorm.bias",
        "expand.weight": "intermediate.dense.weight",
        "expand.bias": "intermediate.dense.bias",
        "contract.weight": "output.dense.weight",
        "contract.bias": "output.dense.bias",
        "norm.weight": "output.LayerNorm.weight",
        "norm.bias": "output.LayerNorm.bias",
    }
    state = {}
    for number in range(num_hidden_layers):
        prefix = f"encoder.layer.{number}."
        if prefix + names["norm.weight"] not in tensors:
            raise InputError(
                "model_config.muvla.trunk.num_hidden_layers",
                f"{num_hidden_layers} layers are asked for, the checkpoint has {number}",
                "Ask for fewer layers, or set trunk.random_init=true to start from random weights",
            )
        for kind in ("weight", "bias"):
            parts = [tensors[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"layers.{number}.attention.qkv.{kind}"] = torch.cat(parts)
        for ours, theirs in names.items():
            state[f"layers.{number}.{ours}"] = tensors[prefix + theirs]
    return state


# Second names, in some checkpoints, of the word embeddings and of the masked-token head's bias.
MASKED_TOKEN_HEAD_TIES = frozenset(("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"))


def masked_token_head_state(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """BERT's masked-token head, under the names of :class:`~mmf_muvla.models.heads.VocabularyHead`.

    Its output matrix is not among them: it is the word embedding's.

    Args:
        tensors: as from :func:`read_checkpoint`.

    Returns:
        Our name -> (BERT's name, tensor); empty where the checkpoint has no such head, or a part of one.
    """
    names = {
        "dense.weight": "cls.predictions.transform.dense.weight",
        "dense.bias": "cls.predictions.transform.dense.bias",
        "norm.weight": "cls.predictions.transform.LayerNorm.weight",
        "norm.bias": "cls.predictions.transform.LayerNorm.bias",
        "decoder.bias": "cls.predictions.bias",
    }
    if any(name not in tensors for name in names.values()):
        return {}
    return {ours: (theirs, tensors[theirs]) for ours, theirs in names.items()}


def embedding_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BERT's embedding tensors under the names of ``MultimodalEmbeddings``; there is nothing of regions among them."""
    return {
        "word.weight": tensors["embeddings.word_embeddings.weight"],
        "position.weight": tensors["embeddings.position_embeddings.weight"],
        "segment.weight": tensors["embeddings.token_type_embeddings.weight"],
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
