"""Rows on disk: read once, piece by piece, checked on the way, and kept in an Arrow file that later runs only map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hrkd.data.dataset import Split
from hrkd.data.rows import Rows
from hrkd.data.store import stored
from hrkd.data.stored import StoredTexts
from hrkd.errors import ArtifactError, DataError, MissingExtraError
from hrkd.recipe import DataConfig

if TYPE_CHECKING:
    import pyarrow

Row = TypeVar("Row")
PIECE_ROWS = 256
"""Rows that are in memory while they are read and checked."""
VERSION = 2
_TABLE = "rows.arrow"
_READ_BY = ("text_column", "text_pair_column", "label_column", "domain_column", "split_column")
"""Settings that decide what is taken out of a file."""


def in_pieces(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield :data:`PIECE_ROWS` of the rows at a time."""
    while part := list(islice(rows, PIECE_ROWS)):
        yield part


def stored_rows(source: object, config: DataConfig | None, pieces: Iterable[Rows]) -> Rows:
    """Return rows whose texts stay on disk, written now or by an earlier call with the same source and columns.

    Args:
        source: JSON values that decide what the pieces hold besides the columns: the content that is read, and what
            its place says about domains, labels and splits.
        config: Names of the columns, if it has any.
        pieces: The checked rows; read only when they are not stored yet.

    Raises:
        DataError: A piece is refused, there is no row, or the disk is full; nothing is kept then.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("`data.on_disk`", "train") from error
    columns = {name: getattr(config, name, None) for name in _READ_BY}
    identity = {"version": VERSION, "source": source, "columns": columns}
    folder = stored("texts", identity, lambda folder: _write(folder / _TABLE, pieces))
    return _open(folder / _TABLE)


def _write(path: Path, pieces: Iterable[Rows]) -> None:
    import pyarrow

    names = ("text", "text_pair", "label", "domain", "split")
    schema = pyarrow.schema([(name, pyarrow.string()) for name in names])
    count = 0
    named: set[bool] = set()
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, schema) as writer:
        for piece in pieces:
            named.add(piece.splits is not None)
            if len(named) > 1:
                raise DataError(
                    "some files name their split and others do not",
                    hint="name every file after its split, or none of them",
                )
            nothing = [None] * len(piece)
            columns = (piece.texts, piece.text_pairs, piece.labels, piece.domains, piece.splits)
            arrays = [pyarrow.array(nothing if column is None else column, pyarrow.string()) for column in columns]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
            count += len(piece)
    if not count:
        raise DataError("the data hold no rows")


def _open(path: Path) -> Rows:
    import pyarrow

    reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    columns = {name: [batch.column(name) for batch in batches] for name in reader.schema.names}

    def texts(name: str) -> StoredTexts | None:
        return None if columns[name][0].null_count else StoredTexts(columns[name])

    first = texts("text")
    if first is None:
        raise ArtifactError(f"`{path}` is damaged", hint="delete it; it is made again")
    splits = None if columns["split"][0].null_count else [Split(name) for name in _names(columns["split"])]
    return Rows(first, _names(columns["label"]), _names(columns["domain"]), texts("text_pair"), splits)


def _names(arrays: Sequence[pyarrow.Array]) -> list[str]:
    """Return one string per row; equal ones are the same object, so that a row costs eight bytes."""
    known: dict[str, str] = {}
    found: list[str] = []
    for array in arrays:
        coded = array.dictionary_encode()
        names = [known.setdefault(name, name) for name in coded.dictionary.to_pylist()]
        found += [names[code] for code in coded.indices.to_pylist()]
    return found
