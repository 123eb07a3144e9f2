"""MMF's own VisualBERT: its checkpoints as models of this project, as far as they fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mmf_muvla.errors import InputError
from mmf_muvla.interface.network import MuvlaConfig, MuvlaModel
from mmf_muvla.models.visual_bert import is_visual_bert, shape_of
from mmf_muvla.trainers.checkpoints import load_matching, read_checkpoint_file

_log = logging.getLogger(__name__)


def load_visual_bert(file: Path) -> MuvlaModel:
    """The model of a checkpoint of MMF's ``visual_bert``; the log says what fits, and what starts anew.

    Raises:
        InputError: the file is damaged, or of another model.
    """
    tensors: Mapping[str, Tensor] = read_checkpoint_file(file)["model"]
    if not is_visual_bert(tensors):
        problem = "is neither in the folder of a run or an exported model, nor of MMF's VisualBERT"
        raise InputError(str(file), problem, "Leave it in its run's folder, beside config.yaml")
    shape, feature_dim = shape_of(tensors)
    # MMF pre-trains it on masked words alone.
    config = MuvlaConfig(**vars(shape), feature_dim=feature_dim, losses=["muvla_mlm"], dataset="visual_bert")
    network = MuvlaModel(config)
    _log.warning("%s: %s", file, load_matching(network, tensors, str(file)))
    return network
