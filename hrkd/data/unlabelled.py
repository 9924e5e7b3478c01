"""Texts without a label: the teacher answers them, so a student can learn from more than was ever labelled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hrkd.data.dataset import NO_LABEL, DomainDataset, Examples, Split, text_key
from hrkd.data.sources.files import read_table
from hrkd.data.sources.vader import neutral_texts
from hrkd.data.table import rows_of
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
        known = set(dataset.domain_names)
        found = [(domain, text, "") for domain, text in neutral_texts() if domain in known]
    else:
        found = _read(Path(name).expanduser(), config)
    unknown = {domain for domain, _, _ in found} - set(dataset.domain_names)
    if unknown:
        raise DataError(
            f"`data.unlabelled_texts` {name} has domains that the labelled texts lack: {', '.join(sorted(unknown))}",
            hint=f"known domains: {', '.join(dataset.domain_names)}",
        )
    seen = {key for split in Split for key in Examples.keys(dataset.splits[split])}
    kept = []
    for domain, text, pair in found:
        if text_key(text, pair) not in seen:
            seen.add(text_key(text, pair))
            kept.append((domain, text, pair))
    if not kept:
        raise DataError(f"`data.unlabelled_texts` {name} holds no text that is not in the labelled data already")
    return Examples(
        tuple(text for _, text, _ in kept),
        tuple(pair for _, _, pair in kept) if dataset.has_pairs else None,
        np.full(len(kept), NO_LABEL, dtype=np.int64),
        np.array([dataset.domain_names.index(domain) for domain, _, _ in kept], dtype=np.int64),
    )


def _read(path: Path, config: DataConfig) -> list[tuple[str, str, str]]:
    """Return domain, text and pair of each row; a label column is not needed and not read."""
    if not path.is_file():
        raise DataError(
            f"`data.unlabelled_texts` {path} is no file", hint="give a file with a text and a domain column"
        )
    table = read_table(path)
    blank = replace(table, columns={**table.columns, config.label_column: ["none"] * len(table.numbers)})
    rows = rows_of(blank, config.model_copy(update={"split_column": None}))
    return list(zip(rows.domains, rows.texts, rows.text_pairs or [""] * len(rows), strict=True))
