"""Errors that name the place, the value and the remedy."""

from __future__ import annotations

import math
import reprlib
from typing import Any

from mmf_muvla.terminal import printable


class MuvlaError(Exception):
    """Base of every error that this project raises on purpose. As text, it has no characters that steer a terminal."""

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n")


class InputError(MuvlaError, ValueError):
    """A user's input (file, record, option) cannot be used as it is.

    Args:
        where: file and line, image id or option name, e.g. ``"features.tsv, line 17 (image 123)"``.
        problem: what is wrong, with the offending value.
        remedy: what the user can do about it.
    """

    def __init__(self, where: str, problem: str, remedy: str):
        super().__init__(f"{where}: {problem}. {remedy}")
        self.where = where
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        # Exceptions cross process boundaries (DataLoader workers); the default rebuilds from one argument.
        return (type(self), (self.where, self.problem, self.remedy))


class _Brief(reprlib.Repr):
    """Says what a value is at a cost that its size has no part in."""

    repr_bytes = repr_bytearray = reprlib.Repr.repr_str

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 12
        self.maxstring = self.maxother = 400

    def repr_int(self, x: int, level: int) -> str:
        digits = int(abs(x).bit_length() * math.log10(2)) + 1
        return repr(x) if digits <= 30 else f"a whole number of about {digits:,} digits"

    def repr_instance(self, x: Any, level: int) -> str:
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple):  # NumPy's
            return f"array of {x.dtype} of shape {shape}" if shape else str(x)
        return super().repr_instance(x, level)


_BRIEF = _Brief()


def shown(value: Any, length: int = 40, quoted: bool = True) -> str:
    """A value for a message, cut: whatever a damaged record can hold, huge and deeply nested values included."""
    return (value[:length] if isinstance(value, str) and not quoted else _BRIEF.repr(value))[:length]
