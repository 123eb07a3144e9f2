"""A small BERT, trained on texts alone: masked tokens and next sentences (Devlin et al., 2019, sections 3.1 and A.2).

For a small corpus it is what ``bert-base-uncased`` is for a large one: language, a pooler, and both heads, learned
before any image is seen.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from mmf_muvla.options.kinds import Count, CountOrNone, Name, Number, Options, Paths, Seed, as_list
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.embed import devices_of
from mmf_muvla.terminal import log_message, start_logging

EVALUATION = "evaluation.json"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_HELD_OUT = 20  # every twentieth story
_POOL = 16  # batches whose pairs are drawn together, and sorted by length: less padding
_IGNORED = -100  # the label of what is not predicted


@dataclass
class SmallBertOptions(Options):
    """The options of the command.

    Attributes:
        texts: files of stories: a sentence a line, an empty line after each story.
        words: files of further words that the vocabulary has whole; null: those of the texts alone.
        out: folder to write, in the format of Hugging Face; one that this command has made is replaced.
        vocab_size: words, characters and special tokens, at most.
        hidden_size, num_hidden_layers, num_attention_heads: the shape; the inner layers are four times as wide.
        max_tokens: word pieces of a pair of sentences, at most, [CLS] and both [SEP] included.
        updates, batch_size, lr: of the training. The rate rises for a twentieth of it, and falls to zero in its last
            three tenths.
        masked_token_weight: of their loss, where that of next sentences has 1. BERT's own 1 drowns the small gradient
            from which small models in short runs find out which sentences belong together.
        device: auto takes a GPU if there is one.
        seed: of weights, pairs and masks.
    """

    texts: Paths = "data/toyworld/stories.txt"
    words: Paths | None = "data/toyworld/words.txt"
    out: Name = "data/corpus/toyworld_bert"
    vocab_size: Annotated[Count, Field(ge=200)] = 4000
    hidden_size: Count = 128
    num_hidden_layers: Count = 2
    num_attention_heads: Count = 4
    max_tokens: Annotated[Count, Field(ge=8, le=512)] = 128
    updates: CountOrNone = 3000
    batch_size: Count = 64
    lr: Annotated[Number, Field(gt=0)] = 1e-3
    masked_token_weight: Annotated[Number, Field(ge=0)] = 0.1
    device: Name = "auto"
    seed: Seed = 0


class Evaluation(NamedTuple):
    """How well held-out stories are told: nats a masked token, and shares of both questions answered right."""

    masked_token_loss: float
    masked_token_accuracy: float
    next_sentence_accuracy: float

    def __str__(self) -> str:
        return (
            f"of held-out stories {self.masked_token_accuracy:.1%} of the masked tokens are right "
            f"({self.masked_token_loss:.2f} nats), of the next sentences {self.next_sentence_accuracy:.1%}"
        )


def small_bert_command(arguments: Sequence[str]) -> None:
    """``[key=value …]``, see :class:`SmallBertOptions`: train a small BERT, and say how good it is.

    Raises:
        InputError: an option or a file cannot be used.
    """
    start_logging()
    options = read_options(SmallBertOptions, arguments)
    made = make_small_bert(options)
    print(f"{options.out}: {options.num_hidden_layers} layers of {options.hidden_size}; {made}")


def make_small_bert(options: SmallBertOptions) -> Evaluation:
    """Train a BERT with its pooler and both heads, and write it, with ``evaluation.json`` beside it.

    Returns:
        How good it is on the twentieth of the stories that it is not trained on.

    Raises:
        InputError: ``out`` is something else already, or what is read; a file is not there, or has too few stories; the
            shape or the device cannot be.
    """
    from transformers import BertConfig, BertForPreTraining

    if options.hidden_size % options.num_attention_heads:
        problem = f"does not divide hidden_size={options.hidden_size}"
        raise InputError(f"num_attention_heads={options.num_attention_heads}", problem, "Choose a divisor")
    texts, words = _files("texts", options.texts), _files("words", options.words or [])
    out = output_folder("out", options.out, [*texts, *words])
    refuse_foreign(out, foreign_in_marked)
    stories = [story for file in texts for story in read_stories(file)]
    if len(stories) < 2 * _HELD_OUT:
        problem = f"{len(stories)} stories of two sentences or more are too few"
        remedy = f"Give at least {2 * _HELD_OUT}, with an empty line between them"
        raise InputError(f"texts={options.texts}", problem, remedy)
    tokenizer = make_tokenizer([it for story in stories for it in story], _lines(words), options.vocab_size)
    log_message(f"{len(stories):,} stories, a vocabulary of {len(tokenizer):,}")
    torch.manual_seed(options.seed)
    model: Any = BertForPreTraining(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.hidden_size,
            num_hidden_layers=options.num_hidden_layers,
            num_attention_heads=options.num_attention_heads,
            intermediate_size=4 * options.hidden_size,
            max_position_embeddings=options.max_tokens,
            # BERT's 0.02 is for states of 768 numbers; with fewer, hardly anything would reach the next layer
            initializer_range=0.8 / options.hidden_size**0.5,
            # every pair is seen a few times only
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    model.to(devices_of(options.device, "device")[0])
    held_out = stories[::_HELD_OUT]
    train(model, [story for number, story in enumerate(stories) if number % _HELD_OUT], tokenizer, options)
    evaluation = evaluate(model, held_out, tokenizer, options)
    tokenizer.backend_tokenizer.no_truncation()  # else others would cut their texts as pairs are cut here
    with publish_folder(out, foreign_in_marked) as folder:
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        write_json(folder / EVALUATION, {"held_out_stories": len(held_out), **evaluation._asdict()})
        mark_folder(folder)
    return evaluation


def read_stories(file: Path) -> Iterator[list[str]]:
    """The stories of a file that have two sentences or more."""
    story: list[str] = []
    for line in [*_lines([file]), ""]:
        if line:
            story.append(line)
            continue
        if len(story) > 1:
            yield story
        story = []


def _lines(files: Sequence[Path]) -> list[str]:
    return [line.strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _files(option: str, names: Any) -> list[Path]:
    files = [Path(name) for name in as_list(names if isinstance(names, list) else [names])] if names else []
    for file in files:
        if not file.is_file():
            raise InputError(f"{option}={file}", "no such file", "Give a text file, or [several,of them]")
    return files


def make_tokenizer(texts: Iterable[str], words: Iterable[str], vocab_size: int) -> Any:
    """BERT's tokenizer with the words of these texts, in lower case; other words are spelled.

    Word pieces as ``tokenizers`` learns them differ from run to run, and a small corpus has few words.

    Args:
        texts: what words are counted in; the most frequent are kept.
        words: further words, which are kept before them.
        vocab_size: words, characters and special tokens, at most.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import BertTokenizer

    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()

    def count(texts: Iterable[str]) -> list[str]:
        split = (splitter.pre_tokenize_str(normalizer.normalize_str(text)) for text in texts)
        counts = Counter(word for parts in split for word, _ in parts)
        return sorted(counts, key=lambda word: (-counts[word], word))

    kept = [*count(words), *count(texts)]
    characters = sorted({*string.digits, *string.ascii_lowercase, *string.punctuation, *"".join(kept)})
    pieces = [*_SPECIAL, *characters, *(f"##{it}" for it in characters if it.isalnum()), *kept]
    vocabulary = {piece: number for number, piece in enumerate(list(dict.fromkeys(pieces))[:vocab_size])}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True)


class Pairs:
    """Pairs of sentences: half of them follow each other in a story, the second of the others is of another story."""

    def __init__(self, stories: Sequence[Sequence[str]], tokenizer: Any, options: SmallBertOptions, seed: int):
        from transformers import DataCollatorForLanguageModeling

        self._stories, self._tokenizer, self._options = stories, tokenizer, options
        self._following = [(number, *pair) for number, story in enumerate(stories) for pair in pairwise(story)]
        self._rng = random.Random(seed)
        self._mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=seed)
        self._device = devices_of(options.device, "device")[0]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Batches without end: ``input_ids``, ``token_type_ids``, ``attention_mask``, ``labels`` int [B, T],
        ``next_sentence_label`` int [B]; the last as in BERT: 0, it is the next one; 1, it is another."""
        size = self._options.batch_size
        while True:
            pool = sorted((self._draw() for _ in range(_POOL * size)), key=lambda it: len(it[0]) + len(it[1]))
            for start in self._rng.sample(range(0, len(pool), size), _POOL):
                yield self._batch(pool[start : start + size])

    def _draw(self) -> tuple[str, str, int]:
        number, first, second = self._rng.choice(self._following)
        if self._rng.random() < 0.5:
            return first, second, 0
        other = self._rng.randrange(len(self._stories) - 1)
        return first, self._rng.choice(self._stories[other + (other >= number)]), 1

    def _batch(self, pairs: Sequence[tuple[str, str, int]]) -> dict[str, Tensor]:
        firsts, seconds, labels = zip(*pairs, strict=True)
        encoded = self._tokenizer(
            firsts, seconds, truncation=True, max_length=self._options.max_tokens, return_special_tokens_mask=True
        )
        rows = [{name: values[row] for name, values in encoded.items()} for row in range(len(pairs))]
        batch = {**self._mask(rows), "next_sentence_label": torch.tensor(labels)}
        return {name: it.to(self._device) for name, it in batch.items()}


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


def train(model: Any, stories: Sequence[Sequence[str]], tokenizer: Any, options: SmallBertOptions) -> None:
    """Learn both tasks together, with Adam."""
    from transformers import get_wsd_schedule

    batches = iter(Pairs(stories, tokenizer, options, options.seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, betas=(0.9, 0.99), fused=True)
    rise, fall = (max(1, int(share * options.updates)) for share in (0.05, 0.3))
    schedule = get_wsd_schedule(optimizer, rise, fall, num_training_steps=options.updates, decay_type="linear")
    model.train()
    with progress_bar(options.updates, "small BERT", "update") as bar:
        for _ in range(options.updates):
            told = tell(model, next(batches))
            losses = F.cross_entropy(told.words, told.masked), F.cross_entropy(told.following, told.labels)
            (options.masked_token_weight * losses[0] + losses[1]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            bar.set_postfix_str("masked tokens {:.2f}, next sentences {:.3f}".format(*losses), refresh=False)
            bar.update()


@torch.no_grad()
def evaluate(
    model: Any, stories: Sequence[Sequence[str]], tokenizer: Any, options: SmallBertOptions, batches: int = 32
) -> Evaluation:
    """How well the model tells masked tokens and next sentences of these stories."""
    model.eval()
    losses, right, next_right = [], [], []
    for batch in islice(Pairs(stories, tokenizer, options, options.seed + 1), batches):
        told = tell(model, batch)
        losses.append(F.cross_entropy(told.words, told.masked, reduction="none"))
        right.append(told.words.argmax(-1) == told.masked)
        next_right.append(told.following.argmax(-1) == told.labels)
    return Evaluation(*(torch.cat(it).float().mean().item() for it in (losses, right, next_right)))
