"""Both kinds of install carry the ``.pth`` file that wakes the layer, and ``pip uninstall`` removes it."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PTH = "mmf_muvla_compat.pth"
ASK = """
import sys, mmf_muvla
from mmf_muvla.paths import resource_path
print(type(sys.meta_path[0]).__name__, mmf_muvla.__file__, resource_path("projects/muvla"))
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    for folder in ("mmf_muvla", "configs", "projects"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "tools").mkdir()
    for file in ("setup.py", "pyproject.toml", "LICENSE", "tools/build_backend.py"):
        shutil.copy(ROOT / file, clone / file)
    return clone


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """Site-packages of a new environment that borrows this one's packages, though not its .pth files."""
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "aaa_borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return site


def python(tmp_path: Path, *arguments: str) -> str:
    environment = tmp_path / "venv" / "bin" / "python"
    result = subprocess.run([environment, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def pip(tmp_path: Path, *arguments: str) -> None:
    python(tmp_path, "-m", "pip", "--disable-pip-version-check", *arguments)


def install(tmp_path: Path, *what: str) -> None:
    pip(tmp_path, "install", "--no-deps", "--no-build-isolation", "--no-index", *what)


def test_normal_install(tmp_path: Path, clone: Path, site_packages: Path) -> None:
    install(tmp_path, str(clone))
    assert (site_packages / PTH).is_file()
    package = site_packages / "mmf_muvla"
    assert python(tmp_path, "-c", ASK).split() == [
        "MmfFinder",
        str(package / "__init__.py"),
        str(package / "projects" / "muvla"),
    ]
    sources = {path.relative_to(ROOT / "mmf_muvla") for path in (ROOT / "mmf_muvla").rglob("*.py")}
    assert sources <= {path.relative_to(package) for path in package.rglob("*.py")}
    for folder in ("configs", "projects"):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.yaml")}
        assert files
        assert files <= {path.relative_to(package) for path in package.rglob("*.yaml")}

    pip(tmp_path, "uninstall", "-y", "mmf-muvla")
    assert not (site_packages / PTH).exists()
    assert not package.exists()


def test_editable_install(tmp_path: Path, clone: Path, site_packages: Path) -> None:
    install(tmp_path, "--editable", str(clone))
    assert max(path.name for path in site_packages.glob("*mmf_muvla*.pth")) == PTH
    assert python(tmp_path, "-c", ASK).split() == [
        "MmfFinder",
        str(clone / "mmf_muvla" / "__init__.py"),
        str(clone / "projects" / "muvla"),
    ]
    pip(tmp_path, "uninstall", "-y", "mmf-muvla")
    assert not list(site_packages.glob("*mmf_muvla*"))


def test_pth_line_is_silent_where_the_package_is_gone() -> None:
    line = runpy.run_path(str(ROOT / "tools" / "build_backend.py"))["PTH_LINE"].decode()
    result = subprocess.run([sys.executable, "-S", "-c", line], cwd="/", capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
