"""Regions that are detected on a cluster are those of one process, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmf_muvla.artifacts.artifact import MANIFEST
from mmf_muvla.detection import source
from mmf_muvla.detection.extraction import extract_command
from tests.detection.quartered import COLOURS, DETECTOR, quartered
from tests.ray_cluster import two_nodes


def test_regions_are_those_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_PICTURES_PER_SHARD", 4)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(24):
        quartered((48 + number % 3, 32), np.roll(COLOURS, number, axis=0)).save(pictures / f"{number}.png")
    (pictures / "damaged.png").write_bytes(b"no picture")
    arguments = [
        f"images={pictures}",
        f"detector={DETECTOR}",
        "device=cpu",
        "thumbnails=16",
        "max_skipped_fraction=0.1",
    ]
    with two_nodes() as nodes:
        address = f"executor_options.address={nodes.options().address}"
        for out, options in (("here", ["num_workers=1"]), ("there", ["executor=ray", address])):
            extract_command([*arguments, *options, f"out={tmp_path / out}"])
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / out).iterdir() if path.name != MANIFEST}
        for out in ("here", "there")
    )
    assert here == there and len([name for name in here if name.startswith("regions-")]) > 4
