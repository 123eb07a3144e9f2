"""Reads files of weights: without running code, and not when they are damaged.

A checkpoint of ``torch.save`` has a checksum for each tensor, which ``torch.load`` does not look at. Here they are
looked at, at about 1.7 times the CPU time of loading (0.26 s for 480 MB). Files in the safetensors format have none, so
this project writes one into theirs.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmf_muvla.errors import InputError

# In the metadata of this project's safetensors files.
CHECKSUM_KEY = "muvla_checksum"
_REMEDY = "Use another file, or copy it again from where it is whole"


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a file of ``torch.save`` that holds a dictionary of tensors and plain values; else an InputError."""
    _check_that_it_is_a_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: zip, pickle, end of file
        problem = f"cannot be read as a checkpoint of weights and plain values ({_reason(error)})"
        raise InputError(str(path), problem, _REMEDY) from error
    # After loading, which has the better words for what is no checkpoint at all.
    _check_sums(path)
    if not isinstance(content, dict):
        found = f"is no checkpoint: it holds a {type(content).__name__}"
        raise InputError(str(path), found, "Use a checkpoint of a model")
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file that is whole: its tensors, on the CPU, and its metadata; else an InputError."""
    from safetensors import safe_open

    _check_that_it_is_a_file(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except Exception as error:  # of its own kind, or of the operating system's
        raise InputError(str(path), f"cannot be read as a safetensors file ({_first_line(error)})", _REMEDY) from error
    if CHECKSUM_KEY in metadata and metadata[CHECKSUM_KEY] != checksum(tensors):
        raise InputError(str(path), "is damaged: its tensors are not those that were written", _REMEDY)
    return tensors, metadata


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """A CRC-32 over names, types, shapes and bytes."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _check_that_it_is_a_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(str(path), "is a folder, not a file of weights", "Name a file inside of it")
    if not path.is_file():
        raise InputError(str(path), "no such checkpoint", "Check checkpoint.resume_file or env.save_dir")
    if path.stat().st_size == 0:
        raise InputError(str(path), "is empty", _REMEDY)


def _check_sums(path: Path) -> None:
    """Refuse a file of which a part does not have its checksum; torch's old format, no zip file, has none."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as file:
            part = file.testzip()
        problem = part and f"{part} does not have its checksum"
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        problem = _first_line(error)
    if problem:
        raise InputError(str(path), f"is damaged: {problem}", _REMEDY)


def _reason(error: Exception) -> str:
    """What PyTorch says is wrong, without its advice to read the file with ``weights_only=False``, which runs code."""
    text = str(error)
    if not text.startswith("Weights only load failed"):
        return _first_line(error).partition(". ")[0]
    found = re.search(r"WeightsUnpickler error:\s*(.+)", text) or re.search(r"\n\s*\n(.+)", text)
    return found[1].strip().rstrip(".") if found else "it holds more than weights, or is none"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
