"""The configuration of a run: what ``mmf_run`` will put together, and the ``config.yaml`` that a run left behind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import names
from mmf_muvla.options.reading import decoded, read_yaml
from mmf_muvla.paths import find_config, resource_path

_INTERPOLATION = re.compile(r"(\\*)\$\{")


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
    parts = [("models", model or content.get("model"))]
    parts += [("datasets", name) for name in names(datasets or content.get("datasets"))]
    files = [Path(resource_path("configs")) / group / str(name) / "defaults.yaml" for group, name in parts]
    return OmegaConf.merge(*(read_with_includes(file) for file in files if file.is_file()), content)  # type: ignore[return-value]


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
    """A file, above the files that it includes: those are beside it, or under ``projects/``.

    Raises:
        InputError: one of them cannot be read, or is not there.
    """
    content = read_yaml(path)
    below = []
    for name in content.pop("includes", []):
        beside = path.parent / name
        if not beside.is_file() and not name.startswith("projects/"):
            raise InputError(f"{path}: includes", f"there is no {name} beside it", "Correct the name")
        below.append(read_with_includes(beside if beside.is_file() else find_config(name)))
    return OmegaConf.merge(*below, content)  # type: ignore[return-value]


def read_run_config(path: Path) -> DictConfig:
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
