"""The options of commands that measure a run beside the retrieval that its pairs were made with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from mmf_muvla.errors import InputError
from mmf_muvla.options.reading import read_options
from mmf_muvla.pairing.own_captions import retrieval_settings
from mmf_muvla.pairing.store import CORPUS_FILE
from mmf_muvla.trainers.saved_run import CONFIG, data_of_run

T = TypeVar("T")
_log = logging.getLogger(__name__)


def read_retrieval_options(schema: type[T], arguments: Sequence[str]) -> T:
    """Read options with the groups ``query`` and ``embedding``.

    Of these, what is not given is as the corpus was built that the run learned from, so that Sentence-BERT sees tags as
    the retrieval did. Where that is not known any more, it has the usual values, and the log says so.

    Args:
        schema: a dataclass; its ``run`` is the folder of the run.
        arguments: see :func:`~mmf_muvla.options.reading.read_options`.
    """
    options = read_options(schema, arguments)
    run = Path(options.run)  # type: ignore[attr-defined]
    corpus = data_of_run(run)[1].get("corpus") if (run / CONFIG).is_file() else None
    if corpus is None:  # a task's run, or none
        return options
    try:
        settings = retrieval_settings(Path(corpus))
    except InputError:
        _log.warning(
            "%s: how this corpus was built is not known any more: Sentence-BERT sees the tags by the default query, "
            "unless query.… is given",
            Path(corpus) / CORPUS_FILE,
        )
        return options
    return read_options(schema, arguments, defaults=settings)
