"""Records: kept whole, read again, and made of what a run has left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.studies.jobs import Jobs
from mmf_muvla.studies.records import Record, Records, record_of

RECORD = Record("d1", "finetune", "one", "nlvr2", 0, 1e-4, {"muvla_nlvr2_accuracy": 0.625}, 60, 12.5)


def test_records_are_there_again_and_a_half_written_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Records(path).add(RECORD)
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"digest": "d2", "kind"')  # as a killed process leaves it
    records = Records(path)
    assert len(records.all()) == 1
    records.add(replace(RECORD, digest="d3", seed=1))
    again = Records(path)
    assert len(again.all()) == 2
    assert [json.loads(line)["digest"] for line in path.read_text().splitlines()] == ["d1", "d3"]
    assert RECORD.score == 62.5


def test_what_another_study_has_on_record_counts_and_is_taken_over(jobs: Jobs, tmp_path: Path) -> None:
    job, unknown = jobs.finetuning("one", "nlvr2", 3, 1e-4), jobs.finetuning("one", "nlvr2", 4, 1e-4)
    other = tmp_path / "other" / "runs.jsonl"
    Records(other).add(replace(RECORD, digest=job.digest))
    Records(other).add(RECORD)
    records = Records(tmp_path / "runs.jsonl", [other])
    assert records.get(unknown) is None
    found = records.get(job)
    assert found is not None and found.score == 62.5
    assert not records.all() and not (tmp_path / "runs.jsonl").exists()  # who reads does not write
    records.take_over([found])
    records.take_over([found])
    assert [it.digest for it in Records(tmp_path / "runs.jsonl").all()] == [job.digest]
    with pytest.raises(InputError, match="no such file"):
        Records(tmp_path / "runs.jsonl", [tmp_path / "nothing.jsonl"])


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"digest": 1}\n{"x"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"runs\.jsonl, line 1"):
        Records(path)


@pytest.mark.parametrize("content", [b'{"my": 1}', b"notes without an end", b"\xff\xfe", b'{"digest": "d2"}\nnotes'])
def test_a_file_of_somebody_else_is_not_cut(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"runs\.jsonl.*move it away"):
        Records(path).add(RECORD)
    assert path.read_bytes() == content


def test_a_record_whose_line_has_no_end_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Records(path).add(RECORD)
    path.write_text(path.read_text().removesuffix("\n"))
    Records(path).add(replace(RECORD, digest="d2"))
    assert [it.digest for it in Records(path).all()] == ["d1", "d2"]


def test_a_run_is_put_on_record_with_the_scores_of_its_split(jobs: Jobs) -> None:
    job = jobs.finetuning("one", "nlvr2", 3, 1e-4)
    with pytest.raises(MuvlaError, match="has left no result"):
        record_of(job, 1.0)
    job.folder.mkdir(parents=True)
    values = {"muvla_nlvr2_accuracy": 0.5, "total_loss": 0.7, "samples_per_s": 90.0}
    (job.folder / "results.json").write_text(json.dumps({"update": 40, "test": values}))
    record = record_of(job, 9.0)
    assert (record.digest, record.system, record.task, record.seed, record.updates) == (
        job.digest,
        "one",
        "nlvr2",
        3,
        40,
    )
    assert record.values == {"muvla_nlvr2_accuracy": 0.5, "total_loss": 0.7}
    search = jobs.search("one", "nlvr2", 1e-4)
    search.folder.mkdir(parents=True)
    (search.folder / "results.json").write_text(json.dumps({"update": 40, "test": values}))
    with pytest.raises(MuvlaError, match="has left no result"):  # what it has is not of the validation split
        record_of(search, 9.0)


def test_a_pretraining_is_put_on_record_with_its_last_losses(jobs: Jobs) -> None:
    job = jobs.pretraining("one", 0)
    assert job is not None
    job.folder.mkdir(parents=True)
    lines = [
        {"split": "train", "update": n, "epoch": n / 10, "lr": 0.1, "samples_per_s": 5.0, "mlm": 40.0 - n, "w": [0.5]}
        for n in range(1, 21)
    ]
    (job.folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (job.folder / "results.json").write_text(json.dumps({"update": 20}))
    record = record_of(job, 7.0)
    assert record.values == {"mlm": 20.5}  # of the last two lines of twenty
    assert record.updates == 20
