"""Builds a weakly aligned corpus in stages: from detector output or pictures, and texts, to what training reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from mmf_muvla.artifacts.artifact import Artifact, State, Work
from mmf_muvla.artifacts.executors import open_executor
from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.artifacts.lock import locked
from mmf_muvla.artifacts.outputs import output_folder, refuse_beneath_file, refuse_inputs
from mmf_muvla.detection.extraction import extracted_store, input_files
from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import as_paths
from mmf_muvla.pairing.config import BuildConfig, RetrievalOptions
from mmf_muvla.pairing.embed import embed_sentences
from mmf_muvla.pairing.link import LINKS_FILE, link_regions
from mmf_muvla.pairing.pack import pack_corpus
from mmf_muvla.pairing.phrases import PHRASES_FILE, find_phrases
from mmf_muvla.pairing.retrieve import SCORE_FILE, SENTENCE_FILE, USED_FILE, retrieve_sentences
from mmf_muvla.pairing.store import CORPUS_FILE, PAIRS_FILE, REGIONS_FOLDER, refuse_foreign_corpus
from mmf_muvla.pretrained import resolve_pretrained
from mmf_muvla.regions.importing import region_store
from mmf_muvla.sentences.importing import OWNERS_FILE, SENTENCES_FILE, import_sentences
from mmf_muvla.sentences.options import SentenceOptions
from mmf_muvla.terminal import terminal_console

# Inside the folder of the corpus; what the stages leave there is needed to build on, not to train.
_BUILD_FOLDER = "build"
_MEND = "Remove them (of a manifest, the whole folder), and build the corpus again"
_CORPUS_FILES = (CORPUS_FILE, REGIONS_FOLDER, SENTENCES_FILE, PAIRS_FILE)


def make_stages(config: BuildConfig) -> list[Artifact]:
    """The stages of a build. Input files are fingerprinted here; that one is missing is an ``InputError``."""
    out = Path(config.out).expanduser()
    build = out / _BUILD_FOLDER
    texts = as_paths(config.sentences)
    policy = _only(config, "on_bad_record", "max_skipped_fraction")
    store = build / "regions"
    pool, owners = build / "sentences" / SENTENCES_FILE, build / "sentences" / OWNERS_FILE
    retrieved, scores, used = (build / "retrieve" / name for name in (SENTENCE_FILE, SCORE_FILE, USED_FILE))
    phrase_table, links = build / "phrases" / PHRASES_FILE, build / "link" / LINKS_FILE
    pairing = config.pairing if config.pairing.source == "captions" else None

    def run_retrieve(work: Work) -> dict[str, float]:
        options = (config.query, config.embedding, config.retrieval)
        table = owners if config.retrieval.exclude_own or pairing else None
        return retrieve_sentences(store, build / "embed", *options, work, owners=table, pairing=pairing)

    def run_pack(_: Work) -> dict[str, int]:
        files = (store, phrase_table, used, retrieved, scores, links)
        counts = sentences.state().counts
        num_skipped = counts["skipped"] + regions.state().counts["skipped"]
        return pack_corpus(*files, pool_size=counts["sentences"], num_skipped=num_skipped, target=out)

    def stage(name: str, run: Callable[[Work], dict[str, Any]], *after: Artifact, **options: Any) -> Artifact:
        return Artifact(build / name, run, after=after, **{"version": 2, **options})

    if isinstance(config.regions, DetectionOptions):
        regions = extracted_store(store, config.regions, **policy)
    else:
        regions = region_store(store, as_paths(config.regions), config.region_options, **policy, needs_classes=True)
    sentences = stage(
        "sentences",
        lambda work: import_sentences(texts, config.sentence_options, **policy, at_least=config.retrieval.k, work=work),
        inputs=_fingerprints(texts),
        parameters={**_sentence_parameters(config.sentence_options), **policy},
        libraries=("pyarrow",),
    )
    embed = stage(
        "embed",
        lambda work: embed_sentences(pool, config.embedding, work),
        sentences,
        inputs=_fingerprint_of_pretrained(config.embedding.model, "embedding.model"),
        parameters=_only(config.embedding, "model", "compute_dtype", "dtype"),
        settings=_only(config.embedding, "batch_size", "device"),
        libraries=("sentence-transformers", "transformers", "torch"),
    )
    retrieve = stage(
        "retrieve",
        run_retrieve,
        *(regions, embed),
        parameters={**asdict(config.query), **_pair_parameters(config)},
        settings=_only(config.retrieval, "images_at_once", "sentences_at_once", "device"),
        libraries=("sentence-transformers", "transformers", "torch", "numpy", "faiss-cpu"),
    )
    phrases = stage(
        "phrases",
        lambda work: find_phrases(pool, used, config.phrases, work),
        *(sentences, retrieve),
        parameters=_only(config.phrases, "model", "strip_determiners"),
        settings=_only(config.phrases, "batch_size"),
        libraries=("spacy", config.phrases.model),
    )
    link = stage(
        "link",
        lambda work: link_regions(store, phrase_table, used, retrieved, config.link, work),
        *(regions, retrieve, phrases),
        version=3,
        inputs=_fingerprint_of_pretrained(config.link.vectors, "link.vectors"),
        parameters=asdict(config.link),
        libraries=("gensim", "numpy"),
    )
    pack = stage(
        "pack",
        run_pack,
        *(regions, sentences, retrieve, phrases, link),
        places=regions.places,
        libraries=("pyarrow",),
        elsewhere=[f"../../{name}" for name in _CORPUS_FILES],
        checks_itself=regions.checks_itself,
    )
    return [regions, sentences, embed, retrieve, phrases, link, pack]


def _sentence_parameters(options: SentenceOptions) -> dict[str, Any]:
    return _options_with(options, "max_characters", "max_word_characters")


def _pair_parameters(config: BuildConfig) -> dict[str, Any]:
    retrieval, added = config.retrieval, {}
    if config.pairing.source == "captions":
        # Nothing is searched for: how that would be done does not count.
        retrieval, added = RetrievalOptions(k=retrieval.k), {"pairing": asdict(config.pairing)}
    elif retrieval.index != "exact":
        # Exact results do not depend on FAISS's options.
        added = {"faiss": _options_with(retrieval.faiss, "code_size", "candidates")}
    return _only(retrieval, "k", "index", "exclude_own") | _changed(retrieval, "scores", "max_uses") | added


def build_corpus(config: BuildConfig) -> None:
    """Run what has to be run, and print a table of all stages.

    Raises:
        InputError: an input or an option cannot be used, another process is building the same corpus, or something
            would be replaced that is no part of one.
    """
    detection = isinstance(config.regions, DetectionOptions)
    inputs = input_files(config.regions) if detection else as_paths(config.regions)
    inputs += as_paths(config.sentences)
    out = output_folder("out", config.out, inputs)
    lock = out / _BUILD_FOLDER / ".lock"
    refuse_beneath_file(lock, str(lock.parent))
    refuse_inputs((out / name for name in (_BUILD_FOLDER, *_CORPUS_FILES)), inputs)
    stages = make_stages(config)
    for stage in stages:
        if not stage.state().done:
            stage.check()
    if not stages[-1].state().done:
        refuse_foreign_corpus(out)
    executor = open_executor(config.executor, config.executor_options, config.num_workers)
    rows = []
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    refusal = InputError(f"out={out}", "another process is building this corpus", "Wait for it, or name another folder")
    with locked(lock, refusal):
        for stage in stages:
            state = stage.state()
            word = "skipped, done before"
            if not state.done:
                state, word = stage.run(executor), "done"
            rows.append((stage, state, word))
    _print_table(f"Corpus {config.out}", rows)


def print_status(config: BuildConfig, check: bool = False) -> None:
    """Print a table of what is done and what is not, and why.

    With ``check``, every file that is done is also read, and compared with what was written.

    Raises:
        InputError: an input does not exist, or files are damaged.
    """
    rows = []
    for stage in make_stages(config):
        state = stage.state()
        stopped = f"; stopped at {state.begun}" if state.begun else ""
        rows.append((stage, state, "done" if state.done else f"to do: {state.reason}{stopped}"))
    _print_table(f"Corpus {config.out}", rows)
    if check:
        damaged = [path for stage, state, _ in rows if state.done for path in stage.verify()]
        if damaged:
            listed = ", ".join(map(os.path.normpath, damaged))
            raise InputError(config.out, f"files are damaged or missing: {listed}", _MEND)
        terminal_console().print("All files are as they were written.")


def _print_table(title: str, rows: Sequence[tuple[Artifact, State, str]]) -> None:
    numbers = (Column(name, justify="right") for name in ("seconds", "skipped"))
    table = Table("stage", "state", *numbers, "counts", title=title, title_justify="left")
    for stage, state, word in rows:
        counts = {name: f"{count:,}" for name, count in state.counts.items()}
        seconds, skipped = "" if state.seconds is None else f"{state.seconds:,.1f}", counts.pop("skipped", "")
        table.add_row(stage.name, word, seconds, skipped, ", ".join(map(" ".join, counts.items())))
    terminal_console().print(table)


def _fingerprints(files: Sequence[Path]) -> dict[str, Any]:
    for file in files:
        if not file.is_file():
            raise InputError(str(file), "no such file", "Correct the path in the configuration")
    return {str(file): fingerprint(file) for file in files}


def _fingerprint_of_pretrained(name: str, option: str) -> dict[str, Any]:
    path = Path(resolve_pretrained(name, option))
    return {name: fingerprint(path) if path.exists() else "by name"}


def _options_with(options: Any, *added: str) -> dict[str, Any]:
    """All options, but of those that were added later only those that are not as usual."""
    return _only(options, *(name for name in asdict(options) if name not in added)) | _changed(options, *added)


def _changed(options: Any, *names: str) -> dict[str, Any]:
    """Those of some options that were added later which are not as usual: without them nothing is built again."""
    usual = type(options)()
    return {name: value for name, value in _only(options, *names).items() if value != getattr(usual, name)}


def _only(options: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}
