"""Reads MMF's annotation arrays (pickled objects inside ``.npy``) without running what a pickle may contain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.reading.restricted_pickle import PickleProblem, load_npy_object


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
    try:
        content = load_npy_object(path)
    except PickleProblem as problem:
        raise InputError(str(path), problem.problem, problem.remedy) from problem
    if content.ndim != 1:
        found = f"is an array of shape {content.shape}, not a list of objects"
        raise InputError(str(path), found, "Give an annotation array")
    return list(content)
