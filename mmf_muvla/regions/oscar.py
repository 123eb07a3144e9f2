"""Reads the pairs of files of Oscar's captioning sets.

``X.feature.tsv``: ``image id \t {"num_boxes": n, "features": base64(float32 [n, d] or [n, d + 6])}``. ``X.label.tsv``:
``image id \t [{"class", "rect", "conf"}, …]``. ``X.yaml`` names both, under ``feature`` and ``label``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_values import parse_line
from mmf_muvla.reading.problems import shown
from mmf_muvla.regions.checks import Place
from mmf_muvla.regions.label_map import LabelMap
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.paired_files import PairedFiles
from mmf_muvla.regions.sources import first_names

_FEATURE, _LABEL = ".feature.tsv", ".label.tsv"
_MOST_YAML = 2**16
_REMEDY = "Name X.feature.tsv with X.label.tsv beside it, or a .yaml that names both as 'feature' and 'label'"


class OscarFiles(PairedFiles):
    """A ``.yaml``, an ``X.feature.tsv``, or a folder with one; an InputError where there are several, or no labels."""

    may_be_list = True

    def __init__(self, path: Path, options: RegionOptions, labels: LabelMap | None = None):
        super().__init__(path, options, labels, *_pair_of(path))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return bool(_features_in(path)) or (path.suffix == ".yaml" and path.is_file() and bool(_content_of(path)))

    def columns(self, line: bytes, bad: Place) -> tuple[bytes, bytes, str | bytes]:
        raw_id, tab, text = line.rstrip(b"\r\n").partition(b"\t")
        if not tab:
            raise bad("line is not 'image id, tab, JSON'", f"{line[:40]!r}")
        try:
            content = parse_line(text)
        except (ValueError, RecursionError) as error:
            raise bad("features are not JSON", shown(str(error), 200)) from error
        if not isinstance(content, dict) or not isinstance(content.get("features"), str):
            raise bad("features are not an object with 'features' in base64", shown(content))
        return raw_id, str(content.get("num_boxes"))[:40].encode("utf-8", "replace"), content["features"]


def _features_in(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.name.endswith(_FEATURE) and file.is_file())
    return [path] if path.name.endswith(_FEATURE) else []


def _pair_of(path: Path) -> tuple[Path, Path]:
    if path.suffix == ".yaml":
        content = _content_of(path)
        files = []
        for key in ("feature", "label"):
            name = content.get(key)
            # Anything else than a text could be of any size: YAML may say a list again and again by its name.
            if not isinstance(name, str) or not (path.parent / name).is_file():
                said = shown(name, quoted=True) if isinstance(name, str) else "no text"
                raise InputError(str(path), f"{key} is {said}, not a file beside it", _REMEDY)
            files.append(path.parent / name)
        return files[0], files[1]
    features = _features_in(path)
    if len(features) > 1:
        named = ", ".join(file.name for file in features[:4])
        raise InputError(str(path), f"has several pairs of files: {named}", "Name one of these, or a list of them")
    labels = features[0].with_name(features[0].name.removesuffix(_FEATURE) + _LABEL)
    if not labels.is_file():
        raise InputError(str(labels.parent), f"has no {labels.name} (it has {first_names(labels.parent)})", _REMEDY)
    return features[0], labels


def _content_of(file: Path) -> dict[Any, Any]:
    """What a ``.yaml`` says, where it names features; nothing where it is none of Oscar's."""
    try:
        with file.open("rb") as content:
            found = yaml.safe_load(content.read(_MOST_YAML))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "feature" in found else {}
