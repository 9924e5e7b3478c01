"""The user's own texts: CSV, TSV, JSON lines or Parquet, with a domain column or one file or folder per domain."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hrkd.artifact import sha256_file
from hrkd.data.dataset import DomainDataset, Split
from hrkd.data.row_store import PIECE_ROWS, in_pieces, stored_rows
from hrkd.data.rows import Rows, build_dataset
from hrkd.data.splitting import parse_split
from hrkd.data.table import Table, rows_of
from hrkd.errors import DataError, MissingExtraError
from hrkd.recipe import DataConfig

ENCODING_HINT = "save it as UTF-8, for instance with `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`"
_SHARD = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True, slots=True)
class _Part:
    """One file, and what its place says about its rows."""

    path: Path
    domain: str | None = None
    split: Split | None = None


def load_files(config: DataConfig) -> DomainDataset:
    """Load a file, or a folder.

    A folder may hold one file per domain (``books.csv``), one sub-folder per domain whose files are joined
    (``books/train.csv``), or files that are all named after splits (``train.csv``) and have a domain column.

    Raises:
        DataError: Nothing is there, a file cannot be read, or its content cannot be used; names the file and line.
    """
    if config.path is None:
        raise DataError("`data.path` is missing", hint="give the file or folder that holds the texts")
    path = Path(config.path).expanduser()
    if not path.exists():
        raise DataError(f"`{path}` does not exist", hint="correct `data.path`; it is relative to the current folder")
    parts = _parts(path) if path.is_dir() else [_Part(path)]
    if config.on_disk:
        content = [(sha256_file(part.path), part.domain, part.split) for part in parts]
        rows = stored_rows({"files": content}, config, _checked_pieces(parts, config))
    else:
        read = [rows_of(read_table(part.path), config, domain=part.domain, split=part.split) for part in parts]
        rows = Rows.join(read, f"`{path}`")
    return build_dataset(rows, config, f"`{path}`")


def read_table(path: Path) -> Table:
    """Read one file of a known format.

    Raises:
        DataError: The format is unknown, the file is empty or damaged, or it is not UTF-8; names the line.
    """
    pieces = list(read_pieces(path))
    names = dict.fromkeys(name for piece in pieces for name in piece.columns)
    columns = {name: [value for piece in pieces for value in piece.values(name)] for name in names}
    return Table(pieces[0].name, columns, [number for piece in pieces for number in piece.numbers], pieces[0].unit)


def read_pieces(path: Path) -> Iterator[Table]:
    """Read one file some thousand rows at a time; see :func:`read_table`."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"`{path}` has no known format", hint=f"the name must end with one of: {', '.join(READERS)}")
    is_empty = True
    for piece in reader(path):
        is_empty = False
        yield piece
    if is_empty:
        raise DataError(f"`{path}` holds no rows")


def _checked_pieces(parts: Sequence[_Part], config: DataConfig) -> Iterator[Rows]:
    """Yield the rows of all parts; as in memory, all of them name their split or none does."""
    for part in parts:
        for piece in read_pieces(part.path):
            yield rows_of(piece, config, domain=part.domain, split=part.split)


def _parts(folder: Path) -> list[_Part]:
    files = _data_files(folder)
    inner = {path.name: found for path in sorted(folder.iterdir()) if path.is_dir() and (found := _data_files(path))}
    if files and inner:
        raise DataError(
            f"`{folder}` holds data files beside domain folders: {files[0].name}, {next(iter(inner))}/",
            hint="use one file per domain or one folder per domain, not both",
        )
    if inner:
        return [_Part(path, name, parse_split(_name(path))) for name, paths in inner.items() for path in paths]
    if not files:
        raise DataError(f"`{folder}` holds no data files", hint=f"known formats: {', '.join(READERS)}")
    splits = [parse_split(_name(path)) for path in files]
    if all(splits):
        return [_Part(path, split=split) for path, split in zip(files, splits, strict=True)]
    return [_Part(path, domain=_name(path)) for path in files]


def _name(path: Path) -> str:
    """Return a file's name without its ending; ``train-00002-of-00008`` is a shard of ``train``, as on the Hub."""
    return _SHARD.sub("", path.stem)


def _data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in READERS)


@contextmanager
def _opened(path: Path, newline: str) -> Iterator[TextIO]:
    """Open a text file; a byte that is not UTF-8 is refused with its line."""
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as stream:
            yield stream
    except UnicodeDecodeError as error:
        line, byte = _first_wrong_byte(path)
        raise DataError(f"`{path}`, line {line}: byte 0x{byte:02x} is not UTF-8", hint=ENCODING_HINT) from error


def _first_wrong_byte(path: Path) -> tuple[int, int]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return number, line[error.start]
    return 0, 0


def _read_delimited(path: Path, delimiter: str) -> Iterator[Table]:
    """Read a file with a header line; quoting as in RFC 4180, for tab-separated files too."""
    previous_limit = csv.field_size_limit(sys.maxsize)  # the default refuses texts of 131,072 characters
    with _opened(path, "") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            repeated = [name for at, name in enumerate(header) if name in header[:at]]
            if repeated:
                raise DataError(f"`{path}` has two columns `{repeated[0]}`", hint="rename one of them in the header")
            for part in in_pieces(_delimited_rows(reader, path, header)):
                columns = {name: [row[at] for _, row in part] for at, name in enumerate(header)}
                yield Table(f"`{path}`", columns, [number for number, _ in part], "line")
        except csv.Error as error:
            hint = "check the quotes around texts"
            raise DataError(f"`{path}`, line {reader.line_num}: {error}", hint=hint) from error
        finally:
            csv.field_size_limit(previous_limit)


def _delimited_rows(reader: Any, path: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    start = reader.line_num + 1
    for row in reader:
        if row:
            if len(row) != len(header):
                raise DataError(
                    f"`{path}`, line {start}: {len(row)} fields, but the header has {len(header)}",
                    hint='put texts that hold the delimiter or a quote in quotes, inner quotes doubled ("")',
                )
            yield start, row
        start = reader.line_num + 1


def _read_json_lines(path: Path) -> Iterator[Table]:
    with _opened(path, "\n") as stream:
        for part in in_pieces(_json_rows(stream, path)):
            names = dict.fromkeys(name for _, row in part for name in row)
            columns = {name: [row.get(name) for _, row in part] for name in names}
            yield Table(f"`{path}`", columns, [number for number, _ in part], "line")


def _json_rows(stream: TextIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # no JSON, a number of 5000 digits, or nested too deep
                raise DataError(
                    f"`{path}`, line {number}: {getattr(error, 'msg', error)}",
                    hint="each line must be one complete JSON object",
                ) from error
            if not isinstance(row, dict):
                raise DataError(f"`{path}`, line {number}: {type(row).__name__} instead of a JSON object")
            yield number, row


def _read_parquet(path: Path) -> Iterator[Table]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading Parquet", "train") from error
    first = 1
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(PIECE_ROWS):
                yield Table(f"`{path}`", batch.to_pydict(), range(first, first + batch.num_rows))
                first += batch.num_rows
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataError(f"`{path}` cannot be read as Parquet: {error}", hint="write the file again") from error


READERS: dict[str, Callable[[Path], Iterator[Table]]] = {
    ".csv": lambda path: _read_delimited(path, ","),
    ".tsv": lambda path: _read_delimited(path, "\t"),
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
}
"""How to read a file, by the end of its name."""
