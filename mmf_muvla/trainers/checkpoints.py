"""Checkpoints: written whole or not at all, of plain values, read without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import Container, OmegaConf
from torch import Tensor, nn

from mmf_muvla.artifacts.files import link_or_copy, publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import LoadReport
from mmf_muvla.models.heads import variants_of
from mmf_muvla.models.visual_bert import NOTE as VISUAL_BERT
from mmf_muvla.models.visual_bert import is_visual_bert, renamed
from mmf_muvla.reading.weight_files import CHECKSUM_KEY, checksum, read_safetensors, read_torch_file

_UPDATE_KEY = "update"  # in the metadata of a safetensors file: the update that its weights are of


def save_atomically(content: Mapping[str, Any], path: Path) -> None:
    """``torch.save`` of tensors and plain values: a killed process leaves no half-written checkpoint."""
    # A state dict is left as it is: beside its tensors it knows the versions of their modules.
    values = {key: value if key == "model" else plain(value) for key, value in content.items()}
    with publish_file(path) as temporary:
        torch.save(values, temporary)


def plain(value: Any) -> Any:
    """The same in Python's own containers and numbers, not OmegaConf's and NumPy's: any version of torch reads them."""
    if isinstance(value, Container):
        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(part) for part in value)
    return value.item() if isinstance(value, np.generic) else value


def link_atomically(existing: Path, path: Path) -> None:
    """Give a written checkpoint a second name, replacing what had it; a copy if there are no hard links."""
    with publish_file(path) as temporary:
        link_or_copy(existing, temporary)


def save_weights(model: nn.Module, path: Path, update: int) -> None:
    """Write weights for other programs too (safetensors), with a checksum and the update that they are of."""
    from safetensors.torch import save_file

    # A tied matrix is in the file once, under the first of its names.
    first: dict[tuple[int, torch.Size], str] = {}
    state = dict(sorted(model.state_dict().items()))
    kept = {
        name: first.setdefault((it.data_ptr(), it.shape), name) if it.numel() else name for name, it in state.items()
    }
    tensors = {name: state[name].contiguous() for name in kept if kept[name] == name}
    metadata = {name: kept[name] for name in kept if kept[name] != name}
    metadata |= {CHECKSUM_KEY: checksum(tensors), _UPDATE_KEY: str(update)}
    with publish_file(path) as temporary:
        save_file(tensors, temporary, metadata)
        # It is written for its owner alone, unlike everything else in the folder.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)


def read_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project or of MMF, or weights alone, which become ``{"model": …}``.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        update = metadata.get(_UPDATE_KEY, "")
        return {"model": tensors, **({"num_updates": int(update)} if update.isdecimal() else {})}
    content = read_torch_file(path)
    content = content if "model" in content else {"model": content}
    weights = content["model"]
    if not isinstance(weights, dict) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(str(path), "holds no weights", "Use a checkpoint of a model")
    return content


def load_matching(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> LoadReport:
    """Load every tensor whose name and shape a model has; ``source`` is for the error.

    Those of MMF's VisualBERT are read under the names that they have here (:mod:`mmf_muvla.models.visual_bert`).

    Raises:
        InputError: nothing of the encoder is in the checkpoint (the fine-tuning would silently start from nothing).
    """
    own = model.state_dict()
    tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    notes = []
    if is_visual_bert(tensors):
        tensors, notes = renamed(tensors, own), [VISUAL_BERT]
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    missing = tuple(name for name in own if name not in tensors)
    if any(name.startswith("heads.pooler.") for name in missing):
        pooling = variants_of(tensors).get("itm_pooling", "cls")
        notes += [f"no trained pooler (itm_pooling={pooling} has no such one): starts as in BERT, or at random"]
    report = LoadReport(
        loaded=tuple(fitting),
        missing=missing,
        mismatched=tuple(name for name in own if name in tensors and name not in fitting),
        unused=tuple(name for name in tensors if name not in own),
        notes=tuple(notes),
    )
    if not any(name.startswith("encoder.") and own[name].dim() > 1 for name in report.loaded):
        raise InputError(source, f"it holds no encoder that fits this model ({report})", "Use a checkpoint of `muvla`")
    model.load_state_dict(fitting, strict=False)
    return report


def first_not_finite(value: Any, name: str = "") -> str | None:
    """Where the first tensor is, inside dictionaries, lists and tuples, that holds NaN or infinity."""
    if isinstance(value, Tensor):
        return None if bool(torch.isfinite(value).all()) else name
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    places = (first_not_finite(part, f"{name}.{key}" if name else str(key)) for key, part in parts)
    return next((place for place in places if place is not None), None)
