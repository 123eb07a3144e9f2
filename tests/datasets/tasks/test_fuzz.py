"""Files with one damaged record, the last one: it is counted or named, and nothing good beside it is lost.

``MUVLA_FUZZ`` says how many files; case by case they are the same ones every time.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.datasets.tasks.conversion.published import Options
from mmf_muvla.datasets.tasks.nlvr2.converter import convert_nlvr2
from mmf_muvla.datasets.tasks.refcoco_plus.converter import SPLITS, convert_refcoco_plus
from mmf_muvla.datasets.tasks.visual_entailment.converter import convert_snli_ve
from mmf_muvla.datasets.tasks.vqa2.converter import build_vocabulary, convert_vqa2
from mmf_muvla.errors import InputError
from mmf_muvla.reading.restricted_pickle import PickleProblem, load_npy_object, load_pickle
from tests.datasets.tasks import test_nlvr2, test_refcoco_plus, test_snli_ve, test_vqa2
from tests.datasets.tasks.hostile import ODD_VALUES, as_lines, change_bytes, change_value, damaged_json

FILES = int(os.environ.get("MUVLA_FUZZ", "320")) // 8
SKIP = Options(on_bad_record="skip", num_answers=None)
ERROR = Options(num_answers=None)
CASES = range(FILES)


def in_object(head: str, texts: list[str]) -> str:
    return f"{head}: [{', '.join(texts)}]}}"


def can_be_unpickled(content: bytes) -> bool:
    """The same of a pickle: values of more than 128 bits and the like are refused with the whole file."""
    try:
        load_pickle(content)
    except PickleProblem:
        return False
    return True


def can_be_read(content: bytes) -> bool:
    """Whether a JSON file as a whole can be read, so that its damage is that of a record."""
    try:
        value = json.loads(content, parse_int=lambda digits: 0)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def either(path: Path, case: int, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a function gives, or ``None`` after an error that names the file."""
    try:
        return function(*arguments, **options)
    except InputError as error:
        assert str(path) in str(error), f"case {case}: {error}"
        assert len(str(error)) < 2_000, f"case {case}"
        return None


JSON_LINES = {
    "nlvr2": (convert_nlvr2, test_nlvr2.RECORDS, test_nlvr2.example("dev-77-3-1", "False")),
    "snli_ve": (convert_snli_ve, test_snli_ve.RECORDS, test_snli_ve.example("99.jpg#4r1c", "contradiction")),
}


@pytest.mark.parametrize("name", JSON_LINES)
def test_converters_of_json_lines(name: str, tmp_path: Path) -> None:
    convert, good, last = JSON_LINES[name]
    source, out = tmp_path / "source.jsonl", tmp_path / "out.jsonl"
    source.write_text(as_lines([json.dumps(record) for record in good]))
    kept = convert(source, out, SKIP).written
    expected = out.read_text().splitlines()
    for case in CASES:
        source.write_bytes(damaged_json(good, last, random.Random(case), as_lines))
        counts = convert(source, out, SKIP)
        assert out.read_text().splitlines()[:kept] == expected, f"case {case}"
        not_written = counts.unlabelled if name == "snli_ve" else 0
        assert counts.records == counts.written + counts.bad_records + not_written, f"case {case}"
        assert len(out.read_text().splitlines()) == counts.written
        strict = either(source, case, convert, source, out, ERROR)
        assert (strict is None) == (counts.bad_records > 0), f"case {case}"


def test_converter_of_questions(tmp_path: Path) -> None:
    good, theirs = test_vqa2.QUESTIONS, test_vqa2.ANNOTATIONS
    last, last_answers = test_vqa2.question(99_000, 99), test_vqa2.annotation(99_000, 99, ["red"] * 9 + ["blue"])
    source, answers, out = tmp_path / "q.json", tmp_path / "a.json", tmp_path / "out.npy"
    convert_vqa2(test_vqa2.write_questions(source, good), test_vqa2.write_annotations(answers, theirs), out, "val")
    expected = load_npy_object(out).tolist()
    for case in CASES:
        rng = random.Random(case)
        test_vqa2.write_questions(source, [*good, last])
        test_vqa2.write_annotations(answers, [*theirs, last_answers])
        is_answer = rng.random() < 0.6
        key, path = ("annotations", answers) if is_answer else ("questions", source)
        head = f'{{"data_subtype": "val2014", "{key}"'
        content = damaged_json(*((theirs, last_answers) if is_answer else (good, last)), rng, partial(in_object, head))
        path.write_bytes(content)
        counts = either(path, case, convert_vqa2, source, answers, out, "val", options=SKIP)
        assert (counts is None) == (not can_be_read(content)), f"case {case}"
        if counts is not None:
            entries = load_npy_object(out).tolist()
            assert entries[:4] == expected, f"case {case}"
            assert counts.written == len(entries) - 1 <= counts.records
            assert counts.written >= 4 or counts.bad_records, f"case {case}"
            strict = either(path.parent, case, convert_vqa2, source, answers, out, "val", options=ERROR)
            assert (strict is None) == (counts.bad_records > 0), f"case {case}"
        if is_answer:
            once = Options(min_occurrences=1, on_bad_record="skip")
            vocabulary = either(answers, case, build_vocabulary, [answers], tmp_path / "v", once)
            assert vocabulary is None or {"2", "fun", "yes"} <= set(vocabulary), f"case {case}"
            either(answers, case, build_vocabulary, [answers], tmp_path / "v", Options(min_occurrences=1))


def test_converter_of_expressions(tmp_path: Path) -> None:
    last = test_refcoco_plus.ref(9, 50, 60, "val", [test_refcoco_plus.sentence(90, "a cat")])
    added = {
        "images": test_refcoco_plus.image(60, 30, 30),
        "annotations": test_refcoco_plus.annotation(50, 60, [1, 2, 3, 4]),
    }
    whole, good = test_refcoco_plus.INSTANCES, [test_refcoco_plus.REFS[number] for number in (0, 2, 3)]
    with_both = {**whole, **{key: [*whole[key], value] for key, value in added.items()}}
    for case in CASES:
        rng = random.Random(case)
        refs, instances = test_refcoco_plus.write(tmp_path, [*good, last], with_both)
        kind = rng.choice(["images", "annotations", "refs", "refs"])
        if kind == "refs":
            damaged = copy.deepcopy(last)
            change_value(damaged, rng, ODD_VALUES)
            refs.write_bytes(pickle.dumps([*good, damaged], rng.choice([2, 4])))
            split = damaged.get("split")
            is_readable = can_be_unpickled(refs.read_bytes()) and (not isinstance(split, str) or split in SPLITS)
        else:
            head = json.dumps({key: value for key, value in with_both.items() if key != kind})[:-1]
            content = damaged_json(whole[kind], added[kind], rng, partial(in_object, f'{head}, "{kind}"'))
            instances.write_bytes(content)
            is_readable = can_be_read(content)
        out = tmp_path / "out"
        counts = either(tmp_path, case, convert_refcoco_plus, refs, instances, out, SKIP)
        assert (counts is None) == (not is_readable), f"case {case}"
        if counts is None:
            continue
        lines = [json.loads(line)["sent_id"] for line in (out / "train.jsonl").read_text().splitlines()]
        assert lines[:2] == [0, 1], f"case {case}"
        assert counts["val"].written >= 1 and counts["testA"].written >= 1, f"case {case}"
        strict = either(tmp_path, case, convert_refcoco_plus, refs, instances, out, ERROR)
        assert (strict is None) == any(count.bad_records for count in counts.values()), f"case {case}"


@pytest.mark.parametrize("name", ["refs(unc).p", "instances.json"])
def test_other_damage_of_expressions(name: str, tmp_path: Path) -> None:
    """Damage anywhere in the file: it is an error that names the file, or counted."""
    for case in CASES[: FILES // 2]:
        files = test_refcoco_plus.write(tmp_path, test_refcoco_plus.REFS, test_refcoco_plus.INSTANCES, case % 2 * 2)
        path = tmp_path / name
        path.write_bytes(change_bytes(path.read_bytes(), random.Random(case)))
        either(tmp_path, case, convert_refcoco_plus, *files, tmp_path / "out", SKIP)
