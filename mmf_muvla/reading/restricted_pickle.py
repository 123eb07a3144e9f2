"""Reads other programs' pickles without running what a pickle may contain.

Where a pickle asks for one of the few names that arrays, numbers and plain containers are written with, it gets a
stand-in that builds just those, and checks what it is given; everything else is refused before anything is called.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmf_muvla.errors import InputError
from mmf_muvla.reading.bounded_unpickler import BoundedUnpickler, Builder
from mmf_muvla.reading.pickle_bounds import ONE_IMAGE as ONE_IMAGE
from mmf_muvla.reading.pickle_bounds import WHOLE_FILE, Limits, PickleProblem, Record, check_keys

_FROM_SOURCE = "Do not use this file; get it from its source"
_DTYPE_NAME = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9}|O8?)")
_MAX_HEADER = 2**16
_MAX_SIDE = 2**62


def load_pickle(
    content: bytes | bytearray | memoryview | BinaryIO,
    records: Collection[tuple[str, str]] = (),
    encoding: str = "ascii",
    errors: str = "strict",
    limits: Limits = WHOLE_FILE,
) -> Any:
    """Read a pickle of NumPy arrays and scalars, plain containers, strings and numbers.

    Args:
        content: the pickle, of any protocol, or a file that stands at its beginning.
        records: classes, by module and name, whose objects are to be read as :class:`Record`.
        encoding, errors: how the byte strings of Python 2 become text, as in :meth:`bytes.decode`; except for what
            arrays are made of, all of them have to.
        limits: what the pickle may contain: that of one image (:data:`ONE_IMAGE`), or of a whole file.

    Raises:
        PickleProblem: the pickle contains something else, or is damaged.
    """
    try:
        held = bytes(content) if isinstance(content, (bytes, bytearray, memoryview)) else content.read()
        find, stateful = partial(_find, records), (_Array, _Dtype, Record)
        return BoundedUnpickler(held, find, stateful, encoding=encoding, errors=errors, limits=limits).load()
    except PickleProblem:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise PickleProblem(f"cannot be read ({type(error).__name__}: {error})", "Get the file again") from error


def load_npy_object(path: Path, limits: Limits = WHOLE_FILE) -> np.ndarray:
    """Read an ``.npy`` file that holds an array of Python objects, as :func:`load_pickle` reads a pickle."""
    with path.open("rb") as file:
        return parse_npy_of_objects(file, limits)


def parse_npy_of_objects(file: BinaryIO, limits: Limits = WHOLE_FILE) -> np.ndarray:
    """The same, of a file that is open."""
    shape, _, dtype = read_npy_header(file)
    if dtype != np.dtype(object):
        problem = f"is an array of {dtype} of shape {shape}, not a list of objects"
        raise PickleProblem(problem, "Give the right file")
    content = load_pickle(file, limits=limits)
    if not isinstance(content, np.ndarray) or content.dtype != np.dtype(object) or content.shape != shape:
        raise PickleProblem(f"does not hold the array of objects, of shape {shape}, that it announces", _FROM_SOURCE)
    return content


def load_object_array(path: str | Path) -> list[Any]:
    """The elements of a one-dimensional ``.npy`` array of objects, as MMF's annotations are; else an InputError."""
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


def read_npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it is in Fortran's order, and dtype that an ``.npy`` file announces; else a PickleProblem."""
    try:
        if np.lib.format.read_magic(file) == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:
            # NumPy would take as much memory as is announced here before it looks for so many bytes.
            size = file.read(4)
            if int.from_bytes(size, "little") > _MAX_HEADER:
                raise ValueError("its header is longer than any")
            file.seek(-len(size), os.SEEK_CUR)
            header = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # headers are Python literals, which can be damaged in many ways
        raise PickleProblem(f"cannot be read as an .npy file ({error})", "Get the file again") from error
    if not all(0 <= side < _MAX_SIDE for side in header[0]):
        raise PickleProblem(f"announces an array of shape {str(header[0])[:40]}", "Get the file again")
    return header


class _Array(np.ndarray):
    """An array that checks the state that a pickle gives it: NumPy believes shapes, and reads beyond short lists."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, stand_in, is_fortran, data = _expect(state, tuple)
        dtype = _dtype_of(stand_in)
        if dtype == np.dtype(object):
            if not isinstance(data, list) or len(data) != _size(shape):
                raise ValueError(f"an array of shape {shape} of objects has other values")
        else:
            data = _as_bytes(data)
            _check_bytes(data, dtype, shape)
        if not isinstance(is_fortran, (bool, int)):
            raise ValueError("an array's values are of the wrong type")
        super().__setstate__((1, shape, dtype, bool(is_fortran), data))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Pickled in turn, it is an array like any other.
        return self.view(np.ndarray).__reduce_ex__(protocol)


@dataclass(eq=False)
class _Dtype:
    """Stands for a dtype while a pickle is being read."""

    dtype: np.dtype

    def __setstate__(self, state: Any) -> None:
        _, byte_order, subarray, names, fields, *_ = _expect(state, tuple)
        if subarray is not None or names is not None or fields is not None:
            raise PickleProblem("contains a structured array", "Convert it to plain arrays")
        if not isinstance(byte_order, str) or byte_order not in ("<", ">", "|", "="):
            raise ValueError("a byte order that there is not")
        self.dtype = self.dtype.newbyteorder(byte_order)  # type: ignore[arg-type]


def _refuse(*_: Any) -> None:
    raise ValueError("an array that NumPy does not write")


# Only ever an argument.
_NDARRAY = Builder(_refuse)


def _reconstruct(subtype: Any, shape: Any, _: Any) -> np.ndarray:
    if subtype is not _NDARRAY or type(shape) is not tuple or list(map(type, shape)) != [int] or shape[0]:
        raise ValueError("an array that NumPy does not write")
    return np.zeros(0, np.int8).view(_Array)


def _dtype(description: Any, *_: Any) -> _Dtype:
    if not isinstance(description, str) or not _DTYPE_NAME.fullmatch(description):
        # Nothing but text is shown: it takes long to write out what refers to itself again and again.
        shown = description[:40] if isinstance(description, str) else "that is no text"
        raise PickleProblem(f"contains an array of dtype {shown}", "Convert it to plain arrays")
    return _Dtype(np.dtype(description))


def _scalar(stand_in: Any, data: Any) -> Any:
    dtype, data = _dtype_of(stand_in), _as_bytes(data)
    _check_bytes(data, dtype, ())
    return np.frombuffer(data, dtype)[0]


def _from_buffer(data: Any, stand_in: Any, shape: Any, order: Any, axis_order: Any = None) -> np.ndarray:
    dtype = _dtype_of(stand_in)
    _check_bytes(data, dtype, shape)
    if not isinstance(order, str):
        raise ValueError("an array's values are of the wrong type")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" and axis_order is None else "C")
    return (array if axis_order is None else array.transpose(axis_order)).view(_Array)


def _encode(text: Any, encoding: Any) -> bytes:
    # How bytes are written by the protocols that know only text.
    if not isinstance(encoding, str) or encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise ValueError("text in an encoding that plain data are not written in")
    return text.encode("latin1")


def _set(members: Any = ()) -> set[Any]:
    check_keys(_expect(members, list, tuple))
    return set(members)


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    check_keys(key for key, _ in (_expect(pair, list, tuple) for pair in _expect(pairs, list, tuple)))
    return dict(pairs)


_PYTHON = ("builtins", "__builtin__")
_MULTIARRAY, _NUMERIC = (
    tuple(f"numpy.{core}.{name}" for core in ("core", "_core")) for name in ("multiarray", "numeric")
)
# By name: the modules that have it (of NumPy 1 and 2, and of Python 2, which the older protocols use), and a stand-in.
_BUILDERS = {
    "_reconstruct": (_MULTIARRAY, Builder(_reconstruct)),
    "scalar": (_MULTIARRAY, Builder(_scalar)),
    "_frombuffer": (_NUMERIC, Builder(_from_buffer)),
    "ndarray": (("numpy",), _NDARRAY),
    "dtype": (("numpy",), Builder(_dtype)),
    "encode": (("_codecs",), Builder(_encode)),
    # Of nothing: what has content is written in another way.
    "bytes": (_PYTHON, Builder(lambda: b"")),
    "set": (_PYTHON, Builder(_set, takes_members=True)),
    "frozenset": (_PYTHON, Builder(lambda *members: frozenset(_set(*members)), takes_members=True)),
    "OrderedDict": (("collections",), Builder(_dictionary, takes_members=True)),
}


def _find(records: Collection[tuple[str, str]], module: str, name: str) -> Builder | type[Record]:
    if (module, name) in records:
        return Record
    modules, builder = _BUILDERS.get(name, ((), None))
    if builder is not None and module in modules:
        return builder
    if module.partition(".")[0] == "torch":
        problem = f"contains {module}.{name}: torch tensors are not read"
        raise PickleProblem(problem, "Convert them with tensor.numpy() where they are written")
    raise PickleProblem(f"contains {module[:60]}.{name[:60]}, which could run code", _FROM_SOURCE)


def _dtype_of(stand_in: Any) -> np.dtype:
    if not isinstance(stand_in, _Dtype):
        raise ValueError("a dtype that NumPy does not write")
    if stand_in.dtype.itemsize == 0:
        # Any number of such values would take no bytes.
        raise ValueError(f"dtype {stand_in.dtype} of no size")
    return stand_in.dtype


def _expect(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise ValueError(f"a {type(value).__name__} where no writer of plain data has one")
    return value


def _as_bytes(data: Any) -> Any:
    # The bytes that Python 2 wrote have become text where they could. Where several of them made one character,
    # there are fewer now, which shows when their number is checked.
    return data.encode("latin1") if isinstance(data, str) else data


def _check_bytes(data: Any, dtype: np.dtype, shape: Any) -> None:
    """Refuse bytes that are no values of an array."""
    if dtype == np.dtype(object) or not isinstance(data, (bytes, bytearray)):
        raise ValueError("an array's values are of the wrong type")
    if len(data) != _size(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} has {len(data)} values or bytes")
    # NumPy takes any number for a character, and fails when it is looked at.
    if dtype.kind == "U" and len(data) and np.frombuffer(data, f"{dtype.byteorder}u4").max() > sys.maxunicode:
        raise ValueError("an array of text has characters that do not exist")


def _size(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(side) is int and 0 <= side < _MAX_SIDE for side in shape):
        raise ValueError("an array's shape is none")
    return math.prod(shape)
