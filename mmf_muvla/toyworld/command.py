"""The command line of ``tools/make_toyworld.py``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmf_muvla.options.kinds import Flag, Name
from mmf_muvla.options.reading import read_options
from mmf_muvla.terminal import start_logging
from mmf_muvla.toyworld.config import ToyWorldConfig, WorldOptions
from mmf_muvla.toyworld.world import generate


@dataclasses.dataclass(frozen=True)
class MakeOptions(WorldOptions):
    """The options of the command: those of the world, and further

    Attributes:
        out: the folder of the world.
        overwrite: replace a world with other settings.
    """

    out: Name = "data/toyworld"
    overwrite: Flag = False


def make_toyworld(arguments: Sequence[str]) -> None:
    """``[out=FOLDER] [overwrite=true] [key=value …]``: make a toy world, and print what is in it.

    Raises:
        InputError: an option cannot be used, or the output folder is something else.
    """
    start_logging()
    options = read_options(MakeOptions, arguments)
    settings = {entry.name: getattr(options, entry.name) for entry in dataclasses.fields(WorldOptions)}
    start = time.perf_counter()
    manifest = generate(options.out, ToyWorldConfig(**settings), options.overwrite)
    print(_summary(options.out, manifest, time.perf_counter() - start))


def _summary(out: str, manifest: Mapping[str, Any], seconds: float) -> str:
    counts = manifest["counts"]
    lines = [f"{out}: {sum(file['size'] for file in manifest['outputs'].values()) / 1e6:.0f} MB in {seconds:.1f} s"]
    lines += [
        f"  {name + '/':<18} {counts['scenes'][name]:>7,} images, {counts['regions'][name]:,} regions"
        for name in counts["scenes"]
    ]
    lines += [
        f"  {'captions.txt':<18} {counts['captions']:>7,} sentences",
        f"  {'books.txt':<18} {counts['books']:>7,} sentences",
        f"  {'captions_true':<18} {counts['captions_true']:>7,} true captions of regions/",
        f"  {'words.txt':<18} {counts['words']:>7,} words, all that occur",
        f"  {'heldout_pairs':<18} {counts['heldout_pairs']:>7,} true captions",
        f"  {'vqa2/':<18} {_per_split(counts['questions'])} questions",
        f"  {'nlvr2/':<18} {_per_split(counts['comparisons'])} sentences about two images",
        f"  {'visual_entailment/':<18} {_per_split(counts['entailments'])} hypotheses",
        f"  {'refcoco_plus/':<18} {_per_split(counts['expressions'])} referring expressions",
        f"  {'pictures/':<18} {counts['pictures']:>7,} drawings",
    ]
    return "\n".join(lines)


def _per_split(counts: Mapping[str, Mapping[str, int]]) -> str:
    return ", ".join(f"{split} {sum(kinds.values()):,}" for split, kinds in counts.items())
