"""An import that is killed again and again comes to the same bytes as one that is not, with any number of workers."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.artifacts.lock import locked
from mmf_muvla.errors import InputError
from mmf_muvla.regions import importing as regions
from mmf_muvla.regions import mmf_features, predicted_images
from mmf_muvla.regions.importing import SKIPPED_FILE, import_regions
from mmf_muvla.regions.index import INDEX_FILE, META_FILE, TAGS_FILE
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.sources import RegionSource
from mmf_muvla.regions.store import RegionStore

FEATURE_DIM = 8
SHARD_BYTES, PIECES = 900, 2

SCRIPT = f"""
import sys
from pathlib import Path
from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.regions import predicted_images
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.importing import import_regions
from mmf_muvla.regions.sources import RegionSource
predicted_images._BYTES_PER_SHARD = {SHARD_BYTES}
RegionSource.pieces_per_shard = {PIECES}
if __name__ == "__main__":
    *folders, out, num_workers = sys.argv[1:]
    out = Path(out)
    options = RegionOptions(feature_dim={FEATURE_DIM})
    folders = [Path(folder) for folder in folders]
    import_regions(folders, options, "skip", 1.0, out / "store", LocalExecutor(int(num_workers)))
"""


def run(folders: list[Path], out: Path, num_workers: int = 1, policy: str = "skip") -> dict[str, int]:
    options = RegionOptions(feature_dim=FEATURE_DIM)
    return import_regions(folders, options, policy, 1.0, out / "store", LocalExecutor(num_workers))


def results(out: Path) -> dict[str, bytes]:
    """All files but the manifest, which says how long it took."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture
def folders(vinvl: Any, fake_image: Any, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folders with damage of every kind: bad lines of both files, duplicates, and images that one file lacks.

    And with images without regions, and boxes of no area, which are no damage.
    """
    monkeypatch.setattr(predicted_images, "_BYTES_PER_SHARD", SHARD_BYTES)
    monkeypatch.setattr(RegionSource, "pieces_per_shard", PIECES)
    made = []
    for part, name in enumerate(("one", "two")):
        images = [fake_image(f"{part}-{number}", names=["dog", f"kind {number % 7}"]) for number in range(120)]
        for number in range(5, 120, 17):
            images[number].confidence = [0.5, 1.5]
        for number in range(9, 120, 17):
            images[number].boxes[1] = [300.0, 100.0, 300.0, 480.0]
        for number in range(8, 120, 17):
            images[number].boxes, images[number].names, images[number].confidence = [], [], []
        folder = vinvl(images, name)
        lines = (folder / "features.tsv").read_text().splitlines(keepends=True)
        lines[40] = "rubbish\n"
        lines.insert(60, lines[20])
        del lines[90:93]
        (folder / "features.tsv").write_text("".join(lines))
        lines = (folder / "predictions.tsv").read_text().splitlines(keepends=True)
        lines[70] = "no tab\n"
        lines.append(lines[3])
        (folder / "predictions.tsv").write_text("".join(reversed(lines) if part else lines))
        made.append(folder)
    return made


def run_alone(*arguments: Any) -> None:
    # A bar's lock is shared over a fork, and a killed child would keep it for ever.
    tqdm.set_lock(threading.RLock())
    run(*arguments)


def run_and_kill(arguments: tuple[Any, ...], seconds: float) -> bool:
    """Import in a process of its own and kill that after a while; whether it came to its end."""
    process = multiprocessing.get_context("fork").Process(target=run_alone, args=arguments)
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def test_a_killed_import_is_continued_to_the_same_bytes(folders: list[Path], tmp_path: Path) -> None:
    counts = run(folders, tmp_path / "whole")
    expected = results(tmp_path / "whole")
    shards = [name for name in expected if name.startswith("store/regions-")]
    assert len(shards) > 10
    assert set(expected) - set(shards) == {f"store/{name}" for name in (META_FILE, INDEX_FILE, TAGS_FILE, SKIPPED_FILE)}
    listed = [json.loads(line) for line in expected[f"store/{SKIPPED_FILE}"].splitlines()]
    assert counts["skipped"] >= 30
    assert counts["images_without_regions"] >= 12
    assert counts["regions_without_area"] >= 12
    assert counts["skipped"] + counts["images_without_regions"] == len(listed)
    assert len({entry["reason"] for entry in listed}) >= 7

    random = np.random.default_rng(0)
    kills = attempt = 0
    while kills < 15:
        out = tmp_path / f"killed-{attempt}"
        attempt += 1
        tries = 0
        # Longer and longer, so that a slow machine gets on as well.
        while not run_and_kill((folders, out), random.uniform(0.01, 0.15) * 1.1**tries):
            kills += 1
            tries += 1
        assert results(out) == expected


def test_workers_make_no_difference_and_can_be_killed(
    folders: list[Path], tmp_path: Path, offline_environment: dict[str, str]
) -> None:
    run(folders, tmp_path / "whole")
    expected = results(tmp_path / "whole")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), *map(str, folders), str(tmp_path / "killed"), "2"]
    random = np.random.default_rng(1)
    # Until it has begun to write, an import takes a second or more.
    for seconds in random.uniform(1.0, 2.5, size=4):
        process = subprocess.Popen(command, env=offline_environment, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
    subprocess.run(command, env=offline_environment, check=True, stderr=subprocess.DEVNULL)
    assert results(tmp_path / "killed") == expected


def test_a_finished_import_is_not_done_again(folders: list[Path], tmp_path: Path) -> None:
    counts = run(folders, tmp_path / "out")
    written = (tmp_path / "out" / "store" / INDEX_FILE).stat()
    assert run(folders, tmp_path / "out") == counts
    assert (tmp_path / "out" / "store" / INDEX_FILE).stat().st_ino == written.st_ino
    # Something else is.
    assert run(folders[:1], tmp_path / "out") != counts
    assert not any(image_id.startswith("1-") for image_id in RegionStore(tmp_path / "out" / "store").ids)


class Stop(Exception):
    pass


def stop_after(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    original = regions._write_shard
    left = iter(range(shards))

    def write(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise Stop
        return original(*arguments)

    monkeypatch.setattr(regions, "_write_shard", write)


def test_what_was_begun_with_other_input_is_not_continued(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folders, tmp_path / "whole")
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Stop):
            run(folders[::-1], out)
    assert (out / "store.work" / "regions-000004.json").is_file()
    run(folders, out)
    assert results(out) == results(tmp_path / "whole")


@pytest.mark.parametrize(
    "damaged", ["skipped.jsonl", "regions-000003.safetensors", "regions-000005.json", "sources/index-0000-lines.sqlite"]
)
def test_what_was_damaged_meanwhile_is_made_again(
    damaged: str, folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folders, tmp_path / "whole")
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_after(patch, 10)
        with pytest.raises(Stop):
            run(folders, out)
    file = out / "store.work" / damaged
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    file.write_bytes(content)
    run(folders, out)
    assert results(out) == results(tmp_path / "whole")


def test_two_imports_into_one_store_are_refused(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "store.work").mkdir()
    with (
        locked(tmp_path / "store.work", InputError("", "", "")),
        pytest.raises(InputError, match="another process is working here"),
    ):
        run(folders, tmp_path)


def test_a_policy_may_change_between_runs(folders: list[Path], tmp_path: Path) -> None:
    run(folders, tmp_path / "whole")
    with pytest.raises(InputError):
        run(folders, tmp_path / "out", policy="error")
    run(folders, tmp_path / "out")
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_the_size_of_shards_makes_no_difference(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folders, tmp_path / "whole")
    whole = RegionStore(tmp_path / "whole" / "store")
    # Down to shards in which no line begins, and up to one for all.
    for size in (120, 333, 2**20):
        monkeypatch.setattr(predicted_images, "_BYTES_PER_SHARD", size)
        out = tmp_path / str(size)
        run(folders, out)
        assert (out / "store" / SKIPPED_FILE).read_bytes() == (whole.path / SKIPPED_FILE).read_bytes()
        assert RegionStore(out / "store").content == whole.content
        assert RegionStore(out / "store").ids == whole.ids


def test_images_of_a_folder_are_sorted_by_name(tmp_path: Path) -> None:
    names = [f"{number * 37 % 101}/{'x' * (number % 3)}y" for number in range(101)]
    for name in names:
        file = tmp_path / f"{name}.npy"
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert list(mmf_features.MmfFeatureFolder(tmp_path, RegionOptions()).image_ids([])) == sorted(names)
