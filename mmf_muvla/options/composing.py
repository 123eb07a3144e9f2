"""Puts together what ``mmf_run`` will run with, as MMF does, but without importing it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import names
from mmf_muvla.options.reading import Layers, decoded, plain, put, read_yaml
from mmf_muvla.paths import find_config, find_included, resource_path


def configuration(config: str) -> DictConfig:
    """What ``mmf_run config=CONFIG`` puts together, without MMF's own defaults, and without importing MMF.

    Returns:
        The defaults of the model and of the data sets, below the file and what it includes.

    Raises:
        InputError: a file cannot be read.
    """
    content = read_with_includes(find_config(config))
    chosen = [("model_config", str(content.get("model")))]
    chosen += [("dataset_config", name) for name in names(content.get("datasets"))]
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
    content = copy.deepcopy(content)
    for key, _, text in (argument.partition("=") for argument in arguments):
        put(content, key, decoded(text))
    return plain(content, lambda _: "configuration")


def read_with_includes(
    path: Path, *, folders: Sequence[str] = (), layers: Layers | None = None, including: tuple[Path, ...] = ()
) -> DictConfig:
    """A file, above the files that it includes.

    Args:
        path: the file.
        folders: where included files are looked for before they are beside the file that includes them.
        layers: takes the name and the own content of each file; the last one counts.
        including: the files that include it, the outermost first.

    Raises:
        InputError: one of them cannot be read, is not there, or includes itself.
    """
    chain = [_shown(file) for file in (*including, path)]
    where = chain[-1]
    if where in chain[:-1]:
        loop = " -> ".join(chain[chain.index(where) :])
        raise InputError(where, f"includes itself: {loop}", f"Take it out of the includes of {chain[-2]}")
    content = read_yaml(path)
    wanted = content.pop("includes", ListConfig([]))
    if not isinstance(wanted, ListConfig) or not all(isinstance(name, str) for name in wanted):
        raise InputError(f"{where}: includes", f"is {wanted!r}", "Write a list of files")
    below = []
    for name in wanted:
        try:
            included = find_included(name, *folders, path.parent)
        except InputError as error:
            places = " nor in ".join(["neither beside it", *folders, "mmf_muvla"])
            raise InputError(f"{where}: includes", f"there is no {name}, {places}", "Correct the name") from error
        below.append(read_with_includes(included, folders=folders, layers=layers, including=(*including, path)))
    if layers is not None:
        layers.append((where, OmegaConf.to_container(content)))
    return OmegaConf.merge(*below, content)  # type: ignore[return-value]


def _shown(path: Path) -> str:
    """A path relative to the current folder, where it is below it."""
    absolute = os.path.abspath(path)
    return os.path.relpath(absolute) if Path(absolute).is_relative_to(Path.cwd()) else absolute
