"""Patches of MMF's configuration: defaults, the user's file, overrides, the user's package."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf, open_dict

from mmf_muvla.compat.patch_options import written_options
from mmf_muvla.compat.registration import Function, around, patches
from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import not_a_group, unknown_key
from mmf_muvla.options.composing import read_with_includes
from mmf_muvla.options.reading import COMMAND_LINE, Layers, decoded, put, read_override
from mmf_muvla.options.run import check_written
from mmf_muvla.options.schema import at, entries
from mmf_muvla.paths import find_included
from mmf_muvla.trainers.devices import count_gpus

_OWN_DEFAULTS = str(Path(__file__).with_name("defaults.yaml"))
_CONFIGURATION = "mmf.utils.configuration"


@around(_CONFIGURATION, "get_default_config_path")
def defaults_file(get_default_config_path: Function) -> str:
    """configuration.py:65 points to ``mmf/configs/defaults.yaml``.

    Symptom: FileNotFoundError with an MMF built from its source package, which lacks all yaml files. MMF's own file
    is used where it exists. Can go when the source package has its files.
    """
    path = get_default_config_path()
    return path if os.path.exists(path) else _OWN_DEFAULTS


@around(_CONFIGURATION, "Configuration._register_resolvers")
def resolvers(_: Any, self: Any) -> None:
    """configuration.py:351, main too.

    Symptoms: ``Unsupported interpolation type env``, a resolver that rc10's own defaults use and omegaconf 2.1 dropped;
    and everybody else's resolvers are cleared, which this does not. Can go when MMF uses ``oc.env`` and stops clearing.
    """
    from mmf.utils.configuration import resolve_cache_dir, resolve_dir

    known = {
        "env": lambda name, default=None: os.environ.get(name, default),
        # MMF starts as many processes; one where ``training.device`` is not all the GPUs.
        "device_count": lambda *, _root_: max(1, count_gpus(str(_root_.training.device))),
        "resolve_cache_dir": resolve_cache_dir,
        "resolve_dir": resolve_dir,
    }
    register: Any = OmegaConf.register_resolver
    if "replace" not in inspect.signature(register).parameters:  # before omegaconf 2.4
        register = OmegaConf.register_new_resolver
    for name, resolver in known.items():
        register(name, resolver, replace=True)


@around(_CONFIGURATION, "Configuration._build_opt_list")
def missing_options(build_opt_list: Function, self: Any, opts: list[str] | None) -> Any:
    """configuration.py:251, 277, 299, 300 read options that the command line may lack; main 299, 316 too.

    Symptom: ``ConfigAttributeError: Missing key config``: since omegaconf 2.1 a missing key is an error, not None.
    Can go when MMF reads them with ``get``.
    """
    written = [f"{key}={value}" for key, value in written_options(opts)]
    for option in written:
        read_override(option)  # OmegaConf's own errors name neither the option nor what to do
    options = build_opt_list(self, written)
    for name in ("config", "model", "dataset", "datasets"):
        options[name] = _joined(options.get(name))
    return options


def _joined(names: Any) -> Any:
    """``a,b``, as MMF wants a list of data sets."""
    return ",".join(map(str, names)) if isinstance(names, list) or OmegaConf.is_list(names) else names


@around(_CONFIGURATION, "Configuration._update_specific")
def missing_learning_rate(update_specific: Function, self: Any, config: Any) -> Any:
    """configuration.py:520 reads ``config.learning_rate``; main asks whether it is there.

    Symptom: ``ConfigAttributeError: Missing key learning_rate``. Can go with rc10.
    """
    if hasattr(self, "_merge_with_dotlist"):  # rc10; main would copy an existing None into the optimizer
        with open_dict(config):
            config.setdefault("learning_rate", None)
    return update_specific(self, config)


@around(_CONFIGURATION, "Configuration._build_user_config")
def user_config(_: Function, self: Any, options: Any) -> Any:
    """configuration.py:251 reads the user's file; 274 and 298 take model and datasets from the command line; main too.

    Symptoms: a path that does not exist ends in a FileNotFoundError about a path inside MMF that nobody typed; so does
    ``includes: [projects/muvla/finetune/vqa2.yaml]`` in a file elsewhere; and ``mmf_run config=X.yaml`` in ``KeyError:
    Required argument 'model' not passed`` though X.yaml has it. Here files are looked for where MMF looks, then among
    this project's (``projects/muvla/...``), and what they say is checked. The third can go when MMF reads model and
    data sets from the file; the rest is this project's own.
    """
    from mmf.utils.general import get_absolute_path, get_mmf_root

    said: Any = OmegaConf.to_container(options)
    written = {"datasets" if key == "dataset" else key: value for key, value in said.items() if value is not None}
    path, config = options.get("config"), OmegaConf.create()
    layers: Layers = []
    if path is not None:
        try:
            file = find_included(get_absolute_path(path), "")
        except InputError:
            problem = f"no such file, neither in {os.getcwd()} nor in MMF nor in mmf_muvla"
            remedy = "Give the path of a YAML file, relative to the folder you are in or absolute"
            raise InputError(f"config={path}", problem, remedy) from None
        config = read_with_includes(file, folders=[get_mmf_root()], layers=layers)
        options["config"] = self.config_path = str(file)
    if options.get("model") is None:
        options["model"] = config.get("model")
    if options.get("dataset") is None and options.get("datasets") is None and config.get("datasets") is not None:
        options["datasets"] = config["datasets"] = _joined(config["datasets"])
    self.muvla_layers = [*layers, (COMMAND_LINE, written)]
    self.muvla_mmf_keys = [name for name, _ in entries(OmegaConf.to_container(self._default_config))]
    check_written(self.muvla_layers, options["model"], self.muvla_mmf_keys)
    return config


@patches(_CONFIGURATION)
def override_values(module: ModuleType) -> None:
    """configuration.py:376 (``opt.split("=")``) and 431; main decodes the same way.

    Symptom: a value that contains ``=`` ends in ``ValueError: too many values to unpack``, and ``true``, ``false`` and
    ``null`` stay strings: ``checkpoint.resume=true`` does nothing, ``training.tensorboard=false`` switches it on;
    so does ``[a,b]``; and ``group=null`` is passed over. Can go when MMF splits once and reads values as YAML does.
    """
    owner: Any = module.Configuration
    if hasattr(owner, "_merge_with_dotlist"):  # rc10; main has a function
        owner._merge_with_dotlist = lambda self, config, options: _merge_options(config, options)
    else:
        module._merge_with_dotlist = _merge_options  # type: ignore[attr-defined]


def _merge_options(config: Any, options: list[str] | None, skip_missing: bool = False, log_info: bool = True) -> Any:
    """Merge a command line into a configuration, as main's function does, whose arguments these are."""
    written = written_options(options)
    is_checked = "muvla" in (config.get("model"), dict(written).get("model"))
    for key, text in written:
        key, value = ("datasets", _joined(decoded(text))) if key in ("dataset", "datasets") else (key, decoded(text))
        content = OmegaConf.to_container(config)
        known = [name for name, _ in entries(content)]
        present = at(content, key, absent=known)
        if present is known and skip_missing:
            continue
        if present is known and not is_checked:
            raise unknown_key("command line", key, known)
        if isinstance(present, dict) and value is not None and not isinstance(value, dict):
            raise not_a_group("command line", key, value, known)
        if log_info:
            print(f"Overriding option {key} to {text}")
        put(config, key, value)
    return config


@around(_CONFIGURATION, "load_yaml")
def absent_configs(load_yaml: Function, path: str) -> Any:
    """configuration.py:18 loads the file that a stock model's or dataset's ``config_path`` names, and the zoo's.

    Symptoms: FileNotFoundError of ``configs/models/visual_bert/pretrain.yaml`` with an MMF that has no yaml files. Here
    it is a warning, and the user's file has to say everything; a zoo file that does not exist is an empty zoo, and
    ``env.dataset_zoo=none`` so keeps a complete MMF from downloading. Can go when the source package has its files.
    """
    from mmf.utils.general import get_absolute_path, get_mmf_root

    name = path.removeprefix(f"{get_mmf_root()}/")
    if (name != "none" and not name.startswith("configs/")) or os.path.isfile(get_absolute_path(path)):
        return load_yaml(path)
    if name != "none" and not name.startswith("configs/zoo/"):
        warnings.warn(f"MMF was installed without {name}; your configuration has to say it all", stacklevel=3)
    return OmegaConf.create()


@around("mmf.utils.env", "import_user_module")
def user_package(import_user_module: Function, user_dir: str, *args: Any, **kwargs: Any) -> None:
    """env.py:50 imports ``env.user_dir`` unless it is imported already, main too.

    Symptom: ``env.user_dir: mmf_muvla`` registers nothing, since this layer has imported ``mmf_muvla`` long before, and
    importing it must not import MMF. A user package with a function ``register_with_mmf`` gets it called instead.
    Can go together with the layer.
    """
    try:
        import_user_module(user_dir, *args, **kwargs)
    except ModuleNotFoundError as error:
        remedy = "Name a folder, or a package that Python finds"
        raise InputError("env.user_dir", f"cannot be imported ({error})", remedy) from error
    package = sys.modules.get(os.path.basename(os.path.normpath(user_dir))) if user_dir else None
    register = getattr(package, "register_with_mmf", None)
    if register is not None:
        register()
