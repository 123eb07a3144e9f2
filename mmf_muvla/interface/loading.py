"""Finds out what a name or a path is, and loads the model from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmf_muvla.artifacts.files import read_json
from mmf_muvla.detection.detectors.detector import is_own_class
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.devices import devices_of
from mmf_muvla.errors import InputError, shown
from mmf_muvla.interface.images import detection_options
from mmf_muvla.interface.model import Model
from mmf_muvla.interface.network import MuvlaConfig, MuvlaModel
from mmf_muvla.interface.runs import config_of_run, is_run, weights_of_run
from mmf_muvla.interface.visual_bert import load_visual_bert
from mmf_muvla.objectives.tokens import WordPieces
from mmf_muvla.trainers.devices import multiplies_faster_in_bf16
from mmf_muvla.trainers.saved_run import CONFIG, load_weights, tokenizer_of_run

EXPORT_CONFIG, EXPORT_WEIGHTS, VOCABULARY = "config.json", "model.safetensors", "detector_names.txt"
_BERT = "bert-base-uncased"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_KINDS = "Give the folder of a run (env.save_dir), of an exported model, a checkpoint file, or a name on the hub"


def load(
    source: str | Path,
    *,
    weights: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "float32",
    detector: str | dict[str, Any] | DetectionOptions | None = None,
    tokenizer: str | None = None,
    **hub: Any,
) -> Model:
    """Load a trained model, to be asked.

    Args:
        source: the folder of a run (``env.save_dir``) or a checkpoint in it; a folder that ``save_pretrained`` has
            written; a name on Hugging Face's hub; or a checkpoint of MMF's VisualBERT, of which the log says what fits.
        weights: of a run, which: ``best.ckpt``. Not given: those that its test scores are of, else the final ones.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda:1``.
        dtype: what matrices are multiplied in: ``float32``, ``bfloat16``, ``float16`` (GPUs alone), or ``auto``:
            bfloat16 where the device has instructions for it.
        detector: how :meth:`~mmf_muvla.interface.model.Model.detect` finds regions: a name, or options as a corpus has
            them under ``regions``. Not given: as for the corpus that the model was trained on.
        tokenizer: in the place of the model's own; a name or a folder.
        hub: for names on the hub, what ``huggingface_hub.snapshot_download`` takes: ``revision``, ``token``.

    Raises:
        InputError: there is no such model, it is damaged, or the device cannot be used.
    """
    place = devices_of(str(device), "device")[0]
    precision = _dtype(dtype, place)
    path = Path(source).expanduser()
    if path.exists() and hub:
        remedy = "Check its spelling, or leave it out"
        raise InputError(
            f"{next(iter(hub))}=…", f"is no option of load but for names on the hub, and {source} is here", remedy
        )
    folder = _folder_of(path) if path.is_file() else path if path.is_dir() else _download(str(source), hub)
    if weights is not None and (path.is_file() or folder is None or not (folder / CONFIG).is_file()):
        raise InputError(
            f"weights={weights}", f"{source} is not the folder of a run, which has several", "Leave it out"
        )
    if folder is None:
        network, own_tokenizer = load_visual_bert(path), _BERT
    elif (folder / CONFIG).is_file():
        network = MuvlaModel(config_of_run(folder))
        load_weights(network, path if path.is_file() else folder / (weights or weights_of_run(folder)))
        own_tokenizer = tokenizer_of_run(folder)
    else:
        network, own_tokenizer = _exported(folder), str(folder)
    if detector is None:
        detector = _own_detection(network.config.detection, folder)
    return Model(
        network,
        WordPieces(tokenizer or own_tokenizer),
        str(source),
        device=place,
        dtype=precision,
        detector=None if detector is None else detection_options(detector, str(place)),
        folder=folder,
    )


def _folder_of(file: Path) -> Path | None:
    """The folder of the run or export that a file of weights is of; ``None`` where it is of neither."""
    folder = file.parent.parent if file.parent.name == "models" else file.parent
    if (folder / CONFIG).is_file() and is_run(folder):
        return folder
    return file.parent if (file.parent / EXPORT_CONFIG).is_file() else None


def _download(name: str, options: dict[str, Any]) -> Path:
    """The folder of a model on the hub, fetched where it is not here yet."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, **options))
    except (OSError, ValueError) as error:  # their errors of the network and of names are of these kinds
        problem = f"is no file or folder here, and the hub could not give it ({' '.join(str(error).split())[:200]})"
        raise InputError(name, problem, _KINDS) from error


def _exported(folder: Path) -> MuvlaModel:
    if not (folder / EXPORT_CONFIG).is_file():
        raise InputError(str(folder), f"has neither {CONFIG} nor {EXPORT_CONFIG}", _KINDS)
    kind = (read_json(folder / EXPORT_CONFIG) or {}).get("model_type")
    if kind != MuvlaConfig.model_type:
        problem = f"model_type is {shown(kind)}, not {MuvlaConfig.model_type!r}"
        raise InputError(str(folder / EXPORT_CONFIG), problem, _KINDS)
    config = MuvlaConfig.from_pretrained(folder)
    if config.detection and (folder / VOCABULARY).is_file():
        config.detection["vocabulary"] = str(folder / VOCABULARY)
    network = MuvlaModel(config)
    load_weights(network, folder / EXPORT_WEIGHTS)
    return network


def _own_detection(detection: dict[str, Any] | None, folder: Path | None) -> dict[str, Any] | None:
    """How a model's pictures are seen; not by a class that somebody's export names: no code is run unasked."""
    is_export = folder is not None and not (folder / CONFIG).is_file()
    return None if is_export and detection and is_own_class(detection["detector"]) else detection


def _dtype(given: str | torch.dtype, device: torch.device) -> torch.dtype:
    name = str(given).removeprefix("torch.")
    if name == "auto":
        return torch.bfloat16 if multiplies_faster_in_bf16(device) else torch.float32
    if name not in _DTYPES:
        raise InputError(f"dtype={name}", "is no precision", f"Use one of auto, {', '.join(_DTYPES)}")
    if name == "float16" and device.type != "cuda":
        raise InputError(f"dtype={name}", f"not available on {device.type}", "Use bfloat16 or float32")
    return _DTYPES[name]
