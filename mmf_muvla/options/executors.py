"""Where the parts of a build are made, and where the jobs of a study run: the options ``executor`` and
``executor_options`` of the tools."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from mmf_muvla.options.kinds import Name, Number, Options

ExecutorName = Literal["local", "ray"]


@dataclass
class WorkerOptions(Options):
    """What a worker has to itself on a cluster, while it makes parts of one kind; or what a job of a study has.

    Attributes:
        cpus: cores. A part is made with one thread; more are for decoding pictures beside a GPU. A job has as many
            threads.
        gpus: GPUs, or a share of one.
        memory: GiB; ``None`` reserves none.
    """

    cpus: Annotated[Number, Field(ge=0, le=4096)] = 1
    gpus: Annotated[Number, Field(ge=0, le=64)] = 0
    memory: Annotated[Number, Field(gt=0, le=2**20)] | None = None


@dataclass
class ClusterOptions(Options):
    """A Ray cluster.

    Attributes:
        address: ``HOST:PORT``; ``auto`` is the one that this machine is part of.
    """

    address: Name = "auto"


@dataclass
class ExecutorOptions(ClusterOptions):
    """What workers need on a cluster, by the kind of their parts: those of stages of a build.

    Attributes:
        regions: import of detector output, or detection in pictures.
        sentences: cleaning.
        embed: Sentence-BERT, of sentences and of images' tags.
        retrieve: search.
        phrases: spaCy.
        link: word vectors.
    """

    regions: WorkerOptions = field(default_factory=WorkerOptions)
    sentences: WorkerOptions = field(default_factory=WorkerOptions)
    embed: WorkerOptions = field(default_factory=WorkerOptions)
    retrieve: WorkerOptions = field(default_factory=WorkerOptions)
    phrases: WorkerOptions = field(default_factory=WorkerOptions)
    link: WorkerOptions = field(default_factory=WorkerOptions)


@dataclass
class JobExecutorOptions(ClusterOptions):
    """What the jobs of a study need on a cluster, by their kind.

    Attributes:
        step: what is prepared once, a corpus say.
        pretrain: pre-training.
        finetune: fine-tuning, those that learning rates are searched with included.
    """

    step: WorkerOptions = field(default_factory=WorkerOptions)
    pretrain: WorkerOptions = field(default_factory=WorkerOptions)
    finetune: WorkerOptions = field(default_factory=WorkerOptions)
