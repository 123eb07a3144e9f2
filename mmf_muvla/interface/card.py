"""The model card, ``README.md``: what is known of a model's data, recipe and scores, and what it is not good for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from mmf_muvla.artifacts.files import read_json
from mmf_muvla.interface.abilities import abilities
from mmf_muvla.pairing.store import CORPUS_FILE
from mmf_muvla.run_config import read_run_config
from mmf_muvla.trainers.saved_run import CONFIG, RESULTS, data_of_run

if TYPE_CHECKING:
    from mmf_muvla.interface.model import Model

CARD = "README.md"
_UNKNOWN_LICENCE = "other"
_TASKS = {
    "vqa2": "VQA 2.0: answers to questions",
    "nlvr2": "NLVR2: whether a sentence is true of two images",
    "visual_entailment": "SNLI-VE: whether an image entails a sentence",
    "refcoco_plus": "RefCOCO+: the region that an expression means",
    "muvla_cc": "pre-training on images of Conceptual Captions and captions, not paired",
    "muvla_bookcorpus": "pre-training on images of Conceptual Captions and sentences of BookCorpus",
    "muvla_toyworld": "pre-training on the generated world of mmf-muvla",
    "visual_bert": "read from a checkpoint of MMF's VisualBERT",
}
_EXAMPLES = {
    "match": 'model.match(image, ["a woman on a sofa", "a red bus"])  # probabilities',
    "fill": 'model.fill(image, "a woman sits on a [MASK]")  # the most probable words',
    "answer": 'model.answer(image, "what colour is the sofa?")  # the most probable answers',
    "entails": 'model.entails(image, "somebody is at home")  # probabilities of three classes',
    "compare": 'model.compare(image, another, "both show a sofa")  # probability that it is true',
    "refer": 'model.refer(image, "the woman on the left")  # a region and its box',
}
_LIMITS = """\
It sees an image as the regions that a detector finds: what the detector does not find or has no name for, the model
hardly knows. Use it with regions of the detector that it was trained on. Its probabilities are not calibrated. It was
trained on texts and pictures that may be one-sided, and so are its answers; do not decide about people by them."""
# What a recipe is made of, by its place in a run's configuration.
_RECIPE = {
    "seed": "training.seed",
    "batch size": "training.batch_size",
    "updates, at most": "training.max_updates",
    "epochs, at most": "training.max_epochs",
    "optimizer": "optimizer.type",
    "peak learning rate": "optimizer.params.lr",
    "weight decay": "optimizer.params.weight_decay",
    "schedule": "scheduler.type",
    "warm-up": "scheduler.params.warmup_fraction",
    "gradients clipped at": "training.max_grad_l2_norm",
    "precision": "training.precision",
    "first epochs without w_ITM": "model_config.muvla.curriculum.warmup_epochs",
}


def model_card(model: Model, name: str, license: str | None) -> str:
    """The card of a model that will be called ``name``; an exported model keeps the card that it has."""
    folder = model.folder
    if folder is not None and not (folder / CONFIG).is_file() and (folder / CARD).is_file():
        text = (folder / CARD).read_text(encoding="utf-8")
        return text if license is None else re.sub(r"(?m)^license: .*$", f"license: {license}", text, count=1)
    run: Any = None if folder is None or not (folder / CONFIG).is_file() else read_run_config(folder / CONFIG)
    config = model.config
    title = _TASKS.get(config.dataset, config.dataset or config.task)
    head: dict[str, Any] = {
        "license": license or _UNKNOWN_LICENCE,
        "language": "en",
        "tags": ["muvla", "vision-and-language", config.task],
    }
    if "answer" in abilities(config):
        head["pipeline_tag"] = "visual-question-answering"
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# μ-VLA: {title}",
        "A vision-and-language transformer, trained with mmf-muvla, an implementation of [Unsupervised "
        "Vision-and-Language Pre-training via Retrieval-based Multi-Granular Alignment]"
        "(https://arxiv.org/abs/2203.00242) (Zhou et al., CVPR 2022).",
        _use(config, name),
        _section("Data", _data(config, run, folder)),
        _section("Recipe", _recipe(config, run)),
        _section("Scores", _scores(run, folder)),
        f"## Limits\n\n{_LIMITS}",
        "## Licence\n\n" + (license or "Not stated. It also depends on those of the pictures and texts, see Data."),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _use(config: Any, name: str) -> str:
    if config.detection:
        image, another = ('model.detect("kitchen.jpg")', 'model.detect("garden.jpg")')
    else:  # the reader knows which files have its features
        image, another = ('model.regions("REGIONS")["IMAGE ID"]', 'model.regions("REGIONS")["ANOTHER ID"]')
    code = ["from mmf_muvla import load", "", f'model = load("{name}")', f"image = {image}"]
    code += [f"another = {another}"] if config.task == "image_pair" else []
    code += [_EXAMPLES[question] for question in abilities(config)]
    return "## Use\n\n```python\n" + "\n".join(code) + "\n```"


def _data(config: Any, run: Any, folder: Path | None) -> Iterable[tuple[str, Any]]:
    yield "data set", config.dataset
    if run is not None and folder is not None:
        _, data = data_of_run(folder)
        corpus = read_json(Path(data["corpus"]) / CORPUS_FILE) if data.get("corpus") else None
        for name, count in (corpus or {}).get("counts", {}).items():
            yield name.replace("_", " "), f"{count:,}" if isinstance(count, int) else count
        yield "objectives", ", ".join(data.get("objectives") or [])
    detector = (config.detection or {}).get("detector")
    yield "detector", _public(detector) if detector else "not recorded: regions came from files"
    yield "numbers per region feature", config.feature_dim


def _recipe(config: Any, run: Any) -> Iterable[tuple[str, Any]]:
    yield (
        "layers, hidden size, heads",
        f"{config.num_hidden_layers}, {config.hidden_size}, {config.num_attention_heads}",
    )
    yield "losses", ", ".join(config.losses or [])
    if run is None:
        return
    yield "starts from", _public(OmegaConf.select(run, "model_config.muvla.trunk.pretrained"))
    start = OmegaConf.select(run, "checkpoint.resume_file")
    yield "and from the pre-training", _public(Path(str(start)).parent) if start else None
    for name, key in _RECIPE.items():
        yield name, OmegaConf.select(run, key)


def _scores(run: Any, folder: Path | None) -> Iterable[tuple[str, Any]]:
    results: Mapping[str, Any] = (read_json(folder / RESULTS) if run is not None and folder is not None else None) or {}
    for split in ("val", "test"):
        values = results.get(split)
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, int | float) and name != "samples_per_s":
                yield f"{split}: {name}", f"{value:.4g}"
    if results:
        yield "of the weights after update", results.get("update")
        yield "seed (one run)", OmegaConf.select(run, "training.seed")


def _section(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows if value not in (None, "")]
    return f"## {title}\n\n| | |\n| --- | --- |\n" + "\n".join(lines) if lines else ""


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _public(name: Any) -> str:
    """A name on the hub or of a package as it is; of a folder of somebody's only its last part."""
    path = Path(str(name))
    is_folder = path.is_absolute() or str(name).startswith((".", "~")) or path.exists()
    return path.name if is_folder else str(name)
