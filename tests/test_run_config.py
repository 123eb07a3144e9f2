"""What a run's configuration asks for is not looked up."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.report.runs import read_run
from mmf_muvla.run_config import read_run_config

TEXTS = [
    "${oc.env:SECRET}",
    "a ${oc.env:SECRET} b ${oc.env:SECRET}",
    r"\${oc.env:SECRET}",
    r"\\${oc.env:SECRET}",
    r"\\\${oc.env:SECRET}",
    "${oc.decode:${oc.env:SECRET}}",
    "${oc.env:SECRET,other}",
    "${other}",
    "${..other}",
    "${no.such.resolver:1}",
    "${oc.env:${name}}",
    "${",
]


@pytest.mark.parametrize("text", TEXTS)
def test_interpolations_are_text(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "swordfish")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "SECRET", "other": "swordfish", "a": {"b": text, "c": [text, 1]}}))
    try:
        config = read_run_config(path)
    except InputError as error:
        assert text == "${" and "cannot be read" in str(error)
        return
    config = OmegaConf.merge({"a": {"d": None}}, config)
    assert (config.a.b, config.a.c[0], config.a.c[1]) == (text, text, 1)
    assert "swordfish" not in OmegaConf.to_yaml(config.a, resolve=True)


@pytest.mark.parametrize("key", ["system", "checkpoint.resume_file"])
def test_scores_do_not_show_the_environment(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "swordfish")
    config = OmegaConf.create({"datasets": "vqa2", "training": {"seed": 1}})
    OmegaConf.update(config, key, "${oc.env:SECRET}/current.ckpt")
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (tmp_path / "results.json").write_text('{"update": 3, "test": {"muvla_vqa_accuracy": 0.5}}')
    run = read_run(tmp_path)
    assert "swordfish" not in str(run) and "oc.env" in run.system


def test_a_seed_from_the_environment_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "7")
    (tmp_path / "config.yaml").write_text("datasets: vqa2\ntraining: {seed: '${oc.decode:${oc.env:SEED}}'}\n")
    (tmp_path / "results.json").write_text('{"update": 3, "test": {"muvla_vqa_accuracy": 0.5}}')
    with pytest.raises(InputError, match=r"training\.seed is .*oc\.env"):
        read_run(tmp_path)
