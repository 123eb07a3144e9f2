"""A user's own detector: it sees the quarters of a picture, and their mean colours are the features."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from mmf_muvla.detection.detectors.detector import Detections, Detector, Inputs

QUARTERS = ["top left", "top right", "bottom left", "bottom right"]


class Quarters(Detector):
    """Its features are red, green, blue (0 to 1) and 0.

    Options: with ``only_red``, it sees quarters whose red is above a half. With ``say_batch_size``, the last feature
    is the batch's size. With ``dies``, the process is killed when it has seen 25 pictures, as long as there is a file
    of that name.
    """

    names = QUARTERS
    feature_dim = 4

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        self._num_seen = 0

    def prepare(self, picture: Image.Image) -> Inputs:
        if picture.width > 20 * picture.height:
            raise ValueError("picture is a line")
        return {"pixels": torch.from_numpy(np.asarray(picture).copy())[None]}

    def detect(self, inputs: Inputs, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        self._num_seen += len(sizes)
        if self._num_seen > 25 and os.path.exists(self.options.get("dies", "")):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(height > 20 * width for width, height in sizes):
            raise RuntimeError("picture is a column")
        return [self._quarters(pixels.numpy() / 255, len(sizes)) for pixels in inputs["pixels"]]

    def _quarters(self, pixels: np.ndarray, batch_size: int) -> Detections:
        height, width = pixels.shape[:2]
        boxes, features = [], []
        for top, bottom in ((0, (height + 1) // 2), (height // 2, height)):
            for left, right in ((0, (width + 1) // 2), (width // 2, width)):
                boxes.append([left, top, right, bottom])
                size = batch_size if self.options.get("say_batch_size") else 0
                features.append([*pixels[top:bottom, left:right].mean((0, 1)), size])
        scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
        found = Detections(np.array(boxes, np.float32), np.arange(4), scores, np.array(features, np.float32))
        return found[np.flatnonzero(found.features[:, 0] > 0.5)] if self.options.get("only_red") else found
