"""Reads MMF's annotation arrays (pickled objects inside ``.npy``) without running what a pickle may contain."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mmf_muvla.errors import InputError

# What NumPy itself writes for object arrays, under the module names of NumPy 1 and 2.
_ALLOWED = {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("builtins", "set"), ("collections", "OrderedDict")}


class _RefusedError(Exception):
    pass


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return super().find_class(module, name)


def load_object_array(path: str | Path) -> list[Any]:
    """Read a one-dimensional ``.npy`` array of Python objects.

    Only NumPy arrays and scalars and plain containers, strings and numbers are admitted.

    Args:
        path: the file.

    Returns:
        The array's elements.

    Raises:
        InputError: the file is missing, is no such array, is cut short, or contains anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such file", "Check the path of the annotation file")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(file)
            if dtype != np.dtype(object) or len(shape) != 1:
                problem = f"is an array of {dtype} of shape {shape}, not a list of objects"
                raise InputError(str(path), problem, "Give an annotation array")
            content = _RestrictedUnpickler(file).load()
        except _RefusedError as error:
            raise InputError(
                str(path), f"contains {error}, which could run code", "Do not use this file; get it from its source"
            ) from error
        except InputError:
            raise
        except Exception as error:  # a damaged pickle can fail in any way
            raise InputError(str(path), f"cannot be read ({error})", "Get the file again") from error
    return list(np.asarray(content, dtype=object).reshape(shape))
