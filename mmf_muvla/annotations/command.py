"""The command line of ``tools/convert_annotations.py``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mmf_muvla.annotations.nlvr2 import convert_nlvr2
from mmf_muvla.annotations.published import Counts, Options
from mmf_muvla.annotations.refcoco_plus import convert_refcoco_plus
from mmf_muvla.annotations.report import Report
from mmf_muvla.annotations.snli_ve import convert_snli_ve
from mmf_muvla.annotations.vqa2 import MAX_ANSWERS, build_vocabulary, convert_vqa2
from mmf_muvla.annotations.vqa_answers import ANNOTATORS, MIN_OCCURRENCES
from mmf_muvla.cli import parse_options
from mmf_muvla.corpus.files import remove_leftovers
from mmf_muvla.errors import InputError

if TYPE_CHECKING:
    from mmf_muvla.datasets.images import ImageSource

VOCABULARY_FILE = "answers_vqa.txt"
LEFT_OUT_FILE = "left_out.jsonl"
"""Lists the records that were left out as damaged, if there are any."""

# Published name -> the task's name of a split.
_VQA2_SUBSETS = {"train2014": "train", "val2014": "val", "test2015": "test", "test-dev2015": "test-dev"}
_NLVR2_FILES = {"train.json": "train", "dev.json": "val", "test1.json": "test", "test2.json": "test2"}
_SNLI_VE_FILES = {"snli_ve_train.jsonl": "train", "snli_ve_dev.jsonl": "val", "snli_ve_test.jsonl": "test"}
# What the names of VQA 2.0's files begin with; OK-VQA's, and those of VQA 1.0, begin with nothing.
_VQA2_PREFIXES = ("v2_", "")
# test-dev's questions are some of test's.
_PARTS = (("test", "test-dev"),)
_REFCOCO_FILES = ("refs(unc).p", "instances.json")
_DEFAULTS = {
    "task": "",
    "source": "",
    "out": "",
    "image_ids": "",
    "unknown_images": "keep",
    "unlabelled": "",
    "on_bad_record": "error",
    "image_key": "{name}",
    "min_occurrences": str(MIN_OCCURRENCES),
    "num_answers": "",
    **{f"{kind}.{split}": "" for kind in ("questions", "annotations") for split in _VQA2_SUBSETS.values()},
}


def convert_command(arguments: Sequence[str]) -> None:
    """``task=NAME source=FOLDER out=FOLDER [key=value …]``: convert a benchmark's files, and say what is in them.

    Raises:
        InputError: an option or a file cannot be used.
    """
    values = parse_options(arguments, _DEFAULTS)
    for name in ("task", "source", "out"):
        if not values[name]:
            raise InputError(f"{name}=", "is not given", f"Add {name}=… to the command")
    if values["task"] not in _TASKS:
        raise InputError(f"task={values['task']}", "unknown task", f"Use one of {', '.join(_TASKS)}")
    source = Path(values["source"]).expanduser()
    if not source.is_dir():
        raise InputError(f"source={source}", "no such folder", "Name the folder with the published files")
    out = Path(values["out"]).expanduser()
    image_ids = _read_image_ids(values["image_ids"])
    options, report = _options(values, image_ids), Report(_PARTS)
    with _published_together(out) as folder:
        try:
            counts = _TASKS[values["task"]](source, folder, options, report, values)
        except InputError:
            # That no image is known is why nothing is left, where records of unknown images are left out.
            if image_ids is not None and options.unknown_images == "skip":
                report.check_images(f"image_ids={values['image_ids']}", image_ids.example)
            raise
        if image_ids is not None:
            report.check_images(f"image_ids={values['image_ids']}", image_ids.example)
        has_left_out = report.write_left_out(folder / LEFT_OUT_FILE)
    if not has_left_out:
        (out / LEFT_OUT_FILE).unlink(missing_ok=True)  # an earlier conversion's
    report.warn_of_overlaps()
    Console().print(_table(str(out), counts))


def _convert_vqa2(
    source: Path, out: Path, options: Options, report: Report, values: Mapping[str, str]
) -> Mapping[str, Counts]:
    found = _own_vqa2_files(source, values) or _published_vqa2_files(source)
    annotated = [annotations for _, annotations in found.values() if annotations is not None]
    vocabulary: list[str] = []
    if annotated:
        vocabulary = build_vocabulary(annotated, out / VOCABULARY_FILE, options)
        print(f"{VOCABULARY_FILE}: {len(vocabulary):,} answers of {options.min_occurrences} or more questions")
    known = [answer for answer in vocabulary if answer]
    return {
        split: convert_vqa2(questions, annotations, out / f"imdb_{split}.npy", split, known, options, report)
        for split, (questions, annotations) in found.items()
    }


def _published_vqa2_files(source: Path) -> dict[str, tuple[Path, Path | None]]:
    """Questions, and annotations where there are any, by split: VQA 2.0's, else those without ``v2_`` in their name."""
    for prefix in _VQA2_PREFIXES:
        found: dict[str, tuple[Path, Path | None]] = {}
        for subset, split in _VQA2_SUBSETS.items():
            questions = source / f"{prefix}OpenEnded_mscoco_{subset}_questions.json"
            annotations = source / f"{prefix}mscoco_{subset}_annotations.json"
            if questions.is_file():
                found[split] = (questions, annotations if annotations.is_file() else None)
        if found:
            return found
    names = [f"v2_OpenEnded_mscoco_{subset}_questions.json" for subset in _VQA2_SUBSETS]
    remedy = (
        "Put the published files there, with or without v2_, or name your own: questions.train=… annotations.train=…"
    )
    raise InputError(f"source={source}", f"has none of the files {', '.join(names)}", remedy)


def _own_vqa2_files(source: Path, values: Mapping[str, str]) -> dict[str, tuple[Path, Path | None]]:
    """The files that the command line names, by split; names are relative to the source folder."""
    found: dict[str, tuple[Path, Path | None]] = {}
    for split in _VQA2_SUBSETS.values():
        names = {kind: values[f"{kind}.{split}"] for kind in ("questions", "annotations")}
        if not any(names.values()):
            continue
        if not names["questions"]:
            where = f"annotations.{split}={names['annotations']}"
            raise InputError(where, "has no questions", f"Name their file as well: questions.{split}=…")
        files = {kind: source / Path(name).expanduser() for kind, name in names.items() if name}
        for kind, file in files.items():
            if not file.is_file():
                raise InputError(f"{kind}.{split}={names[kind]}", f"there is no file {file}", "Check the name")
        found[split] = (files["questions"], files.get("annotations"))
    return found


def _convert_nlvr2(
    source: Path, out: Path, options: Options, report: Report, _: Mapping[str, str]
) -> Mapping[str, Counts]:
    return _convert_each(convert_nlvr2, _NLVR2_FILES, source, out, options, report)


def _convert_snli_ve(
    source: Path, out: Path, options: Options, report: Report, _: Mapping[str, str]
) -> Mapping[str, Counts]:
    return _convert_each(convert_snli_ve, _SNLI_VE_FILES, source, out, options, report)


def _convert_refcoco_plus(
    source: Path, out: Path, options: Options, report: Report, _: Mapping[str, str]
) -> Mapping[str, Counts]:
    refs, instances = (source / name for name in _REFCOCO_FILES)
    for path in (refs, instances):
        _require([path] if path.is_file() else [], source, [path.name])
    return convert_refcoco_plus(refs, instances, out, options, report)


def _convert_each(
    convert: Callable[[Path, Path, Options, Report], Counts],
    names: Mapping[str, str],
    source: Path,
    out: Path,
    options: Options,
    report: Report,
) -> Mapping[str, Counts]:
    found = {split: source / name for name, split in names.items() if (source / name).is_file()}
    _require(found, source, list(names))
    return {split: convert(path, out / f"{split}.jsonl", options, report) for split, path in found.items()}


@contextmanager
def _published_together(folder: Path) -> Iterator[Path]:
    """Give a folder to fill; its files get into ``folder`` at the end, all of them or, after an error, none."""
    folder = folder.resolve()  # "." has no name
    remove_leftovers(folder)
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(temporary.iterdir()):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_TASKS: dict[str, Callable[[Path, Path, Options, Report, Mapping[str, str]], Mapping[str, Counts]]] = {
    "vqa2": _convert_vqa2,
    "nlvr2": _convert_nlvr2,
    "visual_entailment": _convert_snli_ve,
    "refcoco_plus": _convert_refcoco_plus,
}


def _require(found: Collection[object], source: Path, names: Sequence[str]) -> None:
    if not found:
        missing = f"no file {names[0]}" if len(names) == 1 else f"none of the files {', '.join(names)}"
        raise InputError(f"source={source}", f"has {missing}", "Put the published files there")


def _options(values: Mapping[str, str], image_ids: _Keys | None) -> Options:
    return Options(
        image_ids=image_ids,
        unknown_images=values["unknown_images"],
        unlabelled=values["unlabelled"] or None,
        on_bad_record=values["on_bad_record"],
        image_key=values["image_key"],
        min_occurrences=_whole_number(values["min_occurrences"]),
        num_answers=_num_answers(values),
    )


def _num_answers(values: Mapping[str, str]) -> int | None:
    """How many answers a question has: in the published files ten, in one's own any number."""
    text = values["num_answers"]
    if not text:
        is_own = any(value for key, value in values.items() if key.startswith("questions."))
        return None if is_own else ANNOTATORS
    if text == "any":
        return None
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_ANSWERS:
        raise InputError(f"num_answers={text}", "is neither a whole number from 1 nor any", "Leave it out, or use any")
    return int(text)


class _Keys(Container[str]):
    """Keys of images, and one of them that is shown to who has others."""

    def __init__(self, keys: frozenset[str] | ImageSource, example: str | None):
        self._keys = keys
        self.example = example

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._keys


def _read_image_ids(name: str) -> _Keys | None:
    """The keys of a region store, MMF's features, or the lines of a text file."""
    if not name:
        return None
    path = Path(name).expanduser()
    if _is_text(path):
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except ValueError as error:
            raise InputError(f"image_ids={name}", f"is no text in UTF-8 ({error})", "Write a key a line") from error
        keys = [line for line in lines if line]
        return _Keys(frozenset(keys), keys[0] if keys else None)
    if not path.exists():
        raise InputError(f"image_ids={name}", "is not a region store, nor anything else", "Check the path")
    # Only loaded where there are features to look at, the second one being slow to load.
    from mmf_muvla.corpus.region_store import RegionStore

    try:
        ids = RegionStore(path).ids
    except InputError:
        from mmf_muvla.datasets.images import open_images

        images = open_images(path)
        return _Keys(images, images.first_key())
    return _Keys(frozenset(ids), ids[0] if ids else None)


def _is_text(path: Path) -> bool:
    """Whether it is a file, and not an LMDB that is a single file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(4096)


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"min_occurrences={text}", "is not a whole number from 1", f"The default is {MIN_OCCURRENCES}")
    return int(text)


def _table(title: str, counts: Mapping[str, Counts]) -> Table:
    table = Table("", title=title, title_justify="left")
    for split in counts:
        table.add_column(split, justify="right")
    columns = [asdict(count) for count in counts.values()]
    for name in columns[0]:
        table.add_row(name.replace("_", " "), *(f"{column[name]:,}" for column in columns))
    return table
