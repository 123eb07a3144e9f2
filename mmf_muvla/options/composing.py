"""Puts together what ``mmf_run`` will run with, as MMF does, but without importing it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import names
from mmf_muvla.options.reading import decoded, read_yaml
from mmf_muvla.paths import find_config, find_included, resource_path


def configuration(config: str, model: str | None = None, datasets: str = "") -> DictConfig:
    """What ``mmf_run config=CONFIG`` puts together, without MMF's own defaults, and without importing MMF.

    Args:
        config: the file.
        model, datasets: instead of those that the file names.

    Returns:
        The defaults of the model and of the data sets, below the file and what it includes.

    Raises:
        InputError: a file cannot be read.
    """
    content = read_with_includes(find_config(config))
    chosen = [("model_config", str(model or content.get("model")))]
    chosen += [("dataset_config", name) for name in names(datasets or content.get("datasets"))]
    return OmegaConf.merge(*(_defaults(group, name) for group, name in chosen), content)  # type: ignore[return-value]


@cache
def _defaults(group: str, name: str) -> DictConfig:
    """What a file under ``configs/`` says of a model or a data set; nothing where none does."""
    for file in sorted(Path(resource_path("configs")).glob("*/*/defaults.yaml")):
        parts: Any = OmegaConf.to_container(read_yaml(file)).get(group) or {}  # type: ignore[union-attr]
        if name in parts:
            return OmegaConf.create({group: {name: parts[name]}})
    return OmegaConf.create()


def resolved(content: DictConfig, arguments: Iterable[str]) -> dict[str, Any]:
    """A configuration with the ``key=value`` of a command line in it, as plain Python, all ``${…}`` filled in.

    Raises:
        InputError: a key or a value cannot be used.
    """
    content = OmegaConf.merge(content)  # type: ignore[assignment]
    try:
        for key, _, text in (argument.partition("=") for argument in arguments):
            value = decoded(text)
            OmegaConf.update(content, key, value, merge=value is not None, force_add=True)
        return OmegaConf.to_container(content, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        where = error.full_key or "configuration"
        raise InputError(where, str(error).partition("\n")[0], "Correct the key or the value") from error


def read_with_includes(path: Path) -> DictConfig:
    """A file, above the files that it includes.

    Raises:
        InputError: one of them cannot be read, or is not there.
    """
    content = read_yaml(path)
    try:
        included = [find_included(name, path.parent) for name in content.pop("includes", [])]
    except InputError as error:
        raise InputError(f"{path}: includes", f"there is no {error.where} beside it", "Correct the name") from error
    return OmegaConf.merge(*map(read_with_includes, included), content)  # type: ignore[return-value]
