"""What the page says is what the models say."""

from __future__ import annotations

import pytest

from mmf_muvla.app.asking import about, answer, look, missing, offered
from mmf_muvla.errors import InputError
from mmf_muvla.interface import ImageRegions, Model
from tests.app.conftest import PRETRAINED
from tests.app.said import tables

TEXTS = ["a dog", "<b>two</b> cats & a tree"]
TYPED = "  a dog\n\n<b>two</b> cats & a tree \n"


@pytest.fixture(scope="module")
def images(models: dict[str, Model], folder: object) -> list[ImageRegions]:
    stored = models[PRETRAINED].regions(f"{folder}/store")
    return [stored["1"], stored["2"]]


def test_only_what_a_model_was_trained_for_is_offered(models: dict[str, Model]) -> None:
    pretrained, vqa2 = models[PRETRAINED], models["vqa2"]
    assert offered([pretrained]) == {"match": [pretrained], "fill": [pretrained]}
    assert offered([vqa2, pretrained, models["nlvr2"]]) == {
        "match": [pretrained], "fill": [pretrained], "answer": [vqa2], "compare": [models["nlvr2"]],
    }  # fmt: skip
    assert [tab for tab, _ in missing([pretrained, vqa2])] == ["Entailment", "Compare", "Find"]
    assert "projects/muvla/finetune/nlvr2.yaml" in dict(missing([pretrained]))["Compare"]
    assert all(about(it).endswith("Attention") for it in models.values())
    assert about(vqa2) == "fine-tuned on vqa2: Answer, Attention"


def test_one_number_for_each_text(models: dict[str, Model], images: list[ImageRegions]) -> None:
    model = models[PRETRAINED]
    ((heading, rows),) = tables(answer("match", [model], images[:1], TYPED, 5))
    expected = [f"{it:.1%}" for it in model.match(images[0], TEXTS)]
    assert heading == "" and rows == [*zip(TEXTS, expected, strict=True)] and expected[0] != expected[1]
    nlvr2 = models["nlvr2"]
    ((_, rows),) = tables(answer("compare", [nlvr2], images, TYPED, 5))
    assert rows == [*zip(TEXTS, (f"{it:.1%}" for it in nlvr2.compare(*images, TEXTS)), strict=True)]
    swapped = tables(answer("compare", [nlvr2], images[::-1], TYPED, 5))
    assert swapped != [("", rows)], "left and right are told apart"


def test_several_lines_for_each_text(models: dict[str, Model], images: list[ImageRegions]) -> None:
    image = images[0]
    found = tables(answer("answer", [models["vqa2"]], [image], TYPED, 2))
    expected = models["vqa2"].answer(image, TEXTS, 2)
    assert found == [
        (text, [(it.text, f"{it.probability:.1%}") for it in guesses])
        for text, guesses in zip(TEXTS, expected, strict=True)
    ]
    found = tables(answer("entails", [models["visual_entailment"]], [image], "a dog", 5))
    said = models["visual_entailment"].entails(image, "a dog")
    assert found == [("a dog", [(label, f"{it:.1%}") for label, it in said.items()])]
    found = tables(answer("fill", [models[PRETRAINED]], [image], "a [MASK] and a [MASK]", 3))
    masks = models[PRETRAINED].fill(image, "a [MASK] and a [MASK]", 3)
    assert [word for word, _ in found[0][1]] == [
        f"{number}: {it.text}" for number, guesses in enumerate(masks, 1) for it in guesses
    ]


def test_what_is_found_stands_out(models: dict[str, Model], images: list[ImageRegions]) -> None:
    page = answer("refer", [models["refcoco_plus"]], images[:1], "the red one", 5)
    found = models["refcoco_plus"].refer(images[0], "the red one")
    named = f"{images[0].tags[found.region]}, region {found.region}"
    assert tables(page) == [("the red one", [(named, f"{found.probability:.1%}")])]
    lit = [part for part in page.split("<g ")[1:] if 'class="region lit' in part]
    assert len(lit) == 1 and f'data-region="{found.region}"' in lit[0]


def test_several_models_answer_side_by_side(models: dict[str, Model], images: list[ImageRegions]) -> None:
    both = [models[PRETRAINED], models[PRETRAINED]]
    page = answer("match", both, images[:1], "a dog", 5)
    assert page.count(f"<h3>{models[PRETRAINED].name}</h3>") == 2 and len(tables(page)) == 2
    assert "<h3>" not in answer("match", both[:1], images[:1], "a dog", 5)


def test_attention_is_drawn(models: dict[str, Model], images: list[ImageRegions]) -> None:
    figure = look(models[PRETRAINED], images[0], "a dog", 1, 0)
    assert [it.get_text() for it in figure.axes[1].get_yticklabels()] == ["a", "dog"]
    with pytest.raises(InputError, match="layer=2: there are 2"):
        look(models[PRETRAINED], images[0], "a dog", 2, None)


@pytest.mark.parametrize(
    ("question", "chosen", "text", "message"),
    [
        ("match", [None], "a dog", "picture: none is chosen"),
        ("compare", [0, None], "both", "picture: only one of the two is chosen"),
        ("match", [0], " \n ", "text: nothing is typed"),
        ("fill", [0], "a dog", r"has no \[MASK\]"),
    ],
)
def test_what_cannot_be_asked(
    question: str,
    chosen: list[int | None],
    text: str,
    message: str,
    models: dict[str, Model],
    images: list[ImageRegions],
) -> None:
    model = models["nlvr2" if question == "compare" else PRETRAINED]
    with pytest.raises(InputError, match=message):
        answer(question, [model], [None if it is None else images[it] for it in chosen], text, 5)
