"""The command behind ``tools/ask.py``: one image, or two, and any of the model's questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from rich.table import Column, Table

from mmf_muvla.artifacts.outputs import check_outputs, publish_output
from mmf_muvla.errors import InputError
from mmf_muvla.interface.attention import kind_of
from mmf_muvla.options.kinds import Count, Flag, Name, Options, Paths, accept, kind
from mmf_muvla.options.reading import read_options
from mmf_muvla.terminal import printable, terminal_console


def _texts(value: Any) -> list[str]:
    """One text as it is typed, or several as a list of YAML; a text may begin with ``[MASK]``."""
    found = value
    if isinstance(value, str):
        found = [value]
        if value.startswith("[") and value.endswith("]") and value != "[MASK]":
            try:
                found = yaml.safe_load(value)
            except yaml.YAMLError:
                raise ValueError from None
    return accept(found, isinstance(found, list) and bool(found) and all(isinstance(it, str) and it for it in found))


_NO_TEXTS = ("is neither a text nor a list of texts", "Write a text, or several: '[a dog, \"a cat, or two\"]'")
Texts = Annotated[list[str], kind(_texts, *_NO_TEXTS)]


@dataclass
class AskOptions(Options):
    """The options of the command, which says what they mean."""

    model: Name
    image: Paths
    regions: Name | None = None
    match: Texts | None = None
    fill: Texts | None = None
    answer: Texts | None = None
    entails: Texts | None = None
    compare: Texts | None = None
    refer: Texts | None = None
    attention: Name | None = None
    out: Name = "attention.png"
    top_k: Count = 5
    detector: Name | None = None
    weights: Name | None = None
    device: Name = "auto"
    dtype: Name = "float32"
    json: Flag = False


# A question -> how it is put to a model.
QUESTIONS: dict[str, Callable[[Any, list[Any], list[str], int], Any]] = {
    "match": lambda model, images, texts, _: model.match(images[0], texts),
    "fill": lambda model, images, texts, top_k: model.fill(images[0], texts, top_k),
    "answer": lambda model, images, texts, top_k: model.answer(images[0], texts, top_k),
    "entails": lambda model, images, texts, _: model.entails(images[0], texts),
    "compare": lambda model, images, texts, _: model.compare(*images, texts),
    "refer": lambda model, images, texts, _: model.refer(images[0], texts),
}


def ask_command(arguments: Sequence[str]) -> None:
    """``model=PATH image=PATH question=TEXT …``: ask a trained model, and print what it says.

    Raises:
        InputError: an option or an input cannot be used, or the model was not trained for a question.
    """
    options = read_options(AskOptions, arguments)
    asked = {name: texts for name in QUESTIONS if (texts := getattr(options, name))}
    images = options.image if isinstance(options.image, list) else [options.image]
    wanted = 2 if "compare" in asked else 1
    if len(images) != wanted:
        problem = f"{len(images)} images are given, and {', '.join(asked) or 'a question'} is about {wanted}"
        raise InputError("image", problem, "Give image=PATH, or two for compare: image=[left.jpg,right.jpg]")
    out = Path(options.out).expanduser()
    if options.attention:
        kind_of(out)
        check_outputs(out.parent, [out.name])
    from mmf_muvla.interface import load  # loads PyTorch; the options are known to be right by now

    model = load(
        options.model, weights=options.weights, device=options.device, dtype=options.dtype, detector=options.detector
    )
    stored = None if options.regions is None else model.regions(options.regions)
    seen = [model.detect(image) if stored is None else stored[image] for image in images]
    answers = {name: QUESTIONS[name](model, seen, texts, options.top_k) for name, texts in asked.items()}
    if options.attention:
        _draw(model.attention(seen[0], options.attention), out)
    if options.json:
        drawn = {"attention": {"text": options.attention, "result": str(out)}} if options.attention else {}
        print(json.dumps(_as_json(images, seen, asked, answers) | drawn, indent=2))
        return
    for found in seen:
        print(printable(repr(found)))
    for name, texts in asked.items():
        table = Table(name, Column("", justify="right"), title_justify="left")
        for text, said in zip(texts, answers[name], strict=True):
            for number, (word, value) in enumerate(lines(said)):
                table.add_row(text if not number else "", f"{word} {value:.1%}".strip())
        terminal_console().print(table)
    if options.attention:
        print(printable(str(out)))


def _draw(attention: Any, path: Path) -> None:
    from mmf_muvla.interface.attention_figure import Panel, draw, write

    with publish_output(path) as temporary:
        write(draw([Panel("", attention)], None, None), temporary, kind_of(path))


def lines(said: Any) -> list[tuple[str, float]]:
    """What a model has said of one text, in lines: a word, and a probability."""
    if isinstance(said, float):
        return [("", said)]
    if isinstance(said, dict):
        return [*said.items()]
    if hasattr(said, "box"):
        return [(f"region {said.region} at {', '.join(f'{it:.0f}' for it in said.box)}", said.probability)]
    if said and isinstance(said[0], list):  # several [MASK]
        return [(f"{number}: {it.text}", it.probability) for number, of_mask in enumerate(said, 1) for it in of_mask]
    return [(it.text, it.probability) for it in said]


def _as_json(images: list[str], seen: list[Any], asked: dict[str, list[str]], answers: dict[str, list[Any]]) -> Any:
    return {
        "images": [
            {"image": name, "size": it.size, "regions": [_region(it, number) for number in range(len(it))]}
            for name, it in zip(images, seen, strict=True)
        ],
        **{
            name: [{"text": text, "result": _plain(said)} for text, said in zip(texts, answers[name], strict=True)]
            for name, texts in asked.items()
        },
    }


def _region(image: Any, number: int) -> dict[str, Any]:
    confidence = float(image.confidence[number])
    return {"tag": image.tags[number], "confidence": confidence, "box": image.bbox[number].tolist()}


def _plain(value: Any) -> Any:
    """Guesses and the like as groups of names and values."""
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return [_plain(it) for it in value] if isinstance(value, list) else value
