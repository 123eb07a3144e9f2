"""Patches that have MMF's configuration checked, and errors in it said in one line: part of the project, not mends."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from mmf_muvla.compat.registration import patches
from mmf_muvla.errors import InputError, MuvlaError

_CONFIGURATION = "mmf.utils.configuration"
_COMMAND_LINE = "command line"
_INPUT_ERROR = f"{InputError.__module__}.{InputError.__qualname__}: "


@patches(_CONFIGURATION)
def checked_options(module: ModuleType) -> None:
    """configuration.py:220 to 230 put together whatever there is, main too.

    Symptoms: ``trainin:`` and ``training.max_update`` in a file change nothing, and nobody says so; ``log_interval=0``
    is a ZeroDivisionError in the middle of a run. Here what the user wrote is checked before it is put together, and
    the whole before anything is built; see :mod:`mmf_muvla.options.run`. Models of others are left to MMF.
    """
    owner = module.Configuration
    build_user_config, import_user_dir, update_specific = (
        owner._build_user_config,
        owner.import_user_dir,
        owner._update_specific,
    )

    def build_user_config_of_files(self: Any, options: Any) -> Any:
        path = options.get("config")
        is_there = isinstance(path, str) and os.path.isfile(module.get_absolute_path(path))
        self.muvla_files = list(_files(module, path)) if is_there else []
        return build_user_config(self, options)

    def check_and_import_user_dir(self: Any) -> None:
        if not self.config and hasattr(self, "muvla_files"):
            _check_what_was_written(self)
        try:
            import_user_dir(self)
        except ModuleNotFoundError as error:
            remedy = "Name a folder, or a package that Python finds"
            raise InputError("env.user_dir", f"cannot be imported ({error})", remedy) from error

    def check_and_update_specific(self: Any, config: Any) -> Any:
        if hasattr(self, "muvla_files"):
            _check_all(self, config)
        return update_specific(self, config)

    owner._build_user_config = build_user_config_of_files
    owner.import_user_dir = check_and_import_user_dir
    owner._update_specific = check_and_update_specific


def _files(module: ModuleType, path: str, asking: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """A configuration file and those that it includes, as MMF finds them: name and own content, the last one counts."""
    from omegaconf import OmegaConf

    from mmf_muvla.options.reading import read_yaml
    from mmf_muvla.paths import find_included

    path = module.get_absolute_path(path)
    shown = os.path.relpath(path) if Path(path).is_relative_to(os.getcwd()) else path
    if path in asking:
        raise InputError(shown, "includes itself", "Leave it out of includes")
    content: Any = OmegaConf.to_container(read_yaml(Path(path)))
    includes = content.pop("includes", [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise InputError(f"{shown}: includes", f"is {includes!r}", "Write a list of files")
    for name in includes:
        try:
            found = find_included(name, module.get_mmf_root(), os.path.dirname(path))
        except InputError as error:
            problem = f"there is no {name}, neither beside it nor in MMF nor in mmf_muvla"
            raise InputError(f"{shown}: includes", problem, "Correct the name") from error
        yield from _files(module, str(found), (*asking, path))
    yield shown, content


def written_options(options: Sequence[str] | None) -> list[tuple[str, str]]:
    """Keys and values of MMF's command line, which are ``key=value``, or keys and values in turn.

    Raises:
        InputError: one of them has no value.
    """
    options = list(options or [])
    if options and "=" not in options[0] and len(options) % 2 == 0:
        return list(zip(options[0::2], options[1::2], strict=True))
    for option in options:
        if "=" not in option:
            raise InputError(f"option '{option}'", "has no value", "Write it as name=value")
    return [(key, value) for key, _, value in (option.partition("=") for option in options)]


def _check_what_was_written(self: Any) -> None:
    """Refuse keys that there are not, before files and command line are put together."""
    from mmf_muvla.options.checking import check_key, check_keys
    from mmf_muvla.options.data import DATASETS
    from mmf_muvla.options.run import MODEL, known_keys, missing_model
    from mmf_muvla.options.schema import entries

    files, model = self.muvla_files, self._opts_config.get("model")
    written = written_options(self.args.opts)
    if model is None:
        places = [(where, key) for where, content in files for key in content]
        places += [(_COMMAND_LINE, key) for key, _ in written]
        for where, key in places:
            error = missing_model(where, [key])
            if "unknown key" in error.problem:
                raise error
        raise missing_model(files[-1][0] if files else _COMMAND_LINE, [])
    if model != MODEL:
        return
    types = {part: {"type": _type_of(part, files, written)} for part in ("optimizer", "scheduler")}
    known = known_keys(types, DATASETS)
    left = _left_to_mmf(self, known)
    for where, content in files:
        check_keys(content, known, where, left)
    for key, text in written:
        value = _decode(text)
        check_key(key, value, known, _COMMAND_LINE, left)
        for name, below in entries(value, key):
            check_key(name, below, known, _COMMAND_LINE, left)
    if self._opts_config.get("dataset") is None and self._opts_config.get("datasets") is None:
        where = files[-1][0] if files else _COMMAND_LINE
        raise InputError(f"{where}: datasets", "is not given", "Name the data set: datasets=…")


def _type_of(part: str, files: Sequence[tuple[str, Mapping[str, Any]]], written: Sequence[tuple[str, str]]) -> Any:
    for key, value in reversed(written):
        if key == f"{part}.type":
            return value
    for _, content in reversed(files):
        group = content.get(part)
        if isinstance(group, Mapping) and "type" in group:
            return group["type"]
    return None


def _left_to_mmf(self: Any, known: Mapping[str, Any]) -> Callable[[str], bool]:
    """Says of a key that is none of this project's whether it stands in MMF's own defaults, or below one that does."""
    from omegaconf import OmegaConf

    from mmf_muvla.options.schema import general

    defaults: Any = OmegaConf.to_container(self._default_config)

    def is_left(name: str) -> bool:
        content = defaults
        parts = name.split(".")
        for count, part in enumerate(parts, 1):
            if not isinstance(content, Mapping) or part not in content:
                return False
            if general(".".join(parts[:count])) not in known:
                return True
            content = content[part]
        return False

    return is_left


def _check_all(self: Any, config: Any) -> None:
    """Refuse values that cannot be used; those that are texts of numbers become numbers."""
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    from mmf_muvla.artifacts.outputs import refuse_beneath_file
    from mmf_muvla.options.checking import check_name
    from mmf_muvla.options.kinds import as_list
    from mmf_muvla.options.run import MODEL, check_run, known_keys

    registered, model = _registered(), config.get("model")
    source = _source(self)
    if model not in registered.models:
        _refuse_model(source("model"), model, registered.models)
    if model != MODEL:
        return
    for name in as_list(config.get("datasets") or []):
        check_name(source("datasets"), "datasets", str(name), registered.datasets, "data set")
    try:
        content: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "configuration"
        raise InputError(
            f"{source(key)}: {key}", str(error).splitlines()[0], "Correct what stands in its ${…}"
        ) from error
    save_dir = Path(str(config.env.save_dir))
    refuse_beneath_file(save_dir / "logs", f"env.save_dir={save_dir}")
    known = known_keys(content, registered.datasets)
    with open_dict(config):
        for name, value in check_run(content, source, registered, _left_to_mmf(self, known)).items():
            OmegaConf.update(config, name, value, merge=False)
    if config.training.trainer != MODEL and "train" in config.get("run_type", "") and not config.checkpoint.resume:
        from mmf_muvla.trainers.run_folder import RunFolder

        RunFolder(save_dir, MODEL).refuse_used()  # MMF's own trainer would write over it


def _refuse_model(where: str, model: Any, models: Sequence[str]) -> None:
    from mmf_muvla.options.checking import check_name
    from mmf_muvla.options.run import MODEL

    if model == MODEL:
        remedy = "Set env.user_dir=mmf_muvla, the package that registers it"
        raise InputError(f"{where}: model={model}", "there is no such model", remedy)
    check_name(where, "model", str(model), models, "model")


def _registered() -> Any:
    import torch
    from mmf.common.registry import registry

    from mmf_muvla.options.run import Registered

    mapping = registry.mapping
    optimizers = [
        name
        for name, it in vars(torch.optim).items()
        if inspect.isclass(it) and issubclass(it, torch.optim.Optimizer) and it is not torch.optim.Optimizer
    ]
    return Registered(
        trainers=list(mapping["trainer_name_mapping"]),
        models=list(mapping["model_name_mapping"]),
        datasets={
            name: getattr(builder, "options_schema", None) for name, builder in mapping["builder_name_mapping"].items()
        },
        optimizers=[*optimizers, *mapping["optimizer_name_mapping"]],
        schedulers=list(mapping["scheduler_name_mapping"]),
        losses=list(mapping["loss_name_mapping"]),
        learned={
            name: builder.learned
            for name, builder in mapping["builder_name_mapping"].items()
            if hasattr(builder, "learned")
        },
        metrics=list(mapping["metric_name_mapping"]),
    )


def _source(self: Any) -> Callable[[str], str]:
    """Says where the value of a key comes from."""
    written = {"datasets" if key == "dataset" else key for key, _ in written_options(self.args.opts)}

    def source(name: str) -> str:
        while name:
            if any(key == name or key.startswith((f"{name}.", f"{name}[")) for key in written):
                return _COMMAND_LINE
            for where, content in reversed(self.muvla_files):
                if _has(content, name):
                    return str(where)
            name = name[: max(name.rfind("."), name.rfind("["), 0)]
        return "the defaults"

    return source


def _has(content: Any, name: str) -> bool:
    for part in name.replace("[", ".").replace("]", "").split("."):
        if isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, Mapping) and part in content:
            content = content[part]
        else:
            return False
    return True


def _decode(text: str) -> Any:
    from mmf_muvla.options.reading import decoded

    return decoded(text)


@patches(_CONFIGURATION)
def errors_in_one_line(module: ModuleType) -> None:
    """mmf_cli/run.py lets every exception through, main too.

    Symptom: a misspelt option ends in forty lines of traceback, of which the last one says what it was. Where nobody
    catches such an error it is one line, and the exit status 2; any other that this project raises on purpose gives 1.
    With ``MMF_MUVLA_TRACEBACK=1`` the traceback is there.
    """
    construct = module.Configuration.__init__

    def construct_with_hook(self: Any, *args: Any, **kwargs: Any) -> None:
        _install_hook()
        construct(self, *args, **kwargs)

    module.Configuration.__init__ = construct_with_hook


def _install_hook() -> None:
    if os.environ.get("MMF_MUVLA_TRACEBACK") or getattr(sys.excepthook, "is_of_muvla", False):
        return
    before = sys.excepthook

    def say_in_one_line(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        message = message_of(error)
        if message is None:
            before(kind, error, traceback)
            return
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr, flush=True)
        # Python takes it for the end of the process, as anywhere else.
        sys.exit(1 if isinstance(error, MuvlaError) and not isinstance(error, InputError) else 2)

    say_in_one_line.is_of_muvla = True  # type: ignore[attr-defined]
    sys.excepthook = say_in_one_line


def message_of(error: BaseException) -> str | None:
    """What an error of this project says, also one of another process, whose traceback PyTorch hands on as a text."""
    if isinstance(error, MuvlaError):
        return str(error)
    text = str(error)
    if isinstance(error, Exception) and type(error).__module__.partition(".")[0] in ("torch", "builtins"):
        _, found, message = text.rpartition(_INPUT_ERROR)
        if found and "Traceback" in text:
            return message.strip()
    return None
