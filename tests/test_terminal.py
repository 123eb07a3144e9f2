"""Text from data steers no terminal."""

from __future__ import annotations

import io
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from mmf_muvla import command_line
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.reading.problems import BadRecord, SkipLog
from mmf_muvla.terminal import log_message, printable, start_logging, terminal_console

HOSTILE = {
    "colour": "a\x1b[31mb",
    "link": "\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "bell": "a\x07b",
    "overwriting": "bad\rgood",
    "backspace": "bad\b\b\bgood",
    "eight bits": "a\x9b31mb\x9d0;title\x9c",
    "delete": "a\x7fb",
    "right to left": "a\u202egpj.exe",
    "isolates": "a\u2066b\u2067c\u2068d\u2069",
    "marks": "a\u200fb\u061cc",
    "lines": "a\u2028b\u2029c\x85d",
    "half a character": "a\ud800b",
}
HARMLESS = ["dog", "Ä μ – 犬", "שלום", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}", "می\u200cخواهم"]


def is_harmless(text: str) -> bool:
    return not any(printable(character, keep="\n") != character for character in text)


@pytest.mark.parametrize("name", HOSTILE)
def test_messages_show_what_would_steer_a_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = HOSTILE[name]
    assert not is_harmless(text)
    record = BadRecord(Path("x"), 3, text, f"no {text}", text, "Mend it")
    for error in (InputError(text, text, text), MuvlaError(text), record, record.as_input_error()):
        assert is_harmless(str(error)) and "\\" in str(error)
        # Nothing of it is lost on the way between processes.
        assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    assert record.value == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert str(InputError(text, "two\nlines", text)) == f"{text}: two\nlines. {text}"


@pytest.mark.parametrize("name", HOSTILE)
def test_tables_and_panels(name: str) -> None:
    text = HOSTILE[name]
    stream = io.StringIO()
    console = terminal_console(file=stream, width=200, force_terminal=True, color_system=None)
    table = Table(text, title=text)
    table.add_row(text, style="bold")
    console.print(table, Panel(text), text)
    plain = stream.getvalue().replace("\x1b[1m", "").replace("\x1b[3m", "").replace("\x1b[0m", "")
    assert is_harmless(plain)


@pytest.mark.parametrize("text", ["[red]a[/red]", "[link=http://x]a[/link]", "[/]", ":dog:", "[bold"])
def test_markup_in_data_is_text(text: str) -> None:
    stream = io.StringIO()
    console = terminal_console(file=stream, width=200)
    table = Table("name", title=text)
    table.add_row(text)
    console.print(table)
    console.print(text)
    assert stream.getvalue().count(text) == 3


def test_the_console_itself_still_has_colours() -> None:
    stream = io.StringIO()
    console = terminal_console(markup=True, file=stream, force_terminal=True, color_system="standard")
    console.print("[red]a[/]")
    assert "\x1b[31m" in stream.getvalue()
    assert isinstance(console, Console)


@pytest.mark.parametrize("name", HOSTILE)
def test_logs_and_progress_bars(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = HOSTILE[name]
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging, "getLogger", lambda name=None: root)
    start_logging()
    root.warning("image %s\nof two lines", text)
    with progress_bar(1, text, "image") as bar:
        bar.update()
    shown = capsys.readouterr().err
    assert "image a" in shown or "\\" in shown
    assert is_harmless(shown.replace("\r", "")), repr(shown)


@pytest.mark.parametrize("name", ["colour", "bell", "right to left"])
def test_warnings_of_libraries_are_part_of_the_log(name: str) -> None:
    program = "import sys, warnings; from mmf_muvla.terminal import start_logging; start_logging(); warnings.warn(%r)"
    done = subprocess.run([sys.executable, "-c", program % HOSTILE[name]], capture_output=True, text=True, check=True)
    assert "WARNING" in done.stderr and printable(HOSTILE[name]) in done.stderr and is_harmless(done.stderr)


def test_the_log_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = pytest.importorskip("mmf.common.registry").registry
    written: list[str] = []

    class Writer:
        def write(self, message: str, level: str) -> None:
            written.append(message)

    monkeypatch.setattr(registry, "get", lambda *_, **__: Writer())
    log_message("class dog\x1b[2J\nand \u202ecat")
    assert written == ["class dog\\x1b[2J\nand \\u202ecat"]


def test_a_command_prints_errors_without_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(arguments: object) -> None:
        raise InputError("features.tsv, line 2 (image \x1b]0;x\x07)", "bad\rgood", "Mend \u202eit")

    monkeypatch.setattr(sys, "argv", ["tool", "a=b"])
    assert command_line.run_command(command, "usage") == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: features.tsv") and is_harmless(shown) and r"bad\rgood" in shown


def test_files_keep_data_as_they_are(tmp_path: Path) -> None:
    with SkipLog(tmp_path / "skipped.jsonl", "skip", 1.0) as log:
        log.add_bad(BadRecord(Path("x"), 1, "a\x1bb", "reason", "bad\rgood", ""))
    line = (tmp_path / "skipped.jsonl").read_text()
    assert "\x1b" not in line and r"a\u001bb" in line and r"bad\rgood" in line
