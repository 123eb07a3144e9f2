"""A trained model, from the folder that its run left behind."""

from __future__ import annotations

from pathlib import Path

from mmf_muvla.models.muvla import MuVLA
from mmf_muvla.trainers.saved_run import FINAL_WEIGHTS, load_weights, read_model_options


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
