from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.arrow import MappedTable, TableWriter
from mmf_muvla.errors import InputError
from mmf_muvla.pairing import phrases
from mmf_muvla.pairing.config import PhraseOptions
from mmf_muvla.pairing.phrases import PhraseFinder, find_phrases
from mmf_muvla.sentences.importing import SENTENCES_SCHEMA


@pytest.fixture(scope="module")
def finder() -> PhraseFinder:
    return PhraseFinder(PhraseOptions())


def phrases_and_heads(finder: PhraseFinder, sentence: str) -> list[tuple[str, str]]:
    (spans,) = finder.find([sentence])
    return [(sentence[start:end], sentence[head:head_end]) for start, end, head, head_end in spans.tolist()]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        # attributes stay, determiners and possessives go
        (
            "A man in a red car looks at his two big dogs.",
            [("man", "man"), ("red car", "car"), ("two big dogs", "dogs")],
        ),
        ("All the people on the street are tired.", [("people", "people"), ("street", "street")]),
        ("The kitchen table is old.", [("kitchen table", "table")]),
        # a possessive inside a phrase stays
        ("The man's hat lies on a wooden chair.", [("man's hat", "hat"), ("wooden chair", "chair")]),
        # what has no noun is no phrase
        ("Someone saw what he did with it.", []),
    ],
)
def test_spans_of_known_sentences(finder: PhraseFinder, sentence: str, expected: list[tuple[str, str]]) -> None:
    assert phrases_and_heads(finder, sentence) == expected


def test_spans_count_characters_not_bytes(finder: PhraseFinder) -> None:
    assert ("big bed", "bed") in phrases_and_heads(finder, "In the caf\u00e9 \U0001f415, a dog sleeps near a big bed.")


def test_determiners_can_stay() -> None:
    finder = PhraseFinder(PhraseOptions(strip_determiners=False))
    assert phrases_and_heads(finder, "A man sits in his red car.") == [("A man", "man"), ("his red car", "car")]


@pytest.mark.usefixtures("quick_workers")
@pytest.mark.parametrize(("part", "num_workers"), [(4096, 1), (1, 2)])
def test_only_retrieved_sentences_are_parsed_each_once(
    part: int, num_workers: int, work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phrases, "_SENTENCES_PER_PART", part)
    with TableWriter(tmp_path / "pool.arrow", SENTENCES_SCHEMA) as writer:
        writer.write(["A dog runs.", "A cat sleeps.", "A cow eats."], [1, 2, 5])
        writer.write(["It rains.", "A red bus stops.", "A bird sings."], [6, 8, 9])
    np.save(tmp_path / "used.npy", np.array([1, 3, 4]))
    stage = work("stage", num_workers)
    counts = find_phrases(tmp_path / "pool.arrow", tmp_path / "used.npy", PhraseOptions(), stage)
    assert counts == {"sentences": 3, "phrases": 2, "sentences_without": 1}
    table = MappedTable(stage.folder / "phrases.arrow")
    rows = {name: [row for block in table.blocks(name) for row in block] for name in table.schema.names}
    assert rows == {
        "sentence": ["A cat sleeps.", "It rains.", "A red bus stops."],
        "source": [2, 6, 8],
        "pool_row": [1, 3, 4],
        "phrase_start": [[2], [], [2]],
        "phrase_end": [[5], [], [9]],
        "head_start": [[2], [], [6]],
        "head_end": [[5], [], [9]],
    }


def test_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"phrases.model=no_such_model: no spaCy model .*pip install"):
        PhraseFinder(PhraseOptions(model="no_such_model"))
    import spacy

    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(InputError, match="the model has no parser"):
        PhraseFinder(PhraseOptions(model=str(tmp_path / "blank")))


def test_sentences_that_are_too_long_are_named(finder: PhraseFinder) -> None:
    with pytest.raises(InputError, match=r"takes at most 1000000 characters, and a sentence has 1000001, 'xxxx.*' …"):
        list(finder.find(["A dog runs.", "x" * 1_000_001]))


def test_chosen_rows_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrases, "_ROWS_AT_ONCE", 2)
    with TableWriter(tmp_path / "pool.arrow", SENTENCES_SCHEMA) as pool:
        for first in (0, 4, 8):
            pool.write([f"sentence {row}" for row in range(first, first + 4)], range(first + 1, first + 5))
    for used in ([], [0], [3, 4], [1, 2, 3, 8, 10, 11], list(range(12))):
        np.save(tmp_path / "used.npy", np.array(used, np.int64))
        found = list(phrases._chosen(tmp_path / "pool.arrow", tmp_path / "used.npy"))
        assert found == [(row, f"sentence {row}", row + 1) for row in used]
