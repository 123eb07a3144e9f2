"""How the page is put together, and where it can be served. Needs Gradio."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mmf_muvla.app.shelf import Shelf
from mmf_muvla.errors import InputError
from mmf_muvla.interface import Model, load
from tests.app.conftest import OTHERS, PRETRAINED
from tests.detection.quartered import DETECTOR

gradio = pytest.importorskip("gradio")


def parts(page: object, kind: str) -> list[str]:
    """What is written on the page's parts of a kind."""
    found = [it["props"] for it in page.config["components"] if it["type"] == kind]  # type: ignore[attr-defined]
    return [it.get("label") or it.get("value") for it in found]


def test_only_what_can_be_done_is_offered(models: dict[str, Model], folder: Path) -> None:
    from mmf_muvla.app.page import build_page

    shelf = Shelf(models[PRETRAINED].regions(folder / "store"))
    page = build_page([models[PRETRAINED]], shelf, 5)
    assert parts(page, "tabitem") == ["Match", "Fill in", "Attention"]
    assert parts(page, "uploadbutton"), "the detector of the store's pictures is known"
    page = build_page([models[name] for name in OTHERS], shelf, 5)
    assert parts(page, "tabitem") == ["Answer", "Entailment", "Compare", "Find", "Attention"]
    assert len(parts(page, "gallery")) == 2, "two pictures are compared"


def test_pictures_alone_will_do(folder: Path) -> None:
    from mmf_muvla.app.page import build_page

    page = build_page([load(folder / PRETRAINED, device="cpu", detector=DETECTOR)], None, 5)
    assert not parts(page, "gallery") and parts(page, "uploadbutton") == ["Upload a picture"]


def test_without_a_detector_nothing_is_uploaded(models: dict[str, Model], folder: Path) -> None:
    from mmf_muvla.app.page import build_page

    model = models[PRETRAINED]
    blind = Model(model.network, model.words, "blind", device=model.device)
    page = build_page([blind], Shelf(model.regions(folder / "store")), 5)
    assert parts(page, "gallery") and not parts(page, "uploadbutton")


def test_nobody_is_told(models: dict[str, Model], folder: Path) -> None:
    from mmf_muvla.app.page import build_page

    page = build_page([models[PRETRAINED]], Shelf(models[PRETRAINED].regions(folder / "store")), 5)
    assert page.analytics_enabled is False
    served = [it for it in page.config["dependencies"] if it["backend_fn"]]
    assert served and all(it["api_visibility"] == "private" for it in served)


def test_errors_of_the_input_are_messages() -> None:
    from mmf_muvla.app.page import spoken

    def wrong() -> None:
        raise InputError("<a>", "is wrong", "Mend it")

    with pytest.raises(gradio.Error) as error:
        spoken(wrong)()
    assert error.value.message == "&lt;a&gt;: is wrong. Mend it" and not error.value.print_exception
    with pytest.raises(ZeroDivisionError):
        spoken(lambda: 1 / 0)()


def test_a_port_that_is_taken_is_named() -> None:
    from mmf_muvla.app.serving import launch

    with socket.socket() as taken, gradio.Blocks(analytics_enabled=False) as page:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"host=127.0.0.1 port={port}: the page cannot be served there"):
            launch(page, "127.0.0.1", port)
