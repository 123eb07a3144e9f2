"""Sentences of parquet files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmf_muvla.errors import InputError
from mmf_muvla.sentences.options import SentenceOptions

_ROWS_PER_BLOCK = 32768


def parquet_blocks(
    file: Path, options: SentenceOptions, usual_names: tuple[str, ...], rows: int = _ROWS_PER_BLOCK
) -> Generator[list[tuple[Any, Any]]]:
    """Pairs of a sentence, as bytes, and an image id, some thousand at a time.

    Raises:
        InputError: the file is missing, is no parquet file, or lacks a column of the right type.
    """
    try:
        # Where a file has checksums; without, wrong bytes may give wrong sentences.
        with pq.ParquetFile(file, page_checksum_verification=True) as table:
            schema = table.schema_arrow
            column = _column_name(options, schema.names, usual_names, file)
            _check_parquet_column(schema, column, _is_text, "text", file)
            names = [column]
            if options.image_id_column is not None:
                names.append(str(options.image_id_column))
                _check_parquet_column(schema, names[1], _is_name, "names or whole numbers", file)
            for batch in table.iter_batches(batch_size=rows, columns=names):
                texts, owners = (_parquet_values(batch.column(name)) for name in (names[0], names[-1]))
                yield list(zip(texts, owners, strict=True))
    except FileNotFoundError as error:
        raise InputError(str(file), "no such parquet file", "Name an existing file") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(file), f"cannot be read as a parquet file ({error})", "Download the file again") from error


def _check_parquet_column(
    schema: pa.Schema, name: str, fits: Callable[[pa.DataType], bool], wanted: str, file: Path
) -> None:
    count = schema.names.count(name)
    if count != 1:
        raise InputError(
            str(file),
            f"has {count or 'no'} column{'s' if count else ''} {name!r} (it has {listed(schema.names)})",
            "Set sentence_options.column, or image_id_column, to one of them",
        )
    kind = schema.field(name).type
    if not fits(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise InputError(str(file), f"column {name!r} holds {kind}, not {wanted}", f"Name a column of {wanted}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_name(kind: pa.DataType) -> bool:
    return _is_text(kind) or pa.types.is_integer(kind)


def _parquet_values(column: pa.Array) -> list[Any]:
    """Values of a column; text as the bytes that it is stored in, since these need not be UTF-8."""
    if pa.types.is_dictionary(column.type):
        values = _parquet_values(column.dictionary)
        return [None if index is None else values[index] for index in column.indices.to_pylist()]
    return (column.cast(pa.large_binary()) if _is_text(column.type) else column).to_pylist()


def _column_name(options: SentenceOptions, known: list[str], usual_names: tuple[str, ...], file: Path) -> str:
    if options.column is not None:
        return str(options.column)
    for name in usual_names:
        if name in known:
            return name
    raise InputError(
        str(file),
        f"has no column {' or '.join(usual_names)} (it has {listed(known)})",
        "Name the column of the sentences with sentence_options.column",
    )


def listed(names: Iterable[str]) -> str:
    """Names for a message, cut."""
    text = ", ".join(names)
    return text if len(text) <= 200 else f"{text[:200]} …"
