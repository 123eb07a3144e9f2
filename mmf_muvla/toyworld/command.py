"""The command line of ``tools/make_toyworld.py``."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmf_muvla.cli import parse_options
from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.config import ToyWorldConfig
from mmf_muvla.toyworld.detector import DetectorConfig
from mmf_muvla.toyworld.world import generate

_TRUTHS = {"true": True, "false": False}


def make_toyworld(arguments: Sequence[str]) -> None:
    """``[out=FOLDER] [overwrite=true] [key=value …]``: make a toy world, and say what is in it.

    Raises:
        InputError: an option cannot be used, or the output folder is something else.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    defaults = {"out": "data/toyworld", "overwrite": "false", **_flat(dataclasses.asdict(ToyWorldConfig()))}
    options = parse_options(arguments, defaults)
    if options["overwrite"] not in _TRUTHS:
        raise InputError(f"overwrite={options['overwrite']}", "neither true nor false", "Write true or false")
    start = time.perf_counter()
    manifest = generate(options["out"], config_from_options(options), _TRUTHS[options["overwrite"]])
    print(_summary(options["out"], manifest, time.perf_counter() - start))


def config_from_options(options: Mapping[str, str]) -> ToyWorldConfig:
    """Read the settings out of ``{"scenes": "2400", "detector.missed": "0.05", …}``.

    Raises:
        InputError: a value is not a number of its option's kind, or not a usable one.
    """
    detector = DetectorConfig(
        **{f.name: _number(f"detector.{f.name}", options, f.default) for f in dataclasses.fields(DetectorConfig)}
    )
    fields = [f for f in dataclasses.fields(ToyWorldConfig) if f.name != "detector"]
    world = {f.name: _number(f.name, options, f.default) for f in fields}
    return ToyWorldConfig(**world, detector=detector)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as ``{"detector.missed": "0.05"}``."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: str(value)}
    return flat


def _number(name: str, options: Mapping[str, str], default: Any) -> Any:
    kind = type(default)
    try:
        return kind(options[name])
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"{name}={options[name]}", f"is not {what}", f"The default is {default}") from None


def _summary(out: str, manifest: Mapping[str, Any], seconds: float) -> str:
    counts = manifest["counts"]
    lines = [f"{out}: {sum(manifest['bytes'].values()) / 1e6:.0f} MB in {seconds:.1f} s"]
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
