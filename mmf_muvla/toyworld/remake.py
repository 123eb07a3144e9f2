"""A generated world's corpus out of its pairs and sentences alone; its regions, 99 % of it, are made anew."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.files import damaged_files, publish_folder, read_record, refuse_foreign
from mmf_muvla.artifacts.outputs import output_folder
from mmf_muvla.artifacts.workers import count_workers
from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import Name, Options, Workers
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.store import CORPUS_FILE, PAIRS_FILE, REGIONS_FOLDER, SENTENCES_FILE, Corpus, write_meta
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.index import store_files
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.toyworld.config import ToyWorldConfig
from mmf_muvla.toyworld.world import detections_in, pretraining_scenes
from mmf_muvla.toyworld.writers import write_vinvl_folder

# What a corpus has beside its regions.
TABLES = (CORPUS_FILE, PAIRS_FILE, SENTENCES_FILE)

_log = logging.getLogger(__name__)


@dataclass
class RemakeOptions(Options):
    """The options of the command; see :func:`remake_corpus`."""

    source: Name
    out: Name
    num_workers: Workers = "auto"


def remake_command(arguments: Sequence[str]) -> None:
    """``source=FOLDER out=FOLDER [num_workers=N]``: make a corpus of the world of default settings whole again."""
    options = read_options(RemakeOptions, arguments)
    source = Path(options.source).expanduser()
    out = output_folder("out", options.out, [source])
    same = remake_corpus(source, out, num_workers=count_workers(options.num_workers))
    print(f"{out}: the corpus's regions, " + ("to the bit" if same else "with features that are rounded otherwise"))


def remake_corpus(source: Path, out: Path, config: ToyWorldConfig | None = None, num_workers: int = 1) -> bool:
    """Make a corpus of a generated world whole again, unless that has been done.

    Another processor may round features otherwise. Then the log says so, and the corpus gets a ``corpus.json`` of its
    own.

    Args:
        source: a folder with :data:`TABLES` of the corpus.
        out: the folder to make.
        config: settings of the world; the defaults where None.
        num_workers: processes that write the regions.

    Returns:
        Whether the regions are those of the corpus to the bit.

    Raises:
        InputError: a table is missing or damaged, the corpus is of another world, or ``out`` is something else.
    """
    meta = read_record(source / CORPUS_FILE)
    if meta is None or damaged_files(source, meta["files"]):
        remedy = f"Copy {', '.join(TABLES)} of the corpus again"
        raise InputError(str(source), "has not all that a corpus has beside its regions, or it is damaged", remedy)
    made = read_record(out / CORPUS_FILE)
    if made is None or made["build"] != meta["build"]:
        refuse_foreign(out, lambda folder: folder)
        with publish_folder(out, lambda folder: folder) as folder:
            _make_regions(folder / REGIONS_FOLDER, config or ToyWorldConfig(), num_workers)
            for name in TABLES:
                shutil.copyfile(source / name, folder / name)
            if RegionStore(folder / REGIONS_FOLDER).content != meta["regions_content"]:
                _log.warning("the features made here differ in bits from those that the corpus was built with")
                write_meta(folder, meta["k"], meta["counts"], meta["build"])
                _check_fit(Corpus(folder), source)
    return Corpus(out).regions.content == meta["regions_content"]


def _make_regions(store: Path, config: ToyWorldConfig, num_workers: int) -> None:
    with TemporaryDirectory(dir=store.parent) as name:
        seen, imported = Path(name, "seen"), Path(name, "imported")
        write_vinvl_folder(seen, detections_in(config, "regions", pretraining_scenes(config)))
        import_regions([seen], RegionOptions(), "error", 0.0, imported, LocalExecutor(num_workers))
        store.mkdir()
        for file in store_files(imported):
            file.rename(store / file.name)


def _check_fit(corpus: Corpus, source: Path) -> None:
    """Links are for each region of an image: another number of them, and it is another world."""
    found: dict[str, Any] = {}
    for block in corpus.regions.blocks():
        sizes = block.column("class_id").value_lengths().to_pylist()
        found.update(zip(block.column("image_id").to_pylist(), sizes, strict=True))
    expected = dict(zip(corpus.image_ids, corpus.region_counts.tolist(), strict=True))
    if found != expected:
        problem = "is of another world than that of default settings: its images have other regions"
        raise InputError(str(source), problem, "Carry its regions as well: copy the whole corpus")
