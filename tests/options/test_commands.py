"""The command lines of the tools: mistakes are named before anything is done, and the status says what happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmf_muvla.command_line import run_command
from mmf_muvla.compat.patch_options import message_of
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.options.kinds import Count, Name, Options, Paths
from mmf_muvla.options.model import LOSSES
from mmf_muvla.options.reading import read_options
from mmf_muvla.options.run import Registered, check_run
from mmf_muvla.options.training import OPTIMIZERS
from mmf_muvla.studies.command import StudyOptions, study_command

ROOT = Path(__file__).resolve().parents[2]
STUDY = "config=projects/muvla/studies/main.yaml"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dry_run=maybe"], "command line: dry_run=maybe: is neither true nor false"),
        (["report_only=2"], "report_only=2: is neither true nor false"),
        (["num_workers=0"], "num_workers=0: is no number of processes"),
        (["executor=ray", "memory_gb=8"], "memory_gb=8: is for one machine"),
        (["executor=slurm"], "executor=slurm: "),
        (["executor_options.embed.cpus=2"], "unknown key 'executor_options.embed.cpus'"),
        (["executor_options.finetune.gpus=-1"], "executor_options.finetune.gpus=-1: "),
        (["seeds=[1,x]"], r"seeds=\[1,x\]: is no list of whole numbers"),
        (["memory_gb=.inf"], "memory_gb=inf: is not a number above 0"),
        (["systems=[base,muvla]"], "systems=muvla: there is none of that name"),
        (["dryrun=true"], "unknown key 'dryrun'. Did you mean dry_run"),
        (["search_sed=3"], "unknown key 'search_sed'. Did you mean search_seed"),
        (["tasks.vqa2.rate=[1e-3]"], "unknown key 'rate'. Did you mean rates"),
        (["memory_per_job_gb=0"], "memory_per_job_gb=0: is not a number above 0"),
        (["systems.base=5"], "systems.base: is 5. Write keys and values"),
    ],
)
def test_a_study_with_a_mistake_does_not_start(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message):
        study_command([STUDY, f"work={tmp_path / 'work'}", *arguments], ROOT / "tools")
    assert not (tmp_path / "work").exists()


def test_lists_and_texts_of_a_shell() -> None:
    options = read_options(StudyOptions, ["config=007", "seeds=3", "systems=a,b", "tasks=['c', d]", "work={x}"])
    assert (options.config, options.seeds, options.systems, options.tasks) == ("007", [3], ["a", "b"], ["c", "d"])
    assert options.work == "{x}" and options.dry_run is False
    assert read_options(StudyOptions, ["config=c", "seeds=[2,1,2]", "dry_run=yes", "out=null"]).seeds == [2, 1]


def _fail(error: BaseException) -> Callable[[Sequence[str]], None]:
    def command(arguments: Sequence[str]) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("a.yaml", "is wrong", "Mend it"), 2, "error: a.yaml: is wrong. Mend it"),
        (MuvlaError("a job failed"), 1, "error: a job failed"),
        (KeyboardInterrupt(), 130, "stopped"),
        (KeyboardInterrupt(signal.SIGTERM), 143, "stopped"),
    ],
)
def test_the_exit_status_says_what_happened(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tool", "a=b"])
    assert run_command(_fail(error), "usage") == status
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("make_toyworld.py", ["scenes=-3"], "scenes=-3: must be between 1"),
        ("demo.py", ["fast=perhaps"], "fast=perhaps: is neither true nor false"),
    ],
)
def test_a_real_tool_ends_with_one_line(tool: str, arguments: list[str], named: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / tool), f"out={tmp_path / 'out'}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: command line: ") and named in line
    assert not (tmp_path / "out").exists()


def test_an_error_of_another_process_is_one_line_too() -> None:
    text = "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n  File …\n"
    assert message_of(RuntimeError(f"{text}mmf_muvla.errors.InputError: x.tsv: is empty. Fill it\n")) == (
        "x.tsv: is empty. Fill it"
    )
    assert message_of(RuntimeError(f"{text}ValueError: of somebody else")) is None
    assert message_of(InputError("a", "b", "c")) == "a: b. c"


@dataclass
class _Mine(Options):
    folder: Name
    size: Count = 3


@dataclass
class _WithPaths(Options):
    image: Paths


def test_what_names_files_or_images_is_no_number() -> None:
    """YAML takes 000000000724 for an octal number, and 1_000 for a thousand."""
    for text in ("000000000724", "1_000", "1e3", "2024-01-02", "true", "0x1f", "a b", "{name}.jpg", "[a", "1:30"):
        assert read_options(_WithPaths, [f"image={text}"]).image == text
    assert read_options(_WithPaths, ["image=[000000000724, b]"]).image == ["000000000724", "b"]


def test_a_data_set_brings_its_schema_or_is_not_checked() -> None:
    registered = Registered(["muvla"], ["muvla"], {"mine": _Mine, "free": None}, OPTIMIZERS, [], LOSSES, {})

    def check(name: str, options: dict[str, object]) -> None:
        content = {"datasets": name, "optimizer": {"type": "SGD"}, "dataset_config": {name: options}}
        check_run({"model": "muvla", **content}, lambda _: "my.yaml", registered)

    check("mine", {"folder": "a", "size": 4})
    check("free", {"whatever": {"it": "is"}})
    for options, message in (
        ({"folder": "a", "sise": 4}, "unknown key 'dataset_config.mine.sise'. Did you mean dataset_config.mine.size"),
        ({"folder": "a", "size": 0}, "dataset_config.mine.size=0"),
        ({}, "dataset_config.mine.folder not given"),
    ):
        with pytest.raises(InputError, match=message):
            check("mine", options)
