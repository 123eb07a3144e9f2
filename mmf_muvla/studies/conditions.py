"""Whether the generated world, and the way it is used, can tell systems apart.

A comparison on a world of one's own making says something only where five conditions hold: two of the world itself,
and three of what a study has left.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmf_muvla.artifacts.files import as_json
from mmf_muvla.artifacts.outputs import check_outputs, output_folder, write_output
from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import Name, Options, WholeNumbers
from mmf_muvla.options.reading import read_options
from mmf_muvla.report.history import read_history
from mmf_muvla.report.scores import TASK_NAMED, TASKS, Estimate
from mmf_muvla.report.tables import Table, markdown_page
from mmf_muvla.studies.jobs import Jobs
from mmf_muvla.studies.plan import Plan
from mmf_muvla.studies.records import RECORDS, Record, Records, pretraining_folder
from mmf_muvla.studies.study import read_study
from mmf_muvla.terminal import terminal_console
from mmf_muvla.toyworld.blind import BlindScore, blind_scores
from mmf_muvla.toyworld.config import ToyWorldConfig
from mmf_muvla.toyworld.detector import Detection
from mmf_muvla.toyworld.probe import LabelledRegions, probe
from mmf_muvla.toyworld.tasks import Tasks, make_tasks
from mmf_muvla.toyworld.world import detections_in, pretraining_scenes, stream_of

_MOST_BLIND, _LEAST_PROBE, _MOST_LAST, _LEAST_ERRORS = 0.03, 0.1, 0.1, 3.0
_LOSSES = ("mlm", "mrc", "mrfr", "p_mrtc", "itm")


@dataclass
class ConditionsOptions(Options):
    """The options of the command, which says what they mean."""

    results: Name
    config: Name = "projects/muvla/studies/conditions.yaml"
    seeds: WholeNumbers = field(default_factory=list)  # none are named: all that are on record
    work: Name = "outputs/studies"
    out: Name | None = None
    lower: Name = "base"
    upper: Name = "aligned_vlp"


@dataclass(frozen=True)
class Condition:
    """What should hold, measurements of it as text, and for each row of them whether it does."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    holds: Sequence[bool]


def conditions_command(arguments: Sequence[str]) -> None:
    """``results=FOLDER [config=STUDY.yaml] [seeds=[10,11]] [work=FOLDER] [out=FOLDER]``: measure the conditions, write
    ``world.md`` and ``world.json``."""
    options = read_options(ConditionsOptions, arguments)
    results = Path(options.results)
    if not (results / RECORDS).is_file():
        remedy = f"Run {options.config} first"
        raise InputError(f"results={options.results}", f"has no {RECORDS}", remedy)
    out = output_folder("out", options.out) if options.out else results
    check_outputs(out, ("world.md", "world.json"))
    records = _records_of_today(options)
    config = ToyWorldConfig()
    tasks = make_tasks(config, stream_of(config))
    seen = {
        name: {it.scene.image_id: it for it in detections_in(config, name, scenes)}
        for name, scenes in tasks.scenes.items()
    }
    conditions = [
        blindness(blind_scores(tasks, seen["regions_tasks"])),
        teaching(tasks, seen, detections_in(config, "regions", pretraining_scenes(config))),
        flatness(records, Path(options.work), options.upper),
        searching(records),
        telling_apart(records, options.lower, options.upper),
    ]
    write_output(out / "world.md", text := as_markdown(conditions))
    write_output(out / "world.json", as_json([asdict(it) for it in conditions]))
    terminal_console().print(text, soft_wrap=True)


def _records_of_today(options: ConditionsOptions) -> list[Record]:
    """The records of the runs that the study, as it is, asks for."""
    study, records = read_study(options.config), Records(Path(options.results) / RECORDS)
    for option, system in (("lower", options.lower), ("upper", options.upper)):
        if system not in study.systems:
            there_are = f"There are {', '.join(study.systems)}"
            raise InputError(f"{option}={system}", f"is no system of {options.config}", there_are)
    seeds = options.seeds or sorted({it.seed for it in records.all()} - {study.search_seed})
    jobs = Jobs(study, Path(options.work).absolute(), tools=Path("tools"))  # none of them is started
    found = Plan(study, jobs, records, seeds).on_record()
    if not any(it.kind == "finetune" for it in found):
        problem = f"has no fine-tuning of {options.config} with its present configurations and these seeds"
        remedy = "Run the study, or name the one that the results are of: config=STUDY.yaml"
        raise InputError(f"results={options.results}", problem, remedy)
    return found


def as_markdown(conditions: Sequence[Condition]) -> str:
    """The conditions as a page."""
    tables = []
    for number, it in enumerate(conditions, 1):
        rows = [(*row, "yes" if holds else "**no**") for row, holds in zip(it.rows, it.holds, strict=True)]
        tables.append(Table([*it.header, "holds"], rows, f"{number}. {it.title}"))
    return markdown_page("Can this world tell systems apart?", tables)


def blindness(scores: Sequence[BlindScore]) -> Condition:
    """Who sees one side only is within three points of the commonest answer."""
    rows, holds = [], []
    for it in scores:
        more = it.best - it.commonest
        shares = (f"{it.best:.1%}", f"{it.commonest:.1%}", f"{100 * more:+.1f}")
        rows.append((TASK_NAMED[it.task].title, it.sees, f"{it.count:,}", *shares))
        holds.append(more <= _MOST_BLIND)
    title = "Text alone and image alone are worth at most three points more than the commonest answer"
    return Condition(title, ("task", "sees", "test examples", "accuracy", "commonest answer", "more"), rows, holds)


def teaching(tasks: Tasks, seen: Mapping[str, Mapping[str, Detection]], pretraining: Sequence[Detection]) -> Condition:
    """A linear probe of colours learns at least 10 points less from a fine-tuning set than from pre-training.

    It is not about categories, since a detector's features show its classes after a few examples.

    ``seen`` are detections of the tasks' images, by folder of regions and image id.
    """

    def regions_of(image_ids: Iterable[str], folder: str = "regions_tasks") -> LabelledRegions:
        wanted = set(image_ids)
        return LabelledRegions.of([it for image_id, it in seen[folder].items() if image_id in wanted])

    train, choose, test = (regions_of(it.image_id for it in tasks.questions[name]) for name in ("train", "val", "test"))
    pairs = {f"{it.pair}-img{n}" for it in tasks.comparisons["train"] for n in (0, 1)}
    used = {
        "VQA 2.0": train,
        "SNLI-VE": regions_of(it.image_id for it in tasks.entailments["train"]),
        "RefCOCO+": regions_of(it.image_id for it in tasks.expressions["train"]),
        "NLVR2": regions_of(pairs, "regions_nlvr2"),
    }
    everything = LabelledRegions.of(pretraining)
    many = probe(everything, choose, test)
    rows, holds = [], []
    for name, regions in used.items():
        accuracy, of_many = (probes["colour"] for probes in (probe(regions, choose, test), many))
        less, of_all = of_many - accuracy, f"{len(everything.objects):,}: {of_many:.1%}"
        rows.append((name, f"{len(regions.objects):,}: {accuracy:.1%}", of_all, f"{100 * less:.1f}"))
        holds.append(less >= _LEAST_PROBE)
    title = "A linear probe of colours learns at least 10 points less from a fine-tuning set than from pre-training"
    return Condition(title, ("set", "its regions", "all regions of pre-training", "less"), rows, holds)


def flatness(records: Sequence[Record], work: Path, system: str) -> Condition:
    """How much of a loss's whole fall (from the log's first line) the last quarter of pre-training still brings."""
    rows, holds = [], []
    pretrainings = [it for it in records if (it.kind, it.system) == ("pretrain", system)]
    for record in sorted(pretrainings, key=lambda it: it.seed):
        history = read_history(pretraining_folder(record, work))
        for loss in _LOSSES:
            updates, values = history.curve(loss, "val")
            start = history.curve(loss)[1][:1]
            if len(values) < 4 or not start:
                continue
            three_quarters = values[next(i for i, it in enumerate(updates) if it >= 0.75 * updates[-1])]
            last = (three_quarters - values[-1]) / (start[0] - values[-1])
            curve = ", ".join(f"{update}: {value:.3g}" for update, value in zip(updates, values, strict=True))
            rows.append((f"{system}-{record.seed}", loss, f"{start[0]:.3g}", curve, f"{last:.1%}"))
            holds.append(last <= _MOST_LAST)
    title = "Pre-training goes on until its losses fall no more (at most a tenth of the fall in the last quarter)"
    return Condition(title, ("run", "loss", "at the start", "on held-out samples", "last quarter"), rows, holds)


def searching(records: Sequence[Record]) -> Condition:
    """How many rates were tried for each system and task."""
    tried: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
    for it in sorted((it for it in records if it.kind == "search"), key=lambda it: (it.system, it.task, it.rate)):
        tried[it.system, it.task][it.rate] = it.score
    rows, holds = [], []
    for (system, task), scores in tried.items():
        listed = ", ".join(f"{rate:g}: {score:.1f}" for rate, score in scores.items())
        rows.append((system, TASK_NAMED[task].title, listed, f"{max(scores, key=scores.__getitem__):g}"))
        holds.append(len(scores) > 1)
    title = "Rates are chosen on validation data, and lengths too: the state at a run's best validation counts"
    return Condition(title, ("system", "task", "rate: validation score", "chosen"), rows, holds)


def telling_apart(records: Sequence[Record], lower: str, upper: str) -> Condition:
    """The upper bound beats the lower one on every task by more than three standard errors of the difference."""
    rows, holds = [], []
    for task in TASKS:
        scores: dict[str, dict[int, float]] = {lower: {}, upper: {}}
        for it in records:
            if it.kind == "finetune" and it.task == task.name and it.system in scores:
                scores[it.system][it.seed] = it.score
        gain = Estimate.of_differences(scores[upper], scores[lower])
        if gain is None or gain.error is None:
            continue
        means = [f"{statistics.fmean(scores[name][seed] for seed in gain.values):.1f}" for name in (lower, upper)]
        difference = f"{gain.mean:+.1f} ± {gain.error:.1f}"
        rows.append((task.title, str(len(gain.values)), *means, difference, f"{gain.mean / gain.error:.1f}"))
        holds.append(gain.mean > _LEAST_ERRORS * gain.error)
    title = f"{upper} beats {lower} on every task by more than three standard errors"
    return Condition(title, ("task", "seeds", lower, upper, "difference", "standard errors"), rows, holds)
