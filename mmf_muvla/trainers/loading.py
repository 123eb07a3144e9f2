"""A trained model, from the folder that its run left behind."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.options.model import FORMER_DEFAULTS
from mmf_muvla.run_config import read_run_config
from mmf_muvla.trainers.checkpoints import read_checkpoint_file


def load_run(folder: str | Path, weights: str = "muvla_final.safetensors") -> MuVLA:
    """Load a trained model, in evaluation mode, on the CPU. ``model.heads(model.encoder, batch)`` predicts.

    Args:
        folder: ``env.save_dir`` of the run; it holds ``config.yaml`` and the weights.
        weights: which weights: the final ones, or e.g. ``best.ckpt``.

    Raises:
        InputError: the folder has no configuration of such a model or no such weights, or one of the two is damaged.
    """
    folder = Path(folder)
    defaults = OmegaConf.load(MuVLA.config_path()).model_config.muvla  # for options younger than the run
    options = OmegaConf.merge(defaults, FORMER_DEFAULTS, _model_options(folder / "config.yaml"))
    # What is only a start: its corpus and its weights may be gone.
    options.region_init, options.trunk.random_init = None, True
    model = MuVLA(options)
    model.build()
    # A tied matrix stands once in a safetensors file, so some names may be absent; sharing fills them in.
    state = read_checkpoint_file(folder / weights)["model"]
    try:
        absent = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        problem = f"is not of the model in {folder}/config.yaml ({error})"
        raise InputError(str(folder / weights), problem, "Use the run's own weights") from error
    untied = [name for name in absent if not name.endswith("decoder.weight")]
    if untied:
        raise InputError(str(folder / weights), f"it lacks {untied[0]}", "Use the weights that this run wrote")
    return model.eval()


def load_start(folder: str | Path) -> MuVLA:
    """The model that a run has begun with, untrained, in evaluation mode, on the CPU: from the same BERT checkpoint,
    and with ``region_init`` from the same corpus, which must still be there; what is random is drawn by the seed.

    Raises:
        InputError: the folder has no configuration of such a model, or something that it starts from is gone.
    """
    path = Path(folder) / "config.yaml"
    defaults = OmegaConf.load(MuVLA.config_path()).model_config.muvla
    model = MuVLA(OmegaConf.merge(defaults, FORMER_DEFAULTS, _model_options(path)))
    with torch.random.fork_rng():
        torch.manual_seed(int(OmegaConf.select(read_run_config(path), "training.seed", default=0)))
        model.build()
    return model.eval()


def _model_options(path: Path) -> DictConfig:
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
