"""What stands on the page, read back from its HTML."""

from __future__ import annotations

from html.parser import HTMLParser


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[list[str]]]] = []
        self._cell: str | None = None

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self.found.append(("", []))
        if tag == "tr":
            self.found[-1][1].append([])
        if tag in ("caption", "th", "td"):
            self._cell = ""

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self.found[-1] = (self._cell or "", self.found[-1][1])
        if tag in ("th", "td"):
            self.found[-1][1][-1].append(self._cell or "")
        if tag in ("caption", "th", "td"):
            self._cell = None


def tables(page: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of each table of answers its heading, and its lines: a word, and the probability as it is written."""
    parser = _Tables()
    parser.feed(page)
    return [(heading, [(word, number) for word, _, number in rows]) for heading, rows in parser.found]
