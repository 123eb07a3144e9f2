"""Stage *embed*: sentences become unit vectors by Sentence-BERT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmf_muvla.artifacts.arrow import MappedTable, read_batches
from mmf_muvla.artifacts.artifact import Work
from mmf_muvla.artifacts.parts import chunks, once, part_size, publish_part, run_parts
from mmf_muvla.artifacts.workers import worker_number
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import EmbeddingOptions
from mmf_muvla.pairing.embeddings import PART_NAME
from mmf_muvla.pretrained import resolve_pretrained

if TYPE_CHECKING:
    import torch

# Sentences that are embedded together, those of like length in one pass of the model.
ROWS_PER_PART = 16384


def embed_sentences(table: Path, options: EmbeddingOptions, work: Work) -> dict[str, int]:
    """Embed all sentences of a table.

    Written are ``embeddings-000000.npy`` …, float16 or float32 [at most 16384, dimensions], rows of length 1; all but
    the last have equally many.

    Args:
        table: Arrow file with a column ``sentence``, as the stage *sentences* writes it.
        options: model and precision.
        work: folder, progress, workers.

    Returns:
        Counts: sentences, dimensions.
    """

    def embed() -> dict[str, int]:
        counts = {"sentences": len(MappedTable(table)), "dimensions": 0}
        parts = run_parts(
            work.folder,
            PART_NAME,
            _embed_part,
            enumerate(chunks(_texts(table), part_size(counts["sentences"], ROWS_PER_PART))),
            embedding_workers(options, work.num_workers),
            setup=start_embedder,
            arguments=(options,),
        )
        with work.progress.bar(counts["sentences"], "embed", "sentence") as progress:
            for _, note in parts:
                counts["dimensions"] = note["dimensions"]
                progress.update(note["sentences"])
        return counts

    counts = once(work.folder, "embedded", embed)
    return counts


def embedding_workers(options: EmbeddingOptions, num_workers: int) -> int:
    """How many processes embed: as many as are allowed, or one for each GPU where there are any."""
    devices = devices_of(options.device, "embedding.device")
    return num_workers if devices[0].type == "cpu" else min(len(devices), max(num_workers, 1))


def start_embedder(options: EmbeddingOptions) -> Embedder:
    """The embedder of a worker process; workers take the GPUs in turn."""
    devices = devices_of(options.device, "embedding.device")
    return Embedder(options, devices[worker_number() % len(devices)])


def _texts(table: Path) -> Iterator[str]:
    for batch in read_batches([table]):
        yield from batch.column("sentence").to_pylist()


def _embed_part(embedder: Embedder, texts: list[str], path: Path) -> dict[str, Any]:
    embeddings = embedder.embed(texts)
    with publish_part(path, ".npy") as temporary, temporary.open("wb") as file:
        np.save(file, embeddings.astype(embedder.options.dtype))
    return {"sentences": len(texts), "dimensions": embedder.dimensions}


def _take_special_tokens_apart(tokenizer: Any) -> None:
    """Let "[SEP]" in a text be a word in brackets."""
    # The first is what transformers' tokenizers are asked, the second what those below them are.
    for option in ("split_special_tokens", "encode_special_tokens"):
        if hasattr(tokenizer, option):
            setattr(tokenizer, option, True)


class Embedder:
    """A Sentence-BERT model, to which a text is nothing but text.

    Args:
        options: which model, and how it computes.
        device: where; ``None`` leaves the choice to the options.

    Attributes:
        options: as given.
        dimensions: numbers per embedding.

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
            raise InputError(
                f"embedding.model={options.model}",
                f"no Sentence-BERT model can be loaded from there ({str(error).splitlines()[0]})",
                "Give a hub name, or a folder as sentence-transformers saves it",
            ) from error
        _take_special_tokens_apart(getattr(self._model, "tokenizer", None))
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
            raise InputError(
                f"embedding.model={self.options.model}",
                f"the embedding of {texts[row]!r} has the length {lengths[row, 0]}",
                "Use embedding.compute_dtype=float32, or another model",
            )
        return vectors / lengths


def devices_of(name: str, option: str) -> list[torch.device]:
    """The devices of that name: ``auto`` is all GPUs where there are any, else the CPU.

    Raises:
        InputError: there is no such device.
    """
    import torch

    if name == "auto":
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    else:
        names = name.split(",")
    devices = []
    for single in names:
        try:
            device = torch.device(single)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"{option}={name}", f"this device cannot be used ({str(error).splitlines()[0]})", "Use auto or cpu"
            ) from error
        devices.append(device)
    return devices
