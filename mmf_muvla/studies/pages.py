"""A study's results for people: tables as Markdown and CSV, a plot, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmf_muvla.artifacts.outputs import write_output
from mmf_muvla.report.plots import themed
from mmf_muvla.report.scores import META, TITLES, Estimate
from mmf_muvla.report.tables import (
    MISSING,
    Table,
    csv_file,
    html_page,
    markdown_code,
    markdown_page,
    markdown_text,
    score_text,
)
from mmf_muvla.studies.plot import plot
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study
from mmf_muvla.studies.summary import Line

FILES = ("table.md", "table.csv", "plot.svg", "plot.png", "index.html")
_KINDS = {"pretrain": "pre-trainings", "search": "searches of a learning rate", "finetune": "fine-tunings"}


def write_results(folder: Path, study: Study, lines: Sequence[Line], records: Sequence[Record], command: str) -> None:
    """Write :data:`FILES` into a folder; ``reading.md`` there becomes part of the page. Records tell the time taken."""
    svg = plot(study, lines, folder / "plot.png")
    reading = folder / "reading.md"
    page = html_page(
        study.title,
        _tables(study, lines, study.systems[study.reference].label),
        lead=f"{_time(records)}.",
        claims=study.claims,
        svg=themed(svg),
        reading=reading.read_text(encoding="utf-8").split("\n\n") if reading.is_file() else (),
        command=command,
    )
    texts = (as_markdown(study, lines, records, command), as_csv(study, lines), svg, page)
    for name, text in zip((name for name in FILES if name != "plot.png"), texts, strict=True):
        write_output(folder / name, text)


def as_markdown(study: Study, lines: Sequence[Line], records: Sequence[Record], command: str) -> str:
    """The tables, with the command and the time that they took."""
    claims = "\n".join(f"The paper: {markdown_text(claim)}" for claim in study.claims)
    paragraphs = [*([claims] if claims else []), markdown_code(command), f"{_time(records)}."]
    reference = markdown_text(study.systems[study.reference].label)
    return markdown_page(study.title, paragraphs, _tables(study, lines, reference))


def _tables(study: Study, lines: Sequence[Line], reference: str) -> list[Table]:
    """Scores, differences to the reference, which is named as it is to appear, and learning rates."""
    columns = (*study.tasks, META)
    header = ["system", *(TITLES[column] for column in columns)]
    scores = [[line.label, *(score_text(line.scores[column], "error", 1) for column in columns)] for line in lines]
    differences = [
        [line.label, *(_difference_text(line.differences[column]) for column in columns)]
        for line in lines
        if line.differences
    ]
    rates = [
        [line.label, *(f"{line.rates[task]:g}" if task in line.rates else MISSING for task in study.tasks)]
        for line in lines
    ]
    about_differences = f"Difference to {reference} in points, seed by seed: mean [95 % confidence interval]."
    about_rates = (
        "Learning rates of the fine-tunings: of several, the best on validation data, with a seed outside the tables."
    )
    return [
        Table(header, scores, note="Test scores in per cent: mean ± standard error over seeds (number of seeds)."),
        *([Table(header, differences, note=about_differences)] if differences else []),
        Table(header[:-1], rates, note=about_rates),
    ]


def as_csv(study: Study, lines: Sequence[Line]) -> str:
    """A line for every system and column."""
    names = ["mean", "standard_error", "low", "high", "num_seeds"]
    rows = [
        [line.system, column, *_numbers(line.scores.get(column)), *_numbers(line.differences.get(column))]
        for line in lines
        for column in (*study.tasks, META)
    ]
    return csv_file(["system", "task", *names, *(f"difference_{name}" for name in names)], rows)


def _difference_text(difference: Estimate | None) -> str:
    if difference is None:
        return MISSING
    interval = difference.interval
    return f"{difference.mean:+.1f}" + ("" if interval is None else f" [{interval[0]:+.1f}, {interval[1]:+.1f}]")


def _numbers(it: Estimate | None) -> list[float | int | None]:
    if it is None:
        return [None, None, None, None, 0]
    return [it.mean, it.error, *(it.interval or (None, None)), len(it.values)]


def _time(records: Sequence[Record]) -> str:
    """How long the runs took, in words."""
    counted = [
        f"{len(seconds)} {title} ({sum(seconds) / 3600:.1f} h)"
        for kind, title in _KINDS.items()
        if (seconds := [record.seconds for record in records if record.kind == kind])
    ]
    return "Time of the processes, one thread each: " + (", ".join(counted) or "none has run yet")
