"""The results that the project stands behind: tables are those of the kept runs, and the README's are among them.

Those in docs/results/former are of a former version, which alone could make them again.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from mmf_muvla.artifacts.outputs import check_outputs
from mmf_muvla.studies.command import study_command

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted(path.parent for path in ROOT.glob("docs/results/*/runs.jsonl"))


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_tables_are_those_of_the_runs_with_the_configurations_of_today(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes a configuration that a result was made with has to make the result anew."""
    monkeypatch.chdir(ROOT)
    table = (folder / "table.md").read_text(encoding="utf-8")
    found = re.search(r"^`python tools/run_study\.py (.*)`$", table, re.MULTILINE)
    assert found, "the table does not say by which command it was made"
    out = tmp_path / folder.name
    out.mkdir()
    shutil.copy(folder / "runs.jsonl", out)
    arguments = [it for it in shlex.split(found[1]) if not it.startswith(("out=", "work="))]
    study_command([*arguments, f"out={out}", f"work={tmp_path / 'work'}", "report_only=true"], ROOT / "tools")
    made, kept = ((it / "table.md").read_text(encoding="utf-8").splitlines() for it in (out, folder))
    assert [line for line in made if "run_study.py" not in line] == [
        line for line in kept if "run_study.py" not in line
    ]
    assert {"table.csv", "plot.svg", "plot.png", "index.html"} <= {path.name for path in out.iterdir()}
    assert {"plot.png", "reading.md"} <= {path.name for path in folder.iterdir()}


def test_nothing_is_to_be_run_of_what_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the best rate is not the first, and folders of jobs are gone."""
    monkeypatch.chdir(ROOT)
    main = ["config=projects/muvla/studies/main.yaml", "systems=[base,muvla_cc,aligned_vlp]", f"work={tmp_path}"]
    study_command([*main, "seeds=[0,1]", "records=[docs/results/main/runs.jsonl]", "dry_run=true"], ROOT / "tools")
    assert capsys.readouterr().out == "0 jobs\n"


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_results_can_be_made_anew_in_their_place(folder: Path) -> None:
    """Nobody has changed them by hand: what is not as a command has written it, no command replaces."""
    files = [path.name for path in folder.glob("[!.]*") if path.name not in ("runs.jsonl", "reading.md")]
    assert files
    check_outputs(folder, files)


def test_the_tables_of_scale_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    scale = importlib.import_module("scale")
    results = json.loads((ROOT / "benchmarks/results/scale.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert scale.with_tables(page, results) == page, "python benchmarks/scale.py write makes them"
    together = results["check"]["together"]
    assert abs(together["predicted"] / together["measured"] - 1) < 0.25
    small = scale.Corpus("", 1000, 2000, regions=10)
    assert scale.work_of(small)["regions"] == 10_000 and scale.work_of(small)["phrases"] == 2000
    assert scale.search_flops(small) == 2 * 384 * 1000 * 2000


def test_the_table_of_photographs_is_that_of_the_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    photographs = importlib.import_module("photographs")
    folder = ROOT / "docs/results/photographs"
    lines = [json.loads(line) for line in (folder / "measures.jsonl").read_text(encoding="utf-8").splitlines()]
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert text.startswith("\n".join(photographs.table(lines)))
    ranked = json.loads((folder / "retrieval.json").read_text(encoding="utf-8"))
    assert text.endswith("\n".join(photographs.retrieval_table(ranked)) + "\n")
    three = [{"value": value} for value in (0.7, 0.8, 0.9)]
    assert photographs._mean(three, 100) == "80.0 ± 5.8 (3)", "the standard error of 70, 80 and 90"


def test_the_attention_in_the_table_is_that_of_the_results() -> None:
    folder = ROOT / "docs/results/attention"
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    text = (folder / "reading.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    found = {name: cells for name, *cells in rows}
    for system in results["systems"].values():
        for run, values in system["runs"].items():
            means = *values["mean_of_heads"][:2], values["best_head"][-1], values["to_regions"][0]
            assert found[run] == [f"{100 * it:.1f}" for it in means]
    for name, label in {"muvla_cc": "μ-VLA CC", "u_visualbert": "U-VisualBERT"}.items():
        mean = results["systems"][name]["measures"]["mean_of_heads"][0]
        assert found[label][1] == "{:.1f} ({:.1f} to {:.1f})".format(
            *(100 * mean[it] for it in ("value", "low", "high"))
        )


@pytest.mark.parametrize("page", ["README.md", "docs/comparison.md"])
def test_tables_of_the_readme_are_rows_of_the_results(page: str) -> None:
    """A table below ``<!-- rows of FILE -->`` has rows of that file alone."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"<!-- rows of (\S+) -->\n((?:\|.*\n)+)", text)
    assert found
    for name, table in found:
        rows = set((ROOT / name).read_text(encoding="utf-8").splitlines())
        assert set(table.splitlines()) <= rows, name
        text = text.replace(table, "")
    assert not re.findall(r"^\|.* ± ", text, re.MULTILINE), "a table of scores that does not name its source"
