"""Jobs: what they need, what they share, and when they are other jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.report.scores import TASK_NAMED
from mmf_muvla.studies.identity import VERSIONS, digest_of_step
from mmf_muvla.studies.jobs import Jobs, with_needs
from mmf_muvla.studies.study import Step, Study, System


def _named(jobs: Jobs, system: str) -> list[str]:
    return [f"{job.kind} {job.name}" for job in with_needs([jobs.finetuning(system, "nlvr2", 3, 1e-4)])]


def test_a_job_comes_after_what_it_needs(jobs: Jobs) -> None:
    assert _named(jobs, "one") == [
        "step world",
        "step corpus_one",
        "pretrain pretrain-3",
        "finetune nlvr2-pretrain-3-0.0001",
    ]
    assert _named(jobs, "base") == ["step world", "finetune nlvr2-bert-3-0.0001"]


def test_commands_name_the_folders_of_what_they_need(jobs: Jobs, tmp_path: Path) -> None:
    start = jobs.pretraining("one", 3)
    assert start is not None
    assert f"corpus={jobs.step('corpus_one').folder}" in start.command
    assert {"training.seed=3", f"env.save_dir={start.folder}", "checkpoint.resume=True"} <= set(start.command)
    run = jobs.finetuning("one", "nlvr2", 3, 1e-4)
    assert {
        f"checkpoint.resume_file={start.folder}/muvla_final.safetensors",
        f"data={jobs.step('world').folder}",
        "optimizer.params.lr=0.0001",
        "run_type=train_inference",
    } <= set(run.command)
    assert run.folder.is_relative_to(tmp_path / "work" / "finetune")


def test_a_step_that_asks_for_the_seed_is_another_for_each(study: Study, tmp_path: Path, tools: Path) -> None:
    start = Step("write.py", ("out={out}", "seed={seed}", "world={world}"))
    on_top = Step("write.py", ("out={out}", "of={start}"))
    task = replace(study.tasks["nlvr2"], arguments=("data={world}", "start={on_top}"))
    steps = {**study.steps, "start": start, "on_top": on_top}
    jobs = Jobs(replace(study, steps=steps, tasks={"nlvr2": task}), tmp_path / "work", tools)
    assert _named(jobs, "base") == ["step world", "step start-3", "step on_top", "finetune nlvr2-bert-3-0.0001"]
    assert "seed=3" in jobs.step("start", 3).command and "seed={seed}" not in jobs.step("start", 3).command
    for name, is_another in (("world", False), ("corpus_one", False), ("start", True), ("on_top", True)):
        assert (jobs.step(name, 3).digest != jobs.step(name, 4).digest) is is_another
        assert (jobs.step(name, 3).folder != jobs.step(name, 4).folder) is is_another
    search, runs = jobs.search("base", "nlvr2", 1e-4), [jobs.finetuning("base", "nlvr2", seed, 1e-4) for seed in (0, 1)]
    assert jobs.step("start", study.search_seed) in with_needs([search])
    for seed, run in enumerate(runs):
        assert jobs.step("start", seed) in with_needs([run]) and jobs.step("start", 1 - seed) not in with_needs([run])


def test_arguments_name_the_data_set_of_the_pre_training(study: Study, tmp_path: Path, tools: Path) -> None:
    (tmp_path / "other.yaml").write_text("datasets: first\n", encoding="utf-8")
    (tmp_path / "inner.yaml").write_text("includes: [other.yaml]\ndatasets: inner\n", encoding="utf-8")
    asks = replace(study, pretrain=("dataset_config.{dataset}.corpus={corpus}",))
    with pytest.raises(InputError, match=r"pretrain.yaml.*names no data set"):
        Jobs(asks, tmp_path / "work", tools).pretraining("one", 0)
    for text, dataset in (
        ("datasets: own\n", "own"),
        ("includes: [inner.yaml]\n", "inner"),
        ("includes: [other.yaml, inner.yaml]\n", "inner"),
        ("includes: [inner.yaml, other.yaml]\n", "first"),
    ):
        (tmp_path / "pretrain.yaml").write_text(text, encoding="utf-8")
        jobs = Jobs(asks, tmp_path / "work", tools)
        job = jobs.pretraining("one", 0)
        assert job is not None
        assert job.command[-1] == f"dataset_config.{dataset}.corpus={jobs.step('corpus_one').folder}"


def test_a_search_never_sees_the_test_split_and_has_a_seed_of_its_own(jobs: Jobs, study: Study) -> None:
    search = jobs.search("one", "nlvr2", 2e-4)
    assert {"run_type=train_val", f"training.seed={study.search_seed}"} <= set(search.command)
    assert search.needs[-1].seed == study.search_seed or search.needs[0].seed == study.search_seed


def test_equal_work_is_one_job_whatever_it_is_called(jobs: Jobs) -> None:
    one, same, two = (jobs.pretraining(system, 0) for system in ("one", "same", "two"))
    assert one is not None and same is not None and two is not None
    assert one.digest == same.digest != two.digest
    assert one.folder == same.folder != two.folder
    assert len(with_needs([one, same, two])) == 5  # a world, two corpora, two pre-trainings


def test_a_change_anywhere_upstream_makes_another_job(jobs: Jobs, study: Study, tmp_path: Path, tools: Path) -> None:
    def digests(of: Study) -> tuple[str, str]:
        made = Jobs(of, tmp_path / "work", tools)
        return tuple(made.finetuning(system, "nlvr2", 0, 1e-4).digest for system in ("base", "one"))  # type: ignore[return-value]

    before = digests(study)
    elsewhere = Jobs(study, tmp_path / "elsewhere", tools)
    assert elsewhere.finetuning("base", "nlvr2", 0, 1e-4).digest == before[0]
    corpus = {**study.steps, "corpus_one": Step("write.py", ("out={out}", "text=new", "world={world}"))}
    changed = digests(replace(study, steps=corpus))
    assert changed[0] == before[0] and changed[1] != before[1]
    (tmp_path / "pretrain.yaml").write_text("name: other\n", encoding="utf-8")
    assert digests(study)[1] != before[1]
    (tmp_path / "pretrain.yaml").write_text("# said otherwise\nname:   pretrain\n", encoding="utf-8")
    assert digests(study) == before
    (tmp_path / "pretrain.yaml").write_text("name: other\n", encoding="utf-8")
    rewritten = digests(study)
    assert rewritten[0] == before[0] and rewritten[1] != before[1]


def test_names_of_files_and_steps_do_not_matter(jobs: Jobs, study: Study, tmp_path: Path, tools: Path) -> None:
    before = jobs.pretraining("one", 0)
    assert before is not None
    before.log.parent.mkdir(parents=True)
    before.log.touch()  # it has begun
    (tmp_path / "pretrain.yaml").rename(tmp_path / "below.yaml")
    (tmp_path / "renamed.yaml").write_text("includes: [below.yaml]\nsystem: other\n", encoding="utf-8")
    renamed = System("One", str(tmp_path / "renamed.yaml"), "renamed_corpus")
    steps = {**study.steps, "renamed_corpus": study.steps["corpus_one"]}
    again = Jobs(replace(study, steps=steps, systems={"renamed": renamed}), tmp_path / "work", tools)
    job = again.pretraining("renamed", 0)
    assert job is not None and (job.digest, job.folder) == (before.digest, before.folder)


def test_what_cannot_change_a_result_does_not_matter(study: Study, tmp_path: Path, tools: Path) -> None:
    def digest(*arguments: str) -> str:
        job = Jobs(study, tmp_path / "work", tools, arguments).pretraining("one", 0)
        assert job is not None
        return job.digest

    before = digest()
    for argument in ("training.num_workers=3", "training.log_interval=7", "env.cache_dir=/x", "system=mine"):
        assert digest(argument) == before, argument
    for argument in ("training.max_updates=3", "optimizer.params.lr=0.1", "run_type=val", "training.seed=5"):
        assert digest(argument) != before, argument


def test_another_version_of_what_is_computed_makes_another_job(
    jobs: Jobs, study: Study, tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digests() -> tuple[str, ...]:
        made = Jobs(study, tmp_path / "work", tools)
        return tuple(made.finetuning(system, "nlvr2", 0, 1e-4).digest for system in ("base", "one"))

    before = digests()
    monkeypatch.setitem(VERSIONS, "vqa2", 99)
    assert digests() == before
    monkeypatch.setitem(VERSIONS, "pretrain", 99)
    changed = digests()
    assert changed[0] == before[0] and changed[1] != before[1]
    monkeypatch.setitem(VERSIONS, "nlvr2", 99)
    assert not {*digests()} & {*before, *changed}


def test_every_task_that_a_study_may_have_makes_jobs_of_its_own(study: Study, tmp_path: Path, tools: Path) -> None:
    assert {"flickr30k_retrieval", "coco_retrieval"} < {*TASK_NAMED}
    jobs = Jobs(replace(study, tasks=dict.fromkeys(TASK_NAMED, study.tasks["nlvr2"])), tmp_path / "work", tools)
    assert len({jobs.finetuning("base", task, 0, 1e-4).digest for task in TASK_NAMED}) == len(TASK_NAMED)


def test_a_step_is_known_by_all_options_that_it_runs_with() -> None:
    said = ["config=projects/muvla/corpus/toyworld.yaml", "out={out}"]
    before = digest_of_step("build_corpus.py", said)
    assert digest_of_step("build_corpus.py", [*said, "retrieval.k=5", "num_workers=3"]) == before
    cluster = ["executor=ray", "executor_options.embed.gpus=1"]
    assert digest_of_step("build_corpus.py", [*said, "retrieval.k=5", *cluster]) == before
    assert digest_of_step("build_corpus.py", [*said, "retrieval.k=4"]) != before
    # Options that were added later count where they change something.
    for name, usual, other in (("scores", "cosine", "csls"), ("max_uses", "null", "7")):
        assert digest_of_step("build_corpus.py", [*said, f"retrieval.{name}={usual}"]) == before
        assert digest_of_step("build_corpus.py", [*said, f"retrieval.{name}={other}"]) != before
    with pytest.raises(InputError, match="retrieval.kk"):
        digest_of_step("build_corpus.py", [*said, "retrieval.kk=4"])


def test_steps_that_are_missing_or_need_themselves_are_named(study: Study, tmp_path: Path, tools: Path) -> None:
    def jobs_with(step: Step) -> Jobs:
        return Jobs(replace(study, steps={**study.steps, "world": step}), tmp_path, tools)

    with pytest.raises(InputError, match="there is no step 'moon'"):
        jobs_with(Step("write.py", ("out={out}", "of={moon}"))).step("world")
    with pytest.raises(InputError, match="needs itself"):
        jobs_with(Step("write.py", ("out={out}", "of={corpus_one}"))).step("world")
