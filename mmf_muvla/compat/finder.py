"""The meta-path finder that wakes the layer on the first import of MMF. Imports nothing at interpreter start."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # the typing module would cost every interpreter start 5 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_MMF_PACKAGES = ("mmf", "mmf_cli")


class MmfFinder:
    """Finds MMF's modules as everyone else would, and has the compatibility layer take part in loading them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in _MMF_PACKAGES:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, MmfFinder) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                from mmf_muvla.compat.loading import take_part

                take_part(spec)
                return spec
        return None


def install() -> None:
    """Put the finder in front of all others, once."""
    if not any(isinstance(finder, MmfFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MmfFinder())
