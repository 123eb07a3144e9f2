"""tools/app.py: what is refused before a page is served."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mmf_muvla.app.command import AppOptions, app_command, open_models
from mmf_muvla.errors import InputError
from mmf_muvla.options.reading import read_options
from tests.app.conftest import PRETRAINED
from tests.datasets.small_tasks import MINILM
from tests.interface.tiny_runs import make_run


def opened(*arguments: object) -> object:
    return open_models(read_options(AppOptions, ["device=cpu", *map(str, arguments)]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["regions=r"], "model not given"),
        (["model=m", "images=p"], "images=p: has pictures of a region store's images, and none is given"),
        (["model=m", "regions=r", "port=0"], "port"),
        (["model=m", "top=3"], "unknown key 'top'"),
    ],
)
def test_mistakes_are_named_before_anything_is_loaded(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        app_command(arguments)


def test_gradio_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"needs Gradio, which is not installed. Install it: pip install \"\.\[app\]\""
    ):
        app_command(["model=nowhere", "regions=nowhere"])


def test_models_and_images_are_opened(folder: Path) -> None:
    names = [str(folder / PRETRAINED), str(folder / "vqa2")]
    models, shelf = opened(f"model=[{names[0]},{names[1]},{names[0]}]", f"regions={folder / 'store'}")  # type: ignore[misc]
    assert [it.name for it in models] == names, "each once"
    assert len(shelf.ids) == 14
    assert opened(f"model={names[0]}")[1] is None, "pictures can be uploaded"  # type: ignore[index]


def test_models_of_different_detectors_are_refused(folder: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "muvla_cc", {"tokenizer": MINILM})
    with pytest.raises(InputError, match="other: reads region features of size 16, .*muvla_cc of size 4"):
        opened(f"model=[{folder / PRETRAINED},{other}]", f"regions={folder / 'store'}")
    with pytest.raises(InputError, match="regions: not given, and which detector finds regions in pictures"):
        opened(f"model={other}")


def test_pictures_behind_an_address_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="is an address, and the page asks nobody else"):
        opened(f"model={folder / PRETRAINED}", "regions=r", "images=https://example.org/{image_id}.jpg")
