"""The command line of ``tools/convert_annotations.py``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmf_muvla.annotations.nlvr2 import convert_nlvr2
from mmf_muvla.annotations.published import Counts, Options
from mmf_muvla.annotations.refcoco_plus import SPLITS, convert_refcoco_plus
from mmf_muvla.annotations.snli_ve import convert_snli_ve
from mmf_muvla.annotations.vqa2 import build_vocabulary, convert_vqa2
from mmf_muvla.annotations.vqa_answers import MIN_OCCURRENCES
from mmf_muvla.corpus.outputs import check_outputs, output_folder
from mmf_muvla.errors import InputError
from mmf_muvla.options import kinds
from mmf_muvla.options.reading import read_options

VOCABULARY_FILE = "answers_vqa.txt"

# Published name -> the task's name of a split.
_VQA2_SUBSETS = {"train2014": "train", "val2014": "val", "test2015": "test", "test-dev2015": "test-dev"}
_NLVR2_FILES = {"train.json": "train", "dev.json": "val", "test1.json": "test", "test2.json": "test2"}
_SNLI_VE_FILES = {"snli_ve_train.jsonl": "train", "snli_ve_dev.jsonl": "val", "snli_ve_test.jsonl": "test"}
_REFCOCO_FILES = ("refs(unc).p", "instances.json")


@dataclass
class ConvertOptions(kinds.Options):
    """The options of the command.

    Attributes:
        task: the benchmark.
        source: the folder with the published files.
        out: the folder of the converted ones.
        image_ids: a region store, or a text file with a key a line.
        unknown_images, unlabelled, on_bad_record, image_key, min_occurrences: as in :class:`Options`.
    """

    task: kinds.Text | None = None
    source: kinds.Text | None = None
    out: kinds.Text | None = None
    image_ids: kinds.Name | None = None
    unknown_images: kinds.Text = "keep"
    unlabelled: kinds.Text | None = None
    on_bad_record: kinds.Text = "error"
    image_key: kinds.Text = "{name}"
    min_occurrences: kinds.Count = MIN_OCCURRENCES


def convert_command(arguments: Sequence[str]) -> None:
    """``task=NAME source=FOLDER out=FOLDER [key=value …]``: convert a benchmark's files, and say what is in them.

    Raises:
        InputError: an option or a file cannot be used.
    """
    values = read_options(ConvertOptions, arguments)
    for name in ("task", "source", "out"):
        if not getattr(values, name):
            raise InputError(f"{name}=", "is not given", f"Add {name}=… to the command")
    assert values.task is not None and values.source is not None and values.out is not None
    if values.task not in _TASKS:
        raise InputError(f"task={values.task}", "unknown task", f"Use one of {', '.join(_TASKS)}")
    source = Path(values.source).expanduser()
    if not source.is_dir():
        raise InputError(f"source={source}", "no such folder", "Name the folder with the published files")
    if values.image_ids:
        output_folder("out", values.out, [Path(values.image_ids).expanduser()])
    out = output_folder("out", values.out, [source], may_be_inside=True)
    Console().print(_table(str(out), _TASKS[values.task](source, out, _options(values))))


def _convert_vqa2(source: Path, out: Path, options: Options) -> Mapping[str, Counts]:
    files = {
        split: (source / f"v2_OpenEnded_mscoco_{subset}_questions.json", _annotations(source, subset))
        for subset, split in _VQA2_SUBSETS.items()
    }
    found = {split: pair for split, pair in files.items() if pair[0].is_file()}
    _require(found, source, [questions.name for questions, _ in files.values()])
    check_outputs(out, (VOCABULARY_FILE, *(f"imdb_{split}.npy" for split in found)))
    annotated = [annotations for _, annotations in found.values() if annotations is not None]
    vocabulary: list[str] = []
    if annotated:
        vocabulary = build_vocabulary(annotated, out / VOCABULARY_FILE, options)
        print(f"{out / VOCABULARY_FILE}: {len(vocabulary):,} answers of {options.min_occurrences} or more questions")
    known = [answer for answer in vocabulary if answer]
    return {
        split: convert_vqa2(questions, annotations, out / f"imdb_{split}.npy", split, known, options)
        for split, (questions, annotations) in found.items()
    }


def _annotations(source: Path, subset: str) -> Path | None:
    path = source / f"v2_mscoco_{subset}_annotations.json"
    return path if path.is_file() else None


def _convert_nlvr2(source: Path, out: Path, options: Options) -> Mapping[str, Counts]:
    return _convert_each(convert_nlvr2, _NLVR2_FILES, source, out, options)


def _convert_snli_ve(source: Path, out: Path, options: Options) -> Mapping[str, Counts]:
    return _convert_each(convert_snli_ve, _SNLI_VE_FILES, source, out, options)


def _convert_refcoco_plus(source: Path, out: Path, options: Options) -> Mapping[str, Counts]:
    refs, instances = (source / name for name in _REFCOCO_FILES)
    for path in (refs, instances):
        _require([path] if path.is_file() else [], source, [path.name])
    check_outputs(out, (f"{split}.jsonl" for split in SPLITS))
    return convert_refcoco_plus(refs, instances, out, options)


def _convert_each(
    convert: Callable[[Path, Path, Options], Counts],
    names: Mapping[str, str],
    source: Path,
    out: Path,
    options: Options,
) -> Mapping[str, Counts]:
    found = {split: source / name for name, split in names.items() if (source / name).is_file()}
    _require(found, source, list(names))
    check_outputs(out, (f"{split}.jsonl" for split in found))
    return {split: convert(path, out / f"{split}.jsonl", options) for split, path in found.items()}


_TASKS: dict[str, Callable[[Path, Path, Options], Mapping[str, Counts]]] = {
    "vqa2": _convert_vqa2,
    "nlvr2": _convert_nlvr2,
    "visual_entailment": _convert_snli_ve,
    "refcoco_plus": _convert_refcoco_plus,
}


def _require(found: Collection[object], source: Path, names: Sequence[str]) -> None:
    if not found:
        missing = f"no file {names[0]}" if len(names) == 1 else f"none of the files {', '.join(names)}"
        raise InputError(f"source={source}", f"has {missing}", "Put the published files there")


def _options(values: ConvertOptions) -> Options:
    return Options(
        image_ids=_read_image_ids(values.image_ids),
        unknown_images=values.unknown_images,
        unlabelled=values.unlabelled or None,
        on_bad_record=values.on_bad_record,
        image_key=values.image_key,
        min_occurrences=values.min_occurrences,
    )


def _read_image_ids(path: str | None) -> frozenset[str] | None:
    """The keys of a region store, or the lines of a text file."""
    if not path:
        return None
    if Path(path).expanduser().is_file():
        return frozenset(Path(path).expanduser().read_text(encoding="utf-8").split())
    # Only loaded where there is a store to read.
    from mmf_muvla.corpus.region_store import RegionStore

    return frozenset(RegionStore(Path(path).expanduser()).ids)


def _table(title: str, counts: Mapping[str, Counts]) -> Table:
    table = Table("", title=title, title_justify="left")
    for split in counts:
        table.add_column(split, justify="right")
    columns = [asdict(count) for count in counts.values()]
    for name in columns[0]:
        table.add_row(name.replace("_", " "), *(f"{column[name]:,}" for column in columns))
    return table
