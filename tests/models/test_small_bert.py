"""A small BERT learns both of BERT's tasks from stories, and is a checkpoint as any other."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertForPreTraining

from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import load_bert, read_checkpoint
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.small_bert import (
    Batches,
    SmallBertOptions,
    Told,
    losses_of,
    make_small_bert,
    make_tokenizer,
    read_stories,
    small_bert_command,
    tell,
)
from mmf_muvla.models.trunk import TrunkConfig
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pretrained import resolve_pretrained
from tests.datasets.small_tasks import MINILM

ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "pig")


def write_stories(path: Path) -> Path:
    """Sixty stories, of one animal each."""
    rng = random.Random(0)
    stories = ([f"A {name}.", f"the {name} {rng.choice(('sleeps', 'eats'))}", f"one {name}"] for name in ANIMALS * 10)
    path.write_text("\n\n".join("\n".join(story) for story in stories) + "\n")
    return path


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> SmallBertOptions:
    folder = tmp_path_factory.mktemp("bert")
    (folder / "lines.txt").write_text("a giraffe\nwhat\n" * 20)
    return SmallBertOptions(
        texts=[str(write_stories(folder / "stories.txt")), str(folder / "lines.txt")], out=str(folder / "small"),
        device="cpu", hidden_size=16, num_attention_heads=2, num_hidden_layers=1, max_tokens=16,
        next_sentence_updates=2, updates=2, batch_size=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def small(options: SmallBertOptions) -> Path:
    make_small_bert(options)
    return Path(options.out)


def test_it_is_a_checkpoint_with_a_pooler_and_both_heads(small: Path) -> None:
    model = BertForPreTraining.from_pretrained(small)
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.intermediate_size) == (16, 1, 64)
    encoder = Encoder(TrunkConfig.from_checkpoint(str(small)), feature_dim=8)
    heads = PretrainingHeads(encoder, 8, 3, None, itm_pooling="bert", share_vocabulary_head=True)
    both = torch.nn.ModuleDict({"encoder": encoder, "heads": heads})
    report = load_bert(both, str(small))
    assert not report.unused
    assert torch.equal(heads.get_parameter("itm.seq_relationship.weight"), model.cls.seq_relationship.weight)


def test_to_begin_with_a_word_looks_much_the_same_wherever_it_is(options: SmallBertOptions, tmp_path: Path) -> None:
    untrained = {"next_sentence_updates": 0, "updates": 0, "hidden_size": 128}
    make_small_bert(replace(options, out=str(tmp_path / "bert"), **untrained))
    embeddings = BertForPreTraining.from_pretrained(tmp_path / "bert").bert.embeddings
    for part, std in (("word", 0.1), ("position", 0.01), ("token_type", 0.01)):
        assert embeddings.get_parameter(f"{part}_embeddings.weight").std().item() == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize("vocab_size", [4000, 300])
def test_words_of_a_larger_bert_are_known_to_begin_with(
    vocab_size: int, options: SmallBertOptions, tmp_path: Path
) -> None:
    (tmp_path / "rare.txt").write_text("a puppy\n" * 30 + "a sofa on a skateboard\n" * 20 + "a kitten, a couch\n" * 20)
    asked = replace(
        options, texts=[*options.texts, str(tmp_path / "rare.txt")], out=str(tmp_path / "out"), words=MINILM,
        vocab_size=vocab_size, next_sentence_updates=0, updates=0,
    )  # fmt: skip
    make_small_bert(asked)
    tokenizer = AutoTokenizer.from_pretrained(asked.out)
    large = AutoTokenizer.from_pretrained(resolve_pretrained(MINILM))
    assert len(tokenizer) <= vocab_size and set(tokenizer.get_vocab()) < set(large.get_vocab())
    sentence = "A puppy, a kitten and qxz on a couch."  # words of the texts, a word of none, and one that is spelled
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(sentence)["input_ids"])
    assert tokens[1:5] == ["a", "puppy", ",", "a"] and "[UNK]" not in tokens
    assert tokens[tokens.index("q") :][:3] == ["q", "##x", "##z"]
    weights = BertForPreTraining.from_pretrained(asked.out).bert.embeddings.word_embeddings.weight.detach()
    assert weights.std().item() == pytest.approx(asked.initializer_range, rel=0.01)
    # what is near in the large model is near in the small one
    theirs = read_checkpoint(MINILM)["embeddings.word_embeddings.weight"]
    words = ["dog", "puppy", "cat", "kitten", "sofa", "couch", "skateboard"]
    near = [_nearest(weights, tokenizer, words), _nearest(theirs, large, words)]
    if vocab_size == 4000:
        assert near[0]["sofa"] == near[1]["sofa"] == "couch" and near[0]["kitten"] in ("cat", "puppy")


def _nearest(weights: torch.Tensor, tokenizer: Any, words: list[str]) -> dict[str, str]:
    """To each word the one with the most similar embedding, around the mean of all."""
    rows = torch.nn.functional.normalize(weights - weights.mean(dim=0))[tokenizer.convert_tokens_to_ids(words)]
    similar = (rows @ rows.T).fill_diagonal_(-1)
    return dict(zip(words, (words[row] for row in similar.argmax(dim=1).tolist()), strict=True))


def test_words_of_what_is_no_larger_bert_are_refused(options: SmallBertOptions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"words=.*has word embeddings of .* for hidden_size=512"):
        make_small_bert(replace(options, out=str(tmp_path / "out"), hidden_size=512, words=MINILM))
    assert not (tmp_path / "out").exists()


def test_it_says_how_good_it_is(small: Path) -> None:
    stories, lines = json.loads((small / "evaluation.json").read_text())
    assert (stories["text"], stories["held_out"]) == ("stories.txt", 3), "every twentieth of sixty"
    assert (lines["text"], lines["held_out"]) == ("lines.txt", 2), "every twentieth of forty"
    assert 0 <= stories["next_sentence_accuracy"] <= 1 and lines["next_sentence_accuracy"] is None
    for told in (stories, lines):
        assert 0 <= told["masked_token_accuracy"] <= 1 and 0 < told["masked_token_loss"] < 10


def test_words_of_all_texts_are_whole_and_others_are_spelled(small: Path) -> None:
    tokenizer, words = AutoTokenizer.from_pretrained(str(small)), WordPieces(str(small))
    for text, pieces in {
        "A dog SLEEPS.": ["a", "dog", "sleeps", "."],
        "what giraffe": ["what", "giraffe"],
        "up": ["u", "##p"],
    }.items():
        assert tokenizer.tokenize(text) == pieces
        assert tokenizer.convert_ids_to_tokens(words(text, 60)[0].tolist()) == pieces


def test_text_that_looks_like_a_special_token_is_text(small: Path) -> None:
    words = WordPieces(str(small))
    special = set(words.vocabulary.__dict__[name] for name in ("cls_id", "sep_id", "mask_id", "pad_id"))
    assert special.isdisjoint(words("a sign says [MASK] and [SEP]", 64)[0].tolist())


def test_a_seed_gives_the_same_files_and_another_one_others(
    small: Path, options: SmallBertOptions, tmp_path: Path
) -> None:
    names = ("model.safetensors", "tokenizer.json", "config.json", "evaluation.json")
    for seed, same in ((0, True), (1, False)):
        out = tmp_path / str(seed)
        make_small_bert(replace(options, out=str(out), seed=seed))
        assert [(out / name).read_bytes() == (small / name).read_bytes() for name in names[:2]] == [same, True]


def test_half_are_pairs_and_half_of_these_follow_each_other_and_no_other_pair_is_of_one_story(
    options: SmallBertOptions,
) -> None:
    stories = [[f"a{number} b{number}", f"c{number} d{number}", f"e{number}"] for number in range(40)]
    lone = ["lone f", "lone g"]
    tokenizer = make_tokenizer([it for story in [*stories, lone] for it in story], 4000)
    batches = Batches([*stories, *([it] for it in lone)], tokenizer, options, seed=0)
    counts = {0: 0, 1: 0, -100: 0}
    masked = ordinary = 0
    for batch in islice(batches, 120):
        shown = torch.where(batch["labels"] >= 0, batch["labels"], batch["input_ids"])
        masked += int((batch["labels"] >= 0).sum())
        ordinary += int((shown >= 5).sum())
        labels = batch["next_sentence_label"].tolist()
        for ids, types, label in zip(shown, batch["token_type_ids"], labels, strict=True):
            first = tokenizer.decode(ids[types == 0], skip_special_tokens=True).split()
            second = tokenizer.decode(ids[types == 1], skip_special_tokens=True).split()
            counts[label] += 1
            if label == -100:
                assert " ".join(first) in lone and not second
                continue
            numbers = {word[1:] for word in first}, {word[1:] for word in second}
            assert (numbers[0] == numbers[1]) == (label == 0)
            if label == 0:
                assert (first[0][0], second[0][0]) in {("a", "c"), ("c", "e")}
    assert sum(counts.values()) == 960
    assert 430 < counts[-100] < 530 and 200 < counts[0] < 280
    assert 0.12 < masked / ordinary < 0.18


def test_without_stories_all_are_lone_and_without_lone_sentences_all_are_pairs(options: SmallBertOptions) -> None:
    tokenizer = make_tokenizer(["a b", "c d"], 4000)
    for stories, lone in (([["a b"], ["c d"]], True), ([["a b", "c d"]] * 2, False)):
        (batch,) = islice(Batches(stories, tokenizer, options, seed=0), 1)
        assert ((batch["next_sentence_label"] == -100) == lone).all()


def test_nothing_is_masked_where_next_sentences_are_learned_alone(options: SmallBertOptions) -> None:
    tokenizer = make_tokenizer(["a b", "c d"], 4000)
    for batch in islice(Batches([["a b", "c d"]] * 2, tokenizer, options, seed=0, masked=0.0), 4):
        assert (batch["labels"] == -100).all()
        assert tokenizer.mask_token_id not in batch["input_ids"]


def test_lines_stand_alone_unless_empty_lines_end_stories(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("one\n two \n")
    assert read_stories(file) == [["one"], ["two"]]
    file.write_text("\none\ntwo\n\n\n \nthree\n\n")
    assert read_stories(file) == [["one", "two"], ["three"]]


def test_losses_are_means_over_what_is_asked() -> None:
    zero = torch.zeros
    told = Told(zero(0, 7), zero(0, dtype=torch.long), zero(3, 2), torch.tensor([1, -100, 0]))
    masked, following = losses_of(told)
    assert masked == 0
    torch.testing.assert_close(following, torch.tensor(2.0).log())


def test_what_it_tells_is_what_transformers_tells(small: Path, options: SmallBertOptions) -> None:
    model = BertForPreTraining.from_pretrained(small).eval()
    stories = [story for file in options.texts for story in read_stories(Path(file))]
    batch = next(iter(Batches(stories, AutoTokenizer.from_pretrained(str(small)), options, seed=0)))
    with torch.no_grad():
        told, theirs = tell(model, batch), model(**batch)
    assert len(told.words) == int((batch["labels"] >= 0).sum())
    torch.testing.assert_close(told.words, theirs.prediction_logits[batch["labels"] >= 0])
    torch.testing.assert_close(told.following, theirs.seq_relationship_logits)


def test_both_tasks_are_learned(options: SmallBertOptions, tmp_path: Path) -> None:
    shape = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    stages = {"next_sentence_updates": 60, "updates": 120}
    stories, lines = make_small_bert(
        replace(options, out=str(tmp_path / "bert"), batch_size=32, lr=3e-3, **shape, **stages)
    )
    assert stories.next_sentence_accuracy is not None and stories.next_sentence_accuracy > 0.7
    assert stories.masked_token_loss < 2
    assert lines.masked_token_loss < 1.5


def test_what_cannot_be_used_is_refused(options: SmallBertOptions, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("one\ntwo\n\nthree\n")
    out = str(tmp_path / "out")
    for change, message in (
        ({"num_attention_heads": 3}, "does not divide hidden_size=16"),
        ({"texts": str(few)}, "1 stories of two sentences or more are too few"),
        ({"device": "nowhere"}, "device=nowhere: this device cannot be used"),
    ):
        with pytest.raises(InputError, match=message):
            make_small_bert(replace(options, out=out, **change))
    with pytest.raises(InputError, match="no such file"):
        small_bert_command([f"texts={tmp_path / 'none.txt'}", f"out={out}"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is none that this command has made"):
        make_small_bert(replace(options, out=str(tmp_path / "mine")))
    assert not (tmp_path / "out").exists()


def test_only_what_it_has_made_is_replaced(small: Path, options: SmallBertOptions, tmp_path: Path) -> None:
    out = tmp_path / "small"
    shutil.copytree(small, out)
    again = replace(options, out=str(out), next_sentence_updates=0, updates=0)
    make_small_bert(again)
    assert (out / "model.safetensors").read_bytes() != (small / "model.safetensors").read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o666 & ~_umask()}
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="notes.txt was not made with it"):
        make_small_bert(again)
    (out / "notes.txt").unlink()
    (out / "config.json").write_text("mine")
    with pytest.raises(InputError, match=r"config.json .* has been changed since"):
        make_small_bert(again)
    assert (out / "config.json").read_text() == "mine"


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
