"""One reader for all files with a JSON object a line: strict, lenient, gzipped, cut off while they were written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_lines import MAX_LINE_BYTES, read_json_lines

RECORDS = [{"a": 1}, {"b": "ä"}, {}]


def written(path: Path, *lines: str) -> Path:
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("end", [[], [""], ["", "  ", ""]])
def test_good_lines_have_their_numbers(name: str, end: list[str], tmp_path: Path) -> None:
    path = written(tmp_path / name, "\ufeff" + json.dumps(RECORDS[0]), "", *map(json.dumps, RECORDS[1:]), *end)
    assert list(read_json_lines(path)) == list(zip((1, 3, 4), RECORDS, strict=True))


def test_a_damaged_line_is_an_error_or_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"a": 1}', "[1]", '{"a": NaN}', "x" * (MAX_LINE_BYTES + 1), '{"a": 2}')
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: is \[1\], not a JSON object. Mend it"):
        list(read_json_lines(path, remedy="Mend it"))
    errors: list[InputError] = []
    sizes: list[int] = []
    assert list(read_json_lines(path, leave_out=errors.append, advance=sizes.append)) == [(1, {"a": 1}), (5, {"a": 2})]
    assert [error.where.rpartition(" ")[2] for error in errors] == ["2", "3", "4"]
    assert sum(sizes) == path.stat().st_size


def test_a_last_line_may_be_half_written(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"a": 1}', '{"a": 2}', '{"a')
    with pytest.raises(InputError, match="line 3: is not JSON"):
        list(read_json_lines(path))
    assert [record["a"] for _, record in read_json_lines(path, may_end_in_half=True)] == [1, 2]
    # A whole line that is damaged is no half.
    written(path, '{"a": 1}', '{"a', "")
    with pytest.raises(InputError, match="line 2: is not JSON"):
        list(read_json_lines(path, may_end_in_half=True))
    written(path, '{"a": 1}', '{"a": 2}')
    assert len(list(read_json_lines(path, may_end_in_half=True))) == 2


def test_files_that_are_missing_or_no_gzip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_json_lines(tmp_path / "a.jsonl"))
    whole = gzip.compress(b'{"a": 1}\n' * 1000)
    for content in (whole[:-9], b"{}"):
        (tmp_path / "a.jsonl.gz").write_bytes(content)
        with pytest.raises(InputError, match="is not a whole gzip file"):
            list(read_json_lines(tmp_path / "a.jsonl.gz"))
