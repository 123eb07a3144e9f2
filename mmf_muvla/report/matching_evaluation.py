"""How a run, and the retrieval that it learned from, match images with captions of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from mmf_muvla.datasets.images import open_images
from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError
from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.objectives.masking import Bools, Floats
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.options.data import Pretraining
from mmf_muvla.options.kinds import Count, Name, Options, Seed, accept, kind
from mmf_muvla.pairing.config import EmbeddingOptions, PhraseOptions, QueryOptions
from mmf_muvla.report.history import read_history
from mmf_muvla.report.matching import masked_nats, match_logits
from mmf_muvla.report.matching_measures import (
    RESAMPLES,
    Statistic,
    by_chance,
    compare,
    difference,
    make_groups,
    matching_statistics,
    measure,
    ratio,
    resample,
)
from mmf_muvla.report.matching_scores import (
    captioned_images,
    masked_nouns,
    model_scores,
    other_images,
    retrieval_scores,
    scores_together,
    store_with_names,
)
from mmf_muvla.trainers.loading import load_run
from mmf_muvla.trainers.saved_run import data_of_run, tokenizer_of_run


def _candidates(value: Any) -> Any:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    return accept(number, number == "all" or (type(number) is int and number >= 2))


_WITHOUT_EFFECT = ("out", "batch_size", "device")
Candidates = Annotated[Any, kind(_candidates, "is no number of candidates", "Give a whole number from 2, or all")]


@dataclass
class MatchingOptions(Options):
    """The options of the command, which says what they mean."""

    run: Name
    captions: Name
    regions: Name
    out: Name | None = None
    weights: Name = "muvla_final.safetensors"
    candidates: Candidates = 100
    num_images: Count = 500
    seed: Seed = 0
    batch_size: Count = 64
    device: Name = "auto"
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    query: QueryOptions = field(default_factory=QueryOptions)
    phrases: PhraseOptions = field(default_factory=PhraseOptions)


def texts_of_matching(model: MuVLA, run: Path) -> tuple[WordPieces, int]:
    """The tokenizer of the texts that a run with a matching head was trained on, and after how many tokens they were
    cut; an InputError where it has no such head."""
    if (task := model.options["task"]) not in ("pretraining", "retrieval"):
        problem = f"model_config.muvla.task is {task}, which has no matching head"
        raise InputError(str(run / "config.yaml"), problem, "Give a pre-training")
    _, texts = data_of_run(run)
    return WordPieces(tokenizer_of_run(run)), int(texts.get("max_text_tokens") or Pretraining.max_text_tokens)


def learns(model: MuVLA, name: str) -> bool:
    """Whether a run has learned a loss."""
    learned: Any = model.heads.learned
    return learned is None or name in learned


class MatchingEvaluation:
    """A pre-trained model, and images with captions to measure it on.

    Raises:
        InputError: the run is no pre-training of such features, or files cannot be used.
    """

    def __init__(self, options: MatchingOptions):
        self.options = options
        self.run = Path(options.run)
        self.model = load_run(self.run, options.weights).to(devices_of(options.device, "device")[0])
        self.words, self.max_tokens = texts_of_matching(self.model, self.run)
        self.images = open_images(options.regions, self.model.options["trunk"]["feature_dim"])
        self.store = store_with_names(Path(options.regions))
        self.captioned = captioned_images(options.captions, self.images, options.num_images, options.seed)
        count = len(self.captioned)
        self.candidates: int = count if options.candidates == "all" else min(count, options.candidates)
        self.resamples = resample(count, options.seed)

    def results(self) -> dict[str, Any]:
        """What ``results.json`` holds: the ``options`` that change figures, how much was compared, ``matching`` and
        ``nouns`` (see :meth:`matching` and :meth:`nouns`), and ``last_validation``, what the run's own last validation
        has said of retrieved pairs."""
        return {
            "options": {name: value for name, value in asdict(self.options).items() if name not in _WITHOUT_EFFECT},
            "resamples": RESAMPLES,
            "images": len(self.captioned),
            "candidates": self.candidates,
            "counts": self.captioned.counts,
            "matching": self.matching(),
            "nouns": self.nouns(),
            "last_validation": self._last_validation(),
        }

    def matching(self) -> dict[str, dict[str, Any]]:
        """Each measure (:func:`matching_statistics`) of the ``model``, of ``sentence_bert``, their ``difference``, of
        both ``together`` (:func:`scores_together`), the ``gain`` of that over Sentence-BERT, and what is expected
        ``by_chance``; ``None`` where a run does not learn matching or classes have no names."""
        options, captioned = self.options, self.captioned
        groups = make_groups(len(captioned), self.candidates, np.random.default_rng([options.seed, 4]))
        owned = [captioned.owned(group) for group in groups]

        def statistics(scores: list[Floats], threshold: float | None = None) -> dict[str, Statistic]:
            return matching_statistics(compare(groups, scores, owned), self.candidates, threshold)

        of_model: Mapping[str, Statistic] = {}
        of_retrieval: Mapping[str, Statistic] = {}
        of_both: Mapping[str, Statistic] = {}
        if self._learns("itm"):
            logits = model_scores(captioned, groups, self._logits)
            of_model = statistics(logits, threshold=0.0)
        if self.store is not None:
            alike = retrieval_scores(captioned, groups, self.store, options.embedding, options.query)
            of_retrieval = statistics(alike)
        if of_model and of_retrieval:
            of_both = statistics(scores_together(logits, alike))
        differences = {it: difference(of_model[it], of_retrieval[it]) for it in of_both}
        gains = {it: difference(of_both[it], of_retrieval[it]) for it in of_both}
        return {
            name: {
                "model": self._measured(of_model.get(name)),
                "sentence_bert": self._measured(of_retrieval.get(name)),
                "difference": self._measured(differences.get(name)),
                "together": self._measured(of_both.get(name)),
                "gain": self._measured(gains.get(name)),
                "by_chance": by_chance(name, self.candidates),
            }
            for name in of_model or of_retrieval
        }

    def nouns(self) -> dict[str, dict[str, Any]]:
        """What masked nouns cost, in nats: ``with_own`` image, ``with_another``, the ``gap`` between the two, and how
        many nouns there are (``count``); of ``all``, and of those that were ``detected`` in the image, or
        ``not_detected``. Empty where a run does not learn MLM."""
        if not self._learns("mlm"):
            return {}
        ids = self.captioned.image_ids
        found = masked_nouns(self.captioned, self.words, self.max_tokens, self.store, self.options.phrases)
        other = other_images(len(ids), self.options.seed)
        own_nats = self._nats([(ids[image], *it) for image, *it in found.rows()])
        other_nats = self._nats([(ids[other[image]], *it) for image, *it in found.rows()])
        kinds = {"all": np.ones(len(found.image), bool)}
        if found.detected is not None:
            kinds |= {"detected": found.detected, "not_detected": ~found.detected}

        def mean(nats: Floats, chosen: Bools) -> dict[str, float] | None:
            image = found.image[chosen]
            sums = np.bincount(image, weights=nats[chosen], minlength=len(ids))
            counts = np.bincount(image, minlength=len(ids))
            return self._measured(ratio(sums, counts))

        return {
            name: {
                "count": int(chosen.sum()),
                "with_own": mean(own_nats, chosen),
                "with_another": mean(other_nats, chosen),
                "gap": mean(other_nats - own_nats, chosen),
            }
            for name, chosen in kinds.items()
        }

    def _learns(self, name: str) -> bool:
        return learns(self.model, name)

    def _logits(self, pairs: list[tuple[str, str]]) -> Floats:
        options = self.options
        found = match_logits(self.model, self.words, self.images, pairs, options.batch_size, self.max_tokens)
        return self._finite(found.double().numpy())

    def _nats(self, masked: list[Any]) -> Floats:
        found = masked_nats(self.model, self.words, self.images, masked, self.options.batch_size)
        return self._finite(found.double().numpy())

    def _finite(self, values: Floats) -> Floats:
        if not np.isfinite(values).all():
            where = str(self.run / self.options.weights)
            raise InputError(where, "what the model says is not finite", "Use weights of before the run diverged")
        return values

    def _measured(self, statistic: Statistic | None) -> dict[str, float] | None:
        found = None if statistic is None else measure(statistic, self.resamples)
        return None if found is None else {name: round(value, 6) for name, value in asdict(found).items()}

    def _last_validation(self) -> dict[str, float] | None:
        if not (self.run / "history.jsonl").is_file():
            return None
        names = ("update", "itm", "muvla_itm_accuracy")
        lines = [line for line in read_history(self.run).val if all(name in line for name in names)]
        return {name: lines[-1][name] for name in names} if lines else None
