"""What the layer must leave alone: interpreters without MMF, and other people's modules in interpreters with it."""

from __future__ import annotations

from pathlib import Path

from tests.compat.conftest import Run

UNTOUCHED = """
import sys
ours = sorted(name for name in sys.modules if name.startswith("mmf"))
assert ours == ["mmf_muvla", "mmf_muvla.compat", "mmf_muvla.compat.finder"], ours
heavy = {"torch", "transformers", "omegaconf", "numpy", "yaml", "typing"} & set(sys.modules)
assert not heavy, heavy
import json, colorsys
assert not any(name.startswith("mmf_muvla.compat.") and name != ours[2] for name in sys.modules)
"""

UNCHANGED = """
import collections, sys, warnings
import omegaconf, torch, transformers, transformers.optimization
from transformers import PreTrainedModel
from transformers.models.bert import modeling_bert

owners = [collections, omegaconf.OmegaConf, omegaconf.DictConfig, torch, torch.Tensor, torch.distributed, torch.cuda,
          torch.nn.Module, torch.optim.AdamW, transformers.optimization, PreTrainedModel, modeling_bert]
before = [dict(vars(owner)) for owner in owners]
import mmf
from mmf.utils.env import setup_imports
setup_imports()
for owner, names in zip(owners, before):
    changed = [name for name in names if vars(owner).get(name) is not names[name]]
    # The counters by which classes cache their subclasses are theirs to change.
    assert not [name for name in changed if not name.startswith("_abc")], (owner, changed)

for absent in ("transformers.modeling_bert", "transformers.tokenization_auto"):
    assert absent not in sys.modules
    try:
        __import__(absent)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{absent} can be imported outside MMF")
assert not hasattr(transformers.optimization, "AdamW") and not hasattr(modeling_bert, "BertLayerNorm")
placeholders = [name for name, module in sys.modules.items() if type(module).__name__ in ("Placeholder", "Overlay")]
assert not placeholders, placeholders
if not torch.cuda.is_available():
    try:
        torch.zeros(1).cuda()
    except (AssertionError, RuntimeError):
        pass
    else:
        raise AssertionError("Tensor.cuda was changed")
for model in ("visual_bert",):
    from mmf.common.registry import registry
    assert registry.get_model_class(model) is not None
for dataset in ("vqa2", "nlvr2", "visual_entailment"):
    assert registry.get_builder_class(dataset) is not None
"""


def test_interpreter_without_mmf_is_untouched(run: Run) -> None:
    result = run("-c", UNTOUCHED)
    assert result.returncode == 0, result.stderr


def test_interpreter_starts_silently_with_a_broken_layer(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "site" / "mmf_muvla"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("this is no Python")
    result = run("-c", "print('alive')", PYTHONPATH=str(tmp_path / "site"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


def test_importing_mmf_changes_nothing_for_others(run: Run) -> None:
    result = run("-W", "ignore", "-c", UNCHANGED)
    assert result.returncode == 0, result.stderr
