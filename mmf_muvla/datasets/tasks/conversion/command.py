"""The command line of ``tools/convert_annotations.py``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table

from mmf_muvla.artifacts.outputs import check_outputs, output_folder, publish_outputs, remove_output
from mmf_muvla.datasets.tasks.conversion.published import Choices, Counts, Options
from mmf_muvla.datasets.tasks.conversion.report import Report
from mmf_muvla.datasets.tasks.nlvr2.converter import convert_nlvr2
from mmf_muvla.datasets.tasks.refcoco_plus.converter import SPLITS, convert_refcoco_plus
from mmf_muvla.datasets.tasks.retrieval.converter import convert_retrieval
from mmf_muvla.datasets.tasks.visual_entailment.converter import convert_snli_ve
from mmf_muvla.datasets.tasks.vqa2.answers import ANNOTATORS
from mmf_muvla.datasets.tasks.vqa2.converter import MAX_ANSWERS, build_vocabulary, convert_vqa2
from mmf_muvla.datasets.tasks.vqa2.files import VQA2_SPLITS, own_files, published_files
from mmf_muvla.errors import InputError
from mmf_muvla.options import kinds
from mmf_muvla.options.reading import read_options
from mmf_muvla.terminal import terminal_console

VOCABULARY_FILE = "answers_vqa.txt"
VAL_HALVES = ("imdb_val_half1.npy", "imdb_val_half2.npy")
LEFT_OUT_FILE = "left_out.jsonl"  # lists the records that were left out as damaged, if there are any
# What converts a file, and published name -> the task's name of a split.
_BY_FILE: dict[str, tuple[Callable[..., Counts], dict[str, str]]] = {
    "nlvr2": (convert_nlvr2, {"train.json": "train", "dev.json": "val", "test1.json": "test", "test2.json": "test2"}),
    "visual_entailment": (
        convert_snli_ve,
        {"snli_ve_train.jsonl": "train", "snli_ve_dev.jsonl": "val", "snli_ve_test.jsonl": "test"},
    ),
}
# Karpathy's split files, which have all splits.
_RETRIEVAL = {"flickr30k_retrieval": "dataset_flickr30k.json", "coco_retrieval": "dataset_coco.json"}
# The files that may be written.
_OUTPUTS = {
    "vqa2": [VOCABULARY_FILE, *(f"imdb_{split}.npy" for split in VQA2_SPLITS), *VAL_HALVES],
    **{task: [f"{split}.jsonl" for split in names.values()] for task, (_, names) in _BY_FILE.items()},
    "refcoco_plus": [f"{split}.jsonl" for split in SPLITS],
    **{task: ["train.jsonl", "val.jsonl", "test.jsonl"] for task in _RETRIEVAL},
}


def _count_or_any(value: object) -> int | str:
    if value == "any":
        return "any"
    count = int(str(value))
    if not 1 <= count <= MAX_ANSWERS:
        raise ValueError
    return count


_NumAnswers = Annotated[
    Any, kinds.kind(_count_or_any, "is neither a whole number from 1 nor any", "Leave it out, or use any")
]


@dataclass
class ConvertOptions(Choices):
    """The options of the command; ``tools/convert_annotations.py`` explains them."""

    task: kinds.Text | None = None
    source: kinds.Text | None = None
    out: kinds.Text | None = None
    image_ids: kinds.Name | None = None
    num_answers: _NumAnswers | None = None  # None: ten in the published files, else any
    questions: dict[str, kinds.Name] = field(default_factory=dict)
    annotations: dict[str, kinds.Name] = field(default_factory=dict)
    halve_val: kinds.Flag = False


def convert_command(arguments: Sequence[str]) -> None:
    """``task=NAME source=FOLDER out=FOLDER [key=value …]``: convert a benchmark's files, and say what is in them.

    Raises:
        InputError: an option or a file cannot be used.
    """
    values = read_options(ConvertOptions, arguments)
    if values.halve_val and values.task != "vqa2":
        raise InputError("halve_val=true", "is for VQA 2.0, whose test answers are not published", "Leave it out")
    if missing := [name for name in ("task", "source", "out") if not getattr(values, name)]:
        raise InputError(f"{missing[0]}=", "is not given", f"Add {missing[0]}=… to the command")
    assert values.source and values.out
    if values.task not in _OUTPUTS:
        raise InputError(f"task={values.task}", "unknown task", f"Use one of {', '.join(_OUTPUTS)}")
    source = Path(values.source).expanduser()
    if not source.is_dir():
        raise InputError(f"source={source}", "no such folder", "Name the folder with the published files")
    if values.image_ids:
        output_folder("out", values.out, [Path(values.image_ids).expanduser()])
    out = output_folder("out", values.out, [source], may_be_inside=True)
    check_outputs(out, (*_OUTPUTS[values.task], LEFT_OUT_FILE))
    known, example = _read_image_ids(values.image_ids)
    # Published questions have ten answers, one's own any number.
    num_answers: Any = values.num_answers or ("any" if values.questions else ANNOTATORS)
    options = Options(
        **{choice.name: getattr(values, choice.name) for choice in fields(Choices)},
        image_ids=known,
        num_answers=None if num_answers == "any" else num_answers,
    )
    report = Report(part_of=[("test", "test-dev")])  # test-dev's questions are some of test's
    image_ids = f"image_ids={values.image_ids}"
    with publish_outputs(out) as folder:
        try:
            counts = _convert(values, source, folder, options, report)
        except InputError:
            # That no image is known is why nothing is left, where records of unknown images are left out.
            if options.unknown_images == "skip":
                report.check_images(image_ids, example)
            raise
        report.check_images(image_ids, example)
        has_left_out = report.write_left_out(folder / LEFT_OUT_FILE)
    if not has_left_out:
        remove_output(out / LEFT_OUT_FILE)  # an earlier conversion's
    report.warn_of_overlaps()
    terminal_console().print(_table(str(out), counts))


def _convert(values: ConvertOptions, source: Path, out: Path, options: Options, report: Report) -> Mapping[str, Counts]:
    if values.task == "vqa2":
        files = own_files(source, values.questions, values.annotations) or published_files(source)
        vocabulary: list[str] = []
        if annotated := [annotations for _, annotations in files.values() if annotations is not None]:
            vocabulary = build_vocabulary(annotated, out / VOCABULARY_FILE, options)
            print(f"{VOCABULARY_FILE}: {len(vocabulary):,} answers of {options.min_occurrences} or more questions")
        known = [answer for answer in vocabulary if answer]
        halves = {"val": [out / name for name in VAL_HALVES]} if values.halve_val else {}
        return {
            split: convert_vqa2(
                *paths,
                out / f"imdb_{split}.npy",
                split,
                known,
                options=options,
                report=report,
                halves=halves.get(split, ()),
            )
            for split, paths in files.items()
        }
    if values.task == "refcoco_plus":
        refs, instances = (source / _found([name], source)[0] for name in ("refs(unc).p", "instances.json"))
        return convert_refcoco_plus(refs, instances, out, options, report)
    if (file := _RETRIEVAL.get(str(values.task))) is not None:
        return convert_retrieval(source / _found([file], source)[0], out, options, report)
    convert, names = _BY_FILE[str(values.task)]
    return {
        names[name]: convert(source / name, out / f"{names[name]}.jsonl", options, report)
        for name in _found(names, source)
    }


def _found(names: Collection[str], source: Path) -> list[str]:
    """The published files that are there, at least one."""
    found = [name for name in names if (source / name).is_file()]
    if not found:
        missing = f"{'no file' if len(names) == 1 else 'none of the files'} {', '.join(names)}"
        raise InputError(f"source={source}", f"has {missing}", "Put the published files there")
    return found


def _read_image_ids(name: str | None) -> tuple[Container[str] | None, str | None]:
    """The keys of a region store, MMF's features, or the lines of a text file; and one of them, to be shown."""
    if not name:
        return None, None
    path = Path(name).expanduser()
    if not path.exists():
        raise InputError(f"image_ids={name}", "is not a region store, nor anything else", "Check the path")
    is_text = False
    if path.is_file():
        with path.open("rb") as file:
            is_text = b"\0" not in file.read(4096)  # an LMDB may be a single file
    if not is_text:
        from mmf_muvla.datasets.images import open_images  # slow to load

        images = open_images(path)
        return images, images.first_key()  # type: ignore[return-value]
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except ValueError as error:
        raise InputError(f"image_ids={name}", f"is no text in UTF-8 ({error})", "Write a key a line") from error
    ids = [line for line in lines if line]
    return frozenset(ids), next(iter(ids), None)


def _table(title: str, counts: Mapping[str, Counts]) -> Table:
    table = Table("", title=title, title_justify="left")
    for split in counts:
        table.add_column(split, justify="right")
    columns = [asdict(count) for count in counts.values()]
    for name in columns[0]:
        table.add_row(name.replace("_", " "), *(f"{column[name]:,}" for column in columns))
    return table
