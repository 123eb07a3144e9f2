"""Stand-ins for modules that MMF imports and that moved, changed or are absent, and for a GPU that is not there.

The import statements of MMF's modules run ``_import_for_mmf``. Everyone else's import what is installed: no stand-in
is ever entered in ``sys.modules``.
"""

from __future__ import annotations

import builtins
import functools
import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from mmf_muvla.compat.registration import is_skipped

# Modules of transformers, and where they are today.
_MOVED = {
    **{f"transformers.{name}_bert": f"transformers.models.bert.{name}_bert" for name in ("modeling", "configuration")},
    **{f"transformers.{name}_auto": f"transformers.models.auto.{name}_auto" for name in ("modeling", "configuration")},
    "transformers.tokenization_auto": "transformers.models.auto.tokenization_auto",
    "transformers.optimization": "transformers.optimization",
}
_OPTIONAL_PACKAGES = ("torchvision", "torchtext", "demjson", "pytorch_lightning")


class Overlay(ModuleType):
    """A view of a module with some names replaced or added. The module itself stays as it is."""

    def __init__(self, module: ModuleType, **replacements: Any):
        super().__init__(module.__name__, module.__doc__)
        self.__dict__.update(replacements)
        self.__dict__["_covered_module"] = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_covered_module"], name)


class AdamW(torch.optim.AdamW):
    """modules/optimizers.py:3 imports it from transformers; main falls back to torch's with other defaults.

    Symptom: ``ImportError: cannot import name 'AdamW'`` (dropped in transformers 5). The optimizer registered as
    ``adam_w`` keeps the defaults it always had. Can go when MMF registers an AdamW of its own.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


@functools.cache
def _moved_module(name: str) -> ModuleType | None:
    """models/visual_bert.py:11, modules/embeddings.py:11, modules/encoders.py:9 and many others, main too.

    Symptom: ``ModuleNotFoundError: transformers.modeling_bert`` (moved in transformers 4), and no ``BertLayerNorm`` in
    it. Can go when MMF imports from ``transformers.models.bert`` and takes ``torch.nn.LayerNorm``.
    """
    if is_skipped(name.removeprefix("transformers.")):
        return None
    module = importlib.import_module(_MOVED[name])
    return Overlay(module, BertLayerNorm=torch.nn.LayerNorm, AdamW=AdamW)


class Placeholder(ModuleType):
    """Stands for a package that is not installed, and for its submodules and functions: any name can be taken from it.

    Names that start with a capital letter are classes, so that MMF can derive from them. Calling a function or
    making an instance raises ImportError.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full_name = f"{self.__name__}.{name}"
        # main derives all models and dataset builders from these two, also where Lightning does not train.
        if name in ("LightningModule", "LightningDataModule"):
            value: Any = type(name, (torch.nn.Module,) if name == "LightningModule" else (), {})
        elif name[0].isupper():
            value = type(name, (), {"__module__": self.__name__, "__init__": lambda *_, **__: Placeholder(full_name)()})
        else:
            value = Placeholder(full_name)
        setattr(self, name, value)
        return value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        package = self.__name__.partition(".")[0]
        raise ImportError(f"MMF needs {self.__name__} here, but {package} is not installed or cannot be imported")


@functools.cache
def _optional_package(package: str) -> Placeholder | None:
    """None where ``package`` can be imported, otherwise what MMF's importers get for it.

    modules/encoders.py:6, utils/vocab.py:7, utils/configuration.py:8, main: models/base_model.py:49 and many more.
    Symptom: ImportError of a package that this project does not use, or RuntimeError and OSError where it was built
    for another torch. Can go when MMF imports these packages where it uses them.
    """
    if is_skipped("optional_packages"):
        return None
    try:
        importlib.import_module(package)
    except Exception:
        return Placeholder(package)
    return None


def _stand_in(name: str, fromlist: Sequence[str] | None) -> ModuleType | None:
    if name in _MOVED and fromlist:
        return _moved_module(name)
    package, *parts = name.split(".")
    placeholder = _optional_package(package) if package in _OPTIONAL_PACKAGES else None
    if placeholder is None or not fromlist:  # a plain ``import a.b`` binds a
        return placeholder
    return functools.reduce(getattr, parts, placeholder)


def _import_for_mmf(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    stand_in = _stand_in(name, fromlist) if level == 0 else None
    return stand_in or builtins.__import__(name, globals, locals, fromlist or (), level)


MMF_BUILTINS: dict[str, Any] = {**vars(builtins), "__import__": _import_for_mmf}


class _StayOnCpu(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is torch.Tensor.cuda else func(*args, **(kwargs or {}))


def cpu_for_cuda(device: torch.device) -> AbstractContextManager[Any]:
    """In this block of this thread, ``tensor.cuda()`` is the tensor itself if ``device`` is the CPU."""
    return _StayOnCpu() if device.type == "cpu" else nullcontext()
