"""A trained model that can be asked about images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from mmf_muvla.datasets.collate import collate_texts
from mmf_muvla.datasets.tasks.nlvr2.converter import LABELS as PAIR_LABELS
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.errors import InputError, shown
from mmf_muvla.interface.abilities import refuse_unable
from mmf_muvla.interface.attention import attention_of
from mmf_muvla.interface.images import ImageRegions, PictureDetector, StoredImages
from mmf_muvla.interface.network import MuvlaModel
from mmf_muvla.models.attention_weights import region_attention
from mmf_muvla.models.embeddings import check_feature_dim
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.tasks import GroundingHeads, TaskHeads, pooled_states
from mmf_muvla.objectives.masking import Ints
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.regions.regions import Regions

MASK = "[MASK]"
# Rows in a pass of the model.
BATCH_SIZE = 64
Batch = dict[str, Any]


class Guess(NamedTuple):
    """A word or an answer, and how probable the model finds it."""

    text: str
    probability: float


class Found(NamedTuple):
    """What an expression means in an image: a region's number, its box x1, y1, x2, y2 in pixels, and the probability
    among all regions."""

    region: int
    box: tuple[float, float, float, float]
    probability: float


class Row(NamedTuple):
    """One row of input: a text, ``[CLS] text [SEP]``, int [T], with its image or its two."""

    images: tuple[Regions, ...]
    input_ids: Ints

    @property
    def length(self) -> int:
        return len(self.input_ids) + max(map(len, self.images))


class Model:
    """A trained model with its tokenizer, and the detector that its pictures are seen through.

    Every question takes one image and one text, or lists of them. What is given once goes with each item of the lists,
    which have equal lengths; the result is a list then, too. Rows of like length pass the model together,
    ``batch_size`` at most. A question that the model was not trained for is an ``InputError`` that says for what it
    was.

    Args:
        network: encoder and heads.
        words: its tokenizer.
        name: what errors call it.
        device, dtype: where it computes, and what matrices are multiplied in; weights stay as they are.
        detector: how pictures become regions; ``None``: not known.
        folder: of the run or export that it comes from, for its model card.
    """

    def __init__(
        self,
        network: MuvlaModel,
        words: WordPieces,
        name: str,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        detector: DetectionOptions | None = None,
        folder: Path | None = None,
    ):
        self.network = network.eval()
        self.config: Any = network.config
        self.to(device)
        self.words = words
        self.name = name
        self.dtype = dtype
        self.folder = folder
        self._detector = None if detector is None else PictureDetector(detector)

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self.network.device

    def to(self, device: str | torch.device) -> Model:
        """Move the model to a device; the detector stays where it is."""
        cast(torch.nn.Module, self.network).to(device)
        return self

    def __repr__(self) -> str:
        shape = f"{self.config.num_hidden_layers} layers of {self.config.hidden_size}"
        return f"<{self.name}: {self.config.task}, {self.config.dataset or 'data unknown'}, {shape}, {self.device}>"

    @property
    def can_detect(self) -> bool:
        """Whether :meth:`detect` knows a detector."""
        return self._detector is not None

    def detect(self, picture: Any) -> Any:
        """The regions of a picture, or of each in a list: an :class:`~mmf_muvla.interface.images.ImageRegions`.

        Args:
            picture: a path, the bytes of a file, a picture of Pillow or an array uint8 [height, width, 3].

        Raises:
            InputError: it is no picture, nothing is found in it, or the detector is not known or has other features.
        """
        if self._detector is None:
            raise self._unknown_detector()
        check_feature_dim("the detector", self._detector.feature_dim, self.config.feature_dim)
        pictures = picture if isinstance(picture, list | tuple) else [picture]
        found = self._detector(pictures)
        return found if isinstance(picture, list | tuple) else found[0]

    def regions(self, path: str | Path) -> StoredImages:
        """The images of a region store, a corpus, or a feature folder or LMDB, by their ids."""
        return StoredImages(Path(path).expanduser(), self.config.feature_dim)

    def match(self, image: Any, sentence: Any, *, batch_size: int = BATCH_SIZE) -> Any:
        """The probability that a sentence belongs to an image, float. From a pre-training with matching."""
        refuse_unable("match", self.config, self.name)
        heads = cast(PretrainingHeads, self.network.heads)

        def score(batch: Batch) -> Tensor:
            pooled = pooled_states(self.network.encoder, heads.pooler, batch)
            return heads.itm(pooled).squeeze(-1).float().sigmoid()

        return self._ask((image,), sentence, score, float, batch_size)

    def fill(self, image: Any, text: Any, top_k: int = 5, *, batch_size: int = BATCH_SIZE) -> Any:
        """The most probable word pieces in the place of ``[MASK]``, best first; a list of :class:`Guess`.

        Where a text has several ``[MASK]``, it is a list of such lists. From a pre-training.

        Raises:
            InputError: a text has no ``[MASK]``, or one behind the ``max_text_tokens`` that the model reads.
        """
        refuse_unable("fill", self.config, self.name)
        heads, encoder = cast(PretrainingHeads, self.network.heads), self.network.encoder
        mask_id = self.words.vocabulary.mask_id

        def score(batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
            masked = batch["input_ids"] == mask_id
            wanted = masked.unsqueeze(1), torch.zeros_like(batch["region_mask"]).unsqueeze(1)
            text, _ = encoder(**TaskHeads.inputs(batch), wanted=wanted)
            head = cast(Callable[[Tensor], Tensor], heads.mlm)
            probability = head(text.squeeze(1)[masked]).float().softmax(dim=-1)
            best = probability.topk(min(top_k, probability.shape[-1]))
            counts = masked.sum(dim=1).tolist()
            return zip(best.values.cpu().split(counts), best.indices.cpu().split(counts), strict=True)

        def result(found: tuple[Tensor, Tensor]) -> list[Any]:
            places = zip(*(it.tolist() for it in found), strict=True)
            guesses = [self._guesses(values, map(self.words.piece, pieces)) for values, pieces in places]
            return guesses[0] if len(guesses) == 1 else guesses

        _check_top_k(top_k)
        return self._ask((image,), text, score, result, batch_size, self._with_masks)

    def answer(self, image: Any, question: Any, top_k: int = 5, *, batch_size: int = BATCH_SIZE) -> Any:
        """The most probable answers to a question, best first; a list of :class:`Guess`. From a fine-tuning on VQA.

        Answers have their probabilities each by itself, as they are trained: they do not sum to 1.
        """
        refuse_unable("answer", self.config, self.name)
        _check_top_k(top_k)
        names = self.config.id2label

        def result(probability: Tensor) -> list[Guess]:
            best = probability.topk(min(top_k, len(probability)))
            return self._guesses(best.values.tolist(), (names[it] for it in best.indices.tolist()))

        return self._ask((image,), question, self._class_probability, result, batch_size)

    def entails(self, image: Any, hypothesis: Any, *, batch_size: int = BATCH_SIZE) -> Any:
        """The probabilities of ``entailment``, ``neutral`` and ``contradiction``, a dict. From SNLI-VE."""
        refuse_unable("entails", self.config, self.name)
        names = self.config.id2label

        def result(probability: Tensor) -> dict[str, float]:
            return {names[number]: value for number, value in enumerate(probability.tolist())}

        return self._ask((image,), hypothesis, self._class_probability, result, batch_size)

    def compare(self, left: Any, right: Any, sentence: Any, *, batch_size: int = BATCH_SIZE) -> Any:
        """The probability that a sentence is true of two images, float. From NLVR2."""
        refuse_unable("compare", self.config, self.name)

        def score(batch: Batch) -> Tensor:
            return self._class_probability(batch)[:, PAIR_LABELS["true"]]

        return self._ask((left, right), sentence, score, float, batch_size)

    def refer(self, image: Any, expression: Any, *, batch_size: int = BATCH_SIZE) -> Any:
        """The region that an expression means, a :class:`Found`. From RefCOCO+."""
        refuse_unable("refer", self.config, self.name)
        heads = cast(GroundingHeads, self.network.heads)

        def score(batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
            probability = heads.score(self.network.encoder, batch).softmax(dim=1)
            return zip(probability.cpu(), batch["bbox"].cpu(), strict=True)

        def result(found: tuple[Tensor, Tensor]) -> Found:
            probability, boxes = found
            best = int(probability.argmax())
            x1, y1, x2, y2 = boxes[best].tolist()
            return Found(best, (x1, y1, x2, y2), float(probability[best]))

        return self._ask((image,), expression, score, result, batch_size)

    def attention(self, image: Any, sentence: Any, *, batch_size: int = BATCH_SIZE) -> Any:
        """Which regions each word of a sentence looks at: an :class:`~mmf_muvla.interface.attention.Attention`.

        Every model can say it, whatever it was trained for.
        """
        images, sentences = _aligned(image, sentence)

        def score(batch: Batch) -> Iterator[Tensor]:
            weights = region_attention(self.network.encoder, batch).cpu()
            for row, (tokens, regions) in enumerate(
                zip(batch["attention_mask"].sum(dim=1).tolist(), batch["region_mask"].sum(dim=1).tolist(), strict=True)
            ):
                yield weights[:, row, :, 1 : tokens - 1, :regions]  # without [CLS] and [SEP]

        weights = self._ask((images,), sentences, score, Tensor.numpy, batch_size)
        found = [
            attention_of(text, _as_image(it), of_pieces, self.words, self.config.max_text_tokens)
            for it, text, of_pieces in zip(images, sentences, weights, strict=True)
        ]
        return found if isinstance(image, list | tuple) or isinstance(sentence, list | tuple) else found[0]

    def save_pretrained(self, folder: str | Path, *, license: str | None = None) -> None:
        """Write the model as Hugging Face's libraries expect it: ``config.json``, ``model.safetensors``, the tokenizer
        and a model card, ``README.md``, with what is known of its training.

        Args:
            folder: a new one, or an export of before, which is replaced.
            license: what the model card says the weights are under; a name of the hub's list, such as ``mit``.

        Raises:
            InputError: the folder holds something else.
        """
        from mmf_muvla.interface.export import save

        save(self, Path(folder).expanduser(), license)

    def push_to_hub(
        self, name: str, *, private: bool | None = None, license: str | None = None, token: str | None = None
    ) -> str:
        """Put the model on the hub, as :meth:`save_pretrained` writes it; returns the address of what was uploaded.

        Args:
            name: ``you/model``; it is made where there is none.
            private: whether only you can see it, where it is made.
            license: see :meth:`save_pretrained`.
            token: yours, where you are not logged in.
        """
        from mmf_muvla.interface.export import push

        return push(self, name, private=private, license=license, token=token)

    def rows(
        self, images: tuple[Any, ...], texts: Sequence[str], read: Callable[[str], Ints] | None = None
    ) -> list[Row]:
        """Rows of input: texts, each with an image out of each of ``images``, lists of equal lengths.

        ``read`` makes ``[CLS] text [SEP]`` of a text, int [T]; not given: as in pre-training and in the tasks.
        """
        read = read or (lambda text: self.words.input_ids(text, self.config.max_text_tokens))
        regions = zip(*(map(self._regions, side) for side in images), strict=True)
        return [Row(of_text, read(_text(text))) for of_text, text in zip(regions, texts, strict=True)]

    def batches(self, rows: Sequence[Row], batch_size: int) -> Iterator[tuple[list[int], Batch]]:
        """Rows of like length together, on the model's device: their numbers, and the batch."""
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}", "is no number of rows", "Give a whole number from 1")
        order = sorted(range(len(rows)), key=lambda number: rows[number].length)
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            images, texts = zip(*(rows[number] for number in numbers), strict=True)
            batch = collate_texts(images, texts, self.words.vocabulary.pad_id)
            moved = {name: it.to(self.device) if isinstance(it, Tensor) else it for name, it in batch.items()}
            yield numbers, moved

    def precision(self) -> AbstractContextManager[Any]:
        """Has matrices multiplied in the model's ``dtype``."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    @torch.inference_mode()
    def _ask(
        self,
        images: tuple[Any, ...],
        text: Any,
        score: Callable[[Batch], Any],
        result: Callable[[Any], Any],
        batch_size: int,
        read: Callable[[str], Ints] | None = None,
    ) -> Any:
        """What ``score`` says of each row of a batch, made a ``result``: of one row, or a list of all."""
        *sides, texts = _aligned(*images, text)
        rows = self.rows(tuple(sides), texts, read)
        results: list[Any] = [None] * len(rows)
        for numbers, batch in self.batches(rows, batch_size):
            with self.precision():
                found = score(batch)
            for number, of_row in zip(numbers, found, strict=True):
                results[number] = result(of_row)
        return results if any(isinstance(it, list | tuple) for it in (*images, text)) else results[0]

    def _unknown_detector(self) -> InputError:
        if self.config.detection:
            name = self.config.detection["detector"]
            problem = f"its pictures go through {name}, a class of somebody's, and no code is run unasked"
            return InputError(self.name, problem, f'Look at it, and say so: load(…, detector="{name}")')
        problem = "which detector its pictures go through is not known: it learned from files of regions"
        remedy = (
            'Name the one that these are of, load(…, detector="NAME"), or take regions from files: model.regions(…)'
        )
        return InputError(self.name, problem, remedy)

    def _class_probability(self, batch: Batch) -> Tensor:
        """float [N, classes], on the CPU."""
        scores = self.network.heads(self.network.encoder, batch)["scores"]
        several = self.config.problem_type == "multi_label_classification"
        return (scores.sigmoid() if several else scores.softmax(dim=1)).cpu()

    def _regions(self, image: Any) -> Regions:
        if not isinstance(image, ImageRegions | Regions):
            remedy = "Give what model.detect(picture) or model.regions(path)[image_id] returns"
            raise InputError("image", f"is {shown(image)}", remedy)
        regions = image.regions if isinstance(image, ImageRegions) else image
        check_feature_dim(f"image {regions.image_id}", regions.image_feature_0.shape[1], self.config.feature_dim)
        return regions

    def _with_masks(self, text: str) -> Ints:
        """A text in which each ``[MASK]`` is one; to the tokenizer by itself it is but a word in brackets."""
        limit, mask = self.config.max_text_tokens, self.words.vocabulary.mask_id
        first, *others = (self.words(part, limit)[0].tolist() for part in text.split(MASK))
        pieces = [*first, *(piece for part in others for piece in (mask, *part))]
        if pieces[:limit].count(mask) != len(others) or not others:
            problem = f"has no {MASK}" if not others else f"has a {MASK} behind the {limit} word pieces that are read"
            raise InputError(f"text {shown(text)}", problem, f'Write {MASK} for a word: "a [MASK] on a sofa"')
        return self.words.with_ends(pieces[:limit])

    @staticmethod
    def _guesses(probabilities: Sequence[float], texts: Any) -> list[Guess]:
        return [Guess(text, probability) for text, probability in zip(texts, probabilities, strict=True)]


def _aligned(*arguments: Any) -> list[list[Any]]:
    """Lists of equal lengths: what is no list stands in each place."""
    lengths = {len(it) for it in arguments if isinstance(it, list | tuple)}
    if len(lengths) > 1:
        problem = f"are of different lengths: {', '.join(map(str, sorted(lengths)))}"
        raise InputError("lists of images and texts", problem, "Give one text for each image, or one of either for all")
    (length,) = lengths or {1}
    return [list(it) if isinstance(it, list | tuple) else [it] * length for it in arguments]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError("text", f"is {shown(value)}", "Give a text")
    return value


def _as_image(image: ImageRegions | Regions) -> ImageRegions:
    return image if isinstance(image, ImageRegions) else ImageRegions(image, [""] * len(image))


def _check_top_k(top_k: int) -> None:
    if type(top_k) is not int or top_k < 1:
        raise InputError(f"top_k={top_k}", "is no number of guesses", "Give a whole number from 1")
