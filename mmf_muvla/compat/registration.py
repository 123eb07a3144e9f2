"""Which patch belongs to which module of MMF, and how a patch is left out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

Patch = Callable[[ModuleType], None]
Function = Callable[..., Any]

_patches: dict[str, list[Patch]] = {}


def patches(*module_names: str) -> Callable[[Patch], Patch]:
    """Register a function to be called with each of these modules right after MMF has executed it."""

    def register(patch: Patch) -> Patch:
        for module_name in module_names:
            _patches.setdefault(module_name, []).append(patch)
        return patch

    return register


def around(module_name: str, target: str) -> Callable[[Function], Function]:
    """Register a function to be called in place of a ``function`` or a ``Class.method``, its first argument."""
    class_name, _, name = target.rpartition(".")

    def register(function: Function) -> Function:
        def patch(module: ModuleType) -> None:
            owner = getattr(module, class_name) if class_name else module
            original = getattr(owner, name)

            @functools.wraps(original)
            def call(*args: Any, **kwargs: Any) -> Any:
                return function(original, *args, **kwargs)

            setattr(owner, name, call)

        patch.__name__ = function.__name__
        patches(module_name)(patch)
        return function

    return register


def is_skipped(name: str) -> bool:
    """True if ``MMF_MUVLA_COMPAT_SKIP`` names this patch or stand-in."""
    return name in os.environ.get("MMF_MUVLA_COMPAT_SKIP", "").split(",")


def apply_patches(module: ModuleType) -> None:
    """Apply every patch registered for ``module``.

    Raises:
        ImportError: a patch does not fit this version of MMF; the message names patch and module.
    """
    for patch in _patches.get(module.__name__, ()):
        if is_skipped(patch.__name__):
            continue
        try:
            patch(module)
        except AttributeError as error:
            raise ImportError(
                f"mmf_muvla's patch '{patch.__name__}' does not fit {module.__name__} ({error}). "
                f"Supported are mmf 1.0.0rc10 and MMF's GitHub main; MMF_MUVLA_COMPAT_SKIP={patch.__name__} "
                "leaves the patch out"
            ) from error
