"""One check for each patch: returns where the patch is at work, raises MMF's own error where it is left out.

Run as a script by test_patches.py: ``python checks.py NAME ...`` prints a JSON object of outcomes, and at its exit a
line that says when the TensorBoard writer was closed.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import mmf.datasets.builders.nlvr2.dataset as nlvr2
import mmf.models.visual_bert as visual_bert
import mmf.utils.configuration as configuration
import mmf.utils.env as env
import numpy as np
import torch
from mmf.common.registry import registry
from mmf.datasets.builders.nlvr2.builder import NLVR2Builder
from mmf.datasets.builders.visual_entailment.builder import VisualEntailmentBuilder
from mmf.datasets.builders.vqa2.builder import VQA2Builder
from mmf.utils.checkpoint import Checkpoint
from mmf.utils.distributed import distributed_init, infer_init_method
from mmf.utils.early_stopping import EarlyStopping
from mmf.utils.file_io import PathManager
from mmf.utils.general import get_absolute_path
from mmf.utils.logger import Logger, TensorboardLogger
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError

# MMF's path helpers look into the global configuration; without this they would build one, which needs all patches.
registry.register("config", OmegaConf.create({"env": {"user_dir": None}}))
CONFIGURATION = configuration.Configuration.__new__(configuration.Configuration)
CONFIGURATION._default_config = OmegaConf.create()
BERT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 11}


def options(**given: Any) -> Any:
    return OmegaConf.create({"config": None, "model": None, "dataset": None, "datasets": None, **given})


def seed_zero() -> None:
    def drawn() -> tuple[float, ...]:
        assert env.set_seed(0) == 0
        return random.random(), np.random.random(), torch.rand(1).item()

    assert drawn() == drawn(), "drawn anew"


def defaults_file() -> None:
    OmegaConf.load(configuration.get_default_config_path())


def resolvers() -> None:
    OmegaConf.register_new_resolver("a_users_own", lambda: "kept", replace=True)
    configuration.Configuration._register_resolvers(CONFIGURATION)
    config = OmegaConf.create({"mmf": "${env:NOT_SET, fallback}", "own": "${a_users_own:}"})
    assert OmegaConf.to_container(config, resolve=True) == {"mmf": "fallback", "own": "kept"}


def missing_options() -> None:
    assert CONFIGURATION._build_opt_list(["training.seed=1"]).config is None


def missing_learning_rate() -> None:
    CONFIGURATION._update_specific(OmegaConf.create({"training": {"device": "cpu"}}))


def config_names_model_and_datasets() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "named.yaml"
        path.write_text("model: of_this_file\ndatasets: [one, two]\n")
        opts = options(config=str(path))
        config = CONFIGURATION._build_user_config(opts)
        CONFIGURATION._build_model_config(opts)
        assert (opts.model, opts.datasets, config.datasets) == ("of_this_file", "one,two", "one,two")
        named = options(config=str(path), model="of_the_command_line", dataset="three")
        CONFIGURATION._build_user_config(named)
        assert (named.model, named.dataset, named.datasets) == ("of_the_command_line", "three", None)


def config_path() -> None:
    try:
        CONFIGURATION._build_user_config(options(config="no/such.yaml"))
    except InputError as error:
        assert "config=no/such.yaml" in str(error)


def override_values() -> None:
    config = OmegaConf.create({"a": {"text": "", "on": False, "off": True, "none": 1, "number": 0}})
    values = ["a.text=x=1,y=2", "a.on=true", "a.off=false", "a.none=null", "a.number=0.5"]
    CONFIGURATION._merge_with_dotlist(config, values)
    assert config.a == {"text": "x=1,y=2", "on": True, "off": False, "none": None, "number": 0.5}


def absent_configs() -> None:
    assert configuration.load_yaml("configs/models/visual_bert/pretrain.yaml") == {}


def own_includes() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mine.yaml"
        file.write_text("includes: [projects/muvla/trainer.yaml]\n")
        assert "training" in CONFIGURATION._build_user_config(options(config=str(file), model="other"))


def absent_zoo() -> None:
    assert configuration.get_zoo_config("vqa2", zoo_config_path="none") == (None, None)


def user_package() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        (Path(folder) / "a_users_package.py").write_text("calls = []\ndef register_with_mmf():\n    calls.append(1)\n")
        import a_users_package

        env.import_user_module("a_users_package")
        assert a_users_package.calls == [1], "nothing was registered"


def nlvr2_annotations() -> None:
    dataset = nlvr2.NLVR2Dataset.__new__(nlvr2.NLVR2Dataset)
    dataset.annotation_db = ["a sentence"]
    assert dataset.imdb == ["a sentence"]


def is_of_mmf(builder: Any) -> None:
    """Its defaults are MMF's own, also where the current folder has a file of that name."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            path = Path("configs/datasets", builder().dataset_name, "defaults.yaml")
            path.parent.mkdir(parents=True)
            path.write_text("dataset_config: somebody else's\n")
            assert get_absolute_path(builder.config_path()) != str(path.resolve()), "another project's defaults"
        finally:
            os.chdir(here)


def stock_configs() -> None:
    for builder in (VQA2Builder, NLVR2Builder, VisualEntailmentBuilder):
        is_of_mmf(builder)


def world_size_without_address() -> None:
    config = OmegaConf.create(
        {"distributed": {"init_method": None, "port": -1, "world_size": 99}, "training": {"device": "cuda"}}
    )
    try:
        infer_init_method(config)
    except InputError as error:
        assert "torchrun --nproc-per-node=99" in str(error)
    else:
        raise AssertionError("not refused here, but by a bare assert later")


def distributed_init_on_cpu() -> None:
    """Also where torch has NCCL and the machine has no GPU, or has one that the run is not for."""
    group = {"backend": "nccl", "world_size": 2, "rank": 0, "init_method": "x"}
    for has_nccl, has_gpu, device in ((True, False, "cuda"), (False, False, "cuda"), (True, True, "cpu")):
        config = OmegaConf.create({"distributed": group, "training": {"device": device}})
        with (
            mock.patch("torch.cuda.is_available", return_value=has_gpu),
            mock.patch("torch.distributed.is_nccl_available", return_value=has_nccl),
            mock.patch("torch.distributed.init_process_group", side_effect=InterruptedError) as init,
            contextlib.suppress(InterruptedError),
        ):
            distributed_init(config)
        assert init.call_args.kwargs["backend"] == "gloo", "NCCL was asked for, without a GPU"


def one_name_of_the_trainer() -> None:
    import mmf.trainers.base_trainer  # noqa: F401
    import mmf.utils.build as build

    config = OmegaConf.create({"training": {"trainer": "mmf"}})
    build.build_trainer(config)


def trainer_on_cpu() -> None:
    from mmf.trainers.base_trainer import BaseTrainer

    group = {"init_method": "env://", "rank": 1}
    trainer = BaseTrainer(OmegaConf.create({"training": {"device": "cpu"}, "distributed": group, "device_id": 1}))
    trainer._set_device()
    assert trainer.device == torch.device("cpu"), f"on {trainer.device}"


def criterion_without_dataset() -> None:
    watched = EarlyStopping(None, mock.Mock(), "an_accuracy", minimize=False)
    values = {"val/total_loss": 2.0, "val/images/an_accuracy": 0.5, "train/images/an_accuracy": 0.9}
    watched(1, 1, SimpleNamespace(meters={key: SimpleNamespace(global_avg=value) for key, value in values.items()}))
    assert watched.best_monitored_value == 0.5


def safetensors_files() -> None:
    from safetensors.torch import save_file

    model = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2)})
    expected = {"encoder.weight": torch.ones(2, 2), "encoder.bias": torch.ones(2)}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weights.safetensors")
        save_file(expected, path)
        trainer = SimpleNamespace(model=model)
        loaded = Checkpoint._torch_load(SimpleNamespace(trainer=trainer, device="cpu"), path)["model"]
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def visual_bert_model() -> Any:
    return visual_bert.VisualBERTBase(visual_bert.BertConfig(**BERT), visual_embedding_dim=4)


def weights_initialisation() -> None:
    assert visual_bert_model().embeddings.word_embeddings.weight.std() < 0.1  # BERT's 0.02, not torch's 1


def tied_weights() -> None:
    one, other = torch.nn.Linear(2, 3), torch.nn.Embedding(3, 2)
    visual_bert.VisualBERTBase._tie_or_clone_weights(SimpleNamespace(), one, other)
    assert one.weight is other.weight


def visual_mask_on_cpu() -> None:
    sample = SimpleNamespace(visual_embeddings=torch.zeros(2, 3, 4), image_dim=torch.tensor([1, 3]))
    visual_bert.VisualBERT.add_custom_params(None, sample)
    assert sample.image_mask.tolist() == [[1, 0, 0], [1, 1, 1]]


def visual_positions_on_cpu() -> None:
    embeddings = visual_bert.BertVisioLinguisticEmbeddings(visual_bert.BertConfig(visual_embedding_dim=4, **BERT))
    words, regions = torch.tensor([[1, 2]]), torch.zeros(1, 3, 4)
    assert embeddings(words, None, regions, torch.zeros(1, 3, dtype=torch.long)).shape == (1, 5, 8)


def saved_config() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = OmegaConf.create({"a": 1, "b": "${a}"})
        OmegaConf.set_struct(config, True)
        Checkpoint.save_config(SimpleNamespace(ckpt_foldername=folder, config=config))
        with PathManager.open(f"{folder}/config.yaml") as file:
            assert OmegaConf.load(file) == {"a": 1, "b": 1}


def log_progress() -> None:
    written: list[str] = []
    logger = SimpleNamespace(write=written.append, _is_master=True, log_format="simple")
    Logger.log_progress(logger, collections.OrderedDict(loss=1.5))
    assert written == ["loss: 1.5"]


class SummaryWriter:
    """In the place of TensorBoard's, whose thread no longer answers once the interpreter finalizes."""

    def __init__(self, folder: str):
        pass

    def close(self, when: Callable[[], bool] = sys.is_finalizing, write: Any = os.write) -> None:
        write(1, b"closed too late\n" if when() else b"closed in time\n")


def main(names: list[str]) -> None:
    outcomes = {}
    for name in names:
        check: Callable[[], None] = globals()[name]
        try:
            check()
            outcomes[name] = "ok"
        except Exception as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.modules["torch.utils.tensorboard"] = SimpleNamespace(SummaryWriter=SummaryWriter)  # type: ignore[assignment]
    kept_until_exit = TensorboardLogger("logs")
