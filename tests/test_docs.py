"""What the README and docs/ say can be done and found: the examples run, and what links name is there."""

from __future__ import annotations

import re
from ast import literal_eval
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.small_tasks import MINILM, region_box, write_regions
from tests.detection.quartered import DETECTOR, extract, quartered
from tests.interface.tiny_runs import make_run
from tests.paper_lines import PAGE, numbered

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def test_the_paper_in_this_code_names_the_lines_of_today() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("#L") > 60
    assert numbered(page) == page, "python -m tests.paper_lines writes today's lines"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = Path("outputs/demo")
    demo.mkdir(parents=True)
    write_regions(demo / "regions_heldout")
    make_run(demo / "pretrain", "muvla_toyworld", {"tokenizer": MINILM})
    make_run(demo / "refcoco_plus_muvla", "refcoco_plus", {"tokenizer": MINILM})
    (example,) = examples("README.md")
    exec(example, {})
    seen, matched, filled, box = capsys.readouterr().out.splitlines()
    assert seen.startswith("<0: ") and " regions in 100 x 100 pixels: " in seen
    assert all(0 <= probability <= 1 for probability in literal_eval(matched))
    assert filled.count("Guess(text=") == 3
    assert [*literal_eval(box)] in [region_box(number) for number in range(5)]


def test_the_examples_of_asking_a_model_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "pictures"):
        Path(folder).mkdir()
    for name in ("42", "43"):
        quartered().save(f"pictures/{name}.png")
    quartered().convert("RGB").save("kitchen.jpg")
    extract(Path("data/regions"), Path("pictures"))
    Path("answers.txt").write_text("red\ngreen\n")
    data = {"tokenizer": MINILM, "features": {"train": "data/regions"}, "answers": "answers.txt"}
    labels = {"vqa2": 2, "visual_entailment": 3, "nlvr2": 2, "refcoco_plus": None}
    make_run(Path("save"), "muvla_cc", data, trunk={"feature_dim": 4})
    for task, count in labels.items():
        make_run(Path("save", task), task, data, num_labels=count, trunk={"feature_dim": 4})
    known: dict[str, Any] = {}
    for example in (*examples("docs/python.md"), *examples("docs/attention.md")):
        # A detector of one's own, in the place of the page's.
        exec(example.replace("detectors/mine", DETECTOR), known)
    assert known["kitchen"].size == (48, 32) and known["image"].regions.image_id == "42"
    assert known["attention"].words == ["a", "woman", "on", "a", "sofa"] and Path("attention.png").is_file()
    assert known["network"].config.task == "pretraining"
    assert "license: cc-by-4.0" in Path("shared/README.md").read_text()
