"""Where the parts of a build are made: the options ``executor`` and ``executor_options`` of the tools that build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from mmf_muvla.options.kinds import Name, Number, Options

ExecutorName = Literal["local", "ray"]


@dataclass
class WorkerOptions(Options):
    """What a worker has to itself on a cluster, while it makes parts of one kind.

    Attributes:
        cpus: cores. Work is done with one thread; more are for decoding pictures beside a GPU.
        gpus: GPUs, or a share of one.
        memory: GiB; ``None`` reserves none.
    """

    cpus: Annotated[Number, Field(ge=0, le=4096)] = 1
    gpus: Annotated[Number, Field(ge=0, le=64)] = 0
    memory: Annotated[Number, Field(gt=0, le=2**20)] | None = None


@dataclass
class ExecutorOptions(Options):
    """A Ray cluster, and what workers need there, by the kind of their parts: those of stages of a build.

    Attributes:
        address: of the cluster, ``HOST:PORT``; ``auto`` is the one that this machine is part of.
        regions: import of detector output, or detection in pictures.
        sentences: cleaning.
        embed: Sentence-BERT, of sentences and of images' tags.
        retrieve: search.
        phrases: spaCy.
        link: word vectors.
    """

    address: Name = "auto"
    regions: WorkerOptions = field(default_factory=WorkerOptions)
    sentences: WorkerOptions = field(default_factory=WorkerOptions)
    embed: WorkerOptions = field(default_factory=WorkerOptions)
    retrieve: WorkerOptions = field(default_factory=WorkerOptions)
    phrases: WorkerOptions = field(default_factory=WorkerOptions)
    link: WorkerOptions = field(default_factory=WorkerOptions)
