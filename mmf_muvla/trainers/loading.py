"""A trained model, from the folder that its run left behind."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import OmegaConf

from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.run_config import read_run_config
from mmf_muvla.trainers.saved_run import CONFIG, FINAL_WEIGHTS, load_weights, read_model_options


def load_run(folder: str | Path, weights: str = FINAL_WEIGHTS) -> MuVLA:
    """Load a trained model, in evaluation mode, on the CPU. ``model.heads(model.encoder, batch)`` predicts.

    Args:
        folder: ``env.save_dir`` of the run; it holds ``config.yaml`` and the weights.
        weights: which weights: the final ones, or e.g. ``best.ckpt``.

    Raises:
        InputError: the folder has no configuration of such a model or no such weights, or one of the two is damaged.
    """
    folder = Path(folder)
    model = MuVLA(read_model_options(folder))
    model.build()
    load_weights(model, folder / weights)
    return model.eval()


def load_start(folder: str | Path) -> MuVLA:
    """The model that a run has begun with, untrained, in evaluation mode, on the CPU: from the same BERT checkpoint,
    which must still be there; what is random is drawn by the seed.

    Raises:
        InputError: the folder has no configuration of such a model, or what it starts from is gone.
    """
    folder = Path(folder)
    model = MuVLA(read_model_options(folder, for_weights=False))
    with torch.random.fork_rng():
        torch.manual_seed(int(OmegaConf.select(read_run_config(folder / CONFIG), "training.seed", default=0)))
        model.build()
    return model.eval()
