"""Names in Markdown, CSV and plots are text."""

from __future__ import annotations

import csv
import io

import pytest

from mmf_muvla.report.plots import small_multiples
from mmf_muvla.report.tables import Table, csv_text, markdown_code, markdown_page, markdown_text

NAMES = {
    "a|b": r"a\|b",
    "`rm`": r"\`rm\`",
    "<script>alert(1)</script>": r"\<script\>alert(1)\</script\>",
    "[x](javascript:alert)": r"\[x\](javascript:alert)",
    "![x](http://x)": r"!\[x\](http://x)",
    "two\nlines": r"two\\nlines",
    "a\r| b": r"a\\r\| b",
    "# title": r"\# title",
    "- item": r"\- item",
    "*a* and _b_ and ~~c~~": r"\*a\* and \_b\_ and \~\~c\~\~",
    "&lt;b&gt;": r"\&lt;b\&gt;",
    "$x$": r"\$x\$",
    "a\\": "a\\\\",
    "\u202eevil": r"\\u202eevil",
    "muvla_cc": "muvla_cc",
    "μ-VLA (100 %), p-MRTC + ITM": "μ-VLA (100 %), p-MRTC + ITM",
}


@pytest.mark.parametrize("name", NAMES)
def test_markdown(name: str) -> None:
    assert markdown_text(name) == NAMES[name]
    page = markdown_page("Names", [Table(["system", "score"], [(name, "1")])])
    (_, _, _, _, line) = page.splitlines()
    assert line.replace("\\\\", "").replace(r"\|", "").count("|") == 3


@pytest.mark.parametrize(
    ("text", "code"), [("a b", "`a b`"), ("a`b", "`` a`b ``"), ("a``b`", "``` a``b` ```"), ("a\nb", r"`a\nb`")]
)
def test_code_in_markdown(text: str, code: str) -> None:
    assert markdown_code(text) == code


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1+2", "=1,2\r\n=3", '"=1"', "plain"])
def test_spreadsheets_see_no_formulas(name: str) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([csv_text(name), "1"])
    ((field, one),) = csv.reader(io.StringIO(text.getvalue()))
    assert not field.startswith(("=", "+", "-", "@", "\t", "\r")) and one == "1"
    assert name.partition("\r")[0] in field


@pytest.mark.parametrize("name", [r"$\frac{1}{2}$", "$a_b", "price: 5$ and 6$", r"$\undefined$", "<b>&"])
def test_plots_show_names_as_they_are(name: str) -> None:
    svg = small_multiples({name: {name: ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}})
    shown = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert svg.count(f">{shown}</text>") == 2
