"""Whatever is misspelt, and whatever value is of a wrong kind, is refused by name before anything is read."""

from __future__ import annotations

import copy
import importlib.util
import string
import typing
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mmf_muvla.datasets.tasks.conversion.command import ConvertOptions
from mmf_muvla.detection.options import ExtractConfig
from mmf_muvla.errors import InputError
from mmf_muvla.interface.command import AskOptions
from mmf_muvla.models.small_bert import SmallBertOptions
from mmf_muvla.options.checking import check, check_keys
from mmf_muvla.options.data import DATASETS
from mmf_muvla.options.model import LOSSES
from mmf_muvla.options.reading import read_options
from mmf_muvla.options.run import Registered, check_run, known_keys
from mmf_muvla.options.schema import Key, keys_of
from mmf_muvla.options.training import OPTIMIZERS, SCHEDULERS
from mmf_muvla.pairing.config import BuildConfig, ImportConfig, ShowConfig
from mmf_muvla.paths import resource_path
from mmf_muvla.report.alignment import AlignmentOptions
from mmf_muvla.report.corpus_page import InspectOptions
from mmf_muvla.report.score_page import ScoreOptions
from mmf_muvla.studies.command import StudyOptions
from mmf_muvla.studies.conditions import ConditionsOptions
from mmf_muvla.studies.study import Step, System, TaskPlan
from mmf_muvla.toyworld.command import MakeOptions

# The same examples every time: a failure is seen again, and a change is what it comes from.
many = settings(max_examples=150, deadline=None, database=None, derandomize=True)
REGISTERED = Registered(
    trainers=["muvla"],
    models=["muvla"],
    datasets=DATASETS,
    optimizers=OPTIMIZERS,
    schedulers=SCHEDULERS,
    losses=LOSSES,
    metrics={"muvla_itm_accuracy": object},
)
NAN, INFINITY = float("nan"), float("inf")


def mine(_: str) -> str:
    return "mine.yaml"


def _demo() -> type:
    path = Path(__file__).resolve().parents[2] / "tools" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo_tool", path)
    assert spec is not None and spec.loader is not None
    import sys

    module = sys.modules["demo_tool"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.DemoOptions


# The schema of each tool, with what has to be given.
TOOLS: dict[type, dict[str, Any]] = {
    BuildConfig: {"out": "o", "regions": "r", "sentences": "s"},
    ImportConfig: {"out": "o", "regions": "r"},
    ExtractConfig: {"out": "o", "images": "i", "detector": "d"},
    ShowConfig: {"corpus": "c"},
    MakeOptions: {},
    ConvertOptions: {},
    SmallBertOptions: {},
    ScoreOptions: {"runs": "r"},
    AskOptions: {"model": "m", "image": "i"},
    InspectOptions: {"corpus": "c"},
    AlignmentOptions: {"run": "r"},
    ConditionsOptions: {"results": "r"},
    StudyOptions: {"config": "c"},
    Step: {"command": "c"},
    System: {"label": "l"},
    TaskPlan: {"config": "c", "rates": [1e-4]},
    _demo(): {},
}


@cache
def whole_run() -> Any:
    """Defaults of model and data sets, and those of a pre-training."""
    tasks = [name for name in DATASETS if not name.startswith("muvla_")]
    names = ["configs/models/muvla", "configs/datasets/muvla", *(f"configs/datasets/{name}" for name in tasks)]
    files = [f"{name}/defaults.yaml" for name in names]
    files += ["projects/muvla/trainer.yaml", "projects/muvla/pretrain_toyworld.yaml"]
    layers = [OmegaConf.load(resource_path(name)) for name in files]
    content: Any = OmegaConf.to_container(OmegaConf.merge(*layers), resolve=True)
    content.pop("includes")
    content["model_config"]["muvla"]["losses"] = [{"type": "muvla_mlm", "params": {"weight": 1.0}}]
    return content


KNOWN = known_keys(whole_run(), DATASETS)
# The first loss stands for all.
RUN_KEYS = [key for key in KNOWN.values() if not key.name.endswith("[]") and key.name != "includes"]


def check_whole(content: Mapping[str, Any]) -> None:
    check_keys(content, KNOWN, "mine.yaml")
    check_run(content, mine, REGISTERED)


def put(content: Any, name: str, value: Any) -> None:
    """Set what a dotted name names, with the groups around it."""
    *groups, last = name.replace("[", ".").replace("]", "").split(".")
    for group in groups:
        if isinstance(content, list):
            content = content[int(group)]
        else:
            if content.get(group) is None:
                content[group] = {}
            content = content[group]
    content[last] = value


@st.composite
def misspelt(draw: st.DrawFn, name: str) -> str:
    """A name whose last part has a letter too many, too few, or another one."""
    group, period, last = name.rpartition(".")
    place = draw(st.integers(0, len(last) - 1))
    letter = draw(st.sampled_from(string.ascii_lowercase + "_"))
    skip = draw(st.integers(0, 2 if len(last) > 1 else 1))
    wrong = last[:place] + (letter if skip < 2 else "") + last[place + min(skip, 1) :]
    return f"{group}{period}{wrong}"


def wrong_values(key: Key) -> list[Any]:
    """Values of none of the kinds that a key takes."""
    anything_else = [{"no": 1}, [[1]]]
    if key.is_group or dict in (key.kind, typing.get_origin(key.kind)):
        return [5, "x", [1], True]
    if key.kind is int:
        return [*anything_else, "many", 1.5, True, NAN, INFINITY]
    if key.kind is float:
        return [*anything_else, "much", True, NAN, INFINITY, -INFINITY]
    if key.kind is bool:
        return [*anything_else, "maybe", 7, 0.5]
    if key.kind is str:
        return [*anything_else, True]
    if typing.get_origin(key.kind) is typing.Literal:
        return [*anything_else, "no such choice", True, 17]
    return anything_else


def in_losses(name: str) -> str:
    return name.replace("[]", "[0]")


def test_the_defaults_pass() -> None:
    check_whole(whole_run())
    for schema, needed in TOOLS.items():
        check(schema, needed, mine)


@many
@given(st.data())
def test_a_misspelt_option_of_a_run_is_named(data: st.DataObject) -> None:
    right = in_losses(data.draw(st.sampled_from(RUN_KEYS)).name)
    name = data.draw(misspelt(right).filter(lambda it: it.replace("[0]", "[]") not in KNOWN))
    content = copy.deepcopy(whole_run())
    put(content, name, data.draw(st.sampled_from([1, "x", None, {}, {"a": 1}])))
    with pytest.raises(InputError) as caught:
        check_whole(content)
    assert f"unknown key '{name}'" in str(caught.value) and "mine.yaml" in str(caught.value)


def test_every_wrong_value_of_a_run_is_named() -> None:
    for key in RUN_KEYS:
        name = in_losses(key.name)
        for value in wrong_values(key):
            content = copy.deepcopy(whole_run())
            put(content, name, value)
            with pytest.raises(InputError) as caught:
                check_whole(content)
            assert name in str(caught.value) and "mine.yaml" in str(caught.value), (key, value)


@many
@given(st.data())
def test_a_misspelt_option_of_a_tool_is_named(data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from(list(TOOLS)))
    known = keys_of(schema)
    name = data.draw(
        misspelt(data.draw(st.sampled_from([it for it in known if not it.endswith("[]")]))).filter(
            lambda it: it not in {*known, "config"}
        )
    )
    content = copy.deepcopy(TOOLS[schema])
    put(content, name, 1)
    for refuse in (partial(check_keys, content, known, "mine.yaml"), partial(check, schema, content, mine)):
        with pytest.raises(InputError, match="mine.yaml: unknown key") as caught:
            refuse()
        assert f"'{name}'" in str(caught.value)
    with pytest.raises(InputError, match="command line: unknown key") as caught:
        read_options(schema, [f"{name}=1"])
    assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize("schema", TOOLS)
def test_every_wrong_value_of_a_tool_is_named(schema: type) -> None:
    for key in keys_of(schema).values():
        for value in [] if key.name.endswith("[]") else wrong_values(key):
            if schema is BuildConfig and key.name == "regions" and isinstance(value, dict):
                continue  # a group is right there; what is in it is checked by load_config
            content = copy.deepcopy(TOOLS[schema])
            put(content, key.name, value)
            with pytest.raises(InputError) as caught:
                check_keys(content, keys_of(schema), "mine.yaml")
                check(schema, content, mine)
            assert key.name in str(caught.value) and "mine.yaml" in str(caught.value), (key, value)
