"""The configuration of a run's model: what its folder says of shape, data, answers and detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mmf_muvla.artifacts.artifact import read_manifest
from mmf_muvla.artifacts.files import read_json
from mmf_muvla.datasets.tasks.nlvr2.converter import LABELS as PAIR_LABELS
from mmf_muvla.datasets.tasks.visual_entailment.converter import LABELS as ENTAILMENT_LABELS
from mmf_muvla.datasets.tasks.vqa2.answers import read_answers
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.errors import InputError
from mmf_muvla.interface.network import MuvlaConfig
from mmf_muvla.models.encoder import trunk_shapes
from mmf_muvla.options.data import Pretraining
from mmf_muvla.pairing.store import REGIONS_FOLDER
from mmf_muvla.regions.members import folders_of
from mmf_muvla.run_config import read_run_config
from mmf_muvla.trainers.run_folder import BEST, CURRENT
from mmf_muvla.trainers.saved_run import CONFIG, FINAL_WEIGHTS, RESULTS, data_of_run, read_model_options

# Losses of answers that may all be right.
_SEVERAL = ("muvla_answer_bce", "logit_bce")


def is_run(folder: Path) -> bool:
    """Whether the ``config.yaml`` in a folder is of a run of the model ``muvla``."""
    return OmegaConf.select(read_run_config(folder / CONFIG), "model_config.muvla") is not None


def config_of_run(folder: Path) -> MuvlaConfig:
    """The configuration of the model that a run has trained.

    Raises:
        InputError: the folder has none, or what it names is gone: the BERT that it started from, for the shape, or the
            list of answers.
    """
    options: Any = OmegaConf.to_container(read_model_options(folder))
    dataset, data = data_of_run(folder)
    losses = options["losses"]
    names = None if losses is None else [it if isinstance(it, str) else it["type"] for it in losses]
    values: dict[str, Any] = {
        **asdict(trunk_shapes(options["trunk"])[1]),
        **{name: options["trunk"][name] for name in ("feature_dim", "streams", "region_layers", "co_layers")},
        **{name: options[name] for name in ("task", "itm_pooling", "share_vocabulary_head")},
        **{name: options[name] for name in ("classifier_pooling", "classifier_dropout")},
        "num_object_classes": options["num_object_classes"] or 1,
        "dataset": dataset,
        "losses": names,
        "max_text_tokens": int(data.get("max_text_tokens") or Pretraining.max_text_tokens),
        "detection": _detection(data),
    }
    if options["task"] in ("classification", "image_pair"):
        labels = _labels(dataset, data, options["num_labels"], folder)
        several = any(name in _SEVERAL for name in names or ())
        values["id2label"] = dict(enumerate(labels))
        values["label2id"] = {label: number for number, label in enumerate(labels)}
        values["problem_type"] = f"{'multi' if several else 'single'}_label_classification"
    return MuvlaConfig(**values)


def weights_of_run(folder: Path) -> str:
    """The weights that a run's test scores are of; else those at its end, or the newest ones."""
    tested = (read_json(folder / RESULTS) or {}).get("weights")
    preferred = [BEST] if tested == BEST else []
    found = (name for name in (*preferred, FINAL_WEIGHTS, CURRENT) if (folder / name).is_file())
    return next(found, FINAL_WEIGHTS)


def _labels(dataset: str | None, data: Mapping[str, Any], count: int | None, folder: Path) -> list[str]:
    """The names of a task's answers; of a task of one's own they are numbers."""
    known = {"visual_entailment": [*ENTAILMENT_LABELS], "nlvr2": [*PAIR_LABELS]}
    if dataset == "vqa2" and data.get("answers"):
        labels = read_answers(data["answers"])
    else:
        labels = known.get(dataset or "", [str(number) for number in range(count or 0)])
    if count and len(labels) != count:
        where = data.get("answers") if dataset == "vqa2" else folder / CONFIG
        problem = f"has {len(labels):,} answers, the model chooses from {count:,}"
        raise InputError(str(where), problem, "Put the answers that it was trained with there")
    return labels


def _detection(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the regions of a run's corpus, or of its task, were detected; ``None`` where they came from files."""
    stores = [Path(data["corpus"], name) for name in ("build/regions", REGIONS_FOLDER) if data.get("corpus")]
    stores += [Path(path) for path in (data.get("features") or {}).values() if path]
    for folder in (folder for store in stores for folder in folders_of(store)):
        parameters = (read_manifest(folder) or {"made_from": {}})["made_from"].get("parameters", {})
        if "detector" in parameters:
            return {name: parameters[name] for name in DetectionOptions.__dataclass_fields__ if name in parameters}
    return None
