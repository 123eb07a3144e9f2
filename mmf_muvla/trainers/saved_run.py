"""What a run has left behind, read without MMF: the options of its model, and weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import as_list
from mmf_muvla.options.model import FORMER_DEFAULTS
from mmf_muvla.paths import resource_path
from mmf_muvla.run_config import read_run_config
from mmf_muvla.trainers.checkpoints import read_checkpoint_file

CONFIG, RESULTS, FINAL_WEIGHTS = "config.yaml", "results.json", "muvla_final.safetensors"
BERT, SHAPE = "bert", "config.json"  # of the checkpoint that it started from; older runs have not kept it


def read_model_options(folder: Path, for_weights: bool = True) -> DictConfig:
    """``model_config.muvla`` of a run, by which its model is built again.

    Options that are younger than the run have the value that it had them work as.

    Args:
        folder: of the run.
        for_weights: whether the model is given the run's weights, so that the start is not asked for: it may be gone.

    Raises:
        InputError: the folder has no configuration of such a model, or a damaged one.
    """
    defaults = OmegaConf.load(resource_path("configs/models/muvla/defaults.yaml")).model_config.muvla
    options: Any = OmegaConf.merge(defaults, FORMER_DEFAULTS, _given(folder / CONFIG))
    if for_weights:
        options.trunk.random_init = True
        options.trunk.pretrained = _kept_bert(folder) or options.trunk.pretrained
    return options


def data_of_run(folder: Path) -> tuple[str | None, Mapping[str, Any]]:
    """The data set of a run, and its ``dataset_config``; nothing where an older run does not say it."""
    config = read_run_config(folder / CONFIG)
    names = as_list(config.get("datasets") or [])
    if len(names) != 1:
        return None, {}
    data = config.get("dataset_config", {}).get(names[0])
    return names[0], data if isinstance(data, DictConfig) else {}


def tokenizer_of_run(folder: Path) -> str:
    """The tokenizer of the texts that a run has learned from."""
    _, data = data_of_run(folder)
    return str(_kept_bert(folder) or data.get("tokenizer") or read_model_options(folder).trunk.pretrained)


def _kept_bert(folder: Path) -> str | None:
    return str(folder / BERT) if (folder / BERT / SHAPE).is_file() else None


def load_weights(model: nn.Module, file: Path) -> None:
    """Give a model, of encoder and heads, the weights of its run or export.

    Raises:
        InputError: there are no such weights, they are damaged, or of another model than its configuration says.
    """
    # A tied matrix stands once in a safetensors file, so some names may be absent; sharing fills them in.
    state = read_checkpoint_file(file)["model"]
    try:
        absent = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        problem = f"is not of the model that the configuration in its folder describes ({error})"
        raise InputError(str(file), problem, "Use the run's own weights") from error
    untied = [name for name in absent if not name.endswith("decoder.weight")]
    if untied:
        raise InputError(str(file), f"it lacks {untied[0]}", "Use the weights that this run wrote")


def _given(path: Path) -> DictConfig:
    if not path.is_file():
        raise InputError(str(path), "no such file", "Give the save_dir of a run of this project")
    config = read_run_config(path)
    options = config.get("model_config", {}).get("muvla")
    if not isinstance(options, DictConfig):
        raise InputError(str(path), "has no model_config.muvla", "Give the save_dir of a run of the model muvla")
    # Runs write what they have had, resolved; whatever asks for values of this process is not theirs.
    if "${" in OmegaConf.to_yaml(options):
        raise InputError(str(path), "refers to other values (${…}), as no run writes it", "Use the folder of a run")
    return options
