"""Stage *embed*: sentences become unit vectors by Sentence-BERT."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmf_muvla.artifacts.arrow import MappedTable, read_batches
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import chunks, once, part_size, publish_part, run_parts
from mmf_muvla.artifacts.workers import worker_number
from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import EmbeddingOptions
from mmf_muvla.pairing.embeddings import PART_NAME
from mmf_muvla.pretrained import resolve_pretrained

if TYPE_CHECKING:
    import torch

# Sentences that are embedded together, those of like length in one pass of the model.
_ROWS_PER_PART = 16384


def embed_sentences(table: Path, options: EmbeddingOptions, work: Work) -> dict[str, int]:
    """Embed all sentences of a table, as the stage *sentences* writes it, and count them and the dimensions.

    Written are ``embeddings-000000.npy`` …, float16 or float32 [at most 16384, dimensions], rows of length 1; all but
    the last have equally many.
    """

    def embed() -> dict[str, int]:
        count, dimensions = len(MappedTable(table)), 0
        texts = chain.from_iterable(batch.column("sentence").to_pylist() for batch in read_batches([table]))
        items = enumerate(chunks(texts, part_size(count, _ROWS_PER_PART)))
        parts = run_parts(
            *(work.folder, PART_NAME, _embed_part, items, work.executor, start_embedder),
            arguments=(options,),
            kind="embed",
            processes=partial(embedding_workers, options),
        )
        with work.progress.bar(count, "embed", "sentence") as progress:
            for _, note in parts:
                dimensions = note["dimensions"]
                progress.update(note["sentences"])
        return {"sentences": count, "dimensions": dimensions}

    return once(work.folder, "embedded", embed)


def embedding_workers(options: EmbeddingOptions, num_workers: int) -> int:
    """How many processes embed: as many as are allowed, or one for each GPU where there are any."""
    devices = devices_of(options.device, "embedding.device")
    return num_workers if devices[0].type == "cpu" else min(len(devices), num_workers)


def start_embedder(options: EmbeddingOptions) -> Embedder:
    """The embedder of a worker process; workers take the GPUs in turn."""
    devices = devices_of(options.device, "embedding.device")
    return Embedder(options, devices[worker_number() % len(devices)])


def _embed_part(embedder: Embedder, texts: list[str], path: Path) -> dict[str, Any]:
    embeddings = embedder.embed(texts)
    with publish_part(path, ".npy") as temporary, temporary.open("wb") as file:
        np.save(file, embeddings.astype(embedder.options.dtype))
    return {"sentences": len(texts), "dimensions": embedder.dimensions}


class Embedder:
    """A Sentence-BERT model, to which a text is nothing but text, with ``dimensions`` numbers per embedding.

    Args:
        options: which model, and how it computes.
        device: where; ``None`` leaves the choice to the options.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, options: EmbeddingOptions, device: torch.device | None = None):
        import torch
        from sentence_transformers import SentenceTransformer

        source = resolve_pretrained(options.model, "embedding.model")
        try:
            self._model = SentenceTransformer(
                source,
                device=str(device or devices_of(options.device, "embedding.device")[0]),
                model_kwargs={"dtype": getattr(torch, options.compute_dtype)},
                # A folder is whole or an error: nothing is looked for elsewhere.
                local_files_only=Path(source).exists(),
            )
        except (OSError, ValueError, KeyError) as error:
            problem = f"no Sentence-BERT model can be loaded from there ({str(error).splitlines()[0]})"
            remedy = "Give a hub name, or a folder as sentence-transformers saves it"
            raise InputError(f"embedding.model={options.model}", problem, remedy) from error
        # "[SEP]" in a text is a word in brackets: for transformers' tokenizers, and for those below them.
        for option in ("split_special_tokens", "encode_special_tokens"):
            if hasattr(getattr(self._model, "tokenizer", None), option):
                setattr(self._model.tokenizer, option, True)
        self.options = options
        self.dimensions = self.embed(["any text"]).shape[1]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of length 1, float32 [texts, dimensions].

        Raises:
            InputError: an embedding has no length, or is not finite.
        """
        vectors = self._model.encode(
            list(texts), batch_size=self.options.batch_size, show_progress_bar=False, convert_to_numpy=True
        ).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (lengths > 0).all() or not np.isfinite(lengths).all():
            row = int(np.argmin(np.nan_to_num(lengths[:, 0], nan=0.0, posinf=0.0)))
            problem = f"the embedding of {texts[row]!r} has the length {lengths[row, 0]}"
            remedy = "Use embedding.compute_dtype=float32, or another model"
            raise InputError(f"embedding.model={self.options.model}", problem, remedy)
        return vectors / lengths
