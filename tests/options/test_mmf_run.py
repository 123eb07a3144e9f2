"""Options of `mmf_run`: what it makes of shipped files, and how whole commands end."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mmf.utils.configuration import Configuration
from mmf.utils.env import setup_imports

from mmf_muvla.errors import InputError
from tests.compat.tiny_vqa import write_tiny_vqa
from tests.forked import Forked

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TOYWORLD = "config=projects/muvla/pretrain_toyworld.yaml"
FILES = sorted(ROOT.glob("projects/muvla/**/*.yaml"))


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    setup_imports()


def configured(*options: str) -> Any:
    return Configuration(argparse.Namespace(opts=list(options), config_override=None)).config


def is_of_a_run(path: Path) -> bool:
    """Whether it is not a corpus, and not a study, of which joint.yaml and its like are none."""
    text = path.read_text(encoding="utf-8")
    return path.parent.name != "corpus" and not any(f"\n{key}:" in f"\n{text}" for key in ("steps", "systems", "title"))


@pytest.mark.parametrize("path", [path for path in FILES if is_of_a_run(path)], ids=lambda path: path.stem)
def test_every_shipped_file_passes(path: Path, tmp_path: Path) -> None:
    file = path
    is_whole = path.name == "trainer.yaml" or "includes:" in path.read_text(encoding="utf-8")
    if path.parent.name == "systems" or not is_whole:  # a part of others
        file = tmp_path / "whole.yaml"
        file.write_text(f"includes: [{ROOT}/projects/muvla/pretrain_cc.yaml, {path}]\n")
    named = ("model=muvla", "datasets=vqa2") if path.stem in ("trainer", "base") else ()
    assert configured(f"config={file}", *named).model == "muvla"


def test_shipped_files_are_all_looked_at() -> None:
    assert len([path for path in FILES if is_of_a_run(path)]) >= 35


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("training.seed: 5", r"mine.yaml: the key 'training.seed' has a period in it. Write it as training: {seed: …}"),
        ("model_config: {muvla: {trunk.streams: 2}}", r"'trunk.streams' has a period in it. Write it as trunk: {str"),
        ("trainin: {max_updates: 3}", "mine.yaml: unknown key 'trainin'. Did you mean training?"),
        ("training: {evaluation_intervall: 3}", "mine.yaml: unknown key 'training.evaluation_intervall'"),
        ("optimizer: {params: {betas: [0.9, 1.5]}}", r"mine.yaml: optimizer.params.betas\[1\]=1.5"),
        ("optimizer: {params: {weight_dekay: 0}}", "mine.yaml: unknown key 'optimizer.params.weight_dekay'"),
        ("model_config: {muvla: {losses: [{type: muvla_mlm, param: {}}]}}", r"'model_config.muvla.losses\[0\].param'"),
        ("model_config: {muvla: {losses: [muvla_itmm]}}", "muvla_itmm: there is no such loss. Did you mean muvla_itm"),
        ("model_config: {muvla: {curriculum: {warmup: 1}}}", "unknown key 'model_config.muvla.curriculum.warmup'"),
        (
            "model_config: {muvla: {region_init: {ridge: 1}}}",
            "mine.yaml: .*region_init=.*this start is gone. Leave",
        ),
        ("dataset_config: {muvla_toyword: {corpus: x}}", "mine.yaml: unknown key 'dataset_config.muvla_toyword'"),
        ("dataset_config: {muvla_cc: {maskin: {}}}", "mine.yaml: unknown key 'dataset_config.muvla_cc.maskin'"),
        ("checkpoint: {max_to_keep: -2}", "checkpoint.max_to_keep=-2"),
        ("training: 7", "mine.yaml: 'training' is a group of options, not a value"),
        ("training: {device: gpu}", "training.device=gpu: is no device"),
        ("scheduler: {type: muvla_warmup}", "scheduler.type=muvla_warmup: there is no such scheduler. Did you mean"),
        ("evaluation: {metrics: [accurracy]}", "evaluation.metrics=accurracy: there is no such metric"),
        ("datasets: muvla_toywrld", "datasets=muvla_toywrld: there is no such data set. Did you mean muvla_toyworld"),
        ("env: {save_dir: [a]}", r"mine.yaml: env.save_dir=\[a\]: is not a text"),
        ("run_type: trian", "run_type=trian: is no kind of run"),
        ("training: {clip_gradients: true, max_grad_l2_norm: null}", "there is nothing to clip gradients at"),
        ("includes: [nowhere.yaml]", "there is no nowhere.yaml"),
        ("includes: [mine.yaml]", "mine.yaml: includes itself: .*mine.yaml -> .*mine.yaml"),
        ("a: [1", "mine.yaml: is not valid YAML"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, written: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    includes = "" if written.startswith("includes") else f"includes: [{ROOT}/projects/muvla/pretrain_toyworld.yaml]\n"
    file.write_text(includes + written + "\n")
    with pytest.raises(InputError, match=message):
        configured(f"config={file}")


def test_a_file_elsewhere_includes_those_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text("includes: [projects/muvla/finetune/vqa2.yaml]\ntraining: {max_updates: 7}\n")
    config, original = configured(f"config={file}"), configured("config=projects/muvla/finetune/vqa2.yaml")
    assert config.training.max_updates == 7
    config.training.max_updates, config.config = original.training.max_updates, original.config
    assert config == original

    own = tmp_path / "projects/muvla/finetune/vqa2.yaml"  # what is beside the file comes first
    own.parent.mkdir(parents=True)
    own.write_text("includes: [projects/muvla/finetune/nlvr2.yaml]\n")
    assert configured(f"config={file}").datasets == "nlvr2"

    file.write_text("includes: [projects/muvla/no_such.yaml]\n")
    with pytest.raises(InputError, match=r"mine.yaml: includes: there is no projects/muvla/no_such.yaml, neither"):
        configured(f"config={file}")


def test_a_file_that_names_no_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("modle: muvla\ndatasets: vqa2\n")
    with pytest.raises(InputError, match="unknown key 'modle'. Did you mean model"):
        configured(f"config={tmp_path / 'mine.yaml'}")
    (tmp_path / "mine.yaml").write_text("datasets: vqa2\n")
    with pytest.raises(InputError, match="mine.yaml: model: is not given"):
        configured(f"config={tmp_path / 'mine.yaml'}")


def test_a_group_is_replaced_merged_or_refused() -> None:
    group, trunk = "model_config.muvla.curriculum", "model_config.muvla.trunk"
    assert configured(TOYWORLD, f"{group}=null").model_config.muvla.curriculum is None
    before = configured(TOYWORLD).model_config.muvla.trunk
    merged = configured(TOYWORLD, f"{trunk}={{pretrained: b, hidden_size: null}}").model_config.muvla.trunk
    assert merged == {**before, "pretrained": "b", "hidden_size": None}
    later = configured(TOYWORLD, f"{group}=null", f"{group}={{warmup_epochs: 5}}")
    assert later.model_config.muvla.curriculum == {"warmup_epochs": 5}
    for value in ("null", "3"):
        with pytest.raises(InputError, match="command line: 'training.early_stop' is a group of options"):
            configured(TOYWORLD, f"training.early_stop={value}")


def test_an_option_that_is_gone_is_refused_with_the_remedy_unless_it_was_not_used() -> None:
    """Configurations of former runs have it."""
    gone = "model_config.muvla.region_init"
    configured(TOYWORLD, f"{gone}=null")
    for written in (f"{gone}.max_regions=1000", f"{gone}={{corpus: c, max_regions: 5, ridge: 1}}"):
        with pytest.raises(InputError, match=r"command line: .*region_init=.* gone. Leave .* out, .*small_bert"):
            configured(TOYWORLD, written)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("training.seed=[", r"training.seed=\[: the value is not valid YAML"),
        ("checkpoint.resume_file=*/best.ckpt", r"checkpoint.resume_file=\*/best.ckpt: the value is not valid YAML"),
        ("optimizer.params.betas[9]=2", r"betas\[9\]=2: list index out of range"),
        ("model_config.muvla.losses=[]", r"losses=\[\]: there is nothing to learn"),
        ("env.user_dir=no_such_package", "env.user_dir: cannot be imported"),
        (f"env.save_dir={Path(__file__)}", "is no folder, so that nothing can be written"),
    ],
)
def test_what_neither_yaml_nor_mmf_can_use_is_named(option: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        configured(TOYWORLD, option)


@pytest.mark.parametrize(
    ("optimizer", "foreign"),
    [
        ("SGD", "optimizer.params.betas, optimizer.params.eps"),
        ("RMSprop", "optimizer.params.betas, optimizer.params.fused"),
        ("adam_w", "optimizer.params.fused"),
    ],
)
def test_params_of_another_optimizer_are_refused_with_the_remedy(optimizer: str, foreign: str) -> None:
    with pytest.raises(InputError) as caught:
        configured(TOYWORLD, f"optimizer.type={optimizer}")
    problem, remedy = str(caught.value).split(" (projects/muvla/trainer.yaml). ")
    assert problem == f"command line: optimizer.type={optimizer}: does not take {foreign}"
    options = remedy.removeprefix("Take them out, or give all that it is to take: ").split(" ")
    params = configured(TOYWORLD, f"optimizer.type={optimizer}", *options).optimizer.params
    assert params.lr == configured(TOYWORLD).optimizer.params.lr and params.weight_decay == 0.01
    assert not any(f"optimizer.params.{name}" in foreign.split(", ") for name in params)


def test_an_option_of_no_optimizer_is_named() -> None:
    with pytest.raises(InputError, match="unknown key 'optimizer.params.momentun'. Did you mean .*momentum"):
        configured(TOYWORLD, "optimizer.params.momentun=0.9")
    with pytest.raises(InputError, match=r"does not take optimizer.params.momentum \(command line\). Take them out"):
        configured(TOYWORLD, "optimizer.params.momentum=0.9")


MAPPING = "pretrained_state_mapping={model.bert: model.bert}"
NOT_READ = [
    (["checkpoint.resume_zoo=a.b"], r"checkpoint.resume_zoo=a.b: .* downloads no .* give checkpoint.resume_file"),
    (
        ["checkpoint.resume_pretrained=true", f"checkpoint.{MAPPING}", "checkpoint.resume_file=a.ckpt"],
        r"checkpoint.pretrained_state_mapping={'model.bert': 'model.bert'}: this trainer loads every .* Take it out",
    ),
    (
        ["training.load_pretrained=true", f"training.{MAPPING}", "training.resume_file=a.ckpt"],
        r"training.pretrained_state_mapping={'model.bert': 'model.bert'}: this trainer loads every .* Take it out",
    ),
    (
        ["evaluation.predict=true", "evaluation.predict_file_format=csv"],
        "evaluation.predict_file_format=csv: .*benchmark. Set it to json",
    ),
    (["training.use_warmup=yes"], "training.use_warmup=True: .*pythia alone.* scheduler.params.warmup_fraction"),
    (["training.clip_gradients=true", "training.clip_norm_mode=question"], "clip_norm_mode=question: .* Set it to all"),
    (["scheduler.params.total_updates=5"], "total_updates=5: .*as long as the run.* give training.max_updates"),
]


@pytest.mark.parametrize(("options", "message"), NOT_READ)
def test_what_this_projects_trainer_would_pass_over_is_refused(options: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"command line: .*{message}"):
        configured(TOYWORLD, *options)
    configured(TOYWORLD, *options, "training.trainer=mmf")


def test_it_is_refused_with_a_model_of_mmf_too(tmp_path: Path) -> None:
    config = f"config={write_tiny_vqa(tmp_path / 'task')}"
    configured(config, "checkpoint.resume_zoo=a.b")
    with pytest.raises(InputError, match="command line: checkpoint.resume_zoo=a.b: "):
        configured(config, "checkpoint.resume_zoo=a.b", "training.trainer=muvla")


@pytest.mark.parametrize(
    "options",
    [
        # As MMF's own configurations of tasks have them, where MMF's trainer does not go by them either.
        [f"checkpoint.{MAPPING}"],
        [f"checkpoint.{MAPPING}", "checkpoint.resume_file=a.ckpt"],
        [f"checkpoint.{MAPPING}", "checkpoint.resume_pretrained=true"],
        ["evaluation.predict_file_format=csv"],
        ["training.use_warmup=true", "training.lr_scheduler=false"],
        # A file comes before the zoo.
        ["checkpoint.resume_zoo=a.b", "checkpoint.resume_file=a.ckpt"],
        ["checkpoint.resume_zoo=a.b", "training.resume_file=a.ckpt"],
        # This scheduler reads it with any trainer.
        ["training.use_warmup=true", "scheduler.type=pythia"],
        ["training.clip_norm_mode=question", "training.clip_gradients=false"],
        ["evaluation.use_cpu=true"],
    ],
)
def test_what_says_nothing_to_mmf_either_passes(options: list[str]) -> None:
    configured(TOYWORLD, *options)


def test_old_names_of_options_are_understood() -> None:
    """MMF writes their values to the present ones."""
    config = configured(TOYWORLD, "training.resume_file=a.ckpt", "training.load_pretrained=true")
    assert (config.checkpoint.resume_file, config.checkpoint.resume_pretrained) == ("a.ckpt", True)


def test_the_trainer_of_mmf_does_not_write_over_a_training(tmp_path: Path) -> None:
    for trainer in ("mmf", "base_trainer"):
        options = (TOYWORLD, f"env.save_dir={tmp_path}", f"training.trainer={trainer}")
        (tmp_path / "current.ckpt").unlink(missing_ok=True)
        configured(*options)
        (tmp_path / "current.ckpt").write_bytes(b"a checkpoint")
        with pytest.raises(InputError, match="a training is in it already"):
            configured(*options)
        configured(*options, "checkpoint.resume=True")
        configured(*options, "run_type=val")


def test_values_are_what_they_obviously_are() -> None:
    options = [
        "training.max_updates=1e3",
        "optimizer.params.lr='1e-4'",
        "training.pin_memory=yes",
        "dataset_config.muvla_toyworld.objectives=[region_tag,image_sentence]",
        "training.precision=bf16",
    ]
    config = configured(TOYWORLD, *options)
    assert (config.training.max_updates, config.optimizer.params.lr, config.training.pin_memory) == (1000, 1e-4, True)
    assert config.dataset_config.muvla_toyworld.objectives == ["region_tag", "image_sentence"]


@pytest.mark.parametrize(
    ("task", "criteria", "minimize"),
    [
        ("flickr30k_retrieval", None, False),
        ("flickr30k_retrieval", "muvla_text_to_image_median_rank", True),
        ("flickr30k_retrieval", "flickr30k_retrieval/muvla_image_to_text_median_rank", True),
        ("flickr30k_retrieval", "muvla_text_to_image_r@5", False),
        ("vqa2", None, False),
    ],
)
def test_the_best_checkpoint_is_that_of_the_best_value(task: str, criteria: str | None, minimize: bool) -> None:
    options = [] if criteria is None else [f"training.early_stop.criteria={criteria}"]
    config = configured(f"config=projects/muvla/finetune/{task}.yaml", *options)
    assert config.training.early_stop.minimize is minimize


@pytest.mark.parametrize(
    ("task", "criteria", "options"),
    [
        ("coco_retrieval", "muvla_text_to_image_median_rank", ["training.early_stop.minimize=false"]),
        ("vqa2", "total_loss", []),  # its file says false, which goes with accuracies
    ],
)
def test_the_worst_state_is_not_kept_by_mistake(task: str, criteria: str, options: list[str]) -> None:
    arguments = [f"config=projects/muvla/finetune/{task}.yaml", f"training.early_stop.criteria={criteria}"]
    with pytest.raises(InputError, match=rf"minimize=False: small values of {criteria}, .*Add training.*minimize=true"):
        configured(*arguments, *options)
    assert configured(*arguments, "training.early_stop.minimize=true").training.early_stop.minimize is True


def test_an_option_that_a_file_leaves_out_can_be_given() -> None:
    assert "start_over" not in configured(TOYWORLD).training
    assert configured(TOYWORLD, "training.start_over=true").training.start_over is True


def test_the_configuration_of_a_run_can_be_read_again(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    config = configured(TOYWORLD)
    config.device_id, config.start_rank, config.model_config.muvla.model = 0, 0, "muvla"
    OmegaConf.save(config, tmp_path / "config.yaml", resolve=True)
    assert configured(f"config={tmp_path / 'config.yaml'}").training == config.training


@pytest.mark.parametrize(
    ("program", "option", "named"),
    [
        ([BIN / "mmf_run"], "training.max_update=3", "unknown key 'training.max_update'"),
        (["-m", "mmf_cli.run"], "dataset_config.muvla_toyworld.max_tag_tokens=-5", "max_tag_tokens=-5"),
        ([BIN / "mmf_predict"], "training.log_interval=0", "training.log_interval=0"),
    ],
)
def test_a_run_ends_with_one_line(
    tmp_path: Path, forked: Forked, program: list[object], option: str, named: str
) -> None:
    """The first as a real process, in which it is the interpreter that ends; the others as forks."""
    command = [*program, TOYWORLD, f"env.save_dir={tmp_path / 'save'}", option]
    if program == [BIN / "mmf_run"]:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    else:
        done = forked.run(command)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: command line: ") and named in last
    assert not (tmp_path / "save").exists()
