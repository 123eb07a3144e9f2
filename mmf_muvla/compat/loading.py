"""Executes a module of MMF with mended imports, then applies the patches registered for it."""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType

from mmf_muvla.compat import registration, substitutes

_logger = logging.getLogger(__name__)

# Importing a patch module registers its patches; later ones come around those before.
for _name in ("options", "config", "data", "distributed", "models", "training"):
    importlib.import_module(f"mmf_muvla.compat.patch_{_name}")


def take_part(spec: ModuleSpec) -> None:
    """Make ``spec``'s loader, which belongs to this one module, execute it with mended imports and then patch it."""
    if spec.name in ("mmf", "mmf_cli"):
        _hide_broken_torchvision()
    loader = spec.loader
    if not isinstance(loader, SourceFileLoader):
        return
    execute = loader.exec_module

    def execute_and_patch(module: ModuleType) -> None:
        # Python looks ``__import__`` up in the module's own ``__builtins__``, also for imports inside functions.
        module.__dict__["__builtins__"] = substitutes.MMF_BUILTINS
        execute(module)
        registration.apply_patches(module)

    loader.exec_module = execute_and_patch  # type: ignore[method-assign]


def _hide_broken_torchvision() -> None:
    """transformers and MMF ask for torchvision when they find it, and both fail when it does not fit torch.

    Symptom: ``RuntimeError: operator torchvision::nms does not exist`` from ``import transformers``.
    A torchvision that cannot be imported is marked absent, for this process. Can go when transformers survives it.
    """
    if registration.is_skipped("hide_broken_torchvision") or "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except Exception as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        _logger.warning("torchvision is installed but cannot be imported (%s); going on without it", error)
