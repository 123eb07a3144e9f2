"""Sentences of parquet files."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmf_muvla.errors import InputError
from mmf_muvla.sentences.options import USUAL_NAMES, SentenceOptions

_ROWS_PER_BLOCK = 32768


def parquet_blocks(
    file: Path, options: SentenceOptions, rows: int = _ROWS_PER_BLOCK
) -> Generator[list[tuple[Any, Any]]]:
    """Pairs of a sentence, as bytes, and an image id; an InputError where a file or a column cannot be read."""
    try:
        # Where a file has checksums; without, wrong bytes may give wrong sentences.
        with pq.ParquetFile(file, page_checksum_verification=True) as table:
            schema = table.schema_arrow
            names = [_column_name(options, schema.names, file)]
            _check_column(schema, names[0], "text", file)
            if options.image_id_column is not None:
                names.append(str(options.image_id_column))
                _check_column(schema, names[1], "names or whole numbers", file)
            for batch in table.iter_batches(batch_size=rows, columns=names):
                texts, owners = (_values(batch.column(name)) for name in (names[0], names[-1]))
                yield list(zip(texts, owners, strict=True))
    except FileNotFoundError as error:
        raise InputError(str(file), "no such parquet file", "Name an existing file") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(file), f"cannot be read as a parquet file ({error})", "Download the file again") from error


def _check_column(schema: pa.Schema, name: str, wanted: str, file: Path) -> None:
    count = schema.names.count(name)
    if count != 1:
        raise InputError(
            str(file),
            f"has {count or 'no'} column{'s' if count else ''} {name!r} (it has {listed(schema.names)})",
            "Set sentence_options.column, or image_id_column, to one of them",
        )
    kind = schema.field(name).type
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not _is_text(value_type) and (wanted == "text" or not pa.types.is_integer(value_type)):
        raise InputError(str(file), f"column {name!r} holds {kind}, not {wanted}", f"Name a column of {wanted}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _values(column: pa.Array) -> list[Any]:
    """Values of a column; text as the bytes that it is stored in, since these need not be UTF-8."""
    if pa.types.is_dictionary(column.type):
        values = _values(column.dictionary)
        return [None if index is None else values[index] for index in column.indices.to_pylist()]
    return (column.cast(pa.large_binary()) if _is_text(column.type) else column).to_pylist()


def _column_name(options: SentenceOptions, known: list[str], file: Path) -> str:
    if options.column is not None:
        return str(options.column)
    name = next((name for name in USUAL_NAMES if name in known), None)
    if name is None:
        problem = f"has no column {' or '.join(USUAL_NAMES)} (it has {listed(known)})"
        raise InputError(str(file), problem, "Name the column of the sentences with sentence_options.column")
    return name


def listed(names: Iterable[str]) -> str:
    """Names for a message, cut."""
    text = ", ".join(names)
    return text if len(text) <= 200 else f"{text[:200]} …"
