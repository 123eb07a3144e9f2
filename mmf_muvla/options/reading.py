"""``config=PATH key=value …``: the command lines of the tools."""

from __future__ import annotations

import logging
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import check, check_keys
from mmf_muvla.options.schema import Key, keys_of
from mmf_muvla.paths import find_config

T = TypeVar("T")
COMMAND_LINE = "command line"
_log = logging.getLogger(__name__)


def read_options(schema: type[T], arguments: Sequence[str], former: Mapping[str, str] | None = None) -> T:
    """Read a configuration from a command line.

    Args:
        schema: the class of the result, see :func:`~mmf_muvla.options.checking.check`.
        arguments: ``config=PATH`` names a YAML file; other ``key=value`` override it. A schema with a key ``config`` of
            its own has no such file.
        former: old names of keys, with their new ones. They are understood, and the log says so.

    Raises:
        InputError: the file does not exist or is not YAML, a key is unknown or missing, or a value does not fit.
    """
    known = keys_of(schema)
    path, overrides = _split_arguments(arguments, "config" not in known)
    overrides = [_renamed(override, former or {}) for override in overrides]
    layers: list[tuple[str, DictConfig]] = [(str(path), read_yaml(path))] if path else []
    layers += [(COMMAND_LINE, _override_of(known, override)) for override in overrides]
    for where, layer in layers:
        check_keys(_plain(layer, where), known, where)
    try:
        merged = OmegaConf.merge(*(layer for _, layer in layers)) if layers else OmegaConf.create()
    except OmegaConfBaseException as error:
        raise InputError(str(path), str(error).splitlines()[0], "Correct the value") from error
    where = str(path) if path else COMMAND_LINE
    content = _plain(merged, where, resolve=True)
    checked: T = check(schema, content, source_of(where, [override.partition("=")[0] for override in overrides]))
    return checked


def source_of(where: str, overridden: Sequence[str]) -> Callable[[str], str]:
    """Says where a key's value comes from: the command line, where it has that key, else ``where``."""

    def source(name: str) -> str:
        said = any(name == key or name.startswith((f"{key}.", f"{key}[")) for key in overridden)
        return COMMAND_LINE if said else where

    return source


def _plain(content: Any, where: str, resolve: bool = False) -> Mapping[str, Any]:
    try:
        plain: Any = OmegaConf.to_container(content, resolve=resolve)
    except OmegaConfBaseException as error:
        raise InputError(
            f"{where}: {error.full_key}", str(error).splitlines()[0], "Correct what stands in ${…}"
        ) from error
    return {str(key): value for key, value in plain.items()}


def _split_arguments(arguments: Sequence[str], has_file: bool) -> tuple[Path | None, list[str]]:
    path: Path | None = None
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(argument, "is not understood", "Options are written key=value")
        if key == "config" and has_file:
            path = find_config(value)
        else:
            overrides.append(argument)
    return path, overrides


def _renamed(override: str, former: Mapping[str, str]) -> str:
    key, _, value = override.partition("=")
    if key not in former:
        return override
    _log.warning("%s= is called %s= today", key, former[key])
    return f"{former[key]}={value}"


def _override_of(known: Mapping[str, Key], override: str) -> DictConfig:
    """One ``key=value``. What YAML takes for something else (``007``, ``{name}``) is a text where one is wanted.

    So is ``{name}.jpg``, which is no YAML at all.
    """
    name, _, text = override.partition("=")
    key = known.get(name)
    if key is not None and key.kind == list[str]:
        return OmegaConf.create({name: text})
    try:
        content = read_override(override)
    except InputError:
        if key is None or key.kind is not str or not text.startswith("{"):
            raise
        content = OmegaConf.create()
        OmegaConf.update(content, name, text)
    if key is not None and key.kind is str:
        value = OmegaConf.select(content, name)
        is_number = isinstance(value, bool | int | float)
        if is_number or (isinstance(value, DictConfig) and all(it is None for it in value.values())):
            OmegaConf.update(content, name, text)
    return content


def read_override(argument: str) -> DictConfig:
    """One ``key=value`` of a command line.

    Raises:
        InputError: the value is no YAML.
    """
    try:
        return OmegaConf.from_dotlist([argument])
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(
            argument,
            f"the value is not valid YAML ({' '.join(str(error).split())})",
            "Put special characters into quotes that the shell leaves in place: key='\"a, b\"'",
        ) from error


def decoded(text: Any) -> Any:
    """A value of MMF's command line, as Python and YAML have it."""
    if not isinstance(text, str):
        return text
    words = {"true": True, "false": False, "null": None, "None": None}
    if text in words:
        return words[text]
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    if text[:1] + text[-1:] in ("[]", "{}"):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            pass
    return text


def read_yaml(path: Path) -> DictConfig:
    """The keys and values of a YAML file.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        content = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError, OSError) as error:
        raise InputError(
            str(path), f"is not valid YAML ({' '.join(str(error).split())})", "Correct the file"
        ) from error
    if not isinstance(content, DictConfig):
        raise InputError(str(path), "does not hold keys and values", "Write key: value lines")
    return content
