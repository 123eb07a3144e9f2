"""The command lines of ``tools/build_corpus.py`` and ``tools/import_regions.py``."""

from __future__ import annotations

from collections.abc import Sequence

from mmf_muvla.artifacts.executors import open_executor
from mmf_muvla.artifacts.outputs import output_folder
from mmf_muvla.options.kinds import as_paths
from mmf_muvla.pairing.config import BuildConfig, ImportConfig, load_config
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.terminal import printable


def build_command(arguments: Sequence[str]) -> None:
    """``config=PATH [status [check=true]] [key=value …]``: build a corpus, or say what is built (and sound).

    Raises:
        InputError: an option or an input cannot be used.
    """
    status = ("status", "check=true") if "status" in arguments else ()
    config = load_config(BuildConfig, [argument for argument in arguments if argument not in status])
    # Loads heavy libraries: a wrong option is answered at once.
    from mmf_muvla.pairing.build import build_corpus, print_status

    if status:
        print_status(config, check="check=true" in arguments)
    else:
        build_corpus(config)


def import_command(arguments: Sequence[str]) -> None:
    """``regions=FOLDER out=FOLDER [key=value …]``: make a region store out of detector output.

    Raises:
        InputError: an option or an input cannot be used.
    """
    config = load_config(ImportConfig, arguments)
    sources = as_paths(config.regions)
    out = output_folder("out", config.out, sources)
    policy = (config.on_bad_record, config.max_skipped_fraction)
    executor = open_executor(config.executor, config.executor_options, config.num_workers)
    counts = import_regions(sources, config.region_options, *policy, out, executor)
    print(printable(f"{out}: ") + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
