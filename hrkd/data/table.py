"""From a table with named columns to rows, every value checked; used for files and for the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrkd.data.dataset import Split
from hrkd.data.rows import Rows
from hrkd.data.splitting import parse_split
from hrkd.data.suggest import suggestion
from hrkd.errors import DataError
from hrkd.recipe import DataConfig

SINGLE_DOMAIN = "all"
"""Domain of every row when `data.domain_column` is null and no folder names domains."""
_NAMED_ROWS = 5


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length, and where each row stands.

    Attributes:
        name: File, or Hub id with split, for messages.
        columns: Values by column name.
        numbers: Line (or row) number of each row, counted from 1.
        unit: What ``numbers`` counts: ``line`` or ``row``.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    numbers: Sequence[int]
    unit: str = "row"

    def values(self, name: str) -> Sequence[Any]:
        """Return a column; a row of JSON that lacks it has None there, and so have all rows of a piece that does."""
        return self.columns[name] if name in self.columns else [None] * len(self.numbers)


def rows_of(table: Table, config: DataConfig, *, domain: str | None = None, split: Split | None = None) -> Rows:
    """Take the configured columns out of a table.

    Args:
        table: What was read.
        config: Names of the columns.
        domain: Domain of every row; decides instead of the domain column.
        split: Split of every row; decides instead of the split column.

    Raises:
        DataError: A column does not exist, or a text, label, domain or split is missing or unusable.
    """
    texts = _texts(table, config.text_column, "text_column")
    pairs = None if config.text_pair_column is None else _texts(table, config.text_pair_column, "text_pair_column")
    labels = _names(table, config.label_column, "label_column")
    if domain is not None:
        domains = [domain] * len(texts)
    elif config.domain_column is None:
        domains = [SINGLE_DOMAIN] * len(texts)
    else:
        domains = _names(table, config.domain_column, "domain_column")
    return Rows(texts, labels, domains, pairs, _splits(table, config, split))


def _splits(table: Table, config: DataConfig, split: Split | None) -> list[Split] | None:
    if split is not None:
        return [split] * len(table.numbers)
    if config.split_column is None:
        return None
    names = _names(table, config.split_column, "split_column")
    parsed = [parse_split(name) for name in names]
    _refuse(
        table,
        [value is None for value in parsed],
        lambda index: f"`{config.split_column}` is {names[index]!r}",
        "write train, validation (valid, val, dev) or test",
    )
    return [value for value in parsed if value is not None]


def _column(table: Table, name: str, key: str) -> Sequence[Any]:
    if name not in table.columns:
        raise DataError(f"{table.name} has no column `{name}` (`data.{key}`)", hint=suggestion(name, table.columns))
    return table.columns[name]


def _texts(table: Table, name: str, key: str) -> list[str]:
    values = _column(table, name, key)
    _refuse(
        table,
        [value is not None and not isinstance(value, str) for value in values],
        lambda index: f"`{name}` is no text but {type(values[index]).__name__}",
        f"choose the column that holds the texts with `data.{key}`",
    )
    _refuse(
        table,
        [value is None or not value.strip() for value in values],
        lambda _: f"`{name}` is empty",
        "remove these rows: a text without words has no label to learn",
    )
    _refuse(
        table,
        [not _is_unicode(value) for value in values],
        lambda _: f"`{name}` holds half of a surrogate pair",
        "the text was cut or escaped wrongly; write it again as UTF-8",
    )
    return list(values)


def _names(table: Table, name: str, key: str) -> list[str]:
    names = [_name(value) for value in _column(table, name, key)]
    _refuse(
        table,
        [not value for value in names],
        lambda index: f"`{name}` is missing or unusable: {table.columns[name][index]!r}",
        "give every row a value (a word or a whole number), or remove these rows",
    )
    return names


def _name(value: object) -> str:
    """Return a label, domain or split as text; empty for what cannot be a name (nothing, fractions, lists)."""
    if isinstance(value, float) and value.is_integer():  # whole numbers become floats beside missing values
        return str(int(value))
    return str(value).strip() if isinstance(value, (str, int)) else ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(table: Table, wrong: Sequence[bool], what: Callable[[int], str], hint: str) -> None:
    found = [index for index, is_wrong in enumerate(wrong) if is_wrong]
    if found:
        numbers = ", ".join(str(table.numbers[index]) for index in found[:_NAMED_ROWS])
        more = f" and {len(found) - _NAMED_ROWS} more" if len(found) > _NAMED_ROWS else ""
        raise DataError(f"{table.name}, {table.unit} {numbers}{more}: {what(found[0])}", hint=hint)
