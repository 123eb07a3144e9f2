from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.reading.problems import BadRecord, SkipLog


def bad(line: int) -> BadRecord:
    return BadRecord(Path("in.tsv"), line, "7", "it is torn", "half a line", "Mend it")


def test_error_policy_raises_at_once(tmp_path: Path) -> None:
    with SkipLog(tmp_path / "skipped", "error", 1.0) as log, pytest.raises(InputError) as error:
        log.add_bad(bad(3))
    assert str(error.value) == "in.tsv, line 3 (image 7): it is torn: half a line. Mend it"


def test_skip_policy_lists_and_bounds(tmp_path: Path) -> None:
    with SkipLog(tmp_path / "skipped", "skip", 0.5) as log:
        log.add_bad(bad(3))
        log.add_bad(bad(9))
        log.check(4)
        with pytest.raises(InputError, match=r"2 of 3 records are bad.*it is torn \(2\).*Mend it"):
            log.check(3)
    entries = [json.loads(line) for line in (tmp_path / "skipped").read_text().splitlines()]
    assert entries[1] == {"file": "in.tsv", "line": 9, "id": "7", "reason": "it is torn", "value": "half a line"}


def test_filtered_records_are_not_bad_and_not_all_listed(tmp_path: Path) -> None:
    with SkipLog(tmp_path / "skipped", "error", 0.0) as log:
        for line in range(1500):
            log.add_filtered(Path("in.txt"), line, "empty line", "")
        log.check(1500)
    assert log.filtered["empty line"] == 1500
    assert log.num_bad == 0
    assert len((tmp_path / "skipped").read_text().splitlines()) == 1000


def test_records_without_a_line_and_across_processes(tmp_path: Path) -> None:
    record = BadRecord(Path("x.npy"), None, "7", "it is torn", "half", "Mend it")
    for copy in (pickle.loads(pickle.dumps(record)), BadRecord.from_json(json.loads(json.dumps(record.to_json())))):
        assert str(copy.as_input_error()) == "x.npy (image 7): it is torn: half. Mend it"
        assert copy.args == record.args
    with SkipLog(tmp_path / "skipped", "skip", 1.0) as log:
        log.add_bad(record)
        log.add_bad(BadRecord(Path("x"), None, "\udc80", "it is torn", "", ""))
    entries = [json.loads(line) for line in (tmp_path / "skipped").read_text(encoding="utf-8").splitlines()]
    assert [(entry["line"], entry["id"]) for entry in entries] == [(None, "7"), (None, "\udc80")]
