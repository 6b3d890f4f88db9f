"""Where the rows of a table go: CSV, JSON lines or Parquet, written beside and put in place whole."""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from seriatim.errors import ConfigError, OutputError, printable
from seriatim.io.tables.outputs import cell_text, flush_to_disk
from seriatim.scoring.columns import Cell, Kind, Row, Table, plain_cell

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
ROWS_AT_ONCE = 10_000
"""Of a Parquet file: a row group; more would need more memory."""


def parse_formats(text: str) -> tuple[Format, ...]:
    """``csv,parquet`` as formats.

    Raises:
        ConfigError: one is not known, or a library for it is missing.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    formats = tuple(known for known in FORMATS if known in names)
    if not formats or len(formats) != len(set(names)):
        raise ConfigError(f"The format {text!r} is not known. Give one or more of {', '.join(FORMATS)} with commas.")
    if "parquet" in formats:
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError as error:
            raise ConfigError("Parquet needs pyarrow: pip install 'seriatim[parquet]'.") from error
    return formats


class Sink(ABC):
    """One file of one table. ``place`` puts it in place; until then it lies beside as ``NAME.partial``.

    Raises:
        OutputError: by any method, where the file cannot be written.
    """

    def __init__(self, folder: Path, table: Table, ending: Format) -> None:
        self.path = folder / f"{table.name}.{ending}"
        self.partial = folder / f"{table.name}.{ending}.partial"
        self.columns = table.columns
        try:
            self._try(self._open)
        except OutputError:
            self._unlink()
            raise

    def write(self, row: Row) -> None:
        """Add one row."""
        self._try(lambda: self._add(row))

    def finish(self) -> None:
        """All rows are there: they go to the disk."""
        self._try(self._close)
        self._try(lambda: flush_to_disk(self.partial))

    def place(self) -> None:
        """Put the file in place of the last one."""
        self._try(lambda: self.partial.replace(self.path))

    def drop(self) -> None:
        """Forget the file; the last one stays."""
        with suppress(OSError):
            self._close()
        self._unlink()

    def _unlink(self) -> None:
        with suppress(OSError):
            self.partial.unlink(missing_ok=True)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            told = error.strerror or type(error).__name__
            raise OutputError(f"{self.path} cannot be written: {told}. Free space, close what holds it, and score "
                              "again: what is done stays done.") from error

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _add(self, row: Row) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class CsvSink(Sink):
    """UTF-8 with a header; numbers in full, an empty cell for what is not known."""

    def _open(self) -> None:
        self._file = self.partial.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(self.columns)
        self._kinds = tuple(_CSV[kind] for kind in self.columns.values())

    def _add(self, row: Row) -> None:
        cells = zip(self._kinds, row, strict=True)
        self._writer.writerow(["" if value is None else write(value) for write, value in cells])

    def _close(self) -> None:
        self._file.close()


class JsonlSink(Sink):
    """One JSON object per row, in ASCII; null for what is not known."""

    def _open(self) -> None:
        self._file = self.partial.open("w", encoding="ascii")

    def _add(self, row: Row) -> None:
        cells = zip(self.columns.items(), row, strict=True)
        self._file.write(json.dumps({name: plain_cell(kind, value) for (name, kind), value in cells}) + "\n")

    def _close(self) -> None:
        self._file.close()


class ParquetSink(Sink):
    """Typed columns, null for what is not known; a row group of ten thousand rows at a time."""

    def _open(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        types = {"text": pa.string(), "word": pa.string(), "whole": pa.int64()}
        columns = [(name, types.get(kind, pa.float64())) for name, kind in self.columns.items()]
        self._schema = pa.schema(columns)
        self._file = parquet.ParquetWriter(str(self.partial), self._schema)
        self._rows: list[dict[str, Cell]] = []

    def _add(self, row: Row) -> None:
        cells = zip(self.columns.items(), row, strict=True)
        self._rows.append({name: _parquet_cell(kind, value) for (name, kind), value in cells})
        if len(self._rows) >= ROWS_AT_ONCE:
            self._write_group()

    def _close(self) -> None:
        if self._rows:
            self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        self._file.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


SINKS: Mapping[Format, Callable[[Path, Table, Format], Sink]] = {
    "csv": CsvSink, "jsonl": JsonlSink, "parquet": ParquetSink,
}


def remove_others(folder: Path, tables: Iterable[str], written: Collection[Path]) -> None:
    """Remove what an earlier run left of these tables, in formats or of a task that this one does not write: it would
    tell the past.
    """
    for path in (folder / f"{name}.{ending}" for name in tables for ending in FORMATS):
        if path not in written:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _parquet_cell(kind: Kind, value: Any) -> Cell:
    plain = plain_cell(kind, value)
    return printable(plain) if isinstance(plain, str) else plain


def _detail(value: float) -> str:
    """A number in full, whole ones as such; "" for what is not known."""
    if math.isnan(value):
        return ""
    return repr(int(value)) if value.is_integer() and abs(value) < 1e9 else repr(value)


_CSV: Mapping[Kind, Callable[[Any], str | int]] = {
    "text": cell_text, "word": str, "whole": int, "number": repr, "detail": _detail,
    "seconds": lambda value: f"{value:.3f}", "distance": lambda value: f"{value:.4g}",
}

