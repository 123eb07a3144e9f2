"""Faster R-CNN as torchvision has it: ``detector=torchvision:fasterrcnn_resnet50_fpn_v2``.

torchvision is not among the requirements: its builds are tied to those of torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.detection.detectors.detector import Detections, Detector, Inputs, refuse_options
from mmf_muvla.errors import InputError
from mmf_muvla.reading.weight_files import read_safetensors, read_torch_file


class FasterRcnn(Detector):
    """A model of torchvision with ``roi_heads``; a feature is what its box head makes of a region (1,024 numbers).

    Without options, its weights are torchvision's own, which it downloads. ``detector_options={weights: PATH}`` names
    those of a user (``.safetensors``, or a state dictionary that torch has saved), and ``vocabulary`` the names of
    their classes, without the background.
    """

    feature_dim = 1024

    def __init__(self, name: str, vocabulary: Sequence[str] | None, options: Mapping[str, Any]):
        super().__init__(name, vocabulary, options)
        refuse_options(self, ["weights"])
        where = f"detector=torchvision:{name}"
        try:
            from torchvision.models import get_model_weights
        except ImportError as error:
            remedy = "Install the build of torchvision that goes with your torch, or use a detector of transformers"
            raise InputError(where, f"torchvision cannot be imported ({error})", remedy) from error
        if ("weights" in options) != (vocabulary is not None):
            remedy = "Give detector_options.weights and vocabulary, or none of them"
            raise InputError(where, "weights and the names of their classes belong together", remedy)
        try:
            own = get_model_weights(name).DEFAULT
        except ValueError as error:
            raise InputError(where, str(error), "Use fasterrcnn_resnet50_fpn_v2, for one") from error
        self.names = ["background", *(own.meta["categories"][1:] if vocabulary is None else vocabulary)]

    @classmethod
    def fingerprint(cls, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        weights = Path(str(options.get("weights", ""))).expanduser()
        return {name: fingerprint(weights) if weights.is_file() else "by name"}

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        from torchvision.models import get_model

        self._device, self._dtype = device, dtype
        if self.vocabulary is None:
            model = get_model(self.name, weights="DEFAULT")
        else:
            model = get_model(self.name, weights=None, weights_backbone=None, num_classes=len(self.names))
            path = Path(str(self.options["weights"])).expanduser()
            is_safe = path.suffix == ".safetensors"
            try:
                model.load_state_dict(read_safetensors(path)[0] if is_safe else read_torch_file(path))
            except RuntimeError as error:
                said = str(error).splitlines()[-1].strip()
                problem = f"do not fit {self.name} with {len(self.names)} classes ({said})"
                remedy = "Give weights of this detector, and in vocabulary the names of all of its classes, in order"
                raise InputError(f"detector_options.weights={path}", problem, remedy) from error
        if not hasattr(model, "roi_heads"):
            problem = "has no box head, whose numbers are the regions' features"
            raise InputError(f"detector=torchvision:{self.name}", problem, "Use one of the Faster R-CNN family")
        self._model = model.to(device).eval()
        self._model.roi_heads.register_forward_hook(self._pool_again)

    def _pool_again(self, heads: Any, inputs: Any, outputs: Any) -> None:
        """Keep what the box head makes of the boxes that are left: before, it has looked at proposals."""
        maps, _, shapes = inputs[:3]
        boxes = [found["boxes"] for found in outputs[0]]
        states = heads.box_head(heads.box_roi_pool(maps, boxes, shapes))
        self._states = states.float().cpu().split([len(it) for it in boxes])

    def prepare(self, picture: Image.Image) -> Inputs:
        pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
        return {"pixel_values": torch.from_numpy(np.ascontiguousarray(pixels))[None]}

    def detect(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        half = torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)
        with torch.inference_mode(), half:
            outputs = self._model(list(inputs["pixel_values"].to(self._device)))
        detections = []
        for found, states in zip(outputs, self._states, strict=True):
            boxes, labels, scores = (found[name].cpu().numpy() for name in ("boxes", "labels", "scores"))
            detections.append(Detections(boxes, labels, scores, states.numpy()))
        return detections
