"""The command ``tools/run_study.py``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from mmf_muvla.cli import as_list
from mmf_muvla.errors import InputError
from mmf_muvla.studies.jobs import Job, Jobs
from mmf_muvla.studies.pages import write_results
from mmf_muvla.studies.records import RECORDS, Records
from mmf_muvla.studies.runner import Runner, visible_gpus
from mmf_muvla.studies.study import Study, read_study
from mmf_muvla.studies.summary import summarize

_OPTIONS = {
    "config": "", "seeds": "[0]", "num_workers": "1", "memory_gb": "", "work": "outputs/studies", "out": "",
    "records": "",
    "systems": "", "tasks": "", "dry_run": "false", "report_only": "false",
}  # fmt: skip


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
    if not options["config"]:
        raise InputError("config", "is missing", "Name a study: config=projects/muvla/studies/main.yaml")
    study = read_study(options["config"], overrides)
    seeds = _whole_numbers("seeds", options["seeds"])
    if study.search_seed in seeds:
        raise InputError(
            f"seeds={options['seeds']}", f"{study.search_seed} is the seed that rates are searched with", "Leave it out"
        )
    names = _chosen("systems", options["systems"], study.systems)
    study = replace(study, tasks={name: study.tasks[name] for name in _chosen("tasks", options["tasks"], study.tasks)})
    out = Path(options["out"] or Path(options["work"]) / "results" / study.name)
    jobs = Jobs(study, Path(options["work"]).absolute(), tools, tuple(run_arguments))
    records = Records(out / RECORDS, map(Path, as_list(options["records"])))
    console = Console()
    starts_jobs = options["dry_run"] != "true" and options["report_only"] != "true"
    runner = Runner(records, _num_workers(options, study), console, visible_gpus() if starts_jobs else ())
    searches = [job for name in names for job in _searches(study, jobs, name)]
    if options["dry_run"] == "true":
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
    console.print((out / "table.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    console.print(out / "index.html")


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
        console.print(f"# {job.kind} {job.name}", highlight=False, markup=False)
        console.print(shlex.join(job.command), highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(missing)} jobs")


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """The command's own options, overrides of the study's file, and (after ``--``) arguments of every ``mmf_run``."""
    arguments = list(arguments)
    run_arguments: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, run_arguments = arguments[:cut], arguments[cut + 1 :]
    options, overrides = dict(_OPTIONS), []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(argument, "is not of the form key=value", f"The keys are {', '.join(_OPTIONS)}")
        if key in options:
            options[key] = value
        else:
            overrides.append(argument)
    return options, overrides, run_arguments


def _chosen(option: str, text: str, known: Iterable[str]) -> list[str]:
    """``[a,b]`` as names that are known; all of them where nothing is said."""
    known = list(known)
    names = as_list(text)
    for name in names:
        if name not in known:
            raise InputError(f"{option}={name}", "there is none of that name", f"There are {', '.join(known)}")
    return names or known


def _whole_numbers(option: str, text: str) -> list[int]:
    try:
        values = yaml.safe_load(text if text.startswith("[") else f"[{text}]")
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or not values or not all(type(it) is int and it >= 0 for it in values):
        raise InputError(f"{option}={text}", "is no list of whole numbers", f"Write {option}=[0,1,2]")
    return list(dict.fromkeys(values))


def _num_workers(options: dict[str, str], study: Study) -> int:
    (workers,) = _whole_numbers("num_workers", options["num_workers"])
    if workers < 1:
        raise InputError("num_workers=0", "nothing would run", "Give at least 1")
    if options["memory_gb"]:
        try:
            memory = float(options["memory_gb"])
        except ValueError:
            raise InputError(f"memory_gb={options['memory_gb']}", "is no number", "Give gigabytes") from None
        if memory < study.memory_per_job_gb:
            raise InputError(
                f"memory_gb={memory:g}", f"one job may take {study.memory_per_job_gb:g}", "Give more, or run elsewhere"
            )
        workers = min(workers, int(memory // study.memory_per_job_gb))
    return workers
