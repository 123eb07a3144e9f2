"""What is shown on a terminal: text from data must not steer it, nor pass for something else.

A name in a data file may contain a terminal's commands (move the cursor, change the title, fill the clipboard), or
turn the order of what is read. Everything that is printed or logged goes through :func:`printable`: messages of errors
by themselves, tables by :func:`terminal_console`, the log by :func:`start_logging`, MMF's by :func:`log_message`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, those that end a line or turn the direction of writing, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""A text with escapes (``\x1b``) for characters that would steer a terminal, except those to keep."""
    return _UNPRINTABLE.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode("ascii"), text
    )


def terminal_console(markup: bool = False, **options: Any) -> Console:
    """Rich's console, on which text from data is text: it steers nothing, and is not read as Rich's markup.

    With ``markup=True``, ``[bold]`` is markup nevertheless, and data have to be escaped.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                if not segment.control:
                    segment = Segment(printable(segment.text, keep="\n"), segment.style)
                yield segment

    return PrintableConsole(markup=markup, emoji=False, highlight=False, **options)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


def start_logging() -> None:
    """Write the log to stderr, from level INFO on, with times.

    Python's warnings become part of it: libraries quote what they find odd in data.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)


def log_message(message: str, level: str = "info") -> None:
    """Write to MMF's log where a run has one: rc10 keeps a writer of its own in its registry, main a plain logger.

    Where nobody has imported MMF it is Python's own log.
    """
    message = printable(message, keep="\n")
    if "mmf.common.registry" not in sys.modules:
        logging.getLogger("mmf_muvla").log(getattr(logging, level.upper()), message)
        return
    from mmf.common.registry import registry

    writer = registry.get("writer", no_warning=True)
    if hasattr(writer, "write"):
        writer.write(message, level)
    elif writer is not None:
        getattr(writer, level)(message)
