"""The whole toy world: its settings, and the one function that makes it."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmf_muvla.corpus.files import publish_folder
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.errors import InputError
from mmf_muvla.toyworld.books import book_corpus
from mmf_muvla.toyworld.captions import caption_corpus, distinct_captions
from mmf_muvla.toyworld.detector import DetectorConfig, detect
from mmf_muvla.toyworld.pictures import draw_scene
from mmf_muvla.toyworld.questions import KIND_SHARES, Question, ask
from mmf_muvla.toyworld.scenes import Scene, generate_scenes
from mmf_muvla.toyworld.writers import (
    write_answer_vocabulary,
    write_json_lines,
    write_lines,
    write_vinvl_folder,
    write_vqa_imdb,
)

logger = logging.getLogger(__name__)

_FORMAT = "muvla-toyworld"
_VERSION = 1
_SPLITS = ("train", "val", "test")
_FIRST_IDS = {
    "regions": 1_000_001,
    "regions_heldout": 2_000_001,
    "train": 3_000_001,
    "val": 4_000_001,
    "test": 5_000_001,
}


@dataclass(frozen=True)
class ToyWorldConfig:
    """Settings of a world. Equal settings make equal bytes.

    Attributes:
        seed: of everything but the detector's network, which is always the same.
        scenes: images of the image-only corpus (``regions/``).
        captions: sentences of the caption corpus, told of scenes that no image shows.
        books: sentences of the book-like corpus.
        heldout_scenes: images for held-out image-sentence matching (``regions_heldout/``).
        heldout_captions: true captions of each of them.
        vqa_train_scenes, vqa_val_scenes, vqa_test_scenes: images of the question task's splits (``regions_vqa/``).
        vqa_train_questions, vqa_val_questions, vqa_test_questions: questions on them.
        pictures: how many scenes of ``regions/`` are drawn, beside all held-out ones.
        colour_habit: probability that an object has a usual colour of its category; in the question task's
            scenes all colours are equally likely, so that a colour must be seen.
        crowd_probability: probability that a scene has a group of one category; the question task has twice as many.
        detector: how good the simulated detector is.
    """

    seed: int = 0
    scenes: int = 2400
    captions: int = 6000
    books: int = 6000
    heldout_scenes: int = 300
    heldout_captions: int = 2
    vqa_train_scenes: int = 300
    vqa_val_scenes: int = 100
    vqa_test_scenes: int = 200
    vqa_train_questions: int = 1500
    vqa_val_questions: int = 500
    vqa_test_questions: int = 1000
    pictures: int = 60
    colour_habit: float = 0.5
    crowd_probability: float = 0.4
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def __post_init__(self) -> None:
        for name in ("scenes", "captions", "books", "heldout_scenes", "heldout_captions"):
            _check(name, getattr(self, name), 1, 900_000)
        for name in ("seed", "pictures"):
            _check(name, getattr(self, name), 0, 2**31 - 1)
        for split in _SPLITS:
            for thing in ("scenes", "questions"):
                _check(f"vqa_{split}_{thing}", getattr(self, f"vqa_{split}_{thing}"), 1, 900_000)
        for name in ("colour_habit", "crowd_probability"):
            _check(name, getattr(self, name), 0.0, 1.0)
        for name in ("missed", "doubled", "misnamed", "attributes"):
            _check(f"detector.{name}", getattr(self.detector, name), 0.0, 1.0)
        for name in ("box_jitter", "surroundings", "viewpoint", "feature_noise"):
            _check(f"detector.{name}", getattr(self.detector, name), 0.0, 100.0)


def _check(name: str, value: Any, least: float, most: float) -> None:
    """Raise InputError unless ``value`` is a number of the limits' type between them."""
    kinds = (int,) if isinstance(least, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "a whole number" if isinstance(least, int) else "a number"
        raise InputError(f"{name}={value}", "not a usable value", f"Give {what} from {least} to {most}")


def generate(out: str | Path, config: ToyWorldConfig | None = None, overwrite: bool = False) -> dict[str, Any]:
    """Make a toy world on disk.

    A world that is already there with the same settings is left as it is. The folder appears under its name only
    when it is complete.

    Args:
        out: the folder to make.
        config: settings; the defaults where None.
        overwrite: replace a toy world that was made with other settings.

    Returns:
        The manifest, as in ``manifest.json``.

    Raises:
        InputError: ``out`` exists and is something else than a toy world, or is one with other settings and
            ``overwrite`` is false; or the settings ask for more questions than the scenes offer.
    """
    out = Path(out)
    config = config or ToyWorldConfig()
    present = _manifest_of(out)
    if present is not None:
        if present["version"] == _VERSION and present["config"] == dataclasses.asdict(config):
            logger.info("%s is up to date", out)
            return present
        if not overwrite:
            problem = "a toy world with other settings is there"
            raise InputError(str(out), problem, "Name another folder, or give overwrite=true")
    with publish_folder(out) as unfinished:
        return _write_world(unfinished, config)


def _manifest_of(out: Path) -> dict[str, Any] | None:
    """The manifest of the toy world at ``out``; None where there is nothing, or an empty folder."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    remedy = "Name another folder, or move this one away"
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(str(out), "exists and is not a toy world", remedy) from None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise InputError(str(out), "exists and is not a toy world", remedy)
    return manifest


def _write_world(folder: Path, config: ToyWorldConfig) -> dict[str, Any]:
    def stream(name: str) -> random.Random:
        """A source of chance of its own for every part, so that no part depends on another's size."""
        return random.Random(f"{config.seed}/{name}")

    def ordinary_scenes(name: str, count: int) -> list[Scene]:
        habits = (config.colour_habit, config.crowd_probability)
        return list(generate_scenes(stream(f"scenes/{name}"), count, _FIRST_IDS[name], *habits))

    images = {
        "regions": ordinary_scenes("regions", config.scenes),
        "regions_heldout": ordinary_scenes("regions_heldout", config.heldout_scenes),
    }
    vqa_scenes = {split: _vqa_scenes(stream(f"scenes/{split}"), split, config) for split in _SPLITS}
    images["regions_vqa"] = [scene for split in _SPLITS for scene in vqa_scenes[split]]
    write_json_lines(folder / "scenes.jsonl", (scene.to_record() for scenes in images.values() for scene in scenes))

    region_counts = {}
    for name, scenes in images.items():
        detections = detect(scenes, f"{config.seed}/detector/{name}", config.detector)
        region_counts[name] = write_vinvl_folder(folder / name, detections)

    captions = caption_corpus(stream("captions"), _endless_scenes(stream("scenes/captions"), config), config.captions)
    write_lines(folder / "captions.txt", captions)
    books = book_corpus(stream("books"), config.books)
    write_lines(folder / "books.txt", books)

    pairs = _heldout_pairs(stream("pairs"), images["regions_heldout"], config.heldout_captions)
    write_json_lines(folder / "heldout_pairs.jsonl", pairs)

    questions = {
        split: ask(stream(f"questions/{split}"), vqa_scenes[split], getattr(config, f"vqa_{split}_questions"))
        for split in _SPLITS
    }
    _write_vqa(folder / "vqa2", questions, stream("annotators"))

    drawn = images["regions"][: config.pictures] + images["regions_heldout"]
    (folder / "pictures").mkdir()
    with progress_bar(len(drawn), "pictures", "picture") as progress:
        for scene in drawn:
            draw_scene(scene.to_record()).save(folder / "pictures" / f"{scene.image_id}.png", compress_level=4)
            progress.update()

    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "config": dataclasses.asdict(config),
        "counts": {
            "scenes": {name: len(scenes) for name, scenes in images.items()},
            "regions": region_counts,
            "captions": len(captions),
            "books": len(books),
            "heldout_pairs": len(pairs),
            "questions": {split: _kinds(found) for split, found in questions.items()},
            "pictures": len(drawn),
        },
        "bytes": {path.name: _size(path) for path in sorted(folder.iterdir())},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _kinds(questions: list[Question]) -> dict[str, int]:
    counts = Counter(question.kind for question in questions)
    return {kind: counts[kind] for kind in KIND_SHARES}


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def _vqa_scenes(rng: random.Random, split: str, config: ToyWorldConfig) -> list[Scene]:
    count = getattr(config, f"vqa_{split}_scenes")
    crowds = min(1.0, 2 * config.crowd_probability)
    return list(generate_scenes(rng, count, _FIRST_IDS[split], colour_habit=0.0, crowd_probability=crowds))


def _endless_scenes(rng: random.Random, config: ToyWorldConfig) -> Iterator[Scene]:
    """Scenes that nobody draws and no detector sees."""
    while True:
        yield from generate_scenes(rng, 100, 0, config.colour_habit, config.crowd_probability)


def _heldout_pairs(rng: random.Random, scenes: list[Scene], captions: int) -> list[dict[str, str]]:
    return [
        {"image_id": scene.image_id, "caption": caption}
        for scene in scenes
        for caption in distinct_captions(rng, scene, captions)
    ]


def _write_vqa(folder: Path, questions: dict[str, list[Question]], rng: random.Random) -> None:
    folder.mkdir()
    first_id = 1
    for split, found in questions.items():
        write_vqa_imdb(folder / f"imdb_{split}.npy", rng, split, found, first_id)
        first_id += len(found)
    write_answer_vocabulary(folder / "answers_vqa.txt")
