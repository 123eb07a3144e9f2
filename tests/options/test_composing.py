"""Configurations are put together as MMF puts them together."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from omegaconf import OmegaConf

from mmf_muvla.options.composing import configuration, resolved


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
