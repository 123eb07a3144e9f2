"""VQA 2.0 from MMF's stock files: an ``.npy`` annotation array per split, an answer vocabulary, region features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmf.common.sample import SampleList
from mmf.datasets.base_dataset import BaseDataset

from mmf_muvla.corpus.store import RegionStore
from mmf_muvla.datasets.collate import ImageArrays, collate_images, lengths_to_mask, pad
from mmf_muvla.datasets.restricted_npy import load_object_array
from mmf_muvla.datasets.tokens import WordPieces
from mmf_muvla.errors import InputError


def soft_scores(answers: Sequence[str]) -> dict[str, float]:
    """VQA's soft scores: the accuracy that each answer would get.

    For every one of the annotators left out in turn, an answer scores ``min(1, n / 3)``, ``n`` being how many of the
    others gave it; the score is the mean over the annotators.

    Args:
        answers: the annotators' answers, ten in VQA 2.0.

    Returns:
        answer -> score in (0, 1].
    """
    counts = Counter(answers)
    total = len(answers)
    return {answer: ((total - n) * min(1.0, n / 3) + n * min(1.0, (n - 1) / 3)) / total for answer, n in counts.items()}


def read_answers(path: str | Path) -> list[str]:
    """Read an answer vocabulary, one answer a line.

    Raises:
        InputError: the file is missing or has the same answer twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such answer vocabulary", "Check dataset_config.vqa2.answers")
    answers = path.read_text(encoding="utf-8").splitlines()
    repeated = [answer for answer, n in Counter(answers).items() if n > 1]
    if repeated:
        raise InputError(str(path), f"the answer {repeated[0]!r} stands there twice", "Remove one of the lines")
    return answers


class VQA2Dataset(BaseDataset):
    """Questions with their image's regions and soft answer scores.

    Args:
        dataset_name: name under which MMF knows the data set.
        config: ``dataset_config.vqa2``; every key is explained in ``configs/datasets/vqa2/defaults.yaml``.
        dataset_type: ``train``, ``val`` or ``test``.
    """

    def __init__(self, dataset_name: str, config: Any, dataset_type: str):
        super().__init__(dataset_name, config, dataset_type)
        self.answers = read_answers(config.answers)
        self._answer_index = {answer: index for index, answer in enumerate(self.answers)}
        self.path = str(config.annotations[dataset_type])
        entries = load_object_array(self.path)
        # The first entry of an MMF annotation file describes the file.
        self.questions = [entry for entry in entries if "image_id" in entry]
        self.regions = RegionStore(config.features[dataset_type])
        self.max_text_tokens: int = config.max_text_tokens
        self.words = WordPieces(config.tokenizer)
        self._check()

    def _check(self) -> None:
        if not self.questions:
            raise InputError(self.path, "there are no questions", "Give an MMF vqa2 annotation file")
        known = set(self.regions.ids)
        for number, entry in enumerate(self.questions):
            where = f"{self.path}, question {entry.get('question_id', f'number {number}')}"
            if not str(entry.get("question_str", "")).strip():
                raise InputError(where, "question_str is missing or empty", "Mend or remove the entry")
            if image_key(entry) not in known:
                raise InputError(
                    where,
                    f"image {image_key(entry)} is not in the region store {self.regions.path}",
                    "Import its regions (tools/import_regions.py), or name the right dataset_config.vqa2.features",
                )

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """One question; a key ``(epoch, item)`` gives the item, which does not change with the epoch."""
        entry = self.questions[key[1] if isinstance(key, tuple) else key]
        regions = self.regions.get(image_key(entry))
        vocabulary = self.words.vocabulary
        tokens, _ = self.words(entry["question_str"], self.max_text_tokens)
        scores = np.zeros(len(self.answers), np.float32)
        for answer, score in soft_scores(entry.get("answers", ())).items():
            if answer in self._answer_index:
                scores[self._answer_index[answer]] = score
        return {
            "input_ids": np.concatenate([[vocabulary.cls_id], tokens, [vocabulary.sep_id]]),
            "image": ImageArrays(
                regions.image_id, regions.image_feature_0, regions.bbox, (regions.width, regions.height)
            ),
            "targets": scores,
            "question_id": int(entry["question_id"]),
        }

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> SampleList:
        """A whole batch, padded to its own longest question and largest number of regions."""
        items = [self[key] for key in keys]
        batch = collate_images([item["image"] for item in items])
        batch["input_ids"] = pad([item["input_ids"] for item in items], self.words.vocabulary.pad_id, torch.long)
        batch["attention_mask"] = lengths_to_mask([len(item["input_ids"]) for item in items])
        batch["targets"] = torch.from_numpy(np.stack([item["targets"] for item in items]))
        batch["question_id"] = torch.tensor([item["question_id"] for item in items])
        return SampleList(batch)

    def format_for_prediction(self, report: Any) -> list[dict[str, Any]]:
        """Predictions in the benchmark's submission format: ``[{"question_id": …, "answer": …}]``."""
        best = report["scores"].argmax(dim=1).tolist()
        return [
            {"question_id": question, "answer": self.answers[answer]}
            for question, answer in zip(report["question_id"].tolist(), best, strict=True)
        ]


def image_key(entry: dict[str, Any]) -> str:
    """The region store's key of an annotation entry: its feature path without folders and ending, else its image id."""
    return Path(entry["feature_path"]).stem if entry.get("feature_path") else str(entry["image_id"])
