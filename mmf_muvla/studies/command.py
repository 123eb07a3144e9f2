"""The command ``tools/run_study.py``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mmf_muvla.artifacts.outputs import check_outputs, output_folder
from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import unknown_key
from mmf_muvla.options.executors import ExecutorName, JobExecutorOptions
from mmf_muvla.options.kinds import Flag, Name, Names, Number, Options, WholeNumbers, Workers
from mmf_muvla.options.reading import COMMAND_LINE, read_options
from mmf_muvla.options.schema import keys_of
from mmf_muvla.studies.executors import JobExecutor, LocalJobs, visible_gpus
from mmf_muvla.studies.jobs import Jobs
from mmf_muvla.studies.pages import FILES, write_results
from mmf_muvla.studies.plan import Plan
from mmf_muvla.studies.ray_jobs import RayJobs
from mmf_muvla.studies.records import RECORDS, Records
from mmf_muvla.studies.runner import Runner
from mmf_muvla.studies.study import STUDY_KEYS, Study, read_study
from mmf_muvla.terminal import terminal_console


@dataclass
class StudyOptions(Options):
    """The options of the command, beside those of the study's file; the command says what they mean."""

    config: Name
    seeds: WholeNumbers = field(default_factory=lambda: [0])
    num_workers: Workers = "auto"
    executor: ExecutorName = "local"
    executor_options: JobExecutorOptions = field(default_factory=JobExecutorOptions)
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

    Keys that are none of the command's own override the study's file. ``tools`` has the command-line scripts.
    """
    options, overrides, run_arguments = _split(arguments)
    study = read_study(options.config, overrides)
    if study.search_seed in options.seeds:
        problem = f"{study.search_seed} is the seed that rates are searched with"
        raise InputError(f"seeds={options.seeds}", problem, "Leave it out")
    names = _chosen("systems", options.systems, study.systems)
    study = replace(study, tasks={name: study.tasks[name] for name in _chosen("tasks", options.tasks, study.tasks)})
    work = output_folder("work", options.work)
    out = output_folder("out", options.out or work / "results" / study.name)
    if not options.dry_run:
        check_outputs(out, FILES)
    records = Records(out / RECORDS, map(Path, options.records))
    plan = Plan(study, Jobs(study, work.absolute(), tools, tuple(run_arguments)), records, options.seeds)
    console = terminal_console()
    starts_jobs = not (options.dry_run or options.report_only)
    runner = Runner(records, _executor(options, study) if starts_jobs else LocalJobs(), console)
    searches = plan.searches(names)
    if options.dry_run:
        missing = runner.missing([*searches, *plan.compared(names, unsearched=True)])
        for job in missing:
            console.print(f"# {job.kind} {job.name}\n{shlex.join(job.command)}", soft_wrap=True)
        console.print(f"{len(missing)} jobs")
        return
    if starts_jobs:
        runner.run(searches, "learning rates")
        runner.run(plan.compared(names), study.name)

    compared = plan.compared(study.systems)
    each_once = {job.digest: job for job in plan.with_starts([*compared, *searches])}
    made_by = records.of(each_once.values())
    records.take_over(made_by)
    command = shlex.join(["python", "tools/run_study.py", *(it for it in arguments if it != "report_only=true")])
    write_results(out, study, plan.recorded(compared), made_by, command)
    console.print((out / "table.md").read_text(encoding="utf-8"))
    console.print(str(out / "index.html"), soft_wrap=True)


def _split(arguments: Sequence[str]) -> tuple[StudyOptions, list[str], list[str]]:
    """The command's own options, overrides of the study's file, and (after ``--``) arguments of every ``mmf_run``."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own = keys_of(StudyOptions)
    for argument in arguments[:cut]:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise InputError(argument, "is not of the form key=value", f"The keys are {', '.join(own)}")
        if key not in own and key.partition(".")[0] not in STUDY_KEYS:
            raise unknown_key(COMMAND_LINE, key, [*own, *STUDY_KEYS])
    options = [it for it in arguments[:cut] if it.partition("=")[0] in own]
    overrides = [it for it in arguments[:cut] if it.partition("=")[0] not in own]
    return read_options(StudyOptions, options), overrides, list(arguments[cut + 1 :])


def _chosen(option: str, names: Sequence[str], known: Iterable[str]) -> list[str]:
    """The names, where they are known; all of them where nothing is said."""
    known = list(known)
    for name in names:
        if name not in known:
            raise InputError(f"{option}={name}", "there is none of that name", f"There are {', '.join(known)}")
    return list(names) or known


def _executor(options: StudyOptions, study: Study) -> JobExecutor:
    budget, need = options.memory_gb, study.memory_per_job_gb
    if options.executor == "ray":
        if budget is not None:
            remedy = "Say what a job may take: executor_options.pretrain.memory, and that of the other kinds"
            raise InputError(f"memory_gb={budget:g}", "is for one machine, and not for executor=ray", remedy)
        return RayJobs(options.executor_options, options.num_workers)
    num_workers = 1 if options.num_workers == "auto" else options.num_workers
    if budget is not None:
        if budget < need:
            raise InputError(f"memory_gb={budget:g}", f"one job may take {need:g}", "Give more, or run elsewhere")
        num_workers = min(num_workers, int(budget // need))
    return LocalJobs(num_workers, visible_gpus())
