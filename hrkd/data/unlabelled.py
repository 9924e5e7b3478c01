"""Texts without a label: the teacher answers them, so a student can learn from more than was ever labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hrkd.artifact import sha256_file
from hrkd.data.dataset import NO_LABEL, DomainDataset, Examples, Split
from hrkd.data.row_store import stored_rows
from hrkd.data.rows import Rows
from hrkd.data.sources.files import read_pieces, read_table
from hrkd.data.sources.vader import neutral_texts
from hrkd.data.table import Table, rows_of
from hrkd.errors import DataError
from hrkd.recipe import DataConfig, DataSource

NEUTRAL = "neutral"


def load_unlabelled(config: DataConfig, dataset: DomainDataset) -> Examples:
    """Read the texts that `data.unlabelled_texts` names; copies, and texts that stand in any split, are left out.

    Args:
        config: `data` section with `unlabelled_texts`.
        dataset: The labelled texts, whose domains decide which texts are of use.

    Raises:
        DataError: The file cannot be read, has pairs missing or a domain that the labelled texts do not have, or
            nothing in it is new.
    """
    name = str(config.unlabelled_texts)
    if name == NEUTRAL and config.source is DataSource.VADER:
        found = _neutral(dataset.domain_names)
    else:
        found = _read(Path(name).expanduser(), config)
    unknown = set(found.domains) - set(dataset.domain_names)
    if unknown:
        raise DataError(
            f"`data.unlabelled_texts` {name} has domains that the labelled texts lack: {', '.join(sorted(unknown))}",
            hint=f"known domains: {', '.join(dataset.domain_names)}",
        )
    labelled = np.concatenate([dataset.splits[split].keys() for split in Split])
    keys = found.keys()
    first = np.unique(keys, return_index=True)[1]
    kept = found.select(np.sort(first[~np.isin(keys[first], labelled)]))
    if not len(kept):
        raise DataError(f"`data.unlabelled_texts` {name} holds no text that is not in the labelled data already")
    ids = {domain: number for number, domain in enumerate(dataset.domain_names)}
    return Examples(
        kept.texts,
        kept.text_pairs if dataset.has_pairs else None,
        np.full(len(kept), NO_LABEL, dtype=np.int64),
        np.fromiter((ids[domain] for domain in kept.domains), dtype=np.int64, count=len(kept)),
    )


def _neutral(domain_names: Sequence[str]) -> Rows:
    found = [(domain, text) for domain, text in neutral_texts() if domain in domain_names]
    return Rows([text for _, text in found], [""] * len(found), [domain for domain, _ in found])


def _read(path: Path, config: DataConfig) -> Rows:
    """Return the rows of a file; a label column is not needed and not read."""
    if not path.is_file():
        raise DataError(
            f"`data.unlabelled_texts` {path} is no file", hint="give a file with a text and a domain column"
        )

    def without_labels(table: Table) -> Rows:
        blank = replace(table, columns={**table.columns, config.label_column: ["none"] * len(table.numbers)})
        return rows_of(blank, config.model_copy(update={"split_column": None}))

    if config.on_disk:
        pieces = (without_labels(piece) for piece in read_pieces(path))
        return stored_rows({"unlabelled": sha256_file(path)}, config, pieces)
    return without_labels(read_table(path))
