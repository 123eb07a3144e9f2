"""Reads the ``config.yaml`` that a run left behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.options.reading import read_yaml

_INTERPOLATION = re.compile(r"(\\*)\$\{")


def read_run_config(path: str | Path) -> DictConfig:
    """Read a run's configuration, in which ``${oc.env:NAME}`` and the like are text.

    A run writes its configuration with all values filled in. Where one still asks for something, it is not ours, and
    what it asks for (a variable of the environment, which may be a password) is not its writer's to see.

    Raises:
        InputError: the file is missing or is no configuration.
    """
    try:
        content = read_yaml(Path(path))
    except InputError as error:
        raise InputError(
            error.where, f"cannot be read: it {error.problem}", "Remove the folder, or run it again"
        ) from error
    return OmegaConf.create(_as_text(OmegaConf.to_container(content)))


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_text(of_key) for key, of_key in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, str):
        # A backslash before it makes it text; one that is there already stands for itself then.
        return _INTERPOLATION.sub(lambda found: found[1] * 2 + r"\${", value)
    return value
