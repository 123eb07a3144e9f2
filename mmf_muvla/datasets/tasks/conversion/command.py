"""The command line of ``tools/convert_annotations.py``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table

from mmf_muvla.artifacts.outputs import check_outputs, output_folder, publish_outputs, remove_output
from mmf_muvla.datasets.tasks.conversion.published import Counts, Options
from mmf_muvla.datasets.tasks.conversion.report import Report
from mmf_muvla.datasets.tasks.nlvr2.converter import convert_nlvr2
from mmf_muvla.datasets.tasks.refcoco_plus.converter import SPLITS, convert_refcoco_plus
from mmf_muvla.datasets.tasks.visual_entailment.converter import convert_snli_ve
from mmf_muvla.datasets.tasks.vqa2.answers import ANNOTATORS, MIN_OCCURRENCES
from mmf_muvla.datasets.tasks.vqa2.converter import MAX_ANSWERS, build_vocabulary, convert_vqa2
from mmf_muvla.datasets.tasks.vqa2.files import VQA2_SPLITS, own_files, published_files
from mmf_muvla.errors import InputError
from mmf_muvla.options import kinds
from mmf_muvla.options.reading import read_options
from mmf_muvla.terminal import terminal_console

VOCABULARY_FILE = "answers_vqa.txt"
LEFT_OUT_FILE = "left_out.jsonl"
"""Lists the records that were left out as damaged, if there are any."""

# Published name -> the task's name of a split.
_NLVR2_FILES = {"train.json": "train", "dev.json": "val", "test1.json": "test", "test2.json": "test2"}
_SNLI_VE_FILES = {"snli_ve_train.jsonl": "train", "snli_ve_dev.jsonl": "val", "snli_ve_test.jsonl": "test"}
# test-dev's questions are some of test's.
_PARTS = (("test", "test-dev"),)
_REFCOCO_FILES = ("refs(unc).p", "instances.json")


def _count_or_any(value: object) -> int | str:
    if value == "any":
        return "any"
    count = int(str(value))
    if not 1 <= count <= MAX_ANSWERS:
        raise ValueError
    return count


@dataclass
class ConvertOptions(kinds.Options):
    """The options of the command.

    Attributes:
        task: the benchmark.
        source: the folder with the published files.
        out: the folder of the converted ones.
        image_ids: a region store, MMF's features, or a text file with a key a line.
        unknown_images, unlabelled, on_bad_record, image_key, min_occurrences: as in :class:`Options`.
        num_answers: answers of a question in one's own VQA files; ``None``: ten in the published ones, else any.
        questions, annotations: one's own VQA files, by split, relative to ``source``.
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
    num_answers: (
        Annotated[
            Any, kinds.kind(_count_or_any, "is neither a whole number from 1 nor any", "Leave it out, or use any")
        ]
        | None
    ) = None
    questions: dict[str, kinds.Name] = field(default_factory=dict)
    annotations: dict[str, kinds.Name] = field(default_factory=dict)


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
    convert, names = _TASKS[values.task]
    source = Path(values.source).expanduser()
    if not source.is_dir():
        raise InputError(f"source={source}", "no such folder", "Name the folder with the published files")
    if values.image_ids:
        output_folder("out", values.out, [Path(values.image_ids).expanduser()])
    out = output_folder("out", values.out, [source], may_be_inside=True)
    check_outputs(out, (*names, LEFT_OUT_FILE))
    known, example = _read_image_ids(values.image_ids)
    options, report = _options(values, known), Report(_PARTS)

    def check_images() -> None:
        if known is not None:
            report.check_images(f"image_ids={values.image_ids}", example)

    with publish_outputs(out) as folder:
        try:
            counts = convert(source, folder, options, report, values)
        except InputError:
            # That no image is known is why nothing is left, where records of unknown images are left out.
            if options.unknown_images == "skip":
                check_images()
            raise
        check_images()
        has_left_out = report.write_left_out(folder / LEFT_OUT_FILE)
    if not has_left_out:
        remove_output(out / LEFT_OUT_FILE)  # an earlier conversion's
    report.warn_of_overlaps()
    terminal_console().print(_table(str(out), counts))


def _convert_vqa2(
    source: Path, out: Path, options: Options, report: Report, values: ConvertOptions
) -> Mapping[str, Counts]:
    found = own_files(source, values.questions, values.annotations) or published_files(source)
    annotated = [annotations for _, annotations in found.values() if annotations is not None]
    vocabulary: list[str] = []
    if annotated:
        vocabulary = build_vocabulary(annotated, out / VOCABULARY_FILE, options)
        print(f"{VOCABULARY_FILE}: {len(vocabulary):,} answers of {options.min_occurrences} or more questions")
    known = [answer for answer in vocabulary if answer]
    counts = {}
    for split, (questions, answers) in found.items():
        path = out / f"imdb_{split}.npy"
        counts[split] = convert_vqa2(questions, answers, path, split, known, options=options, report=report)
    return counts


def _convert_refcoco_plus(
    source: Path, out: Path, options: Options, report: Report, _: ConvertOptions
) -> Mapping[str, Counts]:
    refs, instances = (source / name for name in _REFCOCO_FILES)
    for path in (refs, instances):
        _require([path] if path.is_file() else [], source, [path.name])
    return convert_refcoco_plus(refs, instances, out, options, report)


def _each_file(
    convert: Callable[[Path, Path, Options, Report], Counts], names: Mapping[str, str]
) -> Callable[..., Mapping[str, Counts]]:
    def convert_each(
        source: Path, out: Path, options: Options, report: Report, _: ConvertOptions
    ) -> Mapping[str, Counts]:
        found = {split: source / name for name, split in names.items() if (source / name).is_file()}
        _require(found, source, names)
        return {split: convert(path, out / f"{split}.jsonl", options, report) for split, path in found.items()}

    return convert_each


# What converts, and the files that it may write.
_TASKS: dict[str, tuple[Callable[..., Mapping[str, Counts]], list[str]]] = {
    "vqa2": (_convert_vqa2, [VOCABULARY_FILE, *(f"imdb_{split}.npy" for split in VQA2_SPLITS)]),
    "nlvr2": (_each_file(convert_nlvr2, _NLVR2_FILES), [f"{split}.jsonl" for split in _NLVR2_FILES.values()]),
    "visual_entailment": (
        _each_file(convert_snli_ve, _SNLI_VE_FILES),
        [f"{split}.jsonl" for split in _SNLI_VE_FILES.values()],
    ),
    "refcoco_plus": (_convert_refcoco_plus, [f"{split}.jsonl" for split in SPLITS]),
}


def _require(found: Collection[object], source: Path, names: Collection[str]) -> None:
    if not found:
        missing = f"{'no file' if len(names) == 1 else 'none of the files'} {', '.join(names)}"
        raise InputError(f"source={source}", f"has {missing}", "Put the published files there")


def _options(values: ConvertOptions, image_ids: Container[str] | None) -> Options:
    names = ("unknown_images", "on_bad_record", "image_key", "min_occurrences")
    # Published questions have ten answers, one's own any number.
    num_answers = values.num_answers or ("any" if values.questions else ANNOTATORS)
    return Options(
        image_ids=image_ids,
        unlabelled=values.unlabelled or None,
        num_answers=None if num_answers == "any" else int(num_answers),
        **{name: getattr(values, name) for name in names},
    )


def _read_image_ids(name: str | None) -> tuple[Container[str] | None, str | None]:
    """The keys of a region store, MMF's features, or the lines of a text file; and one of them, to be shown."""
    if not name:
        return None, None
    path = Path(name).expanduser()
    ids: Sequence[str]
    if _is_text(path):
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except ValueError as error:
            raise InputError(f"image_ids={name}", f"is no text in UTF-8 ({error})", "Write a key a line") from error
        ids = [line for line in lines if line]
    elif not path.exists():
        raise InputError(f"image_ids={name}", "is not a region store, nor anything else", "Check the path")
    else:
        # Only loaded where there are features to look at, the second one being slow to load.
        from mmf_muvla.regions.store import RegionStore

        try:
            ids = RegionStore(path).ids
        except InputError:
            from mmf_muvla.datasets.images import open_images

            images = open_images(path)
            return images, images.first_key()  # type: ignore[return-value]
    return frozenset(ids), ids[0] if ids else None


def _is_text(path: Path) -> bool:
    """Whether it is a file, and not an LMDB that is a single file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(4096)


def _table(title: str, counts: Mapping[str, Counts]) -> Table:
    table = Table("", title=title, title_justify="left")
    for split in counts:
        table.add_column(split, justify="right")
    columns = [asdict(count) for count in counts.values()]
    for name in columns[0]:
        table.add_row(name.replace("_", " "), *(f"{column[name]:,}" for column in columns))
    return table
