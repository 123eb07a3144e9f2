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

# What is in a file or folder, and under which name the manifest counts it.
_CONTENTS = {
    "captions.txt": ("captions", "sentences"),
    "books.txt": ("books", "sentences"),
    "stories.txt": ("stories", "stories of three sentences each"),
    "captions_true": ("captions_true", "true captions of regions/"),
    "words.txt": ("words", "words, all that occur"),
    "heldout_pairs": ("heldout_pairs", "true captions"),
    "vqa2/": ("questions", "questions"),
    "nlvr2/": ("comparisons", "sentences about two images"),
    "visual_entailment/": ("entailments", "hypotheses"),
    "refcoco_plus/": ("expressions", "referring expressions"),
    "retrieval/": ("retrieval_captions", "captions for retrieval"),
    "pictures/": ("pictures", "drawings"),
}


@dataclasses.dataclass(frozen=True)
class MakeOptions(WorldOptions):
    """The options of the command: those of the world, its folder, and whether to replace one with other settings."""

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
    for folder, images in counts["scenes"].items():
        lines.append(f"  {folder + '/':<18} {images:>7,} images, {counts['regions'][folder]:,} regions")
    for name, (key, what) in _CONTENTS.items():
        if isinstance(count := counts[key], int):
            number = f"{count:>7,}"
        else:
            totals = {split: it if isinstance(it, int) else sum(it.values()) for split, it in count.items()}
            number = ", ".join(f"{split} {total:,}" for split, total in totals.items())
        lines.append(f"  {name:<18} {number} {what}")
    return "\n".join(lines)
