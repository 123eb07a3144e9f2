"""Reads the ``config.yaml`` that a run left behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mmf_muvla.errors import InputError

_INTERPOLATION = re.compile(r"(\\*)\$\{")


def read_run_config(path: str | Path) -> DictConfig:
    """Read a run's configuration, in which ``${oc.env:NAME}`` and the like are text.

    A run writes its configuration with all values filled in. Where one still asks for something, it is not ours, and
    what it asks for (a variable of the environment, which may be a password) is not its writer's to see.

    Raises:
        InputError: the file is missing or is no configuration.
    """
    try:
        content = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(str(path), f"cannot be read ({first_line})", "Remove the folder, or run it again") from error
    if not isinstance(content, DictConfig):
        raise InputError(str(path), "is not a configuration", "Remove the folder, or run it again")
    return OmegaConf.create(_as_text(OmegaConf.to_container(content, resolve=False)))


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_text(of_key) for key, of_key in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, str):
        # A backslash before it makes it text; one that is there already stands for itself then.
        return _INTERPOLATION.sub(lambda found: found[1] * 2 + r"\${", value)
    return value
