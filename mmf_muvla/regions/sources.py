"""Finds out what kind of detector output a folder or file is."""

from __future__ import annotations

import os
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.regions.detection import RegionSource
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.mmf_features import MmfFeatureFolder, MmfLmdb
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.vinvl import FEATURES_FILE, PREDICTIONS_FILE, VinvlFolder

_UNDERSTOOD = (
    f"Name a folder with {FEATURES_FILE} and {PREDICTIONS_FILE} (VinVL), a folder with X.npy and X_info.npy for every "
    "image (MMF), or an LMDB of MMF features"
)
# Where an LMDB has its magic number, and what it is, in either byte order.
_LMDB_MAGIC_AT, _LMDB_MAGIC = 16, (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde")


def open_regions(path: Path, options: RegionOptions, labels: LabelMap | None = None) -> RegionSource:
    """Open detector output, whatever its format is.

    Args:
        path: a folder in VinVL's format, a folder of MMF's feature files, or an LMDB (folder or file) of MMF features.
        options: how to read it.
        labels: names of object classes, where the detector gives numbers.

    Raises:
        InputError: ``path`` does not exist, or is none of these.
    """
    if path.is_dir():
        if (path / FEATURES_FILE).exists() or (path / PREDICTIONS_FILE).exists():
            return VinvlFolder(path, options, labels)
        if (path / "data.mdb").is_file():
            return MmfLmdb(path, options, labels)
        if _has_array(path):
            return MmfFeatureFolder(path, options, labels)
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise InputError(str(path), f"holds no detector output that is understood (it has {found})", _UNDERSTOOD)
    if not path.exists():
        raise InputError(str(path), "no such folder", _UNDERSTOOD)
    with path.open("rb") as file:
        begin = file.read(_LMDB_MAGIC_AT + 4)
    if begin[_LMDB_MAGIC_AT:] in _LMDB_MAGIC:
        return MmfLmdb(path, options, labels)
    raise InputError(str(path), f"is a file that is no LMDB (it begins with {begin[:16]!r})", _UNDERSTOOD)


def _has_array(folder: Path) -> bool:
    return any(name.endswith(".npy") for _, _, files in os.walk(folder) for name in files)
