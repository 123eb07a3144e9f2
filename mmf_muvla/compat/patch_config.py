"""Patches of MMF's configuration: defaults, the user's file, overrides, the user's package."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from mmf_muvla.compat.patch_options import written_options
from mmf_muvla.compat.registration import patches
from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import not_a_group, unknown_key
from mmf_muvla.options.schema import entries
from mmf_muvla.paths import resource_path

_OWN_DEFAULTS = str(Path(__file__).with_name("defaults.yaml"))
_CONFIGURATION = "mmf.utils.configuration"


@patches(_CONFIGURATION)
def defaults_file(module: ModuleType) -> None:
    """configuration.py:65 points to ``mmf/configs/defaults.yaml``.

    Symptom: FileNotFoundError with an MMF built from its source package, which lacks all yaml files. MMF's own file
    is used where it exists. Can go when the source package has its files.
    """
    mmf_path = module.get_default_config_path

    def get_default_config_path() -> str:
        path = mmf_path()
        return path if os.path.exists(path) else _OWN_DEFAULTS

    module.get_default_config_path = get_default_config_path  # type: ignore[attr-defined]


@patches(_CONFIGURATION)
def resolvers(module: ModuleType) -> None:
    """configuration.py:351, main too.

    Symptoms: ``Unsupported interpolation type env``, a resolver that rc10's own defaults use and omegaconf 2.1 dropped
    (as versions up to 2.3 did ``register_resolver``); and everybody else's resolvers are cleared, which this does not.
    Can go when MMF uses ``oc.env`` and stops clearing.
    """
    import torch
    from omegaconf import OmegaConf

    # Called register_new_resolver from omegaconf 2.1 on; 2.4 has given it the old name back.
    register: Any = getattr(OmegaConf, "register_resolver", None)
    if register is None or "replace" not in inspect.signature(register).parameters:
        register = OmegaConf.register_new_resolver

    def register_resolvers(self: Any) -> None:
        known = {
            "env": lambda name, default=None: os.environ.get(name, default),
            "device_count": lambda: max(1, torch.cuda.device_count()),
            "resolve_cache_dir": module.resolve_cache_dir,
            "resolve_dir": module.resolve_dir,
        }
        for name, resolver in known.items():
            register(name, resolver, replace=True)

    module.Configuration._register_resolvers = register_resolvers


@patches(_CONFIGURATION)
def missing_options(module: ModuleType) -> None:
    """configuration.py:251, 277, 299, 300 read options that the command line may lack; main 299, 316 too.

    Symptom: ``ConfigAttributeError: Missing key config``: since omegaconf 2.1 a missing key is an error, not None.
    Can go when MMF reads them with ``get``.
    """
    from omegaconf import OmegaConf

    from mmf_muvla.options.reading import read_override

    build_opt_list = module.Configuration._build_opt_list

    def build_opt_list_with_none(self: Any, opts: list[str] | None) -> Any:
        written = [f"{key}={value}" for key, value in written_options(opts)]
        for option in written:
            read_override(option)  # OmegaConf's own errors name neither the option nor what to do
        options = build_opt_list(self, written)
        for name in ("config", "model", "dataset", "datasets"):
            if name not in options:
                options[name] = None
            elif OmegaConf.is_list(options[name]):  # MMF wants "a,b"
                options[name] = ",".join(map(str, options[name]))
        return options

    module.Configuration._build_opt_list = build_opt_list_with_none


@patches(_CONFIGURATION)
def missing_learning_rate(module: ModuleType) -> None:
    """configuration.py:520 reads ``config.learning_rate``; main asks whether it is there.

    Symptom: ``ConfigAttributeError: Missing key learning_rate``. Can go with rc10.
    """
    from omegaconf import open_dict

    if hasattr(module, "_merge_with_dotlist"):  # main: an existing None would be copied into the optimizer
        return
    update_specific = module.Configuration._update_specific

    def update_with_learning_rate(self: Any, config: Any) -> Any:
        with open_dict(config):
            config.setdefault("learning_rate", None)
        return update_specific(self, config)

    module.Configuration._update_specific = update_with_learning_rate


@patches(_CONFIGURATION)
def config_names_model_and_datasets(module: ModuleType) -> None:
    """configuration.py:274 and 298 take model and datasets from the command line only, main too.

    Symptom: ``mmf_run config=X.yaml`` ends in ``KeyError: Required argument 'model' not passed`` though X.yaml has it.
    Can go when MMF reads them from the file.
    """
    build_user_config = module.Configuration._build_user_config

    def build_user_config_and_fill_options(self: Any, options: Any) -> Any:
        config = build_user_config(self, options)
        if options.get("model") is None:
            options["model"] = config.get("model")
        if options.get("dataset") is None and options.get("datasets") is None:
            datasets = config.get("datasets")
            if datasets is not None and not isinstance(datasets, str):  # MMF wants "a,b"
                datasets = config["datasets"] = ",".join(datasets)
            options["datasets"] = datasets
        return config

    module.Configuration._build_user_config = build_user_config_and_fill_options


@patches(_CONFIGURATION)
def config_path(module: ModuleType) -> None:
    """configuration.py:251 gives the user's path to load_yaml, main too.

    Symptom: a path that does not exist ends in a FileNotFoundError about a path inside MMF that nobody typed.
    Here it is looked for where MMF looks, then among this project's files (``projects/muvla/...``), then refused by
    name. Can go when MMF says which file it missed; the second place is this project's own.
    """
    build_user_config = module.Configuration._build_user_config

    def find(path: str) -> str:
        path_in_mmf: str = module.get_absolute_path(path)
        if os.path.isfile(path_in_mmf):
            return path_in_mmf
        try:
            return resource_path(path)
        except InputError:
            raise InputError(
                f"config={path}",
                f"no such file, neither in {os.getcwd()} nor in MMF nor in mmf_muvla",
                "Give the path of a YAML file, relative to the folder you are in or absolute",
            ) from None

    def build_user_config_from_found_file(self: Any, options: Any) -> Any:
        path = options.get("config")
        if path is not None:
            options["config"] = find(path)
        return build_user_config(self, options)

    module.Configuration._build_user_config = build_user_config_from_found_file


@patches(_CONFIGURATION)
def override_values(module: ModuleType) -> None:
    """configuration.py:376 (``opt.split("=")``) and 431; main decodes the same way.

    Symptom: a value that contains ``=`` ends in ``ValueError: too many values to unpack``, and ``true``, ``false`` and
    ``null`` stay strings: ``checkpoint.resume=true`` does nothing, ``training.tensorboard=false`` switches it on;
    so does ``[a,b]``; and ``group=null`` is passed over. Can go when MMF splits once and reads values as YAML does.
    """
    from mmf_muvla.options.reading import decoded

    in_class = hasattr(module.Configuration, "_merge_with_dotlist")  # rc10; main has functions
    owner: Any = module.Configuration if in_class else module
    merge = owner._merge_with_dotlist
    owner._decode_value = (lambda self, value: decoded(value)) if in_class else decoded

    def merge_options(*arguments: Any, **kwargs: Any) -> Any:  # (config, opts) in main, (self, config, opts) in rc10
        *first, config, options = arguments[: 3 if in_class else 2]
        if kwargs.get("skip_missing"):  # main looks for options of its defaults first
            return merge(*arguments, **kwargs)
        written = written_options(options)
        for key, value in written:
            _merge_option(lambda config, option: merge(*first, config, option, **kwargs), config, key, value, written)
        return config

    owner._merge_with_dotlist = merge_options


def _merge_option(
    merge: Callable[[Any, list[str]], Any], config: Any, key: str, text: str, written: Sequence[tuple[str, str]]
) -> None:
    """One option of the command line. MMF leaves a group as it is, whatever it is to be."""
    from omegaconf import DictConfig, OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    from mmf_muvla.options.reading import decoded

    value = decoded(text)
    if key in ("dataset", "datasets") and isinstance(value, list):  # MMF wants "a,b"
        text = ",".join(map(str, value))
    try:
        present = OmegaConf.select(config, key)
    except Exception:
        present = None
    if isinstance(present, DictConfig):
        if value is not None and not isinstance(value, dict):
            raise not_a_group("command line", key, value, [name for name, _ in entries(OmegaConf.to_container(config))])
        OmegaConf.update(config, key, value, merge=value is not None, force_add=True)
        return
    try:
        merge(config, [key, text])
    except AttributeError:
        if "muvla" not in (config.get("model"), dict(written).get("model")):
            known = [name for name, _ in entries(OmegaConf.to_container(config))]
            raise unknown_key("command line", key, known) from None
        # It is known: all that was written has been checked.
        with open_dict(config):
            OmegaConf.update(config, key, value, force_add=True)
    except OmegaConfBaseException as error:  # losses[9] of five
        raise InputError(f"command line: {key}={text}", str(error).splitlines()[0], "Correct the key") from error


@patches(_CONFIGURATION)
def absent_configs(module: ModuleType) -> None:
    """configuration.py:18 loads the file that a stock model's or dataset's ``config_path`` names.

    Symptom: FileNotFoundError of ``configs/models/visual_bert/pretrain.yaml`` with an MMF that has no yaml files. Here
    it is a warning, and the user's file has to say everything. Can go when the source package has its files.
    """
    from omegaconf import OmegaConf

    load_yaml = module.load_yaml

    def load_yaml_if_any(path: str) -> Any:
        name = path.removeprefix(f"{module.get_mmf_root()}/")
        if name.startswith("configs/") and not os.path.isfile(module.get_absolute_path(path)):
            warnings.warn(f"MMF was installed without {name}; your configuration has to say it all", stacklevel=2)
            return OmegaConf.create()
        return load_yaml(path)

    module.load_yaml = load_yaml_if_any  # type: ignore[attr-defined]


@patches(_CONFIGURATION)
def own_includes(module: ModuleType) -> None:
    """configuration.py:55 looks for what a file includes in MMF and beside that file, main too.

    Symptom: ``includes: [projects/muvla/finetune/vqa2.yaml]`` in a file elsewhere ends in FileNotFoundError. Here it is
    looked for among this project's files as well. This is the project's own.
    """
    load_yaml = module.load_yaml

    def load_yaml_of_this_project(path: str) -> Any:
        _, found, name = path.rpartition("/projects/")
        if found and not os.path.isfile(module.get_absolute_path(path)):
            with suppress(InputError):
                path = resource_path(f"projects/{name}")
        return load_yaml(path)

    module.load_yaml = load_yaml_of_this_project  # type: ignore[attr-defined]


@patches(_CONFIGURATION)
def absent_zoo(module: ModuleType) -> None:
    """configuration.py:73, asked by every builder's ``build`` (datasets/mmf_dataset_builder.py:82), main too.

    Symptom: FileNotFoundError of ``configs/zoo/datasets.yaml`` with an MMF that has no yaml files, for data that need
    no download. A zoo file that does not exist is an empty zoo; ``env.dataset_zoo=none`` so keeps a complete MMF from
    downloading. Can go when the source package has its files.
    """
    get_zoo_config = module.get_zoo_config

    def get_zoo_config_if_any(
        key: str, variation: str = "defaults", zoo_config_path: str | None = None, zoo_type: str = "datasets"
    ) -> Any:
        path = zoo_config_path or os.path.join("configs", "zoo", f"{zoo_type}.yaml")
        if not os.path.isfile(module.get_absolute_path(path)):
            return None, None
        return get_zoo_config(key, variation, zoo_config_path, zoo_type)

    module.get_zoo_config = get_zoo_config_if_any  # type: ignore[attr-defined]


@patches("mmf.utils.env")
def user_package(module: ModuleType) -> None:
    """env.py:50 imports ``env.user_dir`` unless it is imported already, main too.

    Symptom: ``env.user_dir: mmf_muvla`` registers nothing, since this layer has imported ``mmf_muvla`` long before, and
    importing it must not import MMF. A user package with a function ``register_with_mmf`` gets it called instead.
    Can go together with the layer.
    """
    import_user_dir = module.import_user_module

    def import_and_register(user_dir: str, *args: Any, **kwargs: Any) -> None:
        import_user_dir(user_dir, *args, **kwargs)
        package = sys.modules.get(os.path.basename(os.path.normpath(user_dir))) if user_dir else None
        register = getattr(package, "register_with_mmf", None)
        if register is not None:
            register()

    module.import_user_module = import_and_register  # type: ignore[attr-defined]
