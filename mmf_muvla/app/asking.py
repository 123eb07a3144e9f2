"""The questions that the page offers, and how models answer them there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mmf_muvla.app.drawing import Said, draw_answers, draw_scene
from mmf_muvla.errors import InputError
from mmf_muvla.interface import Found, ImageRegions, Model
from mmf_muvla.interface.abilities import ABILITIES, abilities
from mmf_muvla.interface.attention_figure import Panel, draw
from mmf_muvla.interface.command import QUESTIONS, lines


class Wording(NamedTuple):
    """How a question is put to a user: the name of its tab, what is to be typed, an example, and the button."""

    tab: str
    label: str
    example: str
    button: str


WORDINGS = {
    "match": Wording("Match", "Sentences, one a line", "a woman on a sofa\na red bus", "How well do they match?"),
    "fill": Wording("Fill in", "Sentences with [MASK], one a line", "a woman sits on a [MASK]", "Fill in [MASK]"),
    "answer": Wording("Answer", "Questions, one a line", "what colour is the sofa?", "Answer"),
    "entails": Wording("Entailment", "Statements, one a line", "somebody is at home", "Does the picture say so?"),
    "compare": Wording("Compare", "Statements about both pictures, one a line", "both show a sofa", "Is it true?"),
    "refer": Wording("Find", "Descriptions, one a line", "the woman on the left", "Find it"),
}
ATTENTION = Wording("Attention", "A sentence", "a woman on a sofa", "Where do the words look?")


def offered(models: Iterable[Model]) -> dict[str, list[Model]]:
    """The questions that at least one of the models can answer, with those that can."""
    able = {name: [it for it in models if name in abilities(it.config)] for name in WORDINGS}
    return {name: those for name, those in able.items() if those}


def about(model: Model) -> str:
    """What a model was trained for, and what it can do, in a line."""
    trained = "pre-trained" if model.config.task == "pretraining" else "fine-tuned"
    tabs = [*(WORDINGS[it].tab for it in abilities(model.config)), ATTENTION.tab]
    return f"{trained} on {model.config.dataset or 'data unknown'}: {', '.join(tabs)}"


def missing(models: Iterable[Model]) -> list[tuple[str, str]]:
    """The tabs that no model fills, with what would."""
    able = offered(models)
    return [(WORDINGS[name].tab, needed) for name, (_, needed) in ABILITIES.items() if name not in able]


def answer(question: str, models: Sequence[Model], images: Sequence[ImageRegions | None], text: str, top_k: int) -> str:
    """What each model says of images, one or for ``compare`` two, and of each line of a text, as HTML.

    Raises:
        InputError: an image is not chosen, there is no text, or a model cannot use it.
    """
    chosen, texts = _chosen(images), _texts(text)
    answers = [(it.name, QUESTIONS[question](it, chosen, texts, top_k)) for it in models]
    return draw_answers([(name, _said(chosen[0], texts, of_model)) for name, of_model in answers])


def look(model: Model, image: ImageRegions | None, text: str, layer: int | None, head: int | None) -> Any:
    """A figure of Matplotlib: which regions each word of a sentence looks at, in a layer and a head, or their mean.

    Raises:
        InputError: an image is not chosen, there is no text, or the model has no such layer or head.
    """
    (chosen,), sentence = _chosen([image]), " ".join(_texts(text))
    return draw([Panel("", model.attention(chosen, sentence))], layer, head)


def _said(image: ImageRegions, texts: Sequence[str], answers: Sequence[Any]) -> list[Said]:
    if isinstance(answers[0], Found):
        return [
            Said(
                text,
                [(f"{image.tags[it.region]}, region {it.region}".lstrip(", "), it.probability)],
                draw_scene(image, [it.region]),
            )
            for text, it in zip(texts, answers, strict=True)
        ]
    said = [Said(text, lines(it)) for text, it in zip(texts, answers, strict=True)]
    if all(word == "" for it in said for word, _ in it.lines):
        return [Said("", [(it.heading, probability) for it in said for _, probability in it.lines])]
    return said


def _chosen(images: Sequence[ImageRegions | None]) -> list[ImageRegions]:
    chosen = [it for it in images if it is not None]
    if len(chosen) < len(images):
        problem = "none is chosen" if not chosen else "only one of the two is chosen"
        raise InputError("picture", problem, "Choose one, or upload one")
    return chosen


def _texts(text: str) -> list[str]:
    texts = [line.strip() for line in text.splitlines() if line.strip()]
    if not texts:
        raise InputError("text", "nothing is typed", "Type a text; where several are asked for, one a line")
    return texts
