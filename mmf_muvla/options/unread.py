"""Options of MMF that the trainer ``muvla`` does not go by: refused where they would say something.

MMF's own trainer reads them, so they are keys like any others, and without this they would be passed over: a run with
``checkpoint.resume_zoo`` would start from BERT without a word.

Not among them are the old names of options, such as ``training.resume_file``: MMF itself writes their values to the
present ones, after it has put the configuration together. Nor is ``evaluation.use_cpu``, by which MMF keeps what
metrics are computed from in main memory: this trainer always does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmf_muvla.errors import InputError
from mmf_muvla.options.checking import Source, shown
from mmf_muvla.options.run import MODEL

Get = Callable[[str], Any]


@dataclass(frozen=True)
class Unread:
    """An option, the values of it that ask for nothing, and what to do instead of any other.

    Attributes:
        has_effect: whether MMF would go by it, with the rest of the configuration. Where it would not, nothing is lost:
            MMF's own files of tasks have such values.
    """

    key: str
    usual: tuple[Any, ...]
    problem: str
    remedy: str
    has_effect: Callable[[Get], bool]


def _has_file(get: Get) -> bool:
    return bool(get("checkpoint.resume_file") or get("training.resume_file"))


def _loads_a_part(get: Get) -> bool:
    # Most of MMF's own tasks have a mapping, for whoever asks for it by resume_pretrained, and gives a file.
    return _has_file(get) and bool(get("checkpoint.resume_pretrained") or get("training.load_pretrained"))


_ALL_THAT_FITS = (
    "this trainer loads every tensor of the file whose name and shape fit",
    "Take it out, and rename the tensors of the file if need be",
)
UNREAD = (
    Unread(
        "checkpoint.resume_zoo",
        (None,),
        "this trainer downloads no checkpoints",
        "Download it, and give checkpoint.resume_file",
        # MMF takes the file, too, where both are given.
        lambda get: not _has_file(get),
    ),
    Unread("checkpoint.pretrained_state_mapping", (None, {}), *_ALL_THAT_FITS, _loads_a_part),
    Unread("training.pretrained_state_mapping", (None, {}), *_ALL_THAT_FITS, _loads_a_part),
    Unread(
        "evaluation.predict_file_format",
        (None, "json"),
        "this trainer writes the format of the task's benchmark",
        "Set it to json, and convert the file",
        # The configuration of a data set may name a format (MMF's hateful_memes does), whatever a run is for.
        lambda get: bool(get("evaluation.predict")),
    ),
    Unread(
        "training.use_warmup",
        (None, False),
        "is of the scheduler pythia alone",
        "Set it to false; how long muvla_warmup_linear warms up says scheduler.params.warmup_fraction",
        # Without a type, MMF takes pythia.
        lambda get: bool(get("training.lr_scheduler")) and get("scheduler.type") not in (None, "pythia"),
    ),
    Unread(
        "training.clip_norm_mode",
        (None, "all"),
        "this trainer clips the gradients of all parameters together",
        "Set it to all",
        lambda get: bool(get("training.clip_gradients")),
    ),
    Unread(
        "scheduler.params.total_updates",
        (None,),
        "with this trainer the schedule is as long as the run",
        "Leave it out, and give training.max_updates or training.max_epochs",
        lambda get: str(get("scheduler.type")).startswith("muvla_"),
    ),
)


def refuse_unread(get: Get, source: Source) -> None:
    """Refuse what the trainer ``muvla``, where it is the one, would pass over.

    Args:
        get: the value at a dotted name, ``None`` if there is none.
        source: says where the value of a key comes from.

    Raises:
        InputError: such an option has a value that MMF would go by.
    """
    if get("training.trainer") != MODEL:
        return
    for it in UNREAD:
        value = get(it.key)
        if value not in it.usual and it.has_effect(get):
            raise InputError(f"{source(it.key)}: {it.key}={shown(value)}", it.problem, it.remedy)
