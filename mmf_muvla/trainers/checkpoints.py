"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmf_muvla.corpus.files import publish_file
from mmf_muvla.errors import InputError
from mmf_muvla.models.load_report import LoadReport


def save_atomically(content: Mapping[str, Any], path: Path) -> None:
    """``torch.save``: a killed process leaves no half-written checkpoint."""
    with publish_file(path) as temporary:
        torch.save(dict(content), temporary)


def link_atomically(existing: Path, path: Path) -> None:
    """Give a written checkpoint a second name, replacing what had it."""
    with publish_file(path) as temporary:
        os.link(existing, temporary)


def read_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project or of MMF; a bare state dict becomes ``{"model": …}``.

    Raises:
        InputError: the file is missing, cut short, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such checkpoint", "Check checkpoint.resume_file or env.save_dir")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return {"model": load_file(path)}
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: zip, pickle, end of file
        raise InputError(
            str(path), f"cannot be read as a checkpoint of weights and plain values ({error})", "Use another checkpoint"
        ) from error
    return content if "model" in content else {"model": content}


def load_matching(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> LoadReport:
    """Load every tensor whose name and shape the model has.

    Args:
        model: loaded in place.
        tensors: a state dict.
        source: the checkpoint's name, for the error.

    Raises:
        InputError: nothing of the encoder is in the checkpoint (the fine-tuning would silently start from nothing).
    """
    own = model.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    report = LoadReport(
        loaded=tuple(fitting),
        missing=tuple(name for name in own if name not in tensors),
        mismatched=tuple(name for name in own if name in tensors and name not in fitting),
        unused=tuple(name for name in tensors if name not in own),
    )
    if not any(name.startswith("encoder.") and own[name].dim() > 1 for name in report.loaded):
        raise InputError(source, f"it holds no encoder that fits this model ({report})", "Use a checkpoint of `muvla`")
    model.load_state_dict(fitting, strict=False)
    return report
