from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmf_muvla.artifacts import files
from mmf_muvla.artifacts.files import fingerprint, link_or_copy, publish_file, publish_folder, remove_leftovers
from mmf_muvla.errors import InputError


def foreign(folder: Path) -> Path:
    """Says that nothing in a folder is known to be of this project's making."""
    return folder


def test_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "table"
    with publish_file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["table"]


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "table"
    target.write_text("old")
    with pytest.raises(RuntimeError), publish_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table"]


@pytest.mark.parametrize("code", [None, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV])
def test_a_second_name_is_a_copy_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code or 0))

    if code is not None:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "one").write_text("content")
    link_or_copy(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "content"
    assert (tmp_path / "two").samefile(tmp_path / "one") is (code is None)

    def fail_half_way(source: Path, target: Path) -> None:
        target.write_text("con")
        raise OSError(errno.ENOSPC, "disk full")

    (tmp_path / "one").write_text("newer")
    monkeypatch.setattr(shutil, "copyfile", fail_half_way)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="disk full"), publish_file(tmp_path / "two") as temporary:
        link_or_copy(tmp_path / "one", temporary)
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]
    assert (tmp_path / "two").read_text() == ("content" if code is not None else "newer")


def test_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "stage"
    target.mkdir()
    (target / "old").touch()
    with publish_folder(target, lambda folder: None) as temporary:
        (temporary / "new").touch()
        assert os.listdir(target) == ["old"]
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["stage"]


def test_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "stage"
    target.mkdir()
    with pytest.raises(RuntimeError), publish_folder(target, foreign) as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["stage"]
    assert os.listdir(target) == []


def test_leftovers_of_dead_processes_are_removed_and_of_living_ones_are_not(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (tmp_path / f"stage.muvla-tmp-{dead.stdout.strip()}").mkdir()
    (tmp_path / f"stage.muvla-tmp-{os.getppid()}").mkdir()
    with publish_folder(tmp_path / "stage", foreign):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted(["stage", f"stage.muvla-tmp-{os.getppid()}"])


def test_leftovers_of_other_machines_are_kept(tmp_path: Path) -> None:
    with publish_folder(tmp_path / "stage", foreign) as here:
        machine = here.name.rpartition("-")[2]
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    process = dead.stdout.strip()
    for name in (machine, "0" * 8):
        (tmp_path / f"stage.muvla-tmp-{process}-{name}").mkdir()
    with publish_folder(tmp_path / "stage", foreign):
        pass
    assert sorted(os.listdir(tmp_path)) == ["stage", f"stage.muvla-tmp-{process}-{'0' * 8}"]
    remove_leftovers(tmp_path / "stage", of_living=True)
    assert os.listdir(tmp_path) == ["stage"]


@pytest.mark.parametrize("name", ["stage.old-20231105", "stage.tmp-1", "stage.muvla-old-notes", "x.muvla-tmp-999999"])
def test_what_only_looks_like_a_leftover_is_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with publish_folder(tmp_path / "stage", foreign):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([name, "stage"])


def test_a_folder_that_says_nothing_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    with publish_folder(tmp_path / "stage", foreign) as temporary:  # an empty one is
        (temporary / "made").touch()
    with pytest.raises(InputError, match="stage: is there already"), publish_folder(tmp_path / "stage", foreign):
        raise AssertionError("work was done")
    assert os.listdir(tmp_path / "stage") == ["made"]


def test_what_came_into_the_way_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="stage: is there already"),
        publish_folder(tmp_path / "stage", foreign) as temporary,
    ):
        (temporary / "made").touch()
        (tmp_path / "stage").mkdir()
        (tmp_path / "stage" / "notes.txt").touch()
    assert os.listdir(tmp_path) == ["stage"]
    assert os.listdir(tmp_path / "stage") == ["notes.txt"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_have_the_permissions_of_any_new_file(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with publish_file(tmp_path / "weights") as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
        with publish_folder(tmp_path / "folder", foreign) as temporary:
            (temporary / "deep").mkdir()
            for name in ("weights", "deep/weights"):
                os.close(os.open(temporary / name, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}


def test_fingerprint_knows_content_not_time(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_text("one")
    before = fingerprint(file)
    os.utime(file, (0, 0))
    assert fingerprint(file) == before
    file.write_text("two")
    assert fingerprint(file) != before


def test_fingerprint_of_a_large_file_reads_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WHOLE_FILE_BYTES", 2**20)
    file = tmp_path / "input"
    file.write_bytes(bytes(5 * 2**20))
    os.utime(file, (0, 0))
    before = fingerprint(file)
    content = bytearray(5 * 2**20)
    content[-1] = 1
    file.write_bytes(content)
    os.utime(file, (0, 0))
    assert fingerprint(file) != before


def test_fingerprint_of_a_folder_names_its_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_text("a")
    (tmp_path / ".hidden").write_text("b")
    assert list(fingerprint(tmp_path)) == ["inner/a"]
