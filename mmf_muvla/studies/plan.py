"""Which jobs a study asks for with some seeds, and which of the runs on record are of these jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from mmf_muvla.studies.jobs import Job, Jobs
from mmf_muvla.studies.records import Record, Records
from mmf_muvla.studies.study import Study


@dataclass(frozen=True)
class Plan:
    """Which jobs a study asks for."""

    study: Study
    jobs: Jobs
    records: Records
    seeds: Sequence[int]

    def searches(self, systems: Iterable[str]) -> list[Job]:
        """The runs by which learning rates are chosen; a task with one rate only needs none."""
        plans = [(task, plan.rates) for task, plan in self.study.tasks.items() if len(plan.rates) > 1]
        owners = map(self._owner, systems)
        return [self.jobs.search(owner, task, rate) for owner in owners for task, rates in plans for rate in rates]

    def compared(self, systems: Collection[str], unsearched: bool = False) -> list[Job]:
        """The runs that are compared, seed by seed, so that every system has its first seed soon: fine-tunings, or in a
        study without tasks the pre-trainings.

        Where a rate is still to be searched, they are left out or, if that is ``unsearched``, have the first one.
        """
        found: list[Job | None] = []
        for number, seed in enumerate(self.seeds):
            for system in systems:
                limit = self.study.systems[system].seeds
                if limit is not None and number >= limit:
                    continue
                if not self.study.tasks:
                    found.append(self.jobs.pretraining(system, seed))
                for task, plan in self.study.tasks.items():
                    rate = self._rate(system, task)
                    if rate is None and unsearched:
                        rate = plan.rates[0]
                    if rate is not None:
                        found.append(self.jobs.finetuning(system, task, seed, rate))
        return [job for job in found if job is not None]

    def on_record(self) -> list[Record]:
        """The records of what is compared, of the searches, and of the pre-trainings that these start from; each under
        the name of its system, whatever another study called it.

        Others in the same file are left out: it keeps those of configurations and seeds that are no longer asked for.
        """
        runs = [*self.searches(self.study.systems), *self.compared(self.study.systems)]
        each_once = {(job.system, job.digest): job for job in self.with_starts(runs)}
        return self.recorded(each_once.values())

    def with_starts(self, runs: Sequence[Job]) -> list[Job]:
        """These runs, and the pre-trainings that they start from."""
        starts = (self.jobs.pretraining(job.system, job.seed) for job in runs)
        return [*runs, *(job for job in starts if job is not None)]

    def recorded(self, jobs: Iterable[Job]) -> list[Record]:
        """The records of jobs, each under its job's system: one run may be that of several that differ in name only."""
        found = ((self.records.get(job), job.system) for job in jobs)
        return [replace(record, system=system) for record, system in found if record is not None]

    def _owner(self, system: str) -> str:
        return self.study.systems[system].rates_of or system

    def _rate(self, system: str, task: str) -> float | None:
        """The learning rate of the best validation score, the smaller one of equals; ``None`` before the search."""
        rates = self.study.tasks[task].rates
        if len(rates) == 1:
            return rates[0]
        tried = [(self.records.get(self.jobs.search(self._owner(system), task, rate)), -rate) for rate in rates]
        found = [(record.score, minus_rate) for record, minus_rate in tried if record is not None]
        return -max(found)[1] if len(found) == len(rates) else None
