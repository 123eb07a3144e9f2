"""What tests of reports share."""

from __future__ import annotations

import pytest

from mmf_muvla.pairing.store import Corpus
from tests.small_corpus import write_small_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(write_small_corpus(tmp_path_factory.mktemp("corpus") / "small"))
