"""Patches that have MMF's configuration checked, and errors in it said in one line: part of the project, not mends."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from omegaconf import OmegaConf, open_dict

from mmf_muvla.compat.registration import Function, around
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.options.checking import check_name
from mmf_muvla.options.kinds import as_list
from mmf_muvla.options.reading import plain, source_of
from mmf_muvla.options.run import MODEL, Registered, check_run
from mmf_muvla.options.unread import refuse_unread

_CONFIGURATION = "mmf.utils.configuration"
_INPUT_ERROR = f"{InputError.__module__}.{InputError.__qualname__}: "


@around(_CONFIGURATION, "Configuration._update_specific")
def checked_values(update_specific: Function, self: Any, config: Any) -> Any:
    """configuration.py:230 takes whatever has come together, main too.

    Symptom: ``log_interval=0`` is a ZeroDivisionError in the middle of a run. Here the whole is checked before anything
    is built, see :func:`mmf_muvla.options.run.check_run`; texts of numbers become numbers. Models of others are left to
    MMF.
    """
    if hasattr(self, "muvla_layers"):  # else there are MMF's defaults alone
        _check_values(self, config)
    return update_specific(self, config)


def _check_values(self: Any, config: Any) -> None:
    from mmf_muvla.artifacts.outputs import refuse_beneath_file
    from mmf_muvla.trainers.run_folder import RunFolder

    registered, model = _registered(), config.get("model")
    source = source_of(self.muvla_layers, "the defaults")
    if model == MODEL and model not in registered.models:
        remedy = "Set env.user_dir=mmf_muvla, the package that registers it"
        raise InputError(f"{source('model')}: model={model}", "there is no such model", remedy)
    check_name(source("model"), "model", str(model), registered.models, "model")
    if model != MODEL:
        refuse_unread(partial(OmegaConf.select, config), source)  # this project's trainer trains them too
        return
    for name in as_list(config.get("datasets") or []):
        check_name(source("datasets"), "datasets", str(name), registered.datasets, "data set")
    content = plain(config, source)
    save_dir = Path(str(config.env.save_dir))
    refuse_beneath_file(save_dir / "logs", f"env.save_dir={save_dir}")
    with open_dict(config):
        for name, value in check_run(content, source, registered, self.muvla_mmf_keys).items():
            OmegaConf.update(config, name, value, merge=False)
    refuse_unread(partial(OmegaConf.select, config), source)
    if config.training.trainer != MODEL and "train" in config.get("run_type", "") and not config.checkpoint.resume:
        RunFolder(save_dir, MODEL).refuse_used()  # MMF's own trainer would write over it


def _registered() -> Registered:
    from mmf.common.registry import registry

    mapping = registry.mapping
    builders = mapping["builder_name_mapping"]
    optimizers = {
        name: it
        for name, it in vars(torch.optim).items()
        if inspect.isclass(it) and issubclass(it, torch.optim.Optimizer) and it is not torch.optim.Optimizer
    }
    return Registered(
        trainers=mapping["trainer_name_mapping"],
        models=mapping["model_name_mapping"],
        datasets={name: getattr(builder, "options_schema", None) for name, builder in builders.items()},
        optimizers=optimizers | mapping["optimizer_name_mapping"],
        schedulers=mapping["scheduler_name_mapping"],
        losses=mapping["loss_name_mapping"],
        learned={name: builder.learned for name, builder in builders.items() if hasattr(builder, "learned")},
        metrics=mapping["metric_name_mapping"],
    )


def written_options(options: Sequence[str] | None) -> list[tuple[str, str]]:
    """Keys and values of MMF's command line, which are ``key=value``, or keys and values in turn."""
    options = list(options or [])
    if options and "=" not in options[0] and len(options) % 2 == 0:
        return list(zip(options[0::2], options[1::2], strict=True))
    for option in options:
        if "=" not in option:
            raise InputError(f"option '{option}'", "has no value", "Write it as name=value")
    return [(key, value) for key, _, value in (option.partition("=") for option in options)]


@around(_CONFIGURATION, "Configuration.__init__")
def errors_in_one_line(construct: Function, self: Any, *args: Any, **kwargs: Any) -> None:
    """mmf_cli/run.py lets every exception through, main too.

    Symptom: a misspelt option ends in forty lines of traceback, of which the last one says what it was. Where nobody
    catches such an error it is one line, and the exit status 2; any other that this project raises on purpose gives 1.
    With ``MMF_MUVLA_TRACEBACK=1`` the traceback is there.
    """
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

    if not os.environ.get("MMF_MUVLA_TRACEBACK") and getattr(before, "__name__", "") != say_in_one_line.__name__:
        sys.excepthook = say_in_one_line
    construct(self, *args, **kwargs)


def message_of(error: BaseException) -> str | None:
    """What an error of this project says, also one of another process, whose traceback PyTorch hands on as a text."""
    if isinstance(error, MuvlaError):
        return str(error)
    if isinstance(error, Exception) and type(error).__module__.partition(".")[0] in ("torch", "builtins"):
        before, found, message = str(error).rpartition(_INPUT_ERROR)
        if found and "Traceback" in before:
            return message.strip()
    return None
