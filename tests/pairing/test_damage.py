"""Single bits are flipped in a finished corpus and in its build: nothing that training reads changes silently.

``MUVLA_FLIPS=300`` flips 300 bits instead of a few.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.artifacts.artifact import MANIFEST, read_manifest
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.commands import build_command
from mmf_muvla.pairing.store import Corpus

FLIPS = int(os.environ.get("MUVLA_FLIPS", "40"))


def what_training_reads(folder: Path) -> str:
    digest = hashlib.blake2b()
    corpus = Corpus(folder)
    digest.update(repr((corpus.k, corpus.object_names, corpus.attribute_names, corpus.counts)).encode())
    for index in range(len(corpus)):
        item = corpus[index]
        regions = item.regions
        digest.update(repr((regions.image_id, regions.width, regions.height, item.tags)).encode())
        for array in (
            *(regions.image_feature_0, regions.bbox, regions.class_id, regions.attribute_id, regions.confidence),
            *(item.sentence_ids, item.scores, item.link_phrase, item.link_similarity),
        ):
            digest.update(array.tobytes())
    for number in range(corpus.num_sentences):
        sentence = corpus.sentence(number)
        digest.update(sentence.text.encode() + sentence.phrases.tobytes())
    return digest.hexdigest()


@pytest.fixture
def copy(built_corpus: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built_corpus, tmp_path / "copy")


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    whole = path.read_bytes()
    content = bytearray(whole)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    yield
    path.write_bytes(whole)


def choose_bits(folder: Path, seed: int) -> list[tuple[Path, int]]:
    """Bits of all files, so that small files are hit as well: a file is drawn first, then a bit of it."""
    choose = random.Random(seed)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in files if path.stat().st_size]
    return [(path, choose.randrange(path.stat().st_size * 8)) for path in choose.choices(files, k=FLIPS)]


def test_no_flipped_bit_changes_silently_what_training_reads(copy: Path) -> None:
    whole = what_training_reads(copy)
    silent = []
    errors = 0
    store = copy / "regions"
    bits = choose_bits(copy, 0) + choose_bits(store, 0)[: max(FLIPS // 4, 1)]
    assert {path.suffix for path, _ in bits if path.parent == store} == {".arrow", ".json", ".safetensors"}
    for path, bit in bits:
        with flipped(path, bit):
            try:
                if what_training_reads(copy) != whole:
                    silent.append((path, bit))
            except InputError as error:
                errors += 1
                assert str(copy) in str(error)
                assert path.name in str(error)
    assert silent == []
    assert errors > FLIPS / 20


def test_every_flipped_bit_in_a_build_is_found(copy: Path, world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*world.arguments(copy), "status", "check=true"]
    build_command(command)
    assert "as they were written" in capsys.readouterr().out
    for path, bit in choose_bits(copy, 1)[: max(FLIPS // 4, 1)]:
        before = read_manifest(path.parent) if path.name == MANIFEST else None
        with flipped(path, bit):
            now = read_manifest(path.parent) if before else None
            if now is not None and {key: now.get(key) for key in before or ()} == before:
                continue  # the name of the manifest's own checksum was hit, or a blank; all else is as it was
            try:
                build_command(command)
            except InputError as error:
                assert path.name in str(error)
            else:
                # Of a stage whose manifest is damaged, it is said that it has to be done again.
                assert path.name == MANIFEST and "to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["embed/embeddings-000000.npy", "sentences/sentences.arrow", "phrases/phrases.arrow", "retrieve/score.npy"]
)
def test_a_build_does_not_go_on_from_damage(name: str, copy: Path, built_corpus: Path, world: Any) -> None:
    file = copy / "build" / name
    whole = file.read_bytes()
    arguments = [*world.arguments(copy), "link.threshold=0.7" if "phrases" in name else "query.separator=', '"]
    if "score" in name:
        arguments = [*world.arguments(copy), "phrases.strip_determiners=false"]
    with flipped(file, len(whole) * 8 - 300), pytest.raises(InputError, match=f"{file.name}: is damaged"):
        build_command(arguments)
    file.unlink()
    build_command(world.arguments(copy))
    assert file.read_bytes() == whole
    for table in ("pairs.arrow", "sentences.arrow"):
        assert (copy / table).read_bytes() == (built_corpus / table).read_bytes()
