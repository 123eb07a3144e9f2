"""The command ``tools/run_study.py``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field
from rich.console import Console

from mmf_muvla.artifacts.outputs import check_outputs, output_folder
from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import unknown_key
from mmf_muvla.options.kinds import Flag, Name, Names, Number, Options, Whole, WholeNumbers
from mmf_muvla.options.reading import COMMAND_LINE, read_options
from mmf_muvla.options.schema import keys_of
from mmf_muvla.studies.jobs import Job, Jobs
from mmf_muvla.studies.pages import FILES, write_results
from mmf_muvla.studies.records import RECORDS, Records
from mmf_muvla.studies.runner import Runner, visible_gpus
from mmf_muvla.studies.study import STUDY_KEYS, Study, read_study
from mmf_muvla.studies.summary import summarize
from mmf_muvla.terminal import terminal_console


@dataclass
class StudyOptions(Options):
    """The options of the command, beside those of the study's file.

    Attributes:
        config: the study's file.
        seeds: the seeds of the comparison.
        num_workers: jobs at the same time.
        memory_gb: no more jobs at the same time than fit.
        work: the folder of all jobs.
        out: the folder of the results; ``None``: one in ``work``.
        records: records of other studies that count here, too.
        systems, tasks: only these; empty: all.
        dry_run: print the commands and run nothing.
        report_only: run nothing, and write the results.
    """

    config: Name
    seeds: WholeNumbers = field(default_factory=lambda: [0])
    num_workers: Annotated[Whole, Field(ge=1, le=4096)] = 1
    memory_gb: Annotated[Number, Field(gt=0)] | None = None
    work: Name = "outputs/studies"
    out: Name | None = None
    records: Names = field(default_factory=list)
    systems: Names = field(default_factory=list)
    tasks: Names = field(default_factory=list)
    dry_run: Flag = False
    report_only: Flag = False


def study_command(arguments: Sequence[str], tools: Path) -> None:
    """``config=STUDY.yaml [seeds=[0,1,2]] [num_workers=2] …``: run a study, and write its tables, plot and page.

    Args:
        arguments: the command line; keys that are none of the command's own override the study's file.
        tools: folder of the command-line scripts.

    Raises:
        InputError: an option cannot be used.
        MuvlaError: some jobs failed.
    """
    options, overrides, run_arguments = _split(arguments)
    study = read_study(options.config, overrides)
    seeds = options.seeds
    if study.search_seed in seeds:
        raise InputError(
            f"seeds={seeds}", f"{study.search_seed} is the seed that rates are searched with", "Leave it out"
        )
    names = _chosen("systems", options.systems, study.systems)
    study = replace(study, tasks={name: study.tasks[name] for name in _chosen("tasks", options.tasks, study.tasks)})
    work = output_folder("work", options.work)
    out = output_folder("out", options.out or work / "results" / study.name)
    if not options.dry_run:
        check_outputs(out, FILES)
    jobs = Jobs(study, work.absolute(), tools, tuple(run_arguments))
    records = Records(out / RECORDS, map(Path, options.records))
    console = terminal_console()
    starts_jobs = not (options.dry_run or options.report_only)
    runner = Runner(records, _num_workers(options, study), console, visible_gpus() if starts_jobs else ())
    searches = [job for name in names for job in _searches(study, jobs, name)]
    if options.dry_run:
        _show_plan(console, study, jobs, runner, searches, names, seeds)
        return
    if starts_jobs:
        runner.run(searches, "learning rates")
        runner.run(_finetunings(study, jobs, records, names, seeds), study.name)

    everything = _finetunings(study, jobs, records, list(study.systems), seeds)
    fine_tunings = [*everything, *searches]
    pretrainings = [start for job in fine_tunings if (start := jobs.pretraining(job.system, job.seed)) is not None]
    # One run may be that of several systems that differ in name only.
    finished = [replace(record, system=job.system) for job in everything if (record := records.get(job)) is not None]
    made_by = records.of(_once([*fine_tunings, *pretrainings]))
    records.take_over(made_by)
    command = shlex.join(["python", "tools/run_study.py", *(it for it in arguments if it != "report_only=true")])
    write_results(out, study, summarize(study, finished), made_by, command)
    console.print((out / "table.md").read_text(encoding="utf-8"))
    console.print(str(out / "index.html"), soft_wrap=True)


def _searches(study: Study, jobs: Jobs, system: str) -> list[Job]:
    """The runs that a system's learning rates are chosen by; none where a task has one rate only."""
    owner = study.systems[system].rates_of or system
    return [
        jobs.search(owner, task, rate)
        for task, plan in study.tasks.items()
        if len(plan.rates) > 1
        for rate in plan.rates
    ]


def _rate(study: Study, jobs: Jobs, records: Records, system: str, task: str) -> float | None:
    """The learning rate of the best validation score, the smaller one of equals; ``None`` before the search."""
    rates = study.tasks[task].rates
    if len(rates) == 1:
        return rates[0]
    owner = study.systems[system].rates_of or system
    found = [(record.score, -rate) for rate in rates if (record := records.get(jobs.search(owner, task, rate)))]
    return -max(found)[1] if len(found) == len(rates) else None


def _finetunings(study: Study, jobs: Jobs, records: Records, names: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """The runs that are compared, seed by seed, so that every system has its first seed soon."""
    found = []
    for number, seed in enumerate(seeds):
        for name in names:
            limit = study.systems[name].seeds
            if limit is not None and number >= limit:
                continue
            for task in study.tasks:
                rate = _rate(study, jobs, records, name, task)
                if rate is not None:
                    found.append(jobs.finetuning(name, task, seed, rate))
    return found


def _once(jobs: Iterable[Job]) -> list[Job]:
    return list({job.digest: job for job in jobs}.values())


def _show_plan(
    console: Console,
    study: Study,
    jobs: Jobs,
    runner: Runner,
    searches: Sequence[Job],
    names: Sequence[str],
    seeds: Sequence[int],
) -> None:
    """Print every command that would run. Where rates are still to be searched, the first one stands for the best."""
    finals = [
        jobs.finetuning(name, task, seed, plan.rates[0])
        for seed in seeds
        for name in names
        for task, plan in study.tasks.items()
    ]
    missing = runner.missing([*searches, *finals])
    for job in missing:
        console.print(f"# {job.kind} {job.name}")
        console.print(shlex.join(job.command), soft_wrap=True)
    console.print(f"{len(missing)} jobs")


def _split(arguments: Sequence[str]) -> tuple[StudyOptions, list[str], list[str]]:
    """The command's own options, overrides of the study's file, and (after ``--``) arguments of every ``mmf_run``."""
    arguments = list(arguments)
    run_arguments: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, run_arguments = arguments[:cut], arguments[cut + 1 :]
    own, of_study = keys_of(StudyOptions), STUDY_KEYS
    options: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise InputError(argument, "is not of the form key=value", f"The keys are {', '.join(own)}")
        if key not in own and key.partition(".")[0] not in of_study:
            raise unknown_key(COMMAND_LINE, key, [*own, *of_study])
        (options if key in own else overrides).append(argument)
    return read_options(StudyOptions, options), overrides, run_arguments


def _chosen(option: str, names: Sequence[str], known: Iterable[str]) -> list[str]:
    """The names, where they are known; all of them where nothing is said."""
    known = list(known)
    for name in names:
        if name not in known:
            raise InputError(f"{option}={name}", "there is none of that name", f"There are {', '.join(known)}")
    return list(names) or known


def _num_workers(options: StudyOptions, study: Study) -> int:
    if options.memory_gb is None:
        return options.num_workers
    if options.memory_gb < study.memory_per_job_gb:
        raise InputError(
            f"memory_gb={options.memory_gb:g}",
            f"one job may take {study.memory_per_job_gb:g}",
            "Give more, or run elsewhere",
        )
    return min(options.num_workers, int(options.memory_gb // study.memory_per_job_gb))
