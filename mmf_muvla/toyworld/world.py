"""The whole toy world: the one function that makes it."""

from __future__ import annotations

import dataclasses
import logging
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.artifact import MANIFEST, Artifact, read_manifest
from mmf_muvla.artifacts.files import read_json
from mmf_muvla.artifacts.outputs import output_folder
from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.books import book_corpus
from mmf_muvla.toyworld.captions import caption_corpus, distinct_captions
from mmf_muvla.toyworld.config import ToyWorldConfig
from mmf_muvla.toyworld.detector import Detection, detect
from mmf_muvla.toyworld.pictures import draw_scenes
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.stories import tell_stories
from mmf_muvla.toyworld.tasks import Stream, make_tasks, write_tasks
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, SIZES
from mmf_muvla.toyworld.writers import write_json_lines, write_lines, write_stories, write_vinvl_folder

logger = logging.getLogger(__name__)


def world_at(folder: Path, config: ToyWorldConfig | None = None) -> Artifact:
    """The toy world of these settings (the defaults where None) in a folder, made or not."""
    config = config or ToyWorldConfig()
    return Artifact(
        folder,
        lambda work: _write_world(work.folder, config),
        name="toyworld",
        version=4,
        parameters=dataclasses.asdict(config),
        resumes=False,
    )


def generate(out: str | Path, config: ToyWorldConfig | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Make a toy world on disk, unless it is there. The folder appears under its name only when it is complete.

    Args:
        out: the folder to make.
        config: settings; the defaults where None.
        overwrite: replace a toy world that was made with other settings.

    Returns:
        The manifest, as in ``manifest.json``.

    Raises:
        InputError: ``out`` is something other than a toy world, has other settings and ``overwrite`` is false, or
            contains something that was not made with it; or the settings ask for more of a task than the scenes offer.
    """
    world = world_at(output_folder("out", out), config)
    if world.state().done:
        logger.info("%s is up to date", world.folder)
    else:
        _refuse_another(world, overwrite)
        world.run()
    manifest = read_manifest(world.folder)
    assert manifest is not None
    return manifest


def _refuse_another(world: Artifact, overwrite: bool) -> None:
    """Refuse a folder that is no toy world, or one with other settings."""
    folder = world.folder
    if not folder.exists() or not any(folder.iterdir()):
        return
    manifest = read_manifest(folder)
    if manifest is None and (read_json(folder / MANIFEST) or {}).get("format") == "muvla-toyworld":
        raise InputError(str(folder), "is a toy world of an older version", "Remove it, or name another folder")
    if manifest is None or manifest["name"] != world.name:
        raise InputError(str(folder), "exists and is not a toy world", "Name another folder, or move it away")
    if manifest["made_from"] != world.made_from and not overwrite:
        problem = f"a toy world with other settings is there ({world.state().reason})"
        raise InputError(str(folder), problem, "Name another folder, or give overwrite=true")


def stream_of(config: ToyWorldConfig) -> Stream:
    """A random generator for every part of the world, so that no part depends on the size of another."""
    return lambda name: random.Random(f"{config.seed}/{name}")


def detections_in(config: ToyWorldConfig, folder: str, scenes: list[Scene]) -> list[Detection]:
    """What the world's detector sees in the scenes of one folder of regions."""
    return detect(scenes, f"{config.seed}/detector/{folder}", config.detector)


def pretraining_scenes(config: ToyWorldConfig) -> list[Scene]:
    """The scenes of ``regions/``, the image-only corpus."""
    return list(_scenes(config, "regions", config.scenes, 1_000_001))


def _scenes(config: ToyWorldConfig, name: str, count: int, first_image_id: int) -> Iterator[Scene]:
    """Scenes that do not belong to a task."""
    rng = stream_of(config)(f"scenes/{name}")
    habit, crowds, strays = config.colour_habit, config.crowd_probability, config.stray_probability
    return generate_scenes(rng, count, first_image_id, habit, crowds, stray_probability=strays)


def _write_world(folder: Path, config: ToyWorldConfig) -> dict[str, Any]:
    """Write all files, and return how much there is of everything."""
    stream = stream_of(config)
    images = {
        "regions": pretraining_scenes(config),
        "regions_heldout": list(_scenes(config, "regions_heldout", config.heldout_scenes, 2_000_001)),
    }
    tasks = make_tasks(config, stream)
    images |= tasks.scenes
    write_json_lines(folder / "scenes.jsonl", (scene.to_record() for scenes in images.values() for scene in scenes))

    region_counts = {}
    for name, scenes in images.items():
        detections = detections_in(config, name, scenes)
        write_vinvl_folder(folder / name, detections)
        region_counts[name] = sum(len(it.regions) for it in detections)
    endless = _scenes(config, "captions", sys.maxsize, 0)  # that are never drawn and that no detector sees
    captions = caption_corpus(stream("captions"), endless, config.captions)
    write_lines(folder / "captions.txt", captions)
    books = book_corpus(stream("books"), config.books)
    write_lines(folder / "books.txt", books)
    stories = list(tell_stories(stream("stories"), config.stories))
    write_stories(folder / "stories.txt", stories)

    true_pairs = _true_pairs(stream("captions_true"), images["regions"], config.true_captions)
    write_json_lines(folder / "captions_true.jsonl", true_pairs)
    pairs = _true_pairs(stream("pairs"), images["regions_heldout"], config.heldout_captions)
    write_json_lines(folder / "heldout_pairs.jsonl", pairs)

    write_tasks(folder, tasks, stream("annotators"))

    told = [pair["caption"] for pair in true_pairs]
    told += [sentence for story in stories for sentence in story]
    texts = [*captions, *books, *told, *tasks.texts(), *CATEGORIES, *COLOURS, *SIZES]
    words = sorted({word for text in texts for word in re.findall(r"\w+", text.lower())})
    write_lines(folder / "words.txt", words)

    num_pictures = draw_scenes(folder / "pictures", images, config.pictures)
    return {
        "scenes": {name: len(scenes) for name, scenes in images.items()},
        "regions": region_counts,
        "captions": len(captions),
        "books": len(books),
        "stories": len(stories),
        "captions_true": len(true_pairs),
        "words": len(words),
        "heldout_pairs": len(pairs),
        **tasks.counts(),
        "retrieval_captions": {split: len(captions) for split, captions in tasks.captions.items()},
        "pictures": num_pictures,
    }


def _true_pairs(rng: random.Random, scenes: list[Scene], captions: int) -> list[dict[str, str]]:
    """The given number of true captions for every scene."""
    return [
        {"image_id": scene.image_id, "caption": caption}
        for scene in scenes
        for caption in distinct_captions(rng, scene, captions)
    ]
