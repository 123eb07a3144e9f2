"""Reads what runs wrote about themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_lines import read_json_lines


@dataclass(frozen=True)
class RunHistory:
    """The lines of a run's ``history.jsonl``."""

    train: list[dict[str, Any]]  # one per log interval, means over it
    val: list[dict[str, Any]]  # one per validation

    def curve(self, name: str, split: str = "train") -> tuple[list[int], list[float]]:
        """Updates and values of one quantity; empty where it was not measured."""
        lines = [line for line in getattr(self, split) if name in line]
        return [line["update"] for line in lines], [line[name] for line in lines]


def read_history(folder: str | Path) -> RunHistory:
    """Read a run's history; what a resumed run measured again counts, and what came after that before does not.

    Raises:
        InputError: the run has no history, or a line of it is damaged.
    """
    path = Path(folder) / "history.jsonl"
    lines: dict[str, dict[int, dict[str, Any]]] = {"train": {}, "val": {}}
    for number, line in read_json_lines(path, remedy="Remove the line", may_end_in_half=True):
        try:
            of_split, update = lines[line["split"]], line["update"]
            # Somebody has gone back: to a checkpoint, or to the beginning.
            while of_split and next(reversed(of_split)) >= update:
                of_split.popitem()
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}", f"damaged ({error!r})", "Remove the line") from error
        of_split[update] = line
    return RunHistory(**{split: list(by_update.values()) for split, by_update in lines.items()})
