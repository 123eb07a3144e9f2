"""A small BERT, trained on texts alone: masked tokens and next sentences (Devlin et al., 2019, sections 3.1 and A.2).

For a small corpus it is what ``bert-base-uncased`` is for a large one: language, a pooler, and both heads, learned
before any image is seen.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mmf_muvla.artifacts.files import publish_folder, refuse_foreign, write_json
from mmf_muvla.artifacts.outputs import foreign_in_marked, mark_folder, output_folder
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.errors import InputError
from mmf_muvla.models.borrowed_words import borrow_words
from mmf_muvla.options.kinds import Count, CountOrNone, Name, Number, Options, Paths, Seed, as_list
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.embed import devices_of
from mmf_muvla.terminal import log_message, start_logging

EVALUATION = "evaluation.json"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_HELD_OUT = 20  # every twentieth story
_POOL = 16  # batches whose pairs are drawn together, and sorted by length: less padding
_IGNORED = -100  # the label of what is not predicted
_PLACE_SCALE = 0.1  # how large position and segment embeddings are to begin with, beside those of words


def world_texts(world: str | Path) -> list[str]:
    """All kinds of text of a generated world."""
    return [f"{world}/{name}.txt" for name in ("stories", "captions", "books", "words")]


@dataclass
class SmallBertOptions(Options):
    """The options of the command.

    Attributes:
        texts: files with a sentence a line. In a file with empty lines these end stories, whose sentences follow each
            other; in any other file every sentence stands alone, and only its masked tokens are learned.
        out: folder to write, in the format of Hugging Face; one that this command has made is replaced.
        vocab_size: words, characters and special tokens, at most.
        words: a BERT whose word pieces and word embeddings are begun with, the latter in their ``hidden_size``
            principal components; otherwise the vocabulary is that of the texts, and embeddings start at random. Where
            texts are few, the small model then knows more of rare words than they say.
        hidden_size, num_hidden_layers, num_attention_heads: the shape; the inner layers are four times as wide.
        initializer_range: standard deviation of the weights that training starts from; BERT's 0.02 is for states of 768
            numbers. Position and segment embeddings start at a tenth of it.
        max_tokens: word pieces of a pair of sentences, at most, [CLS] and both [SEP] included.
        next_sentence_updates: updates on next sentences alone, which come first: the gradient of masked tokens is so
            large that beside it small models in short runs hardly find out which sentences belong together.
        updates: those on both tasks, afterwards, on as many pairs of stories as lone sentences.
        batch_size, lr: of both stages. The rate rises for a twentieth of a stage, and falls to zero in its last three
            tenths.
        device: auto takes a GPU if there is one.
        seed: of weights, pairs and masks.
    """

    texts: Paths = field(default_factory=lambda: world_texts("data/toyworld"))
    out: Name = "data/corpus/toyworld_bert"
    vocab_size: Annotated[Count, Field(ge=200)] = 4000
    words: Name | None = None
    hidden_size: Count = 128
    num_hidden_layers: Count = 2
    num_attention_heads: Count = 4
    initializer_range: Annotated[Number, Field(gt=0)] = 0.1
    max_tokens: Annotated[Count, Field(ge=8, le=512)] = 128
    next_sentence_updates: CountOrNone = 400
    updates: CountOrNone = 2400
    batch_size: Count = 64
    lr: Annotated[Number, Field(gt=0)] = 1e-3
    device: Name = "auto"
    seed: Seed = 0


class Text(NamedTuple):
    """The stories of a file, which have one sentence or more each."""

    name: str
    stories: list[list[str]]


class Evaluation(NamedTuple):
    """How well what was held out of a text is told: nats a masked token, and shares of what is right.

    The last is None for a text of lone sentences.
    """

    text: str
    held_out: int
    masked_token_loss: float
    masked_token_accuracy: float
    next_sentence_accuracy: float | None

    def __str__(self) -> str:
        following = self.next_sentence_accuracy
        told = "" if following is None else f"next sentences {following:.1%}, "
        return f"{self.text}: {told}masked tokens {self.masked_token_accuracy:.1%} ({self.masked_token_loss:.2f} nats)"


def small_bert_command(arguments: Sequence[str]) -> None:
    """``[key=value …]``, see :class:`SmallBertOptions`: train a small BERT, and say how good it is.

    Raises:
        InputError: an option or a file cannot be used.
    """
    start_logging()
    options = read_options(SmallBertOptions, arguments)
    made = make_small_bert(options)
    print(
        f"{options.out}: {options.num_hidden_layers} layers of {options.hidden_size}. Told right of what was held out:"
    )
    print(*(f"  {it}" for it in made), sep="\n")


def make_small_bert(options: SmallBertOptions) -> list[Evaluation]:
    """Train a BERT with its pooler and both heads, and write it, with ``evaluation.json`` beside it.

    Returns:
        How good it is on the twentieth of each text that it is not trained on.

    Raises:
        InputError: ``out`` is something else already, or what is read; a file is not there; there are too few stories;
            the shape or the device cannot be.
    """
    from transformers import BertConfig, BertForPreTraining

    if options.hidden_size % options.num_attention_heads:
        problem = f"does not divide hidden_size={options.hidden_size}"
        raise InputError(f"num_attention_heads={options.num_attention_heads}", problem, "Choose a divisor")
    files = _files(options.texts)
    out = output_folder("out", options.out, files)
    refuse_foreign(out, foreign_in_marked)
    device = devices_of(options.device, "device")[0]
    texts = [Text(file.name, read_stories(file)) for file in files]
    told = sum(len(story) > 1 for text in texts for story in text.stories)
    if told < 2 * _HELD_OUT:
        problem = f"{told} stories of two sentences or more are too few"
        remedy = f"Give at least {2 * _HELD_OUT}, with an empty line between them"
        raise InputError(f"texts={options.texts}", problem, remedy)
    known: Tensor | None = None
    if options.words is None:
        tokenizer = make_tokenizer(_sentences(texts), options.vocab_size)
    else:
        sizes = options.vocab_size, options.hidden_size
        tokenizer, known = borrow_words(options.words, _sentences(texts), _SPECIAL, *sizes)
    log_message(
        f"{told:,} stories, {sum(1 for _ in _sentences(texts)):,} sentences, a vocabulary of {len(tokenizer):,}"
    )
    torch.manual_seed(options.seed)
    model: Any = BertForPreTraining(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.hidden_size,
            num_hidden_layers=options.num_hidden_layers,
            num_attention_heads=options.num_attention_heads,
            intermediate_size=4 * options.hidden_size,
            max_position_embeddings=options.max_tokens,
            initializer_range=options.initializer_range,
            # every pair is seen a few times only
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    # Else equal words at different places hardly look alike to begin with, and next sentences stay at chance: for 400
    # updates or more, instead of 80.
    for embedding in (model.bert.embeddings.position_embeddings, model.bert.embeddings.token_type_embeddings):
        torch.nn.init.normal_(embedding.weight, std=_PLACE_SCALE * options.initializer_range)
    if known is not None:
        model.bert.embeddings.word_embeddings.weight.data.copy_(known * options.initializer_range)
    model.to(device)
    learned = [story for text in texts for number, story in enumerate(text.stories) if number % _HELD_OUT]
    train(model, learned, tokenizer, options)
    evaluations = [evaluate(model, Text(it.name, it.stories[::_HELD_OUT]), tokenizer, options) for it in texts]
    tokenizer.backend_tokenizer.no_truncation()  # else others would cut their texts as pairs are cut here
    with publish_folder(out, foreign_in_marked) as folder:
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        write_json(folder / EVALUATION, [it._asdict() for it in evaluations])
        mark_folder(folder)
    return evaluations


def read_stories(file: Path) -> list[list[str]]:
    """The stories of a file; where no line is empty, every sentence is one of its own."""
    text = "\n".join(line.strip() for line in file.read_text(encoding="utf-8").splitlines()).strip("\n")
    parts = text.split("\n\n" if "\n\n" in text else "\n")
    return [part.strip("\n").split("\n") for part in parts if part.strip("\n")]


def _sentences(texts: Iterable[Text]) -> Iterator[str]:
    return (sentence for text in texts for story in text.stories for sentence in story)


def _files(names: Any) -> list[Path]:
    files = [Path(name) for name in as_list(names)]
    for file in files:
        if not file.is_file():
            raise InputError(f"texts={file}", "no such file", "Give a text file, or [several,of them]")
    return files


def make_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """BERT's tokenizer with the words of these texts, in lower case; other words are spelled.

    Word pieces as ``tokenizers`` learns them differ from run to run, and a small corpus has few words.

    Args:
        texts: what words are counted in; the most frequent are kept.
        vocab_size: words, characters and special tokens, at most.
        words: a BERT whose word pieces and word embeddings are begun with, the latter in their ``hidden_size``
            principal components; otherwise the vocabulary is that of the texts, and embeddings start at random. Where
            texts are few, the small model then knows more of rare words than they say.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import BertTokenizer

    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    split = (splitter.pre_tokenize_str(normalizer.normalize_str(text)) for text in texts)
    counts = Counter(word for parts in split for word, _ in parts)
    words = sorted(counts, key=lambda word: (-counts[word], word))
    characters = sorted({*string.digits, *string.ascii_lowercase, *string.punctuation, *"".join(words)})
    pieces = [*_SPECIAL, *characters, *(f"##{it}" for it in characters if it.isalnum()), *words]
    vocabulary = {piece: number for number, piece in enumerate(list(dict.fromkeys(pieces))[:vocab_size])}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True)


class Batches:
    """Pairs of sentences of stories, and lone sentences: half and half, where there are both.

    Half of the pairs follow each other in a story, the second sentence of the others is of another story.

    Args:
        masked: share of the tokens that are to be predicted.
    """

    def __init__(
        self, stories: Iterable[list[str]], tokenizer: Any, options: SmallBertOptions, seed: int, masked: float = 0.15
    ):
        from transformers import DataCollatorForLanguageModeling

        stories = list(stories)
        self._stories = [story for story in stories if len(story) > 1]
        self._following = [(number, *pair) for number, story in enumerate(self._stories) for pair in pairwise(story)]
        self._lone = [story[0] for story in stories if len(story) == 1]
        self._lone_share = 0.5 if self._lone and self._following else float(bool(self._lone))
        self._rng = random.Random(seed)
        self._size, self._device = options.batch_size, devices_of(options.device, "device")[0]
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.enable_truncation(options.max_tokens)
        self._mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=masked)
        # with seed=… the collator refuses to work in a process that another one has forked
        self._mask.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Batches without end: ``input_ids``, ``token_type_ids``, ``attention_mask``, ``labels`` int [B, T],
        ``next_sentence_label`` int [B]; the last as in BERT: 0, it is the next one; 1, it is another; -100 for lone
        sentences."""
        while True:
            pool = self._encode([self._draw() for _ in range(_POOL * self._size)])
            # not by characters: pairs that share their words are the shortest and the longest
            pool.sort(key=lambda row: len(row["input_ids"]))
            for start in self._rng.sample(range(0, len(pool), self._size), _POOL):
                yield self._batch(pool[start : start + self._size])

    def _draw(self) -> tuple[tuple[str, ...], int]:
        if self._rng.random() < self._lone_share:
            return (self._rng.choice(self._lone),), _IGNORED
        number, first, second = self._rng.choice(self._following)
        if self._rng.random() < 0.5:
            return (first, second), 0
        other = self._rng.randrange(len(self._stories) - 1)
        return (first, self._rng.choice(self._stories[other + (other >= number)])), 1

    def _encode(self, drawn: Sequence[tuple[tuple[str, ...], int]]) -> list[dict[str, Any]]:
        texts = [it if len(it) > 1 else it[0] for it, _ in drawn]
        return [
            {
                "input_ids": it.ids,
                "token_type_ids": it.type_ids,
                "special_tokens_mask": it.special_tokens_mask,
                "next_sentence_label": label,
            }
            for it, (_, label) in zip(self._tokenizer.encode_batch(texts), drawn, strict=True)
        ]

    def _batch(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        return {name: it.to(self._device) for name, it in self._mask(rows).items()}


class Told(NamedTuple):
    """What a model tells of a batch: float [M, vocabulary] and [B, 2], with what is right, int [M] and [B]."""

    words: Tensor
    masked: Tensor
    following: Tensor
    labels: Tensor


def tell(model: Any, batch: Mapping[str, Tensor]) -> Told:
    """As ``BertForPreTraining`` does, but for masked tokens alone: the others' logits are a quarter of an update."""
    states, pooled = model.bert(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], return_dict=False)
    masked = batch["labels"] != _IGNORED
    words, following = model.cls(states[masked], pooled)
    return Told(words, batch["labels"][masked], following, batch["next_sentence_label"])


def losses_of(told: Told) -> tuple[Tensor, Tensor]:
    """The mean losses of masked tokens and of next sentences, in nats; 0 where a batch has none."""
    return _mean_loss(told.words, told.masked), _mean_loss(told.following, told.labels)


def _mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    counted = (labels != _IGNORED).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=_IGNORED, reduction="sum") / counted


def train(model: Any, stories: Sequence[list[str]], tokenizer: Any, options: SmallBertOptions) -> None:
    """Learn next sentences, then both tasks."""
    model.train()
    told = [story for story in stories if len(story) > 1]
    first = Batches(told, tokenizer, options, options.seed, masked=0.0)
    _learn(model, first, "next sentences", options.next_sentence_updates, options.lr)
    _learn(model, Batches(stories, tokenizer, options, options.seed), "both tasks", options.updates, options.lr)


def _learn(model: Any, batches: Batches, name: str, updates: int, lr: float) -> None:
    """One stage: this many updates, with Adam."""
    from transformers import get_wsd_schedule

    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
    rise, fall = (max(1, int(share * updates)) for share in (0.05, 0.3))
    schedule = get_wsd_schedule(optimizer, rise, fall, num_training_steps=updates, decay_type="linear")
    with progress_bar(updates, f"small BERT, {name}", "update") as bar:
        for batch in islice(batches, updates):
            masked, following = losses_of(tell(model, batch))
            (masked + following).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            bar.set_postfix_str(f"masked tokens {masked:.2f}, next sentences {following:.3f}", refresh=False)
            bar.update()


@torch.no_grad()
def evaluate(model: Any, text: Text, tokenizer: Any, options: SmallBertOptions, batches: int = 32) -> Evaluation:
    """How well the model tells masked tokens and next sentences of this text."""
    model.eval()
    losses, right, next_right = [], [], []
    for batch in islice(Batches(text.stories, tokenizer, options, options.seed + 1), batches):
        told = tell(model, batch)
        losses.append(F.cross_entropy(told.words, told.masked, reduction="none"))
        right.append(told.words.argmax(-1) == told.masked)
        pairs = told.labels != _IGNORED
        next_right.append((told.following.argmax(-1) == told.labels)[pairs])
    loss, accuracy, next_accuracy = (torch.cat(it).float() for it in (losses, right, next_right))
    following = next_accuracy.mean().item() if len(next_accuracy) else None
    return Evaluation(text.name, len(text.stories), loss.mean().item(), accuracy.mean().item(), following)
