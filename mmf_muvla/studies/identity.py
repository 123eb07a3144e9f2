"""What a job is known by: the configuration that it runs with, without what cannot change a result, and the version of
the code that computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from typing import Any

from mmf_muvla.artifacts.files import digest_of_json
from mmf_muvla.options.kinds import names

# Raise a number whenever an unchanged configuration comes to give other results: other weights, batches, metrics or
# files. All results that were made with it are then made again, as is everything that was made from them.
VERSIONS = {
    "pretrain": 2,
    "vqa2": 2,
    "nlvr2": 2,
    "visual_entailment": 2,
    "refcoco_plus": 2,
    "flickr30k_retrieval": 1,
    "coco_retrieval": 1,
    "make_toyworld.py": 2,
    "make_small_bert.py": 2,
    "import_regions.py": 1,
    "build_corpus.py": 1,
}

# What cannot change a result: names, folders, what is logged and kept, how many processes work; a GPU's rounding is
# not known anyway.
_NO_RESULT_OF_RUNS = {
    *("system", "env", "distributed", "checkpoint.resume", "checkpoint.max_to_keep", "checkpoint.save_git_details"),
    *("evaluation.predict", "evaluation.predict_file_format", "training.find_unused_parameters"),
    *("training.num_workers", "training.pin_memory", "training.deterministic"),
    *("training.log_interval", "training.checkpoint_interval"),
    *(
        "training.tensorboard",
        "training.wandb",
        "training.experiment_name",
        "training.logger_level",
        "training.log_format",
    ),
    *("training.log_detailed_config", "training.should_not_log", "training.stdout_capture", "training.colored_logs"),
}
_NO_RESULT_OF_TOOLS = ("out", "overwrite", "num_workers", "executor", "executor_options")
# Options that were added later, with the value by which everything is as it was without them.
_AS_BEFORE: dict[str, dict[str, Any]] = {
    "retrieval": {"scores": "cosine", "max_uses": None, "sentences_at_once": None},
    "retrieval.faiss": {"code_size": 64, "candidates": None},
    "region_options": {"image_sizes": None},
}


def digest_of_run(content: Mapping[str, Any], version: str) -> str:
    """The digest of a run of a version, ``pretrain`` or a task, from its configuration, in which the output of another
    job stands by that job's digest."""
    kept = _without(content)
    # Other models and data sets are not made.
    for group, key in (("model_config", "model"), ("dataset_config", "datasets")):
        chosen = names(content.get(key))
        kept[group] = {name: part for name, part in kept.get(group, {}).items() if name in chosen}
    return digest_of_json([version, VERSIONS[version], kept])


def _without(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration without what cannot change a result."""
    return {
        key: _without(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in content.items()
        if f"{prefix}{key}" not in _NO_RESULT_OF_RUNS
    }


def digest_of_step(command: str, arguments: Sequence[str]) -> str:
    """The digest of a script of ``tools/`` from all its options, those that are not given as well; likewise."""
    from mmf_muvla.options.reading import read_options
    from mmf_muvla.pairing.config import BuildConfig, ImportConfig, load_config
    from mmf_muvla.toyworld.command import MakeOptions

    options: dict[str, Any]
    if command == "make_toyworld.py":
        options = asdict(read_options(MakeOptions, arguments))
    elif command == "build_corpus.py":
        options = _as_before(asdict(load_config(BuildConfig, arguments)))
    elif command == "import_regions.py":
        options = _as_before(asdict(load_config(ImportConfig, arguments)))
    else:
        options = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    kept = {key: value for key, value in options.items() if key.partition(".")[0] not in _NO_RESULT_OF_TOOLS}
    return digest_of_json([command, VERSIONS.get(command, 1), kept])


def _as_before(options: dict[str, Any]) -> dict[str, Any]:
    for place, usual in _AS_BEFORE.items():
        *above, group = place.split(".")
        around = reduce(lambda found, name: found.get(name, {}), above, options)
        if group in around:
            around[group] = {key: value for key, value in around[group].items() if usual.get(key, ...) != value}
    return options
