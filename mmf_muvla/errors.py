"""Errors that name the place, the value and the remedy."""

from __future__ import annotations

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
