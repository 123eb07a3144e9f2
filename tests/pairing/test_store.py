from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmf_muvla.artifacts.arrow import MappedTable
from mmf_muvla.artifacts.files import read_record, write_record
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.store import PAIRS_SCHEMA, SENTENCES_SCHEMA, Corpus


def digest(corpus: Corpus) -> list[Any]:
    items = [corpus[index] for index in range(len(corpus))]
    return [
        (
            item.regions.image_id,
            item.tags,
            item.sentence_ids.tolist(),
            item.scores.tolist(),
            item.link_phrase.tolist(),
            item.link_similarity.tolist(),
            item.regions.image_feature_0.tolist(),
            [corpus.sentence(number).text for number in item.sentence_ids],
        )
        for item in items
    ]


def read_in_process(corpus: Corpus, results: Any) -> None:
    results.put(digest(corpus))


def test_region_counts_without_reading_regions(built_corpus: Path) -> None:
    corpus = Corpus(built_corpus)
    assert corpus.region_counts.tolist() == [len(corpus[index].regions) for index in range(len(corpus))]


def test_files_are_as_documented(built_corpus: Path) -> None:
    meta = json.loads((built_corpus / "corpus.json").read_text())
    assert (meta["format"], meta["version"], meta["k"], meta["feature_dim"]) == ("muvla-corpus", 2, 3, 8)
    assert meta["object_names"] == sorted(meta["object_names"])
    assert meta["counts"]["images"] == 60
    for name, schema in (("sentences.arrow", SENTENCES_SCHEMA), ("pairs.arrow", PAIRS_SCHEMA)):
        assert pa.ipc.open_file(str(built_corpus / name)).schema.equals(schema, check_metadata=False)


def test_items(built_corpus: Path, world: Any) -> None:
    corpus = Corpus(built_corpus)
    assert (len(corpus), corpus.k, corpus.feature_dim) == (60, 3, 8)
    assert corpus.image_ids == [image.image_id for image in world.images]
    pairs = {
        name: [row for block in MappedTable(built_corpus / "pairs.arrow").blocks(name) for row in block]
        for name in PAIRS_SCHEMA.names
    }
    for index, image in enumerate(world.images):
        item = corpus[index]
        n = len(image.names)
        assert item.regions.image_id == image.image_id
        expected_tags = [
            f"{attributes[0]} {name}" if attributes else name
            for name, attributes in zip(image.names, image.attributes, strict=True)
        ]
        assert item.tags == expected_tags
        assert (item.sentence_ids.dtype, item.sentence_ids.shape) == (np.int64, (3,))
        assert (item.scores.dtype, item.scores.shape) == (np.float32, (3,))
        assert (item.link_phrase.dtype, item.link_phrase.shape) == (np.int16, (3, n))
        assert (item.link_similarity.dtype, item.link_similarity.shape) == (np.float32, (3, n))
        assert item.sentence_ids.tolist() == pairs["sentence"][index]
        assert item.scores.tolist() == pairs["score"][index]
        assert item.link_phrase.reshape(-1).tolist() == pairs["link_phrase"][index]
        assert item.link_similarity.reshape(-1).tolist() == pairs["link_similarity"][index]
        assert (np.diff(item.scores) <= 0).all()
        assert ((item.link_phrase >= 0) == (item.link_similarity > 0)).all()
        for place, number in enumerate(item.sentence_ids):
            assert item.link_phrase[place].max() < len(corpus.sentence(number).phrases)
    # What is read may be written to.
    corpus[0].sentence_ids[:] = 0
    assert corpus[0].sentence_ids.tolist() == pairs["sentence"][0]


def test_sentences(built_corpus: Path, world: Any) -> None:
    corpus = Corpus(built_corpus)
    table = MappedTable(built_corpus / "sentences.arrow")
    sources = [row for block in table.blocks("source") for row in block]
    assert corpus.num_sentences == len(sources) == corpus.counts["sentences_used"]
    for number, source in enumerate(sources):
        sentence = corpus.sentence(number)
        assert sentence.text == world.sentences[source - 1]
        assert (sentence.phrases.dtype, sentence.phrases.shape[1]) == (np.int32, 2)
        phrases = [sentence.text[start:end] for start, end in sentence.phrases]
        assert phrases[0].startswith("red ")
    used = {int(number) for index in range(len(corpus)) for number in corpus[index].sentence_ids}
    assert used == set(range(corpus.num_sentences))


def test_numbers_that_are_not_there(built_corpus: Path) -> None:
    corpus = Corpus(built_corpus)
    for index in (-1, 60):
        with pytest.raises(IndexError):
            corpus[index]
    with pytest.raises(IndexError):
        corpus.sentence(corpus.num_sentences)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it(method: str, built_corpus: Path) -> None:
    corpus = Corpus(built_corpus)
    here = digest(corpus)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    process = context.Process(target=read_in_process, args=(corpus, results))
    process.start()
    assert results.get(timeout=60) == here
    process.join()
    assert digest(pickle.loads(pickle.dumps(corpus))) == here


def test_reading_needs_no_torch(built_corpus: Path, offline_environment: dict[str, str]) -> None:
    program = (
        "import sys; from mmf_muvla.pairing.store import Corpus; Corpus(sys.argv[1])[0]; print('torch' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(built_corpus)], env=offline_environment, capture_output=True, text=True
    )
    assert output.stdout == "False\n", output.stderr


def test_what_is_no_whole_corpus(built_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a whole corpus \(it has no corpus.json\)"):
        Corpus(tmp_path)

    def damaged(name: str) -> Path:
        return shutil.copytree(built_corpus, tmp_path / name, ignore=shutil.ignore_patterns("build"))

    copy = damaged("no pairs")
    (copy / "pairs.arrow").unlink()
    with pytest.raises(InputError, match=r"pairs.arrow: cannot be read as an Arrow file"):
        Corpus(copy)
    copy = damaged("torn")
    content = (copy / "sentences.arrow").read_bytes()
    (copy / "sentences.arrow").write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"sentences.arrow: cannot be read as an Arrow file"):
        Corpus(copy)
    copy = damaged("no regions")
    shutil.rmtree(copy / "regions")
    with pytest.raises(InputError, match="is not a region store"):
        Corpus(copy)
    copy = damaged("other build")
    meta = read_record(copy / "corpus.json")
    assert meta is not None
    write_record(copy / "corpus.json", {**meta, "build": "another"})
    with pytest.raises(InputError, match=r"pairs.arrow: is of another build"):
        Corpus(copy)
    write_record(copy / "corpus.json", {**meta, "regions_content": "other"})
    with pytest.raises(InputError, match=r"regions: is of another build"):
        Corpus(copy)
    write_record(copy / "corpus.json", {**meta, "version": 1})
    with pytest.raises(InputError, match="is not a corpus of this version"):
        Corpus(copy)
    (copy / "corpus.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        Corpus(copy)
