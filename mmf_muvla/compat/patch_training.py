"""Patches of MMF's own trainer: its name, what it watches, its logs and checkpoints."""

from __future__ import annotations

import collections.abc
import os
import random
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from mmf_muvla.compat.registration import Function, around, patches
from mmf_muvla.compat.substitutes import Overlay
from mmf_muvla.errors import InputError
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.devices import choose_device


@around("mmf.utils.env", "set_seed")
def seed_zero(set_seed: Function, seed: int | None) -> int | None:
    """utils/env.py:17 passes over 0, which is no ``None``.

    Symptom: with ``training.seed=0`` a command begins with other weights each time. Can go when MMF seeds with 0.
    """
    if seed == 0:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return seed
    found: int | None = set_seed(seed)
    return found


@patches("mmf.trainers.base_trainer")
def one_name_of_the_trainer(module: ModuleType) -> None:
    """trainers/base_trainer.py:31 registers MMF's trainer as ``base_trainer``, which main calls ``mmf``.

    Symptom: ``training.trainer=mmf`` ends in ``TypeError: 'NoneType' object is not callable``. Can go with rc10.
    """
    from mmf.common.registry import registry

    trainer = registry.get_trainer_class("base_trainer")
    if trainer is not None:  # main: its trainer is of another module
        registry.register_trainer("mmf")(trainer)


@patches("mmf.trainers.base_trainer", "mmf.trainers.core.device")
def trainer_on_cpu(module: ModuleType) -> None:
    """trainers/base_trainer.py:64 and 124; main: trainers/core/device.py:31 and 87.

    Symptoms: with several processes the device is ``cuda`` also where there is none, and without it they would train
    each a model of its own; with one process ``training.device=cpu`` is passed over. Can go when MMF asks for neither.
    """
    from mmf.common.registry import registry

    name = "BaseTrainer" if hasattr(module, "BaseTrainer") else "TrainerDeviceMixin"
    trainer: Any = getattr(module, name)
    choose = "_set_device" if hasattr(trainer, "_set_device") else "configure_device"
    if not hasattr(trainer, choose):  # main has both modules
        return
    own_choice, own_parallel = getattr(trainer, choose), trainer.parallelize_model

    def choose_cpu(self: Any) -> None:
        if choose_device(self.config).type == "cuda":
            own_choice(self)
            return
        self.local_rank, self.device = -1, torch.device("cpu")
        self.distributed = torch.distributed.is_initialized()
        registry.register("global_device", self.config.distributed.rank)
        registry.register("current_device", self.device)

    def parallelize(self: Any) -> None:
        own_parallel(self)
        if self.distributed and self.device.type == "cpu":
            registry.register("distributed", True)
            unused = bool(self.config.training.find_unused_parameters)
            self.model = torch.nn.parallel.DistributedDataParallel(self.model, find_unused_parameters=unused)

    setattr(trainer, choose, choose_cpu)
    trainer.parallelize_model = parallelize


@around("mmf.utils.early_stopping", "EarlyStopping.__call__")
def criterion_without_dataset(monitor: Function, self: Any, update: int, iteration: int, meter: Any) -> Any:
    """utils/early_stopping.py:53 (main 55) wants the criterion as ``dataset/metric``, whatever the data set is.

    Symptom: with a metric's name alone, as this project's files have it, "Criteria used for early stopping is not
    present in meter" at the first validation, without a word of what is. Here the name is looked for under the data
    set's, and a name that is nowhere is refused with those that are. Can go when MMF does so.
    """
    known = [key for key in meter.meters if key.startswith("val/")]
    if self.early_stop_criteria not in known:
        name = self.early_stop_criteria.removeprefix("val/")
        matching = [key for key in known if key.endswith(f"/{name}")]
        if len(matching) != 1:
            raise InputError(
                f"training.early_stop.criteria={name}",
                f"the validation gives {'more than one' if matching else 'no'} such value",
                f"It gives {', '.join(key.removeprefix('val/') for key in matching or known)}",
            )
        self.early_stop_criteria = self.metric = matching[0]
    return monitor(self, update, iteration, meter)


@around("mmf.utils.checkpoint", "Checkpoint._torch_load")
def safetensors_files(torch_load: Function, self: Any, file: str) -> Any:
    """utils/checkpoint.py:326 (main 464) gives every file to ``torch.load``.

    Symptom: ``checkpoint.resume_file=muvla_final.safetensors`` ends in an UnpicklingError. Here its tensors are loaded
    where name and shape fit, and the log says which do. Can go when MMF reads safetensors.
    """
    if not str(file).endswith(".safetensors"):
        return torch_load(self, file)
    from mmf_muvla.trainers.checkpoints import load_matching, read_checkpoint_file

    model = self.trainer.model
    log_message(f"{file}: {load_matching(model, read_checkpoint_file(file)['model'], str(file))}")
    return {"model": model.state_dict()}  # MMF loads it once more, and finds nothing missing


@around("mmf.utils.checkpoint", "Checkpoint.save_config")
def saved_config(save_config: Function, self: Any) -> None:
    """utils/checkpoint.py:122 calls ``config.pretty``. Fixed in main; can go with rc10.

    Symptom: ``ConfigAttributeError: Key 'pretty' is not in struct`` (dropped in omegaconf 2.1).
    """
    from mmf.utils import checkpoint

    if hasattr(checkpoint, "consolidate_optim_state_dict"):  # main
        save_config(self)
        return
    with checkpoint.PathManager.open(os.path.join(self.ckpt_foldername, "config.yaml"), "w") as file:
        file.write(OmegaConf.to_yaml(self.config, resolve=True))


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
