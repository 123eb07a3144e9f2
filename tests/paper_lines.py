"""The line numbers in docs/paper_in_code.md: ``python -m tests.paper_lines`` writes those of today's code.

A link there is [`NAME`](FILE#L12). For Python, NAME is a function, a class or Class.method of mmf_muvla; for YAML it is
the path of a key in configs/ or projects/. The file is found, too; where several have the name, the link's file counts.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "paper_in_code.md"


def numbered(page: str) -> str:
    """The page with the files and lines of today.

    Raises:
        LookupError: what a link names is not there, or in several places.
    """
    return re.sub(r"\[`([\w.]+)`\]\(([^)#]*)(?:#L\d+)?\)", lambda link: _link(link[1], link[2]), page)


def _link(name: str, file: str) -> str:
    if file.endswith(".yaml"):
        files = [*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("projects/**/*.yaml")]
        patterns = [f"{key}:" for key in name.split(".")]
    else:
        files = [*ROOT.glob("mmf_muvla/**/*.py")]
        patterns = [rf"(def|class) {part}\b" for part in name.split(".")]
    lines = {f"../{path.relative_to(ROOT)}": _line_of(path.read_text(encoding="utf-8"), patterns) for path in files}
    found = {path: line for path, line in lines.items() if line is not None}
    if len(found) > 1:  # then the link has to say which
        found = {path: line for path, line in found.items() if path == file}
    if not found:
        raise LookupError(f"{PAGE.name}: {name} is in no place, or in several and the link names none of them")
    ((path, line),) = found.items()
    return f"[`{name}`]({path}#L{line})"


def _line_of(text: str, patterns: list[str]) -> int | None:
    """The line of the last pattern: the first one stands at the margin, each further one in the block of the last."""
    lines, line, indent = text.splitlines(), 0, -1
    for pattern in patterns:
        for number, content in enumerate(lines[line:], line + 1):
            depth = len(content) - len(content.lstrip())
            if content.strip() and depth <= indent:
                return None
            if (depth == 0 or depth > indent >= 0) and re.match(pattern, content[depth:]):
                line, indent = number, depth
                break
        else:
            return None
    return line


if __name__ == "__main__":
    PAGE.write_text(numbered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
