"""VQA 2.0: which files of a folder are the questions and answers of a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import unknown_key

# Published name -> the task's name of a split.
_SUBSETS = {"train2014": "train", "val2014": "val", "test2015": "test", "test-dev2015": "test-dev"}
VQA2_SPLITS = tuple(_SUBSETS.values())
SplitFiles = dict[str, tuple[Path, Path | None]]  # the questions, and the annotations where there are any, by split


def published_files(source: Path) -> SplitFiles:
    """The published files that are in a folder: VQA 2.0's, else those without ``v2_`` in their names."""
    for prefix in ("v2_", ""):  # the names of OK-VQA's files, and of VQA 1.0's, begin with nothing
        found: SplitFiles = {}
        for subset, split in _SUBSETS.items():
            questions = source / f"{prefix}OpenEnded_mscoco_{subset}_questions.json"
            annotations = source / f"{prefix}mscoco_{subset}_annotations.json"
            if questions.is_file():
                found[split] = (questions, annotations if annotations.is_file() else None)
        if found:
            return found
    names = [f"v2_OpenEnded_mscoco_{subset}_questions.json" for subset in _SUBSETS]
    remedy = (
        "Put the published files there, with or without v2_, or name your own: questions.train=… annotations.train=…"
    )
    raise InputError(f"source={source}", f"has none of the files {', '.join(names)}", remedy)


def own_files(source: Path, questions: Mapping[str, str], annotations: Mapping[str, str]) -> SplitFiles:
    """The files that options name by split, relative to the folder ``source``.

    Raises:
        InputError: there is no such split or file, or annotations have no questions.
    """
    files: dict[tuple[str, str], Path] = {}
    for kind, names in (("questions", questions), ("annotations", annotations)):
        for split, name in names.items():
            if split not in VQA2_SPLITS:
                raise unknown_key("command line", f"{kind}.{split}", [f"{kind}.{it}" for it in VQA2_SPLITS])
            if split not in questions:
                remedy = f"Name their file as well: questions.{split}=…"
                raise InputError(f"annotations.{split}={name}", "has no questions", remedy)
            files[kind, split] = file = source / Path(name).expanduser()
            if not file.is_file():
                raise InputError(f"{kind}.{split}={name}", f"there is no file {file}", "Check the name")
    return {it: (files["questions", it], files.get(("annotations", it))) for it in VQA2_SPLITS if it in questions}
