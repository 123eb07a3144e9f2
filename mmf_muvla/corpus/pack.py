"""Stage *pack*: what the other stages found becomes the corpus that training reads."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmf_muvla.corpus.arrow import MappedTable, TableWriter
from mmf_muvla.corpus.files import publish_file, publish_folder, write_json
from mmf_muvla.corpus.region_store import RegionStore
from mmf_muvla.corpus.store import (
    BUILD_KEY,
    CORPUS_FILE,
    FORMAT,
    PAIRS_FILE,
    PAIRS_SCHEMA,
    REGIONS_FOLDER,
    SENTENCES_FILE,
    SENTENCES_SCHEMA,
)


def pack_corpus(
    store: Path,
    tags: Path,
    phrases: Path,
    retrieved: Path,
    scores: Path,
    links: Path,
    pool_size: int,
    num_skipped: int,
    target: Path,
) -> dict[str, int]:
    """Write the corpus. ``corpus.json`` is removed first and comes last, so that a folder that has it is whole.

    Args:
        store: region store; it is linked, not copied, where the file system can do that.
        tags, phrases, links: tables, as the stages *regions*, *phrases* and *link* write them.
        retrieved, scores: .npy [images, K], as the stage *retrieve* writes them.
        pool_size: sentences that could have been retrieved.
        num_skipped: damaged records that the build left out.
        target: the folder of the corpus.

    Returns:
        The counts that ``corpus.json`` has.
    """
    regions = RegionStore(store)
    sentences = np.load(retrieved, allow_pickle=False, mmap_mode="r")
    similarity = np.load(scores, allow_pickle=False, mmap_mode="r")
    phrase_table, link_table = MappedTable(phrases), MappedTable(links)
    build = _digest(regions.content, phrases, links, retrieved, scores)

    target.mkdir(parents=True, exist_ok=True)
    (target / CORPUS_FILE).unlink(missing_ok=True)
    with publish_folder(target / REGIONS_FOLDER) as folder:
        _link_or_copy(store / "data.mdb", folder / "data.mdb")
    with (
        publish_file(target / SENTENCES_FILE) as file,
        TableWriter(file, SENTENCES_SCHEMA, {BUILD_KEY: build}) as writer,
    ):
        for batch in phrase_table.batches:
            writer.write(*(batch.column(name) for name in SENTENCES_SCHEMA.names))
    _write_pairs(target / PAIRS_FILE, build, MappedTable(tags), phrase_table, link_table, sentences, similarity)

    counts = {
        "images": len(sentences),
        "regions": regions.num_regions,
        "sentences": pool_size,
        "sentences_used": len(phrase_table),
        "phrases": sum(len(column.values) for column in phrase_table.lists("phrase_start")),
        "links": sum(int((column.values > 0).sum()) for column in link_table.lists("link_similarity")),
        "skipped": num_skipped,
    }
    corpus = {
        **FORMAT,
        "k": sentences.shape[1],
        "feature_dim": regions.feature_dim,
        "counts": counts,
        BUILD_KEY: build,
        "regions_content": regions.content,
        "object_names": regions.object_names,
        "attribute_names": regions.attribute_names,
    }
    write_json(target / CORPUS_FILE, corpus)
    return counts


def _write_pairs(
    target: Path,
    build: str,
    tags: MappedTable,
    phrases: MappedTable,
    links: MappedTable,
    sentences: np.ndarray,
    scores: np.ndarray,
) -> None:
    pool_rows = np.concatenate([batch.column("pool_row").to_numpy() for batch in phrases.batches])
    image_ids = pa.chunked_array([batch.column("image_id") for batch in tags.batches])
    k = sentences.shape[1]
    first = 0
    with publish_file(target) as file, TableWriter(file, PAIRS_SCHEMA, {BUILD_KEY: build}) as writer:
        for batch in links.batches:
            part = slice(first, first + batch.num_rows)
            offsets = pa.array(np.arange(batch.num_rows + 1, dtype=np.int32) * k)
            numbers = np.searchsorted(pool_rows, sentences[part].reshape(-1)).astype(np.int32)
            writer.write(
                image_ids[part].combine_chunks(),
                pa.ListArray.from_arrays(offsets, pa.array(numbers)),
                pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(scores[part]).reshape(-1))),
                batch.column("link_phrase"),
                batch.column("link_similarity"),
            )
            first += batch.num_rows


def _digest(regions: str, *files: Path) -> str:
    """Names a build by its content, so that building the same twice gives the same files."""
    digest = hashlib.blake2b(regions.encode(), digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
