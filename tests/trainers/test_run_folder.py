"""One run, one folder: whose it is, what starting over removes, which checkpoints are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.trainers import run_folder
from mmf_muvla.trainers.run_folder import MARK, RunFolder

CONFIG = OmegaConf.create({"model": "muvla", "system": "mine"})
FOREIGN = [
    "notes.txt",
    "config.yaml.bak",
    "models/bert.bin",
    "predictions/mine.json",
    "logs/train.log",
    "x.safetensors",
]


def state(update: int) -> dict:
    return {"model": {"a": torch.full((2,), float(update))}, "num_updates": update}


def trained(path: Path) -> RunFolder:
    """A folder in which a training has been, beside files of others."""
    folder = RunFolder(path, "muvla")
    folder.claim(go_on=False, start_over=False)
    folder.begin(CONFIG)
    folder.save(state(3), best=True, keep=2)
    for name in ("history.jsonl", "results.json", "muvla_final.safetensors"):
        (path / name).write_text("{}")
    for name in ("evaluation", "predictions"):
        folder.write_config(CONFIG, name)
    (path / "predictions" / "nlvr2_test.csv").write_text("")
    (path / "evaluation" / "results.json").write_text("{}")
    folder.release()
    for name in FOREIGN:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("mine")
    return folder


def files(path: Path) -> dict[str, bytes]:
    return {str(it.relative_to(path)): it.read_bytes() for it in sorted(path.rglob("*")) if it.is_file()}


@pytest.mark.parametrize(
    "left", ["history.jsonl", "current.ckpt", "config.yaml", "models/model_3.ckpt", "results.json"]
)
def test_a_used_folder_is_refused_by_whatever_is_left_of_a_training(tmp_path: Path, left: str) -> None:
    trained(tmp_path)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if path.is_file() and path != tmp_path / left:
            path.unlink()
    before = files(tmp_path)
    with pytest.raises(InputError) as raised:
        RunFolder(tmp_path, "muvla").claim(go_on=False, start_over=False)
    assert str(tmp_path) in raised.value.where and left in raised.value.problem
    assert all(
        word in raised.value.remedy for word in ("checkpoint.resume=True", "save_dir", "training.start_over=True")
    )
    assert {name: text for name, text in files(tmp_path).items() if name != "run.lock"} == before


def test_what_is_not_a_training_does_not_make_a_folder_a_used_one(tmp_path: Path) -> None:
    for name in FOREIGN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    folder = RunFolder(tmp_path, "muvla")
    folder.write_config(CONFIG, "evaluation")
    folder.claim(go_on=False, start_over=False)
    folder.begin(CONFIG)
    assert (tmp_path / "config.yaml").read_text() == f"{MARK}model: muvla\nsystem: mine\n"


@pytest.mark.parametrize("place", ["", "evaluation", "predictions"])
@pytest.mark.parametrize("start_over", [False, True])
def test_a_configuration_of_somebody_else_is_not_replaced(tmp_path: Path, place: str, start_over: bool) -> None:
    path = tmp_path / place / "config.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("my: own\n")
    folder = RunFolder(tmp_path, "muvla")
    with pytest.raises(InputError, match=r"config\.yaml: is not of a run"):
        if place:
            folder.write_config(CONFIG, place)
        else:
            folder.claim(go_on=False, start_over=start_over)
    assert path.read_text() == "my: own\n"


def test_starting_over_removes_what_is_ours_and_not_before_the_run_begins(tmp_path: Path) -> None:
    trained(tmp_path)
    before = files(tmp_path)
    folder = RunFolder(tmp_path, "muvla")
    folder.claim(go_on=False, start_over=True)
    assert files(tmp_path) == before  # an option may still turn out to be wrong
    folder.begin(CONFIG)
    assert set(files(tmp_path)) == {*FOREIGN, "run.lock", "config.yaml"}
    with pytest.raises(InputError, match="contradict each other"):
        RunFolder(tmp_path / "other", "muvla").claim(go_on=True, start_over=True)


def test_a_second_run_at_the_same_time_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    """The lock ends with the process, also where workers outlive it that it has forked."""
    program = (
        "import os, sys, time; from pathlib import Path; from mmf_muvla.trainers.run_folder import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1]), 'muvla'); folder.claim(True, False)\n"
        "if os.fork() == 0:\n    time.sleep(60); os._exit(0)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for go_on, start_over in ((False, False), (True, False), (False, True)):
            with pytest.raises(InputError, match="another run is at work in this folder"):
                RunFolder(tmp_path, "muvla").claim(go_on, start_over)
        process.kill()
        process.wait()
        RunFolder(tmp_path, "muvla").claim(go_on=True, start_over=False)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()


def test_a_lock_is_held_as_long_as_its_owner_lives(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, "muvla")
    first.claim(go_on=True, start_over=False)
    with pytest.raises(InputError, match="another run"):
        RunFolder(tmp_path, "muvla").claim(go_on=True, start_over=False)
    first.release()
    second = RunFolder(tmp_path, "muvla")
    second.claim(go_on=True, start_over=False)
    del second
    RunFolder(tmp_path, "muvla").claim(go_on=True, start_over=False)


def test_checkpoints_of_a_course_that_was_given_up_go_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "muvla")
    for update in (10, 20, 30):
        folder.save(state(update), best=update == 10, keep=2)
    assert folder.checkpoint(best=True) == tmp_path / "best.ckpt"
    folder.save(state(15), best=False, keep=2)  # gone on from the best one
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"model_15.ckpt", "model_30.ckpt"}
    folder.save(state(16), best=False, keep=2)
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"model_15.ckpt", "model_16.ckpt"}
    assert torch.load(tmp_path / "current.ckpt")["num_updates"] == 16


def test_a_process_killed_between_the_names_leaves_the_best_one_that_the_newest_speaks_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, "muvla")
    folder.save(state(10), best=True, keep=-1)
    link = run_folder.link_atomically

    def killed_at(name: str) -> None:
        def link_or_die(existing: Path, path: Path) -> None:
            if path.name == name:
                raise KeyboardInterrupt
            link(existing, path)

        monkeypatch.setattr(run_folder, "link_atomically", link_or_die)

    for update, name in ((20, "current.ckpt"), (30, "best.ckpt")):
        killed_at(name)
        with pytest.raises(KeyboardInterrupt):
            folder.save(state(update), best=True, keep=-1)
        newest, best = (torch.load(tmp_path / it)["num_updates"] for it in ("current.ckpt", "best.ckpt"))
        assert newest <= best, "a run that goes on comes to the best one again"


def test_the_newest_checkpoint_is_found_without_its_second_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "muvla")
    assert folder.checkpoint() is None and folder.checkpoint(best=True) is None
    for update in (9, 10):
        folder.save(state(update), best=False, keep=-1)
    (tmp_path / "current.ckpt").unlink()
    assert folder.checkpoint() == tmp_path / "models" / "model_10.ckpt"
    with pytest.raises(InputError, match=r"best\.ckpt: no such checkpoint, though there are others"):
        folder.checkpoint(best=True)
