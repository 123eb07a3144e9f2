"""Runs ``tools/app.py`` and notes in a file whom it talks to: ``python -m tests.app.watched FILE option=…``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def main(notes: Path, arguments: list[str]) -> None:
    file = notes.open("w", buffering=1)

    def note(event: str, values: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(values[1], tuple):
            file.write(f"{values[1][0]}\n")
        elif event == "socket.getaddrinfo":
            file.write(f"{values[0]}\n")

    sys.addaudithook(note)
    tool = Path(__file__).parents[2] / "tools" / "app.py"
    sys.argv = [str(tool), *arguments]
    runpy.run_path(str(tool), run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
