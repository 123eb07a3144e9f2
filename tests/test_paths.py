"""The project's own configuration files are found from any working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.paths import find_included, resource_path


def test_file_is_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(resource_path("configs/models/muvla/defaults.yaml"))
    assert path.is_absolute()
    assert path.is_file()


@pytest.mark.parametrize("name", ["configs/no_such.yaml", "mmf_muvla/paths.py", "/etc/passwd", "../setup.py", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="no such file in this project"):
        resource_path(name)


def test_an_included_file_is_looked_for_beside_and_in_this_project(tmp_path: Path) -> None:
    name = "projects/muvla/trainer.yaml"
    assert find_included(name, tmp_path) == Path(resource_path(name))
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert find_included(name, tmp_path) == tmp_path / name
    with pytest.raises(InputError, match="no such file in this project"):
        find_included("nowhere.yaml", tmp_path)
