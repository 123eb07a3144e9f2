"""The page in a real browser, as a user clicks. Needs Gradio, Playwright, and a Chromium."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.interface import Model
from tests.app.conftest import OTHERS, PRETRAINED
from tests.detection.quartered import COLOURS, DETECTOR, quartered

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")
sync_api.expect.set_options(timeout=60_000)  # on a machine that has other things to do
REPOSITORY = Path(__file__).parents[2]
SENTENCES = ["a red dog", "<b>two</b> cups & a table"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Playwright's own Chromium, or the one that is installed."""
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = own if os.path.exists(own) else shutil.which("chromium") or shutil.which("google-chrome")
        if not found:
            pytest.skip("there is no Chromium")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the page that the command serves. At its end nobody else was talked to, and nothing is left of uploads."""
    place = tmp_path_factory.mktemp("served")
    options = [
        f"model=[{','.join(str(folder / name) for name in (PRETRAINED, *OTHERS))}]",
        f"regions={folder / 'store'}",
        f"images={folder / 'pictures'}",
        f"detector={DETECTOR}",
        "device=cpu",
    ]
    (place / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.app.watched", str(place / "talked"), *options],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(place / "tmp"), "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("http://127.0.0.1:"), line
            yield line.split()[0].rstrip("/")
            assert [*(place / "tmp").glob("muvla_app_*/*")], "where pictures are put"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    assert set((place / "talked").read_text().split()) <= {"127.0.0.1", "localhost"}
    assert not [*(place / "tmp").glob("muvla_app_*")]


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A fresh page; at its end the browser has asked nobody else for anything, and nothing went wrong in it.

    Older versions of Gradio would: they name a script of another server, which the page's policy has browsers refuse.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    asked: set[str] = set()
    refused: set[str] = set()
    broken: list[str] = []
    page.on("request", lambda request: asked.add(request.url))
    page.on("requestfailed", lambda request: request.failure == "csp" and refused.add(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(address)
    page.get_by_role("heading", name="Ask the model").wait_for()
    yield page
    context.close()
    assert not [it for it in asked - refused if not it.startswith((address, "data:", "blob:"))]
    assert not broken


def ask(page: Any, tab: str, text: str, button: str) -> Any:
    """Type a text on a tab, and press the button; the answers, once they are there."""
    page.get_by_role("tab", name=tab, exact=True).click()
    panel = page.locator('[role="tabpanel"]:visible')
    panel.get_by_role("textbox").last.fill(text)
    panel.get_by_role("button", name=button).click()
    return panel.locator(".muvla-answers")


def rows(answers: Any) -> list[tuple[str, str]]:
    """Words and probabilities, as they are shown."""
    answers.wait_for()
    return [
        (row.locator("th").inner_text(), row.locator("td").last.inner_text()) for row in answers.locator("tr").all()
    ]


def test_a_picture_is_chosen_and_sentences_are_matched(page: Any, folder: Path, models: dict[str, Model]) -> None:
    model = models[PRETRAINED]
    stored = model.regions(folder / "store")
    ids = [*stored]
    assert page.locator("figcaption b").first.inner_text() == ids[0]
    page.locator(".muvla-strip button").nth(1).click()
    sync_api.expect(page.locator("figcaption b").first).to_have_text(ids[1])
    assert page.locator(".muvla-scene").first.locator(".region").count() == 4
    found = rows(ask(page, "Match", "\n".join(SENTENCES), "How well do they match?"))
    expected = model.match(stored[ids[1]], SENTENCES)
    assert found == [(text, f"{it:.1%}") for text, it in zip(SENTENCES, expected, strict=True)]
    assert found[0][1] != found[1][1]
    page.locator(".muvla-strip button").nth(2).click()
    sync_api.expect(page.locator("figcaption b").first).to_have_text(ids[2])
    sync_api.expect(page.locator(".muvla-answers")).to_have_count(0)  # they were about another picture


def test_others_are_turned_to_and_found_by_id(page: Any, models: dict[str, Model], folder: Path) -> None:
    ids = [*models[PRETRAINED].regions(folder / "store")]
    page.get_by_role("button", name="More").first.click()
    captions = page.locator(".muvla-strip").first.locator(".caption-label")
    sync_api.expect(captions.first).to_have_text(ids[12])
    captions.nth(2).click()  # behind the last is the first
    sync_api.expect(page.locator("figcaption b").first).to_have_text(ids[0])
    field = page.get_by_placeholder("image id").first
    field.fill(ids[7])
    field.press("Enter")
    sync_api.expect(page.locator("figcaption b").first).to_have_text(ids[7])


def test_a_picture_is_uploaded(page: Any, models: dict[str, Model], tmp_path: Path) -> None:
    quartered((60, 60), COLOURS[[3, 2, 1, 0]]).save(tmp_path / "my kitchen.png")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a picture").first.click()
    chooser.value.set_files(tmp_path / "my kitchen.png")
    sync_api.expect(page.locator("figcaption b").first).to_have_text("my kitchen")
    assert "60 × 60 pixels, 4 regions: top left" in page.locator("figcaption").first.inner_text()
    found = rows(ask(page, "Fill in", "a [MASK]", "Fill in [MASK]"))
    seen = load_with_detector(models[PRETRAINED]).detect(tmp_path / "my kitchen.png")
    guesses = models[PRETRAINED].fill(seen, "a [MASK]")
    assert found == [(it.text, f"{it.probability:.1%}") for it in guesses]


def load_with_detector(model: Model) -> Model:
    from mmf_muvla.interface import load

    return load(model.name, device="cpu", detector=DETECTOR)


def test_errors_are_messages(page: Any, tmp_path: Path) -> None:
    ask(page, "Fill in", "no <i>mask</i> here", "Fill in [MASK]")
    message = page.get_by_test_id("toast-body")
    message.wait_for()
    assert re.search(r"no <i>mask</i> here'?: has no \[MASK\]. Write \[MASK\] for a word", message.inner_text())
    message.get_by_role("button", name="Close", exact=True).click()
    message.wait_for(state="detached")  # it fades out, and would be read once more
    (tmp_path / "notes.png").write_text("no picture at all")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a picture").first.click()
    chooser.value.set_files(tmp_path / "notes.png")
    message.wait_for()
    assert "notes.png: file is no picture" in message.inner_text() and "/" not in message.inner_text()


def test_every_model_is_asked_what_it_can(page: Any, models: dict[str, Model], folder: Path) -> None:
    stored = models[PRETRAINED].regions(folder / "store")
    first, second = (stored[it] for it in [*stored][:2])
    answers = rows(ask(page, "Answer", "what is it?", "Answer"))
    assert answers == [(it.text, f"{it.probability:.1%}") for it in models["vqa2"].answer(first, "what is it?")]
    entailed = rows(ask(page, "Entailment", "it is red", "Does the picture say so?"))
    said = models["visual_entailment"].entails(first, "it is red")
    assert entailed == [(label, f"{it:.1%}") for label, it in said.items()]
    compared = rows(ask(page, "Compare", "both are red", "Is it true?"))
    assert compared == [("both are red", f"{models['nlvr2'].compare(first, second, 'both are red'):.1%}")]
    found = ask(page, "Find", "the red one", "Find it")
    region = models["refcoco_plus"].refer(first, "the red one").region
    sync_api.expect(found.locator(".region.lit")).to_have_attribute("data-region", str(region))
    ask(page, "Attention", "a red dog", "Where do the words look?")
    picture = page.locator(".muvla-attention img")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
    page.locator(".muvla-strip button").nth(1).click()
    sync_api.expect(picture).to_have_count(0)


def test_nothing_is_cut_off_on_a_narrow_screen(page: Any) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    rows(ask(page, "Match", SENTENCES[0], "How well do they match?"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
