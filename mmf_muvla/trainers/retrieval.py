"""Ranking of a retrieval split: every image with every caption, planned, in parts, over all processes.

A part is a block of images with all their candidates. Processes take parts in turn. Where there is a folder for them,
parts are kept: an evaluation that was killed goes on with those that are missing, and predictions after an evaluation
need no pass of the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmf.utils.distributed import get_rank, get_world_size, is_master, synchronize
from numpy.typing import NDArray

from mmf_muvla.artifacts.files import digest_of_json, read_record, remove_temporary_files, write_record
from mmf_muvla.artifacts.lock import locked
from mmf_muvla.artifacts.parts import forget_damaged, make_part, part_path, publish_part, remove_parts
from mmf_muvla.artifacts.progress import progress_bar
from mmf_muvla.datasets.tasks.retrieval.dataset import RetrievalDataset
from mmf_muvla.datasets.tasks.retrieval.ranking import DIRECTIONS, Captions, best_of, recalls, standings
from mmf_muvla.errors import InputError
from mmf_muvla.models.pair_scoring import Embedded, PairScorer
from mmf_muvla.objectives.masking import Bools, Ints
from mmf_muvla.pairing.config import EmbeddingOptions, QueryOptions
from mmf_muvla.regions.index import META_FILE
from mmf_muvla.regions.store import RegionStore
from mmf_muvla.trainers.history import of_all_processes
from mmf_muvla.trainers.resume import content_of

Scores = NDArray[np.float32]
_PAIRS_PER_PART = 2**16
_PART, _MADE_FROM = "scores", "made_from.json"


@dataclass(frozen=True)
class RankedPool:
    """A pool with its scores: float32 [images, texts], minus infinity where a text is no candidate for an image.

    ``candidates`` says, for each direction, which pairs the first pass has left, bool [images, texts]; ``None`` where
    there was no first pass.
    """

    captions: Captions
    scores: Scores
    candidates: Mapping[str, Bools] | None = None

    def of(self, direction: str) -> Scores:
        """The scores that count in a direction."""
        if self.candidates is None:
            return self.scores
        return np.where(self.candidates[direction], self.scores, np.float32(-np.inf))

    def values(self) -> dict[str, float]:
        """Recalls and median ranks of both directions; after a first pass also ``DIRECTION_candidate_recall``, how
        often it has left a right one, more than which no recall can be."""
        found: dict[str, float] = {}
        for direction in DIRECTIONS:
            found |= recalls(standings(self.of(direction), self.captions, direction).rank, direction)
            if self.candidates is not None:
                own = self.candidates[direction][self.captions.image, self.captions.text]
                share = own if direction == "text_to_image" else np.bincount(self.captions.image, weights=own) > 0
                found[f"{direction}_candidate_recall"] = float(share.mean())
        return found

    def lists(self, count: int) -> Iterator[dict[str, Any]]:
        """The first ``count`` captions of each image, and images of each caption, the best first, with scores."""
        captions, ids = self.captions, self.captions.caption_ids
        of_text: list[list[int]] = [[] for _ in captions.texts]
        for caption_id, text in zip(ids, captions.text.tolist(), strict=True):
            of_text[text].append(caption_id)
        texts, scores = best_of(self.of("image_to_text"), "image_to_text", count)
        for key, numbers, values in zip(captions.image_ids, texts.tolist(), scores.tolist(), strict=True):
            ranked = [(it, value) for text, value in zip(numbers, values, strict=True) for it in of_text[text]]
            yield {"image_id": key, **_listed("sentids", ranked[:count])}
        images, scores = best_of(self.of("text_to_image"), "text_to_image", count)
        for caption_id, text in zip(ids, captions.text.tolist(), strict=True):
            keys = (captions.image_ids[image] for image in images[text].tolist())
            yield {"sentid": caption_id, **_listed("image_ids", [*zip(keys, scores[text].tolist(), strict=True)])}


def _listed(name: str, ranked: Sequence[tuple[Any, float]]) -> dict[str, Any]:
    kept = [(it, round(score, 4)) for it, score in ranked if np.isfinite(score)]
    return {name: [it for it, _ in kept], "scores": [score for _, score in kept]}


def mean_values(pools: Sequence[RankedPool]) -> dict[str, float]:
    """The values of all pools, averaged."""
    of_pools = [pool.values() for pool in pools]
    return {name: float(np.mean([values[name] for values in of_pools])) for name in of_pools[0]}


def rank_split(
    model: Any, dataset: RetrievalDataset, rows: int, context: Callable[[], Any], keep_in: Path | None = None
) -> list[RankedPool]:
    """Rank a split by a model as it is now; all processes get the same.

    Args:
        model: `muvla`, in evaluation mode, with a matching head.
        dataset: the split.
        rows: about so many of the longest pairs pass the model at a time.
        context: gives what the model computes in (autocast).
        keep_in: a folder for the scores; ``None`` keeps them in memory alone.

    Raises:
        InputError: a score is not finite, ``candidates`` is asked for and classes have no names, or the folder is
            somebody else's.
    """
    device = next(model.parameters()).device
    pools = [(captions, first_pass(dataset, captions, device)) for captions in dataset.pools]
    wanted = [
        None if found is None else np.logical_or(*(found[direction] for direction in DIRECTIONS)) for _, found in pools
    ]
    scorer = PairScorer(model.encoder, model.heads.pooler, model.heads.itm)
    blocks = [
        block for number, (captions, _) in enumerate(pools) for block in _blocks(number, captions, wanted[number])
    ]

    @cache
    def texts_of(pool: int) -> Embedded:
        texts_of.cache_clear()  # one pool's at a time
        return scorer.embed_texts(map(dataset.tokens, pools[pool][0].texts))

    def score(pool: int, images: Ints) -> Scores:
        captions = pools[pool][0]
        with context():
            embedded = scorer.embed_images(dataset.images.get(captions.image_ids[image]) for image in images)
            pairs = _pairs(images, len(captions.texts), wanted[pool])
            found = scorer.score(embedded, texts_of(pool), pairs, rows)
        if not np.isfinite(found).all():
            raise InputError(dataset.path, "what the model says of a pair is not finite", "Use other weights")
        return found

    with _kept(keep_in, lambda: _made_from(model, dataset, wanted, context)) as folder:
        parts = _all_parts(folder, blocks, score, len(pools))
    ranked = []
    for number, (captions, found) in enumerate(pools):
        scores = np.full((len(captions.image_ids), len(captions.texts)), -np.inf, np.float32)
        for (pool, images), part in zip(blocks, parts, strict=True):
            if pool == number:
                pairs = _pairs(images, len(captions.texts), wanted[pool])
                scores[images[pairs[:, 0]], pairs[:, 1]] = part
        ranked.append(RankedPool(captions, scores, found))
    return ranked


def first_pass(dataset: RetrievalDataset, captions: Captions, device: torch.device) -> dict[str, Bools] | None:
    """The ``candidates`` texts for each image, and images for each text, that are most alike by Sentence-BERT on the
    image's tags, bool [images, texts] for each direction; ``None`` where all are candidates."""
    count = dataset.config.candidates
    if count is None:
        return None
    where = f"dataset_config.{dataset.dataset_name}.candidates={count}"
    if not (dataset.images.path / META_FILE).is_file():
        problem = f"{dataset.images.path} has no names of classes, by which the first pass goes"
        raise InputError(where, problem, "Make a region store of it (tools/import_regions.py), or leave it out")
    store = RegionStore(dataset.images.path)
    if not store.object_names:
        raise InputError(where, f"{store.path} has no names of classes", "Leave it out")
    from mmf_muvla.pairing.own_captions import tag_similarities  # loads sentence-transformers

    embedding = EmbeddingOptions(model=dataset.config.candidate_model, device=str(device))
    alike = tag_similarities(store, captions.image_ids, captions.texts, embedding, QueryOptions())
    found = {}
    for direction in DIRECTIONS:
        best, _ = best_of(alike, direction, count)
        chosen = np.zeros(alike.shape, bool)
        lines = chosen if direction == "image_to_text" else chosen.T
        np.put_along_axis(lines, best, True, axis=1)
        found[direction] = chosen
    return found


def _blocks(pool: int, captions: Captions, wanted: Bools | None) -> Iterator[tuple[int, Ints]]:
    """The images of each part of a pool, with the pool's number."""
    images = len(captions.image_ids)
    pairs = images * len(captions.texts) if wanted is None else int(wanted.sum())
    size = max(1, _PAIRS_PER_PART * images // pairs)
    for start in range(0, images, size):
        yield pool, np.arange(start, min(start + size, images))


def _pairs(images: Ints, texts: int, wanted: Bools | None) -> Ints:
    """Place in ``images`` and number of the text of each pair that is scored, int [n, 2]."""
    return np.argwhere(np.ones((len(images), texts), bool) if wanted is None else wanted[images])


def _all_parts(
    folder: Path | None, blocks: Sequence[tuple[int, Ints]], score: Callable[[int, Ints], Scores], num_pools: int
) -> list[Scores]:
    """The scores of all blocks, of which each process makes its share, as far as they are not there."""
    own: dict[int, Scores] = {}
    rank, world_size = get_rank(), get_world_size()
    mine = range(rank, len(blocks), world_size)
    with progress_bar(sum(len(blocks[number][1]) for number in mine), "rank", "image") as progress:
        for number in mine:
            own[number] = _part(folder, number, lambda number=number: score(*blocks[number]))  # type: ignore[misc]
            progress.update(len(blocks[number][1]))
    every = {number: part for of_process in of_all_processes(own) for number, part in of_process.items()}
    return [every[number] for number in range(len(blocks))]


def _part(folder: Path | None, number: int, score: Callable[[], Scores]) -> Scores:
    if folder is None:
        return score()

    def make(path: Path) -> dict[str, Any]:
        scores = score()
        with publish_part(path, ".npy") as temporary, temporary.open("wb") as file:
            np.save(file, scores)
        return {"pairs": len(scores)}

    make_part(folder, _PART, number, make)
    return np.load(part_path(folder, _PART, number, ".npy"), allow_pickle=False)


@contextmanager
def _kept(folder: Path | None, made_from: Callable[[], dict[str, Any]]) -> Iterator[Path | None]:
    """The folder of parts, without those that were made from something else or are damaged."""
    with ExitStack() as stack:
        if folder is not None and is_master():
            folder.mkdir(parents=True, exist_ok=True)
            problem, remedy = "another evaluation is at work in this folder", "Wait until it has ended"
            stack.enter_context(locked(folder, InputError(str(folder), problem, remedy)))
            wanted, before = made_from(), read_record(folder / _MADE_FROM)
            remove_temporary_files(folder)
            if before is None and any(folder.iterdir()):
                problem = "is there already, and is none in which scores were kept"
                raise InputError(str(folder), problem, "Name another env.save_dir, or move it away")
            if before != wanted:
                remove_parts(folder, _PART)
                write_record(folder / _MADE_FROM, wanted)
            forget_damaged(folder)
        if folder is not None:
            synchronize()
        yield folder


def _made_from(
    model: torch.nn.Module, dataset: RetrievalDataset, wanted: Sequence[Bools | None], context: Callable[[], Any]
) -> dict[str, Any]:
    weights = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    pairs = hashlib.blake2b(digest_size=16)
    for it in wanted:
        pairs.update(b"all" if it is None else np.packbits(it).tobytes())
    with context():
        dtype = str(torch.get_autocast_dtype(next(model.parameters()).device.type)) if _is_autocast(model) else "fp32"
    config = dataset.config
    return {
        "weights": weights.hexdigest(),
        "precision": dtype,
        "data": content_of(dataset),
        "options": {name: config[name] for name in ("max_text_tokens", "folds")},
        # of a validation they are drawn
        "images": digest_of_json([[pool.image_ids, pool.caption_ids] for pool in dataset.pools]),
        "pairs": pairs.hexdigest(),
    }


def _is_autocast(model: torch.nn.Module) -> bool:
    return torch.is_autocast_enabled(next(model.parameters()).device.type)
