"""Every way in which a process comes to import MMF finds the layer at work."""

from __future__ import annotations

from pathlib import Path

from tests.compat.conftest import Run

CHILDREN = """
import multiprocessing, sys
import torch

def layer_wakes():
    asleep = "mmf_muvla.compat.loading" not in sys.modules
    import mmf_cli
    return asleep and "mmf_muvla.compat.loading" in sys.modules

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 1
    def __getitem__(self, index):
        return layer_wakes()

def child():
    print("child", layer_wakes())

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
    loader = torch.utils.data.DataLoader(Samples(), num_workers=1, multiprocessing_context="spawn")
    print("worker", [bool(batch) for batch in loader])
"""


def test_spawned_children_and_data_loader_workers(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    result = run(str(script))
    assert result.stdout == "child True\nworker [True]\n", result.stderr


def test_install_is_done_once() -> None:
    import sys

    from mmf_muvla.compat.finder import MmfFinder, install

    install()
    install()
    assert sum(isinstance(finder, MmfFinder) for finder in sys.meta_path) == 1


def test_module_run_as_script_refuses_an_absent_config_by_name(run: Run) -> None:
    result = run("-m", "mmf_cli.run", "config=projects/muvla/typo.yaml")
    assert result.returncode == 2
    last_line = result.stderr.strip().splitlines()[-1]
    assert "error: config=projects/muvla/typo.yaml: no such file" in last_line and "Traceback" not in result.stderr
    assert "Give the path of a YAML file" in last_line
