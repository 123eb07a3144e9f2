"""The job as a whole: resumed, with several workers, batches, thumbnails, options."""

from __future__ import annotations

import io
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmf_muvla.detection.extraction import extract_command
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.config import BuildConfig, load_config
from mmf_muvla.regions.store import RegionStore
from tests.detection.own_detector import Quarters
from tests.detection.quartered import COLOURS, DETECTOR, colours_in, extract, quartered
from tests.forked import Forked

SIZES = [(48, 32), (32, 48), (40, 40)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of three sizes, in turn."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        colours = np.random.default_rng(number).integers(0, 256, (4, 3)).astype(np.uint8)
        quartered(SIZES[number % 3], colours).save(folder / f"{number:03}.png")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All that a store holds but its manifest, which says how long the work took."""
    return {it.name: it.read_bytes() for it in folder.iterdir() if it.name != "manifest.json"}


def arguments(pictures: Path, out: Path) -> list[str]:
    return [f"images={pictures}", f"detector={DETECTOR}", f"out={out}", "device=cpu", "thumbnails=16", "batch_size=4"]


def test_a_killed_extraction_goes_on(pictures: Path, tmp_path: Path, forked: Forked) -> None:
    whole, killed, deadly = tmp_path / "whole", tmp_path / "killed", tmp_path / "deadly"
    options = [f"detector_options.dies={deadly}"]
    extract_command([*arguments(pictures, whole), *options, "num_workers=2"])
    deadly.touch()
    again = [*arguments(pictures, killed), *options, "num_workers=1"]
    stopped = forked.run(["tools/extract_regions.py", *again])
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    deadly.unlink()
    assert not killed.exists()
    finished = [it.stat().st_ino for it in sorted((tmp_path / "killed.work").glob("regions-*.safetensors"))]
    assert finished, "some parts were done"
    extract_command(again)
    assert files(killed) == files(whole)
    kept = {it.stat().st_ino for it in killed.glob("regions-*.safetensors")}
    assert set(finished) <= kept, "and were not done again"


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("detect", RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")),
        ("detect", MemoryError()),
        ("prepare", MemoryError()),
    ],
)
def test_shortage_of_memory_is_no_fault_of_pictures(
    method: str, error: Exception, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Quarters, method, fail)
    with pytest.raises(InputError, match=r"batch_size=16: so many pictures do not fit into memory"):
        extract(tmp_path / "store", pictures)


def test_what_is_done_is_not_done_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    extract_command([*arguments(pictures, out), "num_workers=1"])
    first = capsys.readouterr().out
    assert "images 60, regions 240, skipped 0" in first
    monkeypatch.setattr("mmf_muvla.detection.source.decode", None)
    extract_command([*arguments(pictures, out), "num_workers=1"])
    assert capsys.readouterr().out == first


def test_a_picture_that_changes_is_detected_again(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes((pictures / "000.png").read_bytes())
    extract(tmp_path / "store", folder)
    quartered().save(folder / "a.png")
    extract(tmp_path / "store", folder)
    assert np.abs(colours_in(RegionStore(tmp_path / "store"), "a") - COLOURS).max() < 0.5


def test_pictures_of_one_size_are_seen_together(pictures: Path, tmp_path: Path) -> None:
    extract(tmp_path / "store", pictures, batch_size=4, detector_options={"say_batch_size": True})
    store = RegionStore(tmp_path / "store")
    assert store.ids == sorted(store.ids), "their order is kept"
    sizes = [int(store.get(image_id).image_feature_0[0, 3]) for image_id in store.ids]
    # Parts have 16 of the pictures, of which five or six have the same size.
    assert set(sizes) == {4, 1, 2}
    extract(tmp_path / "one", pictures, batch_size=1, detector_options={"say_batch_size": True})
    one = RegionStore(tmp_path / "one")
    assert {float(one.get(image_id).image_feature_0[0, 3]) for image_id in one.ids} == {1.0}
    for image_id in store.ids:
        assert np.array_equal(one.get(image_id).image_feature_0[:, :3], store.get(image_id).image_feature_0[:, :3])


def test_thumbnails_are_kept(pictures: Path, tmp_path: Path) -> None:
    extract(tmp_path / "store", pictures, thumbnails=24)
    store = RegionStore(tmp_path / "store")
    for number in (0, 17, 59):
        jpeg = store.thumbnail(f"{number:03}")
        assert jpeg is not None
        with Image.open(io.BytesIO(jpeg)) as small, Image.open(pictures / f"{number:03}.png") as picture:
            assert max(small.size) == 24
            shown, expected = small.resize((4, 4)), picture.resize((4, 4))
            difference = np.asarray(shown).astype(int)[::3, ::3] - np.asarray(expected)[::3, ::3]
        assert np.abs(difference).max() < 40
    assert store.thumbnail("absent") is None
    extract(tmp_path / "none", pictures)
    assert RegionStore(tmp_path / "none").thumbnail("000") is None
    assert not list((tmp_path / "none").glob("thumbnails-*"))


def test_classes_can_be_renamed(pictures: Path, tmp_path: Path) -> None:
    extract(tmp_path / "store", pictures, rename={"top left": "corner", "top right": "corner"}, max_regions=3)
    store = RegionStore(tmp_path / "store")
    assert store.object_names == ["bottom left", "bottom right", "corner"]
    regions = store.get("000")
    assert [store.object_names[it] for it in regions.class_id] == ["corner", "corner", "bottom left"]


def test_the_example_of_the_docs_is_a_detector(repository: Path) -> None:
    page = (repository / "docs/pictures.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    detector = namespace["Halves"]("name", None, {})
    inputs = detector.prepare(quartered(colours=np.array([[0] * 3, [200] * 3] * 2, np.uint8)))
    (found,) = detector.detect(inputs, [SIZES[0]])
    assert found.features.tolist() == [[0], [200]]
    assert found.boxes.tolist() == [[0, 0, 24, 32], [24, 0, 48, 32]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["vocabulary=absent.txt"], "vocabulary=absent.txt: no such file"),
        (["device=abacus"], "device=abacus: this device cannot be used"),
        (["max_overlap=2"], "max_overlap=2: must be between 0 and 1"),
        (["detectr=x"], "Did you mean detector"),
    ],
)
def test_options_that_cannot_be(options: list[str], message: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        extract_command([*arguments(pictures, tmp_path / "store"), *options])
    assert message in str(caught.value)


def test_what_is_read_is_not_written_over(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is read"):
        extract_command([f"images={pictures}", f"detector={DETECTOR}", f"out={pictures / 'store'}"])
    with pytest.raises(InputError, match="out not given"):
        extract_command([f"images={pictures}", f"detector={DETECTOR}"])


def test_a_corpus_can_be_of_pictures() -> None:
    needed = ["out=o", "sentences=s"]
    config = load_config(BuildConfig, [*needed, "regions.images=[a,b]", "regions.detector=d", "regions.max_regions=36"])
    assert (config.regions.images, config.regions.max_regions) == (["a", "b"], 36)
    for argument, message in {
        "regions.detectr=d": "unknown key 'regions.detectr'",
        "regions.min_regions=0": "regions.min_regions=0",
        "region_options.max_regions=36": "says how detector output is read",
    }.items():
        with pytest.raises(InputError) as caught:
            load_config(BuildConfig, [*needed, "regions.images=a", "regions.detector=d", argument])
        assert message in str(caught.value)
    with pytest.raises(InputError, match=r"regions\.detector not given"):
        load_config(BuildConfig, [*needed, "regions.images=a"])
