"""Stage *embed*: sentences become unit vectors by Sentence-BERT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmf_muvla.corpus.arrow import MappedTable
from mmf_muvla.corpus.config import EmbeddingOptions
from mmf_muvla.corpus.progress import progress_bar
from mmf_muvla.errors import InputError
from mmf_muvla.pretrained import resolve_pretrained

if TYPE_CHECKING:
    import torch


def embed_sentences(table: Path, options: EmbeddingOptions, target: Path) -> dict[str, int]:
    """Embed all sentences of a table and write them to an .npy file, a block at a time.

    Args:
        table: Arrow file with a column ``sentence``, as the stage *sentences* writes it.
        options: model and precision.
        target: the file to write, float16 or float32 [sentences, dimensions], rows of length 1.

    Returns:
        Counts: sentences, dimensions.
    """
    sentences = MappedTable(table)
    embedder = Embedder(options)
    shape = (len(sentences), embedder.dimensions)
    embeddings = np.lib.format.open_memmap(target, "w+", dtype=np.dtype(options.dtype), shape=shape)
    row = 0
    with progress_bar(len(sentences), "embed", "sentence") as progress:
        for texts in sentences.blocks("sentence"):
            for start in range(0, len(texts), options.block_size):
                block = texts[start : start + options.block_size]
                embeddings[row : row + len(block)] = embedder.embed(block)
                row += len(block)
                progress.update(len(block))
    embeddings.flush()
    return {"sentences": shape[0], "dimensions": shape[1]}


class Embedder:
    """A Sentence-BERT model.

    Attributes:
        dimensions: numbers per embedding.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, options: EmbeddingOptions):
        import torch
        from sentence_transformers import SentenceTransformer

        source = resolve_pretrained(options.model, "embedding.model")
        try:
            self._model = SentenceTransformer(
                source,
                device=str(choose_device(options.device, "embedding.device")),
                model_kwargs={"dtype": getattr(torch, options.compute_dtype)},
                # A folder is whole or an error: nothing is looked for elsewhere.
                local_files_only=Path(source).exists(),
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"embedding.model={options.model}",
                f"no Sentence-BERT model can be loaded from there ({str(error).splitlines()[0]})",
                "Give a hub name, or a folder as sentence-transformers saves it",
            ) from error
        self._batch_size = options.batch_size
        self._model_name = options.model
        self.dimensions = self.embed(["any text"]).shape[1]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of length 1, float32 [texts, dimensions].

        Raises:
            InputError: an embedding has no length, or is not finite.
        """
        vectors = self._model.encode(
            list(texts), batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True
        ).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (lengths > 0).all() or not np.isfinite(lengths).all():
            row = int(np.argmin(np.nan_to_num(lengths[:, 0], nan=0.0, posinf=0.0)))
            raise InputError(
                f"embedding.model={self._model_name}",
                f"the embedding of {texts[row]!r} has the length {lengths[row, 0]}",
                "Use embedding.compute_dtype=float32, or another model",
            )
        return vectors / lengths


def choose_device(name: str, option: str) -> torch.device:
    """The device of that name; ``auto`` is the first GPU where there is one.

    Raises:
        InputError: there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"{option}={name}", f"this device cannot be used ({str(error).splitlines()[0]})", "Use auto or cpu"
        ) from error
    return device
