"""When matching begins, by hand-made curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.studies.onset import begins, onset_table, onsets
from mmf_muvla.studies.pages import FILES, write_results
from mmf_muvla.studies.records import Record
from mmf_muvla.studies.study import Study, System

SYSTEMS = {"recipe": System("the recipe"), "cls": System("[CLS]")}
STUDY = Study("start", "When matching begins", "recipe", {}, SYSTEMS, {})


def record(system: str, seed: int, *shares: float) -> Record:
    curve = [[200.0 * (number + 1), share] for number, share in enumerate(shares)]
    return Record(f"{system}{seed}", "pretrain", system, "", seed, 0.0, {"itm": 0.5}, 600, 3600.0, curve)


RECORDS = [
    record("recipe", 1, 0.5, 0.6, 0.8),
    record("recipe", 0, 0.58, 0.54, 0.7),
    record("cls", 0, 0.56, 0.57, 0.5),
]


@pytest.mark.parametrize(
    ("shares", "update"),
    [((0.5, 0.6, 0.8), 400), ((0.58, 0.54, 0.7), 600), ((0.56, 0.57, 0.5), None), ((0.55,), 200), ((), None)],
)
def test_matching_begins_where_it_stays_above_chance(shares: tuple[float, ...], update: int | None) -> None:
    assert begins(record("recipe", 0, *shares).matching) == update


def test_table_counts_the_seeds_in_which_it_begins() -> None:
    rows = onset_table(onsets(STUDY, RECORDS)).rows
    assert rows == [
        ["the recipe", "2 of 2", "600, 400", "600", "75.0 ± 5.0 (2)"],
        ["[CLS]", "0 of 1", "–", "600", "50.0 (1)"],
    ]


def test_study_without_tasks_has_curves_for_scores(tmp_path: Path) -> None:
    write_results(tmp_path, STUDY, RECORDS, RECORDS, "python tools/run_study.py")
    assert set(FILES) <= {path.name for path in tmp_path.iterdir()}
    assert "| the recipe | 2 of 2 | 600, 400 |" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "recipe,0,200,0.5800" in (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
    assert "3 pre-trainings (3.0 h)" in (tmp_path / "index.html").read_text(encoding="utf-8")
