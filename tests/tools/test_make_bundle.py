"""A bundle of stand-in packages and data, and what its script runs with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from transformers import AutoConfig, AutoTokenizer

from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.pairing.store import Corpus
from mmf_muvla.regions.store import RegionStore
from tests.small_corpus import write_small_corpus

ROOT = Path(__file__).resolve().parents[2]
VERSION = "{}.{}".format(*sys.version_info)
# What a command sees that run.sh runs.
SHOW = """
import json, os, sys
import lmdb
print(json.dumps({
    "words": sys.argv[1:],
    "lmdb": lmdb.__file__,
    "awake": type(sys.meta_path[0]).__name__,
    "tree": __import__("mmf_muvla").__file__,
    "offline": [os.environ["HF_HUB_OFFLINE"], os.environ["TRANSFORMERS_OFFLINE"]],
}))
"""


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        import make_bundle

        yield make_bundle


@pytest.fixture(scope="module")
def index(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of all that is carried, each with a module that is empty."""
    folder = tmp_path_factory.mktemp("index")
    for requirement in tool.packages_to_carry([]):
        name, version = requirement.replace("-", "_").split("==")
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture(scope="module")
def made(tool: ModuleType, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle, which no test changes; its wheels are installed for all of them together."""
    folder = tmp_path_factory.mktemp("made") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        make(tool, index, patch, f"out={folder}")
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "bundle")


def make(tool: ModuleType, index: Path, patch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Make a bundle of the stand-in wheels, with a file instead of the generated world."""

    def make_data(folder: Path, scenes: int, full: Path | None) -> None:
        folder.mkdir()
        (folder / "world").write_text(f"{scenes} scenes")

    patch.setattr(tool, "make_data", make_data)
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(index))
    tool.main([f"python={sys.executable}", *arguments])


def run(bundle: Path, *words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a bundle, as on a machine where the project is not installed."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    work = str(bundle.parent / "work")
    return subprocess.run(
        ["bash", str(bundle / "run.sh"), *words],
        cwd=cwd,
        env={**clean, "PYTHON": sys.executable, "BUNDLE_WORK": work, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def shown(bundle: Path, *words: str, **environment: str) -> dict[str, Any]:
    done = run(bundle, "python", "-c", SHOW, *words, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_bundle_has_wheels_data_options_and_what_the_machine_must_have(tool: ModuleType, made: Path) -> None:
    carried = {path.name.partition("-")[0] for path in (made / "wheels").iterdir()}
    assert carried >= {"mmf", "omegaconf", "lmdb", "pydantic", "pydantic_core", "annotated_types"}
    machine = json.loads((made / "machine.json").read_text())
    assert machine["python"] == VERSION
    assert not carried & {name.replace("-", "_") for name in (*machine["packages"], *tool.FOR_BUILDING)}
    assert (made / "data" / "world").read_text() == "600 scenes"
    assert {path.name for path in (made / "options").iterdir()} == {"pretrain", "base", *tool.TASKS}


def test_a_package_that_the_machine_lacks_can_be_added(tool: ModuleType) -> None:
    plain, more = (dict(it.split("==") for it in tool.packages_to_carry(also)) for also in ([], ["Jinja2"]))
    assert more.keys() - plain.keys() == {"jinja2", "markupsafe"}
    with pytest.raises(InputError, match=r"also=\[no-such-package\]: is not installed here"):
        tool.packages_to_carry(["no-such-package"])


def test_a_command_runs_with_the_bundles_packages_and_this_tree(made: Path) -> None:
    seen = shown(made, "training.max_updates=5")
    assert Path(seen["lmdb"]).is_relative_to(made.parent / "work")
    assert seen["tree"] == str(ROOT / "mmf_muvla" / "__init__.py")
    assert seen["awake"] == "MmfFinder"
    assert seen["offline"] == ["1", "1"]
    assert seen["words"] == ["training.max_updates=5"]
    assert not (made / "__pycache__").exists()


def test_wheels_are_installed_once(bundle: Path) -> None:
    (site,) = {Path(shown(bundle)["lmdb"]).parent}
    (site / "lmdb.py").write_text("kept = True")
    assert Path(shown(bundle)["lmdb"]).parent == site
    assert (site / "lmdb.py").read_text() == "kept = True"
    assert [path.name for path in site.parent.iterdir() if path.is_dir()] == [site.name]


def test_words_stand_for_options_that_lead_into_the_bundle(tool: ModuleType, made: Path) -> None:
    seen = shown(made, "a b", "@nlvr2", "@base")["words"]
    options = tool.override_files(with_full=False)
    assert seen == ["a b", *(line.replace("{bundle}", str(made)) for line in options["nlvr2"] + options["base"])]
    assert f"dataset_config.nlvr2.features.val={made}/data/regions_nlvr2" in seen


def test_the_options_lead_to_what_is_there(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_command(arguments: list[str]) -> None:
        write_small_corpus(Path(dict(it.split("=", 1) for it in arguments)["out"]))

    monkeypatch.setattr("mmf_muvla.pairing.commands.build_command", build_command)
    monkeypatch.setattr("mmf_muvla.models.small_bert.train", lambda *_: None)  # it takes minutes
    monkeypatch.setattr(tool, "TASK_SIZES", (*tool.TASK_SIZES, "stories=60"))
    tool.make_data(tmp_path / "data", 10, None)
    paths = [
        line.partition("=")[2].replace("{bundle}", str(tmp_path))
        for lines in tool.override_files(with_full=False).values()
        for line in lines
        if "{bundle}" in line
    ]
    assert len(paths) == 2 + 1 + 4 * (3 + 3 + 1) + 1
    assert [path for path in paths if not Path(path).exists()] == []
    assert len(Corpus(tmp_path / "data" / "corpus")) == 80
    for folder in {Path(path) for path in paths if "/regions_" in path}:
        assert len(RegionStore(folder)) > 0
    for folder in ("bert", "bert_base"):
        assert AutoConfig.from_pretrained(tmp_path / "data" / folder).model_type == "bert"
        assert AutoTokenizer.from_pretrained(tmp_path / "data" / folder).mask_token == "[MASK]"


def test_another_sitecustomize_is_still_run(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import sys\nsys.argv_before = True\nsys.path.append('/added')\n")
    ask = "import sys; print(sys.argv_before, '/added' in sys.path)"
    done = run(made, "python", "-c", ask, PYTHONPATH=str(other))
    assert done.stdout == "True True\n", done.stderr
    assert shown(made, PYTHONPATH=str(other))["awake"] == "MmfFinder"


def test_an_installation_that_fails_leaves_nothing_that_looks_whole(bundle: Path) -> None:
    (wheel,) = (bundle / "wheels").glob("lmdb-*")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[:40])
    assert run(bundle, "true").returncode == 2
    assert not list((bundle.parent / "work").glob("site-*"))
    wheel.write_bytes(whole)
    assert shown(bundle)["awake"] == "MmfFinder"


@pytest.mark.parametrize(
    ("words", "machine", "message"),
    [
        (["true", "@nlvr3"], {}, "@nlvr3: this bundle has only @base @nlvr2 @pretrain"),
        ([], {}, "no command"),
        (["true"], {"python": "2.7"}, f"is Python {VERSION}, and this bundle is for 2.7. Name one: PYTHON="),
        (["true"], {"packages": ["torch", "no-such"]}, "has no no-such. Make the bundle with also=[no-such]"),
    ],
)
def test_what_cannot_be_run_is_said(bundle: Path, words: list[str], machine: dict[str, Any], message: str) -> None:
    file = bundle / "machine.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | machine))
    done = run(bundle, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and message in done.stderr


def test_it_runs_in_the_trees_root_alone(bundle: Path) -> None:
    done = run(bundle, "true", cwd=bundle)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {bundle}: is not the root of the project's tree")


def test_a_bundle_over_the_limit_is_not_made(
    tool: ModuleType, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "clone_size", lambda out: 5 * 2**20)
    with pytest.raises(InputError) as error:
        make(tool, index, monkeypatch, f"out={tmp_path / 'bundle'}", "limit_mib=5")
    assert error.value.where == "limit_mib=5"
    assert "5.0 MiB together; the largest parts: run.sh 0.0, " in error.value.problem
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_cannot_be_finished_leaves_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MuvlaError, match="pip wheel failed"):
        make(tool, tmp_path / "no_wheels", monkeypatch, f"out={tmp_path / 'bundle'}")
    assert list(tmp_path.iterdir()) == []


def test_only_a_bundle_is_replaced(
    tool: ModuleType, index: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tool, index, monkeypatch, f"out={bundle}", "scenes=7")
    assert (bundle / "data" / "world").read_text() == "7 scenes"
    (bundle / "data" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt was not made with it"):
        make(tool, index, monkeypatch, f"out={bundle}")
    assert (bundle / "data" / "notes.txt").read_text() == "mine"


def test_an_interpreter_that_is_not_there_is_named(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"python=1\.4: python1\.4 cannot be run on this machine"):
        tool.main([f"out={tmp_path / 'bundle'}", "python=1.4"])
