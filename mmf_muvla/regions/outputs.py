"""What an import of regions writes beside its store, and how it is told from what is somebody else's."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from mmf_muvla.artifacts.files import is_temporary, read_json, refuse_foreign
from mmf_muvla.artifacts.outputs import refuse_file, refuse_inputs
from mmf_muvla.regions.writer import foreign_in_store, partial_path

_WORK_FILE = re.compile(r"(made_from\.json|contents-\d{4}\.json|index-\d{4}.*)")
_COUNTS_KEYS = {"made_from", "counts"}
_SKIPPED_KEYS = {"file", "line", "id", "reason", "value"}


def work_path(store: Path) -> Path:
    """The folder in which an import notes what it finds out on its way."""
    return store.with_name(f"{store.name}.work")


def counts_path(store: Path) -> Path:
    """The file by which an import that has been finished is known."""
    return store.with_name(f"{store.name}.counts.json")


def check_import(store: Path, skipped: Path, inputs: Sequence[Path]) -> None:
    """Refuse an import that would write over what is read, or what is somebody else's.

    Args:
        store: the region store to write.
        skipped: the list of what is left out.
        inputs: what is read.

    Raises:
        InputError: it would.
    """
    partial, work, counts = partial_path(store), work_path(store), counts_path(store)
    refuse_inputs((store, partial, work, counts, skipped), inputs)
    for folder in (store, partial):
        refuse_foreign(folder, foreign_in_store)
    refuse_foreign(work, _foreign_in_work)
    refuse_file(counts, (read_json(counts) or {}).keys() == _COUNTS_KEYS)
    refuse_file(skipped, skipped.is_file() and _lists_skipped(skipped))


def _foreign_in_work(folder: Path) -> Path | None:
    for path in sorted(folder.iterdir()):
        if not is_temporary(path) and not (_WORK_FILE.fullmatch(path.name) and path.is_file()):
            return path
    return None


def _lists_skipped(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(2**20)
    if not first.endswith(b"\n"):  # empty, or a process was killed while it wrote its first line
        return b'{"file": '.startswith(first[:9])
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.keys() == _SKIPPED_KEYS
