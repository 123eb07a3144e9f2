"""Each patch: MMF's own error without it, none with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.compat.conftest import Run

CHECKS = str(Path(__file__).with_name("checks.py"))

# Patch, or part of the patch user_config -> what MMF says without it.
SYMPTOMS = {
    "defaults_file": "FileNotFoundError: .*defaults.yaml",
    "resolvers": "UnsupportedInterpolationType: Unsupported interpolation type env|AttributeError",
    "missing_options": "ConfigAttributeError: (Missing key|Key) '?config",
    "missing_learning_rate": "ConfigAttributeError: (Missing key|Key) '?learning_rate",
    "config_names_model_and_datasets": "KeyError: .*Required argument 'model' not passed",
    "config_path": r"FileNotFoundError: .*no/such.yaml",
    "override_values": "ValueError: too many values to unpack",
    "absent_configs": "FileNotFoundError: .*configs/models/visual_bert/pretrain.yaml",
    "own_includes": "FileNotFoundError: .*projects/muvla/trainer.yaml",
    "absent_zoo": "FileNotFoundError: .*none",
    "user_package": "AssertionError: nothing was registered",
    "nlvr2_annotations": "AttributeError: 'NLVR2Dataset' object has no attribute 'imdb'",
    "stock_configs": "AssertionError: another project's defaults",
    "world_size_without_address": "AssertionError: not refused here",
    "distributed_init_on_cpu": "AssertionError: NCCL was asked for, without a GPU",
    "seed_zero": "AssertionError: drawn anew",
    "one_name_of_the_trainer": "TypeError: 'NoneType' object is not callable",
    "trainer_on_cpu": "AssertionError: on cuda:1",
    "criterion_without_dataset": r"ValueError: Criteria used for early stopping \(val/an_accuracy\) is not present",
    "safetensors_files": "UnpicklingError|RuntimeError: Loading safetensors",
    "weights_initialisation": "AttributeError: .*all_tied_weights_keys",
    "tied_weights": "AttributeError: .*_tie_or_clone_weights",
    "visual_mask_on_cpu": "(AssertionError|RuntimeError): .*CUDA",
    "visual_positions_on_cpu": "(AssertionError|RuntimeError): .*CUDA",
    "saved_config": "ConfigAttributeError: (Missing key|Key) '?pretty",
    "log_progress": "AttributeError: module 'collections' has no attribute 'Mapping'",
}


def test_without_a_patch_mmf_fails_and_with_it_does_not(run: Run) -> None:
    cured = run(CHECKS, *SYMPTOMS)
    assert cured.returncode == 0, cured.stderr
    outcomes, writer = cured.stdout.splitlines()[-2:]
    assert json.loads(outcomes) == {name: "ok" for name in SYMPTOMS}
    assert writer == "closed in time"

    # No check needs another patch than its own, so that all of them can be left out at once.
    bare = run(CHECKS, *SYMPTOMS, skip=",".join([*SYMPTOMS, "user_config", "tensorboard_at_exit"]))
    assert bare.returncode == 0, bare.stderr
    outcomes, writer = bare.stdout.splitlines()[-2:]
    found = json.loads(outcomes)
    assert not {name: found[name] for name, symptom in SYMPTOMS.items() if not re.match(symptom, found[name])}
    assert writer == "closed too late"


STAND_INS = {
    "modeling_bert": "from transformers.modeling_bert import BertLayerNorm, BertPreTrainedModel",
    "configuration_bert": "from transformers.configuration_bert import BertConfig",
    "modeling_auto": "from transformers.modeling_auto import AutoModel",
    "configuration_auto": "from transformers.configuration_auto import AutoConfig",
    "tokenization_auto": "from transformers.tokenization_auto import AutoTokenizer",
    "optimization": "from transformers.optimization import AdamW",
}
AS_MMF = """
import sys
from mmf_muvla.compat.substitutes import MMF_BUILTINS
for statement in sys.argv[1:]:
    try:
        exec(statement, {"__builtins__": MMF_BUILTINS})
    except ImportError as error:
        print("ImportError:", error)
"""


def test_without_a_stand_in_mmf_cannot_import_what_moved(run: Run) -> None:
    printed = run("-c", AS_MMF, *STAND_INS.values(), skip=",".join(STAND_INS)).stdout.splitlines()
    for line, statement in zip(printed, STAND_INS.values(), strict=True):
        assert re.match(f"ImportError: .*{statement.split()[1]}", line)


def test_with_the_stand_ins_it_can(run: Run) -> None:
    use = "import torch; from transformers.optimization import AdamW; print(AdamW([torch.zeros(1)]).defaults)"
    served = run("-c", AS_MMF, *STAND_INS.values(), use)
    assert served.returncode == 0, served.stderr
    (defaults,) = served.stdout.splitlines()
    # Those of the AdamW that transformers had, which differ from torch's.
    assert "'eps': 1e-06" in defaults
    assert "'weight_decay': 0.0" in defaults


def test_absent_package_can_be_imported_and_derived_from_but_not_used() -> None:
    from mmf_muvla.compat.substitutes import Placeholder

    absent = Placeholder("torchvision")

    class Derived(absent.models.resnet.Bottleneck):  # type: ignore[misc, name-defined]
        pass

    with pytest.raises(ImportError, match=r"MMF needs torchvision\.models\.resnet\.Bottleneck here"):
        Derived()
    with pytest.raises(ImportError, match=r"MMF needs torchvision\.io\.read_video here"):
        absent.io.read_video("film.mp4")


def test_lightning_module_of_an_absent_package_is_a_torch_module() -> None:
    from torch import nn

    from mmf_muvla.compat.substitutes import Placeholder

    absent = Placeholder("pytorch_lightning")
    model = type("Model", (absent.LightningModule,), {})()
    model.layer = nn.Linear(2, 2)
    assert len(list(model.parameters())) == 2


def test_broken_torchvision_is_hidden(run: Run, tmp_path: Path) -> None:
    package = tmp_path / "site" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    metadata = tmp_path / "site" / "torchvision-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1\n")
    (metadata / "top_level.txt").write_text("torchvision\n")

    site = str(tmp_path / "site")
    broken = run(
        "-c", "import mmf_cli, transformers.models.bert.modeling_bert", skip="hide_broken_torchvision", PYTHONPATH=site
    )
    assert "operator torchvision::nms" in broken.stderr
    hidden = run("-c", "import mmf_cli; from importlib.util import *; print(find_spec('torchvision'))", PYTHONPATH=site)
    assert hidden.stdout == "None\n", hidden.stderr
    assert "going on without it" in hidden.stderr


def test_scan_of_all_transformers_models_is_left_out() -> None:
    from mmf_muvla.compat.loading import registration

    module = ModuleType("mmf.utils.patch")
    module.patch_transformers = lambda: pytest.fail("scanned")  # type: ignore[attr-defined]
    registration.apply_patches(module)
    module.patch_transformers()


def test_patch_that_does_not_fit_is_named() -> None:
    from mmf_muvla.compat.loading import registration

    with pytest.raises(ImportError, match=r"'nlvr2_annotations' does not fit mmf\.datasets\.builders\.nlvr2\.dataset"):
        registration.apply_patches(ModuleType("mmf.datasets.builders.nlvr2.dataset"))
