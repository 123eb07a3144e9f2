from __future__ import annotations

import io
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from mmf_muvla.errors import InputError
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report import plots
from mmf_muvla.report.corpus_captions import KnownCaptions
from mmf_muvla.report.corpus_page import choose_images, inspect_command, measure_corpus, render_page
from mmf_muvla.report.corpus_plots import draw_plots
from mmf_muvla.report.corpus_text import print_quality
from mmf_muvla.report.images import page_image
from mmf_muvla.terminal import terminal_console
from tests.small_corpus import sentence, write_small_corpus

NASTY = [
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "a & b <b>'\"</b> \u2028 😀",
    "{{ 7 * 7 }}",
    "{% raw %}{{ x }}{% endraw %}",
    "${7 * 7} `${alert(1)}`",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    '" style="background: url(//x)',
    "</style><style>body { display: none }",
    "</title></textarea></select><b>",
    '<a href="javascript:alert(1)">x</a>',
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "--> ]]> */ //",
    "&lt;script&gt;&#60;script&#62;",
    "\\u003cscript\\u003e \\x3cscript>",
    "<math><mtext></mtext><script>alert(1)</script></math>",
    "<base href=//x><meta http-equiv=refresh content=0>",
    "__proto__",
    "\ud800 half",
]


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and the content of its scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def write_picture(path: Path, size: tuple[int, int] = (1000, 500)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


class TestCommand:
    def test_writes_measures_and_page(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = write_small_corpus(tmp_path / "small")
        captions = tmp_path / "captions.jsonl"
        captions.write_text(json.dumps({"image_id": 1002, "caption": "A bird"}) + "\n")
        write_picture(tmp_path / "pictures" / "1002.png")
        inspect_command(
            [f"corpus={folder}", f"captions={captions}", f"images={tmp_path}/pictures", "num_images=5", "seed=4"]
        )
        quality = json.loads((folder / "report" / "quality.json").read_text())
        assert quality["images"] == 80 and quality["seed"] == 4 and quality["captions"]["images"] == 1
        page = Page((folder / "report" / "corpus.html").read_text())
        assert len(page.data["images"]) == 5
        assert [image["captions"] for image in page.data["images"] if image["id"] == "1002"] == [["A bird"]]
        assert [image["id"] for image in page.data["images"] if image["picture"]] == ["1002"]
        assert "corpus.html" in capsys.readouterr().out
        assert sorted(file.name for file in (folder / "report").glob("[!.]*")) == ["corpus.html", "quality.json"]

    def test_other_folder_without_captions(self, tmp_path: Path) -> None:
        folder = write_small_corpus(tmp_path / "small")
        inspect_command([f"corpus={folder}", f"out={tmp_path}/a/b", "num_images=0"])
        assert Page((tmp_path / "a" / "b" / "corpus.html").read_text()).data["images"] == []
        assert not (folder / "report").exists()

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ([], "corpus not given"),
            (["corpus=nowhere"], "is not a whole corpus"),
            (["corpus=nowhere", "num_images=-1"], "num_images=-1: is not a whole number"),
            (["corpus=nowhere", "seed=x"], "seed=x: is not a whole number"),
            (["corpus=nowhere", "images=no/such/folder"], "there is no folder"),
            (["corpus=nowhere", "image=x"], "Did you mean images"),
        ],
    )
    def test_wrong_options(self, arguments: list[str], problem: str) -> None:
        with pytest.raises(InputError, match=problem):
            inspect_command(arguments)

    def test_damaged_captions_leave_no_report(self, tmp_path: Path) -> None:
        folder = write_small_corpus(tmp_path / "small")
        captions = tmp_path / "captions.jsonl"
        captions.write_text('{"image_id": 1002, "caption": "A bird"}\n{"image_id"\n')
        with pytest.raises(InputError, match="line 2"):
            inspect_command([f"corpus={folder}", f"captions={captions}"])
        assert not (folder / "report").exists()


class TestPage:
    def test_nothing_is_loaded_from_elsewhere(self, corpus: Corpus) -> None:
        page = Page(render_page(measure_corpus(corpus), [page_image(corpus, 0)]))
        for name, attributes in page.elements:
            assert name not in ("link", "iframe", "img", "object", "embed")
            addresses = {attributes.get(key) for key in ("src", "href", "xlink:href", "data")} - {None}
            assert all(address and address.startswith("#") for address in addresses)
        policy = [a["content"] for name, a in page.elements if name == "meta" and "http-equiv" in a]
        assert policy == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"]

    def test_text_cannot_break_out(self, corpus: Corpus) -> None:
        quality = measure_corpus(corpus)
        quality["corpus"] = NASTY[0]
        quality["tags"]["most_frequent"][0]["tag"] = NASTY[0]
        quality["sentences"]["most_used"] = [{"sentence": text, "uses": 1} for text in NASTY]
        image = page_image(corpus, 0, captions=NASTY)
        image |= {"id": NASTY[0], "tags": NASTY}
        plain = Page(render_page(measure_corpus(corpus), [page_image(corpus, 0)]))
        page = Page(render_page(quality, [image]))
        assert len(page.scripts) == len(plain.scripts) == 2
        assert page.scripts[1] == plain.scripts[1]
        shown = page.data["images"][0]
        assert (shown["id"], shown["tags"], shown["captions"]) == (NASTY[0], NASTY, NASTY)
        for text in NASTY:
            assert text in page.text  # as text, in the tables
        # Not an element more than the three additional rows of the table have.
        before, after = (sorted(name for name, _ in p.elements if name not in ("tr", "td")) for p in (plain, page))
        assert before == after

    def test_data_are_json_in_which_nothing_ends_the_script(self, corpus: Corpus) -> None:
        quality, image = measure_corpus(corpus), page_image(corpus, 0)
        text = Page(render_page(quality, [{**image, "captions": NASTY, "strength": 0.5}])).scripts[0]
        assert json.loads(text)["images"] == [json.loads(json.dumps({**image, "captions": NASTY, "strength": 0.5}))]
        assert not set("<>&") & set(text) and text.isascii()
        with pytest.raises(ValueError):
            render_page(quality, [{**image, "strength": math.nan}])

    def test_numbers(self, corpus: Corpus) -> None:
        captions = KnownCaptions({0: ["A bird in a tree"], 1: ["A dog near a house"]}, 2, 2, 3)
        quality = measure_corpus(corpus, captions, seed=1, sampled_images=50)
        text = Page(render_page(quality, [])).text
        assert "50 of 80 images (seed 1)" in text and "normalised mutual information" in text
        assert f"{100 * quality['links']['of_regions']:.1f}\u00a0%" in text
        assert "all 80 images" in text
        console = Console(file=io.StringIO(), width=150, record=True)
        print_quality(quality, console)
        printed = console.export_text()
        assert "50 of 80 images (seed 1)" in printed and "recall at 3, of all images" in printed

    def test_ranks_in_the_pool(self, corpus: Corpus) -> None:
        quality = measure_corpus(corpus, KnownCaptions({0: ["A bird"]}, 1, 1, 0))
        shares = {"5": 0.25, "10": 0.5, "100": 0.75}
        pool = {"ranked": 8, "recall_at": shares, "recall_at_of_ranked": shares, "median_rank": 1234.5}
        quality["captions"] |= {"pool": pool, "captions_in_pool": 9, "images_with_caption_in_pool": 8}
        text = Page(render_page(quality, [])).text
        assert "recall at 100, of the 8 images with a caption there" in text and "1,234.5" in text

    def test_hubs_are_warned_of(self, corpus: Corpus) -> None:
        quality = measure_corpus(corpus)
        for skewness, is_warned in ((5.0, False), (25.0, True)):
            quality["sentences"] |= {"skewness": skewness, "share_of_top_100": 0.5, "max_uses": 70}
            console = Console(file=io.StringIO(), width=500, record=True)
            print_quality(quality, console)
            for text in (Page(render_page(quality, [])).text, console.export_text()):
                assert ("the 100 most used have 50% of all places" in text) == is_warned
                assert ("retrieval.max_uses" in text) == is_warned

    def test_empty_measures(self, corpus: Corpus) -> None:
        # A corpus in which nothing is linked, of a pool whose size is known.
        quality = measure_corpus(corpus)
        empty = {"count": 0, "mean": None, "deciles": None, "histogram": None}
        quality["links"] = {"of_pairs": 0.0, "of_regions": 0.0, "of_phrases": None, "similarity": empty}
        quality["sentences"] |= {"pool": 100, "of_pool": 0.6}
        quality["mentions"] = {"images": 0, "retrieved": None, "random": None, "true": None}
        page = Page(render_page(quality, [page_image(corpus, 0)]))
        assert page.data["weakest"] == 0.5 and "60.0\u00a0%" in page.text
        print_quality(quality, Console(file=io.StringIO()))

    def test_plots_follow_the_theme(self, corpus: Corpus) -> None:
        for svg in map(plots.themed, draw_plots(measure_corpus(corpus))):
            assert svg.startswith("<svg") and "var(--ink)" in svg
            assert plots.INK not in svg and plots.COLOURS[0] not in svg

    def test_terminal_gets_no_commands(self, corpus: Corpus) -> None:
        quality = measure_corpus(corpus)
        quality["sentences"]["most_used"] = [{"sentence": "[red]a\x1b[2Jb[/]", "uses": 1}]
        quality["tags"]["most_frequent"][0]["tag"] = "[red]c\x1b[2Jd[/]"
        stream = io.StringIO()
        print_quality(quality, terminal_console(file=stream, width=150))
        assert r"[red]a\x1b[2Jb[/]" in stream.getvalue()
        assert r"[red]c\x1b[2Jd[/]" in stream.getvalue()


def test_images_with_captions_come_first() -> None:
    captions = KnownCaptions({number: ["x"] for number in (2, 50, 70)}, 3, 3, 0)
    chosen = choose_images(100, captions, 10, seed=0)
    assert len(set(chosen)) == 10 and chosen == sorted(chosen) and {2, 50, 70} <= set(chosen)
    assert set(choose_images(100, captions, 2, seed=0)) < {2, 50, 70}
    assert choose_images(71, captions, 100, seed=0) == list(range(71))
    assert choose_images(100, None, 10, seed=0) == choose_images(100, None, 10, seed=0)
    assert choose_images(5, None, 10, seed=0) == [0, 1, 2, 3, 4]
    assert choose_images(5, None, 0, seed=0) == []


def test_everything_is_plain_json_and_repeatable(tmp_path: Path) -> None:
    corpus = Corpus(write_small_corpus(tmp_path / "small"))
    captions = KnownCaptions({number: [sentence(number)[0]] for number in range(10)}, 10, 10, 0)
    quality = measure_corpus(corpus, captions, seed=3, sampled_images=20)
    assert json.loads(json.dumps(quality, allow_nan=False)) == quality
    assert quality == measure_corpus(corpus, captions, seed=3, sampled_images=20)
    assert quality["sampled_images"] == quality["tags"]["images"] == 20
    assert quality["mentions"]["images"] == 10
    assert measure_corpus(corpus, seed=3)["captions"] is None
