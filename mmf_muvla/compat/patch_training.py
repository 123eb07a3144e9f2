"""Patches of what MMF writes while it trains: logs, checkpoints and the resolved configuration."""

from __future__ import annotations

import collections
import collections.abc
import os
import weakref
from types import ModuleType
from typing import Any

from mmf_muvla.compat.registration import patches
from mmf_muvla.compat.substitutes import Overlay


@patches("mmf.utils.checkpoint")
def saved_config(module: ModuleType) -> None:
    """utils/checkpoint.py:122 calls ``config.pretty``. Fixed in main; can go with rc10.

    Symptom: ``ConfigAttributeError: Key 'pretty' is not in struct`` (dropped in omegaconf 2.1).
    """
    from omegaconf import OmegaConf

    if hasattr(module, "consolidate_optim_state_dict"):  # main
        return

    def save_config(self: Any) -> None:
        path = os.path.join(self.ckpt_foldername, "config.yaml")
        with module.PathManager.open(path, "w") as file:
            file.write(OmegaConf.to_yaml(self.config, resolve=True))

    module.Checkpoint.save_config = save_config


@patches("mmf.utils.logger")
def log_progress(module: ModuleType) -> None:
    """utils/logger.py:127 uses ``collections.Mapping``. Fixed in main; can go with rc10.

    Symptom: ``AttributeError: module 'collections' has no attribute 'Mapping'`` at the first log line of a training.
    """
    module.collections = Overlay(collections, Mapping=collections.abc.Mapping)  # type: ignore[attr-defined]


@patches("mmf.utils.logger")
def tensorboard_at_exit(module: ModuleType) -> None:
    """utils/logger.py:192 closes the TensorBoard writer in ``__del__``. Gone in main; can go with rc10.

    Symptom: now and then the process hangs at exit, waiting for a writer thread that the interpreter has stopped.
    A finalizer runs before that.
    """
    logger: Any = module.TensorboardLogger
    if "__del__" not in vars(logger):  # main
        return
    construct = logger.__init__

    def construct_with_finalizer(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if self.summary_writer is not None:
            weakref.finalize(self, self.summary_writer.close)

    logger.__init__ = construct_with_finalizer
    del logger.__del__


@patches("mmf.utils.configuration")
def own_training_options(module: ModuleType) -> None:
    """Not a bug: MMF takes from the command line only options that some file has; of ``training`` it has all but these.

    Symptom: ``AttributeError`` for ``training.start_over=True``. ``projects/muvla/trainer.yaml`` explains them.
    """
    from omegaconf import OmegaConf

    build_default_config = module.Configuration._build_default_config

    def build_default_config_with_own(self: Any) -> Any:
        own = OmegaConf.create({"training": {"start_over": False}})
        return OmegaConf.merge(own, build_default_config(self))

    module.Configuration._build_default_config = build_default_config_with_own
