"""Numbers in base64, as several extractors write them into lines of text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.boxes import end_with_box
from mmf_muvla.regions.checks import DAMAGED_FILE, refuse_feature_size
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import id_problem

_LONGEST_SHOWN = 4096
# So many rows tell what rows of a source are like; they are looked for among so many lines.
ROWS_TRIED, LINES_TRIED = 16, 1000
# Makes the problem of a reason, a value and perhaps a remedy: a Place, for one.
Bad = Callable[..., BadRecord]


def decode_base64(text: str | bytes, what: str, dtype: str, bad: Bad) -> np.ndarray:
    """Numbers [n]; a BadRecord where the text is no base64, or ends within a number."""
    raw = _decode(text, what, bad)
    if len(raw) % np.dtype(dtype).itemsize:
        raise bad(
            f"{what} have the wrong number of bytes", f"{len(raw)} bytes, which are no numbers of {dtype[2]} bytes"
        )
    return np.frombuffer(raw, dtype)


def decode_features(count: int, text: str | bytes, options: RegionOptions, bad: Bad) -> np.ndarray:
    """Rows of features, with or without the box's six numbers, float32 [count, d] or [count, d + 6]."""
    raw = _decode(text, "features", bad)
    dim = options.feature_dim
    sizes = {width: count * width * 4 for width in (dim, dim + 6)}
    if len(raw) in sizes.values():
        return np.frombuffer(raw, "<f4").reshape(count, -1 if count else dim)
    expected = " or ".join(f"{size} ({count} regions x {width} numbers x 4)" for width, size in sizes.items())
    remedy = f"{DAMAGED_FILE}; or set region_options.feature_dim"
    raise bad("features have the wrong number of bytes", f"{len(raw)} bytes, expected {expected}", remedy)


def _decode(text: str | bytes, what: str, bad: Bad) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # what is no base64, and text beyond ASCII
        raise bad(f"{what} are not base64", f"{error}, after {len(text)} characters") from error


def rows_of_any_width(count: int, text: str | bytes) -> np.ndarray | None:
    """Rows, whatever their width; ``None`` where there are none."""
    with suppress(ValueError):
        raw = base64.b64decode(text, validate=True)
        if raw and count > 0 and len(raw) % (4 * count) == 0:
            return np.frombuffer(raw, "<f4").reshape(count, -1)
    return None


def check_widths(first_rows: Iterable[np.ndarray], file: Path, options: RegionOptions) -> set[int]:
    """How many numbers the first rows of a file have; an InputError where all have another number of features."""
    dim = options.feature_dim
    tried = list(islice(first_rows, ROWS_TRIED))
    widths = {rows.shape[1] for rows in tried}
    if tried and not {dim, dim + 6} & widths:
        raise refuse_feature_size(file, tried[0].shape[1], end_with_box(tried[0]), options)
    return widths


def parse_count(digits: bytes, bad: Bad) -> int:
    """A number of regions."""
    if not digits.isdigit() or len(digits) > 9:
        raise bad("number of regions is not a number", repr(digits[:40]))
    return int(digits)


def image_id_of(raw_id: bytes, bad: Bad) -> str:
    """The image id that the bytes of a column are."""
    image_id = shown_id(raw_id)
    problem = id_problem(image_id)
    if problem or "\ufffd" in image_id:
        raise bad("image id cannot be used", problem or repr(raw_id[:80]))
    return image_id


def shown_id(raw_id: bytes, length: int = _LONGEST_SHOWN) -> str:
    """The bytes of a column as text; no id is longer, a line without tabs can be."""
    return raw_id[:length].decode("utf-8", "replace")
