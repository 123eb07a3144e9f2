"""``config=PATH key=value …``: the command lines of the tools."""

from __future__ import annotations

import logging
from ast import literal_eval
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import Source, check, check_keys, shown
from mmf_muvla.options.schema import Key, at, keys_of, parent
from mmf_muvla.paths import find_config

T = TypeVar("T")
COMMAND_LINE = "command line"
# Files, and the command line, with what each of them says; the last one counts.
Layers = list[tuple[str, Any]]
_log = logging.getLogger(__name__)


def read_options(
    schema: type[T],
    arguments: Sequence[str],
    former: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> T:
    """Read a configuration from a command line.

    Args:
        schema: see :func:`~mmf_muvla.options.checking.check`.
        arguments: ``config=PATH`` names a YAML file; other ``key=value`` override it. A schema with a key ``config`` of
            its own has no such file.
        former: old names of keys, with their new ones. They are understood, and the log says so.
        defaults: values of keys that neither the file nor the command line names, where they are not the schema's own.

    Raises:
        InputError: the file does not exist or is not YAML, a key is unknown or missing, or a value does not fit.
    """
    known = keys_of(schema)
    file: list[tuple[str, DictConfig]] = []
    overrides: list[tuple[str, DictConfig]] = []
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise InputError(argument, "is not understood", "Options are written key=value")
        if name == "config" and "config" not in known:
            path = find_config(text)
            file = [(str(path), read_yaml(path))]
            continue
        if former and name in former:
            _log.warning("%s= is called %s= today", name, former[name])
            name = former[name]
        overrides.append((COMMAND_LINE, _override(known, name, text)))
    layers: Any = [(where, OmegaConf.to_container(content)) for where, content in [*file, *overrides]]
    for where, content in layers:
        check_keys(content, known, where)
    where = file[0][0] if file else COMMAND_LINE
    try:
        merged = OmegaConf.merge(defaults or {}, *(content for _, content in [*file, *overrides]))
    except OmegaConfBaseException as error:
        raise InputError(where, str(error).splitlines()[0], "Correct the value") from error
    return check(schema, plain(merged, lambda _: where), source_of(layers, where))


def source_of(layers: Layers, otherwise: str) -> Source:
    """Says where the value of a key comes from: it, or else the group that it is in."""

    def source(name: str) -> str:
        while name:
            for where, content in reversed(layers):
                if at(content, name, layers) is not layers:
                    return where
            name = parent(name)
        return otherwise

    return source


def plain(content: Any, source: Source) -> dict[str, Any]:
    """A configuration as plain Python, all ``${…}`` filled in.

    Raises:
        InputError: what one of them asks for is not there.
    """
    try:
        values: Any = OmegaConf.to_container(content, resolve=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "configuration"
        remedy = "Correct what stands in its ${…}"
        raise InputError(f"{source(key)}: {key}", str(error).splitlines()[0], remedy) from error
    return {str(key): value for key, value in values.items()}


def _override(known: Mapping[str, Key], name: str, text: str) -> DictConfig:
    """One ``name=text``. What YAML takes for something else (``007``, ``{name}``) is a text where one is wanted.

    So is ``{name}.jpg``, which is no YAML at all.
    """
    as_text = OmegaConf.create()
    OmegaConf.update(as_text, name, text)
    kind = known[name].kind if name in known else None
    if kind == list[str]:
        return as_text
    if name in known and known[name].is_literal:
        with suppress(yaml.YAMLError):
            OmegaConf.update(as_text, name, yaml.load(text, yaml.BaseLoader))  # which knows no other scalars than texts
        return as_text
    try:
        content = read_override(f"{name}={text}")
    except InputError:
        if kind is not str or not text.startswith("{"):
            raise
        return as_text
    value = OmegaConf.select(content, name) if kind is str else None
    is_braces = isinstance(value, DictConfig) and all(it is None for it in value.values())
    return as_text if is_braces or isinstance(value, bool | int | float) else content


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


def put(config: DictConfig, key: str, value: Any) -> None:
    """Set what a dotted name names, where there is such a place; a group is merged into the one that is there."""
    try:
        OmegaConf.update(config, key, value, merge=value is not None, force_add=True)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"{COMMAND_LINE}: {key}={shown(value)}", problem, "Correct the key or the value") from error


def decoded(text: Any) -> Any:
    """A value of MMF's command line, as Python and YAML have it."""
    if not isinstance(text, str):
        return text
    words = {"true": True, "false": False, "null": None, "None": None}
    if text in words:
        return words[text]
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        return literal_eval(text)
    if text[:1] + text[-1:] in ("[]", "{}"):
        with suppress(yaml.YAMLError):
            return yaml.safe_load(text)
    return text


def read_yaml(path: Path) -> DictConfig:
    """The keys and values of a YAML file.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        content = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError, OSError) as error:
        problem = f"is not valid YAML ({' '.join(str(error).split())})"
        raise InputError(str(path), problem, "Correct the file") from error
    if not isinstance(content, DictConfig):
        raise InputError(str(path), "does not hold keys and values", "Write key: value lines")
    return content
