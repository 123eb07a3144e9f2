"""Stage *pack*: what the other stages found becomes the corpus that training reads."""

from __future__ import annotations

import hashlib
import shutil
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmf_muvla.artifacts.arrow import TableWriter, read_batches
from mmf_muvla.artifacts.files import link_or_copy, publish_file, publish_folder
from mmf_muvla.pairing.store import (
    BUILD_KEY,
    CORPUS_FILE,
    FORMER_REGIONS_FOLDER,
    PAIRS_FILE,
    PAIRS_SCHEMA,
    REGIONS_FOLDER,
    SENTENCES_FILE,
    SENTENCES_SCHEMA,
    refuse_foreign_corpus,
    write_meta,
)
from mmf_muvla.regions.index import foreign_in_store, store_files
from mmf_muvla.regions.lmdb_files import is_lmdb_store
from mmf_muvla.regions.store import RegionStore


def pack_corpus(
    store: Path,
    phrases: Path,
    used: Path,
    retrieved: Path,
    scores: Path,
    links: Path,
    *,
    pool_size: int,
    num_skipped: int,
    target: Path,
) -> dict[str, int]:
    """Write the corpus. ``corpus.json`` is removed first and comes last, so that a folder that has it is whole.

    Args:
        store: region store; it is linked, not copied, where the file system can do that.
        phrases, links: tables, as the stages *phrases* and *link* write them.
        used, retrieved, scores: .npy [n], [images, K], [images, K], as the stage *retrieve* writes them.
        pool_size: sentences that could have been retrieved.
        num_skipped: damaged records that the build left out.
        target: the folder of the corpus.

    Returns:
        The counts that ``corpus.json`` has.

    Raises:
        InputError: what would be replaced is no part of a corpus.
    """
    regions = RegionStore(store)
    arrays = [np.load(file, allow_pickle=False, mmap_mode="r") for file in (used, retrieved, scores)]
    sentences = arrays[1]
    metadata = {BUILD_KEY: _digest(regions.content, phrases, links, retrieved, scores)}
    counts = {
        "images": len(sentences),
        "regions": regions.num_regions,
        "sentences": pool_size,
        "sentences_used": 0,
        "phrases": 0,
        "links": 0,
        "skipped": num_skipped,
    }
    refuse_foreign_corpus(target)
    target.mkdir(parents=True, exist_ok=True)
    (target / CORPUS_FILE).unlink(missing_ok=True)
    with publish_folder(target / REGIONS_FOLDER, foreign_in_store) as folder:
        for file in store_files(store):
            link_or_copy(file, folder / file.name)
    if is_lmdb_store(target / FORMER_REGIONS_FOLDER):
        shutil.rmtree(target / FORMER_REGIONS_FOLDER)
    with publish_file(target / SENTENCES_FILE) as file, TableWriter(file, SENTENCES_SCHEMA, metadata) as writer:
        for batch in read_batches([phrases]):
            writer.write(*(batch.column(name) for name in SENTENCES_SCHEMA.names))
            counts["sentences_used"] += batch.num_rows
            counts["phrases"] += len(batch.column("phrase_start").flatten())
    with publish_file(target / PAIRS_FILE) as file, TableWriter(file, PAIRS_SCHEMA, metadata) as writer:
        counts["links"] = _write_pairs(writer, regions, links, *arrays)
    write_meta(target, sentences.shape[1], counts, metadata[BUILD_KEY])
    return counts


def _write_pairs(
    writer: TableWriter,
    regions: RegionStore,
    links: Path,
    pool_rows: np.ndarray,
    sentences: np.ndarray,
    scores: np.ndarray,
) -> int:
    """Write the table of pairs, and return how many links there are."""
    image_ids = chain.from_iterable(block.column("image_id").to_pylist() for block in regions.blocks())
    first = num_links = 0
    for batch in read_batches([links]):
        part = slice(first, first + batch.num_rows)
        offsets = pa.array(np.arange(batch.num_rows + 1, dtype=np.int32) * sentences.shape[1])
        numbers = np.searchsorted(pool_rows, sentences[part].reshape(-1)).astype(np.int32)
        writer.write(
            list(islice(image_ids, batch.num_rows)),
            pa.ListArray.from_arrays(offsets, pa.array(numbers)),
            pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(scores[part]).reshape(-1))),
            batch.column("link_phrase"),
            batch.column("link_similarity"),
        )
        num_links += int((batch.column("link_similarity").flatten().to_numpy() > 0).sum())
        first += batch.num_rows
    return num_links


def _digest(regions: str, *files: Path) -> str:
    """Names a build by its content, so that building the same twice gives the same files."""
    digest = hashlib.blake2b(regions.encode(), digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()
