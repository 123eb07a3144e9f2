"""What the scripts in ``tools/`` have in common."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence

from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.terminal import start_logging


def run_command(command: Callable[[Sequence[str]], None], usage: str, needs_arguments: bool = True) -> int:
    """Run a command with this process's arguments; an error in the input is a message, not a trace.

    ``--help`` prints the usage, and so does a call without arguments where the command needs some.

    Returns:
        The exit status: 0; 2 after an error in the input; 1 where something else failed; 128 + N after signal N.
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
