"""What tests of several processes share."""

from __future__ import annotations

import multiprocessing.forkserver

import pytest

IMPORTED = ["sentence_transformers", "spacy", "mmf_muvla.pairing.retrieve", "mmf_muvla.pairing.phrases"]


@pytest.fixture(scope="session")
def quick_workers() -> None:
    """Workers start from a process that has imported what they need: it takes them longer than their work here."""
    server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    server._stop()  # one that another test has started has imported what that one's workers need
    server.set_forkserver_preload(IMPORTED)
    server.ensure_running()
