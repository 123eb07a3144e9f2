"""Means, standard errors and paired differences, against numbers computed by hand."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmf_muvla.report.scores import META, TASK_NAMED, Estimate
from mmf_muvla.studies.pages import as_csv, as_markdown, write_results
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study, System, TaskPlan
from mmf_muvla.studies.summary import steps, summarize

OTHERS = ("vqa2", "visual_entailment")  # with nlvr2 and refcoco_plus, the paper's four tasks


@pytest.fixture
def two_tasks() -> Study:
    plan = TaskPlan("x.yaml", (1e-4,))
    systems = {"base": System("Base"), "ours": System("Ours"), "late": System("Late")}
    return Study("small", "Small", "ours", {}, systems, {"nlvr2": plan, "refcoco_plus": plan}, claims=("Ours wins.",))


def _record(system: str, task: str, seed: int, score: float) -> Record:
    return Record(
        f"{system}{task}{seed}", "finetune", system, task, seed, 1e-4, {TASK_NAMED[task].metric: score / 100}, 9, 60.0
    )


@pytest.fixture
def records() -> list[Record]:
    scores = {
        ("base", "nlvr2"): [50, 52, 54], ("base", "refcoco_plus"): [60, 64, 62],
        ("ours", "nlvr2"): [55, 58, 58], ("ours", "refcoco_plus"): [70, 72, 74],
        ("late", "nlvr2"): [51],
    }  # fmt: skip
    return [
        _record(system, task, seed, score)
        for (system, task), values in scores.items()
        for seed, score in enumerate(values)
    ]


def test_estimates_by_hand() -> None:
    estimate = Estimate.of({0: 50.0, 1: 52.0, 2: 54.0})
    assert estimate is not None and estimate.interval is not None and estimate.error is not None
    assert (estimate.mean, len(estimate.values)) == (52, 3)
    assert estimate.error == pytest.approx(2 / 3**0.5)
    assert estimate.interval[1] - 52 == pytest.approx(4.302653 * 2 / 3**0.5, rel=1e-5)  # t of 97.5 % with 2 degrees
    assert estimate.deviation == pytest.approx(2)
    single = Estimate.of({7: 50.0})
    assert single is not None
    assert (single.mean, single.deviation, single.error, single.interval) == (50.0, None, None, None)
    assert Estimate.of({}) is None


def _assert_same(estimate: Estimate | None, values: list[float]) -> None:
    expected = Estimate.of(dict(enumerate(values)))
    assert estimate is not None and expected is not None and estimate.interval is not None
    assert dict(estimate.values) == pytest.approx(dict(expected.values))
    assert (estimate.mean, estimate.error) == pytest.approx((expected.mean, expected.error))
    assert estimate.interval == pytest.approx(expected.interval)


def _with_tasks(study: Study, *names: str) -> Study:
    plan = study.tasks["nlvr2"]
    return replace(study, tasks={**study.tasks, **{name: plan for name in names}})


def _and_others(records: list[Record]) -> list[Record]:
    """Those, and 60 on the other two tasks for each seed that has both of the first."""
    seeds = [(it.system, it.seed) for it in records if it.task == "refcoco_plus"]
    return [*records, *(_record(system, task, seed, 60) for system, seed in seeds for task in OTHERS)]


def test_lines_pair_seeds(two_tasks: Study, records: list[Record]) -> None:
    base, ours, late = summarize(two_tasks, records)
    assert ours.differences == {}
    _assert_same(base.scores["nlvr2"], [50, 52, 54])
    _assert_same(base.differences["nlvr2"], [-5, -6, -4])
    # one task of one seed: a score, and a difference
    assert late.scores["nlvr2"] == Estimate({0: pytest.approx(51.0)})
    assert late.differences["nlvr2"] == Estimate({0: pytest.approx(-4.0)})
    assert late.scores["refcoco_plus"] is None


def test_meta_ave_is_of_the_papers_four_tasks_alone(two_tasks: Study, records: list[Record]) -> None:
    assert [line.scores[META] for line in summarize(two_tasks, records)] == [None, None, None]
    retrieval = [_record(it.system, "coco_retrieval", it.seed, 10) for it in records if it.task == "nlvr2"]
    three = _with_tasks(two_tasks, "vqa2", "coco_retrieval")
    of_three = [it for it in _and_others(records) if it.task != "visual_entailment"]
    assert [line.scores[META] for line in summarize(three, [*of_three, *retrieval])] == [None, None, None]
    study = _with_tasks(two_tasks, "coco_retrieval", *OTHERS)
    base, ours, late = summarize(study, [*_and_others(records), *retrieval])
    _assert_same(base.scores["coco_retrieval"], [10, 10, 10])
    # (50 + 60 + 60 + 60) / 4 of the first seed, and so on
    _assert_same(base.scores[META], [57.5, 59, 59])
    _assert_same(base.differences[META], [57.5 - 61.25, 59 - 62.5, 59 - 63])
    assert ours.scores[META] is not None and late.scores[META] is None


def test_tables_say_it(two_tasks: Study, records: list[Record]) -> None:
    lines = summarize(two_tasks, records)
    text = as_markdown(two_tasks, records, records, "python tools/run_study.py config=small.yaml")
    assert "| Base | 52.0 ± 1.2 (3) | 62.0 ± 1.2 (3) | – |" in text
    assert "| Base | -5.0 [-7.5, -2.5] |" in text
    assert "| Late | 51.0 (1) | – | – |" in text
    assert [line for line in text.splitlines() if line.startswith("| Late |")][-1] == "| Late | 0.0001 | – |"
    assert "13 fine-tunings (0.2 h)" in text and "Ours wins." in text
    csv_lines = as_csv(two_tasks, lines).splitlines()
    assert len(csv_lines) == 1 + 3 * 3
    assert csv_lines[1].startswith("base,nlvr2,52.0000,1.1547,")
    of_four = _and_others(records)
    text = as_markdown(_with_tasks(two_tasks, *OTHERS), of_four, of_four, "python …")
    assert "| Base | 52.0 ± 1.2 (3) | 62.0 ± 1.2 (3) | 60.0 ± 0.0 (3) | 60.0 ± 0.0 (3) | 58.5 ± 0.5 (3) |" in text


def test_each_system_is_compared_with_the_one_before_it(two_tasks: Study, records: list[Record]) -> None:
    study = replace(_with_tasks(two_tasks, *OTHERS), order=("late", "absent", "base", "ours"))
    study = replace(study, systems={**study.systems, "absent": System("Absent")})  # no score: it is passed over
    records = _and_others(records)
    late_to_base, base_to_ours = steps(study, summarize(study, records))
    assert (late_to_base.below, late_to_base.above) == ("Late", "Base")
    assert late_to_base.differences["nlvr2"] == Estimate({0: pytest.approx(-1.0)})
    assert late_to_base.differences[META] is None  # Late has one task only
    _assert_same(base_to_ours.differences["nlvr2"], [5, 6, 4])
    _assert_same(base_to_ours.differences[META], [61.25 - 57.5, 62.5 - 59, 63 - 59])
    text = as_markdown(study, records, records, "python tools/run_study.py config=small.yaml")
    assert "| Base → Ours | +5.0 [+2.5, +7.5] |" in text and "| Late → Base | -1.0 | – | – | – | – |" in text
    assert "→" not in as_markdown(two_tasks, records, records, "python …")


def test_results_are_a_table_a_plot_and_a_page(two_tasks: Study, records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "reading.md").write_text("It holds here.\n\nBut <not> everywhere.\n", encoding="utf-8")
    write_results(tmp_path, two_tasks, records, records, "python …")
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        "index.html", "plot.png", "plot.svg", "reading.md", "table.csv", "table.md"
    }  # fmt: skip
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "It holds here." in page and "&lt;not&gt;" in page and "<svg" in page
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_has_no_panel_of_a_meta_ave_that_there_is_not(
    two_tasks: Study, records: list[Record], tmp_path: Path
) -> None:
    four, of_four = _with_tasks(two_tasks, *OTHERS), _and_others(records)
    for name, study, runs in (("two", two_tasks, records), ("four", four, of_four)):
        write_results(tmp_path / name, study, runs, runs, "python …")
        assert ("Meta-Ave" in (tmp_path / name / "plot.svg").read_text(encoding="utf-8")) is (name == "four")


class _Elements(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.names: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "label",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "a | b | c",
        "[x](javascript:alert(1))",
        "`a` *b* $\\frac{1}{2}$",
        "two\nlines\x1b[2J",
    ],
)
def test_labels_are_text(label: str, two_tasks: Study, records: list[Record], tmp_path: Path) -> None:
    systems = {**two_tasks.systems, "ours": System(label)}
    for name, study in (("plain", two_tasks), ("hostile", replace(two_tasks, systems=systems, title=label))):
        write_results(tmp_path / name, study, records, records, "python …")
    pages = {name: _Elements((tmp_path / name / "index.html").read_text("utf-8")) for name in ("plain", "hostile")}
    outside_of_plots = [[it for it in page.names if it in _HTML] for page in pages.values()]
    assert outside_of_plots[0] == outside_of_plots[1]
    assert label in pages["hostile"].text
    tables = [(tmp_path / name / "table.md").read_text("utf-8") for name in pages]
    assert len(tables[0].splitlines()) == len(tables[1].splitlines()) and "\x1b" not in tables[1]
    assert not re.search(r"(?<!\\)<(script|img)|(?<!\\)\]\(|\| b \|| \*b", tables[1])
    ElementTree.parse(tmp_path / "hostile" / "plot.svg")


_HTML = {"script", "img", "h1", "h2", "p", "table", "tr", "td", "th", "a", "b", "code", "style", "svg"}
