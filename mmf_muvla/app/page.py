"""The page, built of Gradio's parts: a picture is chosen on the left, and asked about on the right."""

from __future__ import annotations

import functools
import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from mmf_muvla.app.asking import ATTENTION, WORDINGS, about, answer, look, missing, offered
from mmf_muvla.app.drawing import draw_scene
from mmf_muvla.app.shelf import HANDFUL, Shelf
from mmf_muvla.errors import InputError
from mmf_muvla.interface import ImageRegions, Model
from mmf_muvla.interface.attention_figure import write

# Models are asked by one user after the other, and nobody but the page can ask.
_EVENT: Any = {"concurrency_id": "models", "concurrency_limit": 1, "api_visibility": "private"}
_NOTHING = '<p class="muvla-nothing">No picture is chosen yet.</p>'
_MEAN = "mean of all"


def build_page(models: Sequence[Model], shelf: Shelf | None, top_k: int) -> gr.Blocks:
    """A page that offers what the models can do.

    Args:
        models: they take regions of the same detector. Pictures go through the first that knows one.
        shelf: the images to choose from; not given: pictures can only be uploaded.
        top_k: how many words and answers are shown.
    """
    detector = next((it for it in models if it.can_detect), None)
    able = offered(models)
    with gr.Blocks(title="μ-VLA: ask the model", analytics_enabled=False) as page:
        gr.Markdown("# Ask the model")
        told = "".join(f"<div><b>{html.escape(it.name)}</b> {html.escape(about(it))}</div>" for it in models)
        gr.HTML(f'<div class="muvla-models">{told}</div>', apply_default_css=False)
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                chosen = _chooser(shelf, detector, 0)
            with gr.Column(scale=6, min_width=320), gr.Tabs():
                for name, those in able.items():
                    with gr.Tab(WORDINGS[name].tab):
                        _question(name, those, chosen, (shelf, detector), top_k)
                with gr.Tab(ATTENTION.tab):
                    _attention(models, chosen)
        if others := missing(models):
            with gr.Accordion("What else can be asked", open=False):
                gr.Markdown("\n".join(f"- **{tab}** needs {needed}" for tab, needed in others))
    return page


def spoken(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose errors of the input are messages of the page."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except InputError as error:
            raise gr.Error(html.escape(str(error)), None, print_exception=False) from None

    return wrapped


def _chooser(shelf: Shelf | None, detector: Model | None, number: int) -> gr.State:
    """Has an image chosen, at first that of a number on the shelf; what is chosen is the State's value."""
    first = shelf[shelf.ids[number % len(shelf.ids)]] if shelf and shelf.ids else None
    chosen = gr.State(first)
    scene = gr.HTML(draw_scene(first) if first else _NOTHING, apply_default_css=False)

    def show(image: ImageRegions) -> tuple[ImageRegions, str]:
        return image, draw_scene(image)

    if shelf is not None:
        _from_shelf(shelf, show, [chosen, scene])
    if detector is not None:
        upload = gr.UploadButton("Upload a picture", file_types=["image"])

        @spoken
        def detect(file: str) -> tuple[ImageRegions, str]:
            try:
                return show(detector.detect(file))
            except InputError as error:  # the user knows the file's name, not where it was put
                raise InputError(error.where.replace(file, Path(file).name), error.problem, error.remedy) from None

        upload.upload(detect, upload, [chosen, scene], **_EVENT)
    return chosen


def _from_shelf(shelf: Shelf, show: Callable[[ImageRegions], Any], outputs: list[Any]) -> None:
    """A handful of the shelf's images to click on, a button for others, and a field for the id of one."""
    start = gr.State(0)
    if shelf.ids:
        gallery = gr.Gallery(
            shelf.handful(0),
            show_label=False,
            height="auto",
            allow_preview=False,
            buttons=[],
            format="jpeg",
            elem_classes="muvla-strip",
        )

        @spoken
        def choose(at: int, event: gr.SelectData) -> Any:
            return show(shelf[shelf.ids[(at + event.index) % len(shelf.ids)]])

        gallery.select(choose, start, outputs, **_EVENT)
    with gr.Row(equal_height=True):
        wanted = gr.Textbox(
            placeholder="image id, and Enter", label="Image id", container=False, scale=3, min_width=120
        )
        if len(shelf.ids) > HANDFUL:
            others = gr.Button("More", min_width=80)

            @spoken
            def turn(at: int) -> tuple[int, Any]:
                at = (at + HANDFUL) % len(shelf.ids)
                return at, gr.Gallery(shelf.handful(at), selected_index=None)

            others.click(turn, start, [start, gallery], **_EVENT)

    @spoken
    def find(image_id: str) -> Any:
        return show(shelf[image_id.strip()])

    wanted.submit(find, wanted, outputs, **_EVENT)


def _question(name: str, models: Sequence[Model], chosen: gr.State, sources: tuple[Any, Any], top_k: int) -> None:
    wording = WORDINGS[name]
    images = [chosen]
    if name == "compare":
        gr.Markdown("The second picture:")
        images.append(_chooser(*sources, 1))
    text = gr.Textbox(label=wording.label, placeholder=wording.example, lines=3)
    button = gr.Button(wording.button, variant="primary")
    said = gr.HTML(apply_default_css=False)

    @spoken
    def ask(text: str, *images: ImageRegions | None) -> str:
        return answer(name, models, images, text, top_k)

    gr.on([button.click, text.submit], ask, [text, *images], said, **_EVENT)
    for image in images:  # what was said of another picture would mislead
        image.change(None, None, said, js="() => ''")


def _attention(models: Sequence[Model], chosen: gr.State) -> None:
    model = gr.Dropdown([it.name for it in models], label="Model", visible=len(models) > 1)
    text = gr.Textbox(label=ATTENTION.label, placeholder=ATTENTION.example, max_lines=1)
    layers = max(it.config.num_hidden_layers for it in models)
    heads = max(it.config.num_attention_heads for it in models)
    with gr.Row():
        layer = gr.Dropdown([_MEAN, *map(str, range(layers))], label="Layer", min_width=120)
        head = gr.Dropdown([_MEAN, *map(str, range(heads))], label="Head", min_width=120)
    button = gr.Button(ATTENTION.button, variant="primary")
    picture = gr.Image(
        show_label=False,
        interactive=False,
        type="pil",
        format="png",
        buttons=["download", "fullscreen"],
        elem_classes="muvla-attention",
    )

    @spoken
    def ask(name: str, image: ImageRegions | None, text: str, layer: str, head: str) -> Image.Image:
        (asked,) = (it for it in models if it.name == name)
        buffer = io.BytesIO()
        write(look(asked, image, text, *(None if it == _MEAN else int(it) for it in (layer, head))), buffer, "png")
        return Image.open(buffer)

    gr.on([button.click, text.submit], ask, [model, chosen, text, layer, head], picture, **_EVENT)
    chosen.change(None, None, picture, js="() => null")
