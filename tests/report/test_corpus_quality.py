from __future__ import annotations

import json
from pathlib import Path

from mmf_muvla.pairing.store import Corpus
from mmf_muvla.report.corpus_captions import KnownCaptions
from mmf_muvla.report.corpus_page import measure_corpus
from tests.small_corpus import sentence, write_small_corpus


def test_everything_is_plain_json_and_repeatable(tmp_path: Path) -> None:
    corpus = Corpus(write_small_corpus(tmp_path / "small"))
    captions = KnownCaptions({number: [sentence(number)[0]] for number in range(10)}, 10, 10, 0)
    quality = measure_corpus(corpus, captions, seed=3, sampled_images=20)
    assert json.loads(json.dumps(quality, allow_nan=False)) == quality
    assert quality == measure_corpus(corpus, captions, seed=3, sampled_images=20)
    assert quality["sampled_images"] == quality["tags"]["images"] == 20
    assert quality["mentions"]["images"] == 10
    assert measure_corpus(corpus, seed=3)["captions"] is None
