"""Builds a corpus again and again, and kills the process that builds at random moments. Run by ``test_build.py``.

    python tests/pairing/killed_builds.py FOLDER KILLS SEED OPTION=VALUE …

All work is cut into the smallest parts, and models are loaded once for all builds: it is work that is to be killed. One
build is left alone; others are killed and begun again until they are done.
Printed is, as JSON, how many builds were finished, in which stages processes were killed, and which files differ.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentence_transformers
import spacy

from mmf_muvla.artifacts.artifact import read_manifest
from mmf_muvla.pairing import embed, link, phrases
from mmf_muvla.pairing.commands import build_command
from mmf_muvla.pairing.config import BuildConfig, load_config

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.forks import fork
from tests.pairing.small_parts import make_small_parts

STAGES = ["regions", "sentences", "embed", "retrieve", "phrases", "link", "pack"]
RESULTS = ["corpus.json", "sentences.arrow", "pairs.arrow", "regions"]


def start(out: Path, arguments: list[str]) -> int:
    return fork(lambda: build_command([f"out={out}", *arguments]))


def wait(child: int, seconds: float) -> int | None:
    """The exit status of a child, or ``None`` where it has not ended by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return status
        time.sleep(0.001)
    return None


def content_of(path: Path) -> bytes | dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()} if path.is_dir() else path.read_bytes()


def finish(child: int) -> None:
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the build failed with {status}"


def once(load: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which gives again what it gave for equal arguments before."""
    loaded: dict[str, Any] = {}

    def load_once(*arguments: Any, **named: Any) -> Any:
        key = repr((arguments, named))
        if key not in loaded:
            loaded[key] = load(*arguments, **named)
        return loaded[key]

    return load_once


def load_models(config: BuildConfig) -> None:
    """Load what the stages load; children that are forked later have it."""
    sentence_transformers.SentenceTransformer = once(sentence_transformers.SentenceTransformer)
    spacy.load = once(spacy.load)
    link.load_word_vectors = once(link.load_word_vectors)
    embed.Embedder(config.embedding)
    phrases.PhraseFinder(config.phrases)
    link.load_word_vectors(config.link.vectors, config.link.max_words)


def main(folder: Path, kills: int, seed: int, arguments: list[str]) -> None:
    make_small_parts()
    load_models(load_config(BuildConfig, [f"out={folder / 'whole'}", *arguments]))
    finish(start(folder / "whole", arguments))
    seconds = {stage: read_manifest(folder / "whole" / "build" / stage)["seconds"] for stage in STAGES}
    choose = random.Random(seed)
    killed: Counter[str] = Counter()
    builds, differing = 0, []
    # A stage that takes a hundredth of a second is not hit every time.
    while (killed.total() < kills or not set(STAGES) <= set(killed)) and builds < 30:
        out = folder / f"killed{builds}"
        # Each stage is killed up to three times, at moments that lie anywhere in its work, then goes on.
        for stage in [stage for stage in STAGES for _ in range(choose.randint(1, 3))]:
            if (out / "build" / stage).exists() or (killed.total() >= kills and stage in killed):
                continue
            child = start(out, arguments)
            while not (out / "build" / f"{stage}.work").exists():
                assert os.waitpid(child, os.WNOHANG) == (0, 0), "the build ended too early"
                time.sleep(0.001)
            status = wait(child, choose.uniform(0, seconds[stage]))
            if status is None:
                killed[next((name for name in STAGES if not (out / "build" / name).exists()), "the end")] += 1
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            else:
                assert status == 0, f"the build failed with {status}"
        finish(start(out, arguments))
        builds += 1
        differing += [name for name in RESULTS if content_of(out / name) != content_of(folder / "whole" / name)]
    print(json.dumps({"builds": builds, "killed": killed, "differing": differing}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
