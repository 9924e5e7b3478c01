"""The user's own texts: CSV, TSV, JSON lines or Parquet, with a domain column or one file or folder per domain."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrkd.data.dataset import DomainDataset, Split
from hrkd.data.rows import Rows, build_dataset
from hrkd.data.splitting import parse_split
from hrkd.data.table import Table, rows_of
from hrkd.errors import DataError, MissingExtraError
from hrkd.recipe import DataConfig

ENCODING_HINT = "save it as UTF-8, for instance with `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`"


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
    rows = [rows_of(read_table(part.path), config, domain=part.domain, split=part.split) for part in parts]
    return build_dataset(Rows.join(rows, f"`{path}`"), config, f"`{path}`")


def read_table(path: Path) -> Table:
    """Read one file of a known format.

    Raises:
        DataError: The format is unknown, the file is empty or damaged, or it is not UTF-8; names the line.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"`{path}` has no known format", hint=f"the name must end with one of: {', '.join(READERS)}")
    table = reader(path)
    if not table.numbers:
        raise DataError(f"`{path}` holds no rows")
    return table


def _parts(folder: Path) -> list[_Part]:
    files = _data_files(folder)
    inner = {path.name: found for path in sorted(folder.iterdir()) if path.is_dir() and (found := _data_files(path))}
    if files and inner:
        raise DataError(
            f"`{folder}` holds data files beside domain folders: {files[0].name}, {next(iter(inner))}/",
            hint="use one file per domain or one folder per domain, not both",
        )
    if inner:
        return [_Part(path, name, parse_split(path.stem)) for name, paths in inner.items() for path in paths]
    if not files:
        raise DataError(f"`{folder}` holds no data files", hint=f"known formats: {', '.join(READERS)}")
    splits = [parse_split(path.stem) for path in files]
    if all(splits):
        return [_Part(path, split=split) for path, split in zip(files, splits, strict=True)]
    return [_Part(path, domain=path.stem) for path in files]


def _data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in READERS)


def _read_utf8(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"`{path}`, line {line}: byte 0x{content[error.start]:02x} is not UTF-8", hint=ENCODING_HINT
        ) from error


def _read_delimited(path: Path, delimiter: str) -> Table:
    """Read a file with a header line; quoting as in RFC 4180, for tab-separated files too."""
    previous_limit = csv.field_size_limit(sys.maxsize)  # the default refuses texts of 131,072 characters
    try:
        reader = csv.reader(io.StringIO(_read_utf8(path), newline=""), delimiter=delimiter, strict=True)
        header = next(reader, [])
        repeated = [name for at, name in enumerate(header) if name in header[:at]]
        if repeated:
            raise DataError(f"`{path}` has two columns `{repeated[0]}`", hint="rename one of them in the header")
        numbers: list[int] = []
        rows: list[list[str]] = []
        start = reader.line_num + 1
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise DataError(
                        f"`{path}`, line {start}: {len(row)} fields, but the header has {len(header)}",
                        hint='put texts that hold the delimiter or a quote in quotes, inner quotes doubled ("")',
                    )
                numbers.append(start)
                rows.append(row)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"`{path}`, line {reader.line_num}: {error}", hint="check the quotes around texts") from error
    finally:
        csv.field_size_limit(previous_limit)
    return Table(f"`{path}`", {name: [row[at] for row in rows] for at, name in enumerate(header)}, numbers, "line")


def _read_json_lines(path: Path) -> Table:
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_read_utf8(path).split("\n"), start=1):
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
            numbers.append(number)
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(f"`{path}`", {name: [row.get(name) for row in rows] for name in names}, numbers, "line")


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading Parquet", "train") from error
    try:
        columns = pyarrow.parquet.read_table(path).to_pydict()
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataError(f"`{path}` cannot be read as Parquet: {error}", hint="write the file again") from error
    size = max((len(values) for values in columns.values()), default=0)
    return Table(f"`{path}`", columns, range(1, size + 1))


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": lambda path: _read_delimited(path, ","),
    ".tsv": lambda path: _read_delimited(path, "\t"),
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
}
"""How to read a file, by the end of its name."""
