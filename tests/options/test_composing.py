"""Configurations are put together as MMF puts them together."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mmf_muvla.errors import InputError
from mmf_muvla.options.composing import configuration, read_with_includes, resolved


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("pretrain_cc", []),
        (
            "baselines/toyworld_uniter",
            ["training.precision=auto", "evaluation.metrics=[]", "training.clip_gradients=false"],
        ),
        ("studies/toyworld_round_robin", ["model_config.muvla.trunk.pretrained=/a b/c"]),
        ("finetune/toyworld_vqa2", ["optimizer.params.lr=2e-4", "dataset_config.vqa2.annotations={train: x}"]),
    ],
)
def test_a_configuration_is_put_together_as_by_mmf(name: str, arguments: list[str]) -> None:
    from mmf.utils.configuration import Configuration

    path = f"projects/muvla/{name}.yaml"
    arguments = [*arguments, "training.device=cpu"]
    opts = argparse.Namespace(config_override=None, opts=[f"config={path}", *arguments])
    expected = OmegaConf.to_container(Configuration(opts).get_config(), resolve=True)

    def assert_in(part: Any, whole: Any) -> None:
        if not isinstance(part, dict):
            assert part == whole
            return
        for key, value in part.items():
            if key != "losses" and value is not None:  # MMF is told what follows from the objectives
                assert_in(value, whole[key])

    assert_in(resolved(configuration(path), arguments), expected)


def test_files_that_include_each_other_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, included in {"first": "a", "a": "shared, parts/b", "shared": "", "parts/b": "../a"}.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        names = [f"{it}.yaml" for it in included.split(", ") if it]
        path.write_text(f"includes: [{', '.join(names)}]\nseed: 1\n")
    message = "a.yaml: includes itself: a.yaml -> parts/b.yaml -> a.yaml. Take it out of the includes of parts/b.yaml"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_with_includes(Path("first.yaml"))
    (tmp_path / "parts/b.yaml").write_text("includes: [../shared.yaml]\n")  # twice, and in no loop
    assert read_with_includes(Path("first.yaml")) == {"seed": 1}


@pytest.mark.parametrize("includes", ["shared.yaml", "3", "[3]", "null"])
def test_includes_are_a_list_of_files(includes: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"includes: {includes}\n")
    with pytest.raises(InputError, match=r"a.yaml: includes: is .*Write a list of files"):
        read_with_includes(tmp_path / "a.yaml")
