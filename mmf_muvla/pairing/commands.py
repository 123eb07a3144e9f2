"""The command lines of ``tools/build_corpus.py`` and ``tools/import_regions.py``."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence

from mmf_muvla.artifacts.outputs import output_folder
from mmf_muvla.artifacts.workers import count_workers
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.pairing.config import BuildConfig, ImportConfig, as_paths, load_config
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.terminal import printable, start_logging


def run_command(command: Callable[[Sequence[str]], None], usage: str, needs_arguments: bool = True) -> int:
    """Run a command with this process's arguments; an error in the input is a message, not a trace.

    Args:
        command: takes the arguments.
        usage: what ``--help`` says.
        needs_arguments: whether to say it as well where there are no arguments.

    Returns:
        The exit status: 0; 2 after an error in the input; 1 where something else failed; 130 or 143 where a signal
        stopped it.
    """
    arguments = sys.argv[1:]
    if any(argument in ("-h", "--help", "help") for argument in arguments) or (needs_arguments and not arguments):
        print(usage)
        return 0 if arguments else 2
    start_logging()
    # One line per file that a library looks for is more than anyone reads.
    for noisy in ("httpx", "sentence_transformers", "gensim"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        command(arguments)
    except MuvlaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt as stop:
        print("stopped; what is finished is kept, and the same command goes on", file=sys.stderr)
        number = stop.args[0] if stop.args and isinstance(stop.args[0], int) else signal.SIGINT
        return 128 + number
    return 0


def build_command(arguments: Sequence[str]) -> None:
    """``config=PATH [status [check=true]] [key=value …]``: build a corpus, or say what is built (and sound).

    Raises:
        InputError: an option or an input cannot be used.
    """
    # Heavy libraries are loaded after the options have been looked at, so that a wrong one is answered at once.
    status = "status" in arguments
    check = status and "check=true" in arguments
    config = load_config(BuildConfig, [it for it in arguments if it != "status" and not (check and it == "check=true")])
    from mmf_muvla.pairing.build import build_corpus, print_status

    if status:
        print_status(config, check)
    else:
        build_corpus(config)


def import_command(arguments: Sequence[str]) -> None:
    """``regions=FOLDER out=FOLDER [key=value …]``: make a region store out of detector output.

    Raises:
        InputError: an option or an input cannot be used.
    """
    config = load_config(ImportConfig, arguments)
    sources = as_paths(config.regions, "regions")
    out = output_folder("out", config.out, sources)
    counts = import_regions(
        sources,
        config.region_options,
        config.on_bad_record,
        config.max_skipped_fraction,
        out,
        count_workers(config.num_workers),
    )
    print(printable(f"{out}: ") + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
