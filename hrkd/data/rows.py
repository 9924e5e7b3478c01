"""Between a source and a data set: rows with names instead of ids, and the one way to build a data set of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hrkd.data.dataset import DomainDataset, Examples, Split, text_keys, validate_dataset
from hrkd.data.splitting import seeded_split
from hrkd.data.stored import StoredTexts, Texts, select_texts
from hrkd.data.suggest import suggestion
from hrkd.errors import DataError
from hrkd.recipe import DataConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rows:
    """Examples as a source reads them: parallel sequences of length n.

    Attributes:
        texts: First (or only) text.
        labels: Label name.
        domains: Domain name.
        text_pairs: Second text, or None for single texts.
        splits: Split of each row, or None when the source has no split.
    """

    texts: Texts
    labels: list[str]
    domains: list[str]
    text_pairs: Texts | None = None
    splits: list[Split] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: NDArray[np.int64]) -> Self:
        """Return the rows at ``indices``, shape (m,)."""
        pairs, splits = self.text_pairs, self.splits
        return type(self)(
            select_texts(self.texts, indices),
            [self.labels[index] for index in indices],
            [self.domains[index] for index in indices],
            None if pairs is None else select_texts(pairs, indices),
            None if splits is None else [splits[index] for index in indices],
        )

    def where(self, wanted: Iterable[bool]) -> Self:
        """Return the rows for which ``wanted``, of length n, is true; themselves when it is for all."""
        mask = np.fromiter(wanted, dtype=np.bool_, count=len(self))
        return self if mask.all() else self.select(np.flatnonzero(mask))

    def keys(self) -> NDArray[np.uint64]:
        """Return what identifies each row as a text, shape (n,)."""
        return text_keys(self.texts, self.text_pairs)

    @classmethod
    def join(cls, parts: Sequence[Rows], source: str) -> Rows:
        """Return the rows of all parts.

        Raises:
            DataError: Some parts name their split and others do not.
        """
        with_split = [part for part in parts if part.splits is not None]
        if with_split and len(with_split) != len(parts):
            raise DataError(
                f"{source}: some files name their split and others do not",
                hint="name every file after its split, or none of them",
            )
        pairs = [pair for part in parts for pair in part.text_pairs or ()]
        return cls(
            [text for part in parts for text in part.texts],
            [label for part in parts for label in part.labels],
            [domain for part in parts for domain in part.domains],
            pairs or None,
            [split for part in parts for split in part.splits or ()] if with_split else None,
        )


def build_dataset(rows: Rows, config: DataConfig, source: str, label_order: Sequence[str] = ()) -> DomainDataset:
    """Choose the domains, complete the splits, turn names into ids, and validate.

    Args:
        rows: Everything that the source holds.
        config: Domains, fractions and the split's seed.
        source: What to call the source in messages.
        label_order: Names in the order that the source itself gives them; others follow, sorted.

    Raises:
        DataError: The result could not be trained on or scored; see :func:`hrkd.data.dataset.validate_dataset`.
    """
    domain_names = _choose_domains(sorted(set(rows.domains)), config.domains, source)
    rows = rows.where(domain in domain_names for domain in rows.domains)
    rows = complete_splits(rows, config, source)
    present = set(rows.labels)
    label_names = [name for name in label_order if name in present]
    label_names += sorted(present.difference(label_names))
    label_ids = {name: index for index, name in enumerate(label_names)}
    domain_ids = {name: index for index, name in enumerate(domain_names)}
    everything = Examples(
        _unchanging(rows.texts),
        None if rows.text_pairs is None else _unchanging(rows.text_pairs),
        np.fromiter((label_ids[label] for label in rows.labels), dtype=np.int64, count=len(rows)),
        np.fromiter((domain_ids[domain] for domain in rows.domains), dtype=np.int64, count=len(rows)),
    )
    members = {split: [one is split for one in rows.splits or ()] for split in Split}
    splits = {split: everything.select(np.flatnonzero(members[split])) for split in Split}
    dataset = DomainDataset(tuple(domain_names), tuple(label_names), splits, source)
    validate_dataset(dataset)
    return dataset


def _unchanging(texts: Texts) -> Texts:
    return texts if isinstance(texts, StoredTexts) else tuple(texts)


def complete_splits(rows: Rows, config: DataConfig, source: str) -> Rows:
    """Give every row a split: a validation or test part that the source lacks is taken out of its training rows."""
    given = rows.splits if rows.splits is not None else [Split.TRAIN] * len(rows)
    train = np.flatnonzero([split is Split.TRAIN for split in given])
    lacks = [split for split in (Split.VALIDATION, Split.TEST) if split not in given]
    if not lacks or not len(train):
        return replace(rows, splits=given)
    logger.info("%s: seeded split (seed %d) for %s", source, config.split_seed, " and ".join(lacks))
    part = rows.select(train)
    taken = seeded_split(
        part.keys(),
        part.labels,
        part.domains,
        validation_fraction=config.validation_fraction if Split.VALIDATION in lacks else 0.0,
        test_fraction=config.test_fraction if Split.TEST in lacks else 0.0,
        seed=config.split_seed,
    )
    splits = list(given)
    for index, split in zip(train, taken, strict=True):
        splits[index] = split
    return replace(rows, splits=splits)


def _choose_domains(present: list[str], wanted: Sequence[str] | None, source: str) -> list[str]:
    if wanted is None:
        return present
    for name in wanted:
        if name not in present:
            raise DataError(f"`data.domains`: {source} has no domain `{name}`", hint=suggestion(name, present))
    if len(set(wanted)) != len(wanted):
        raise DataError(f"`data.domains` names a domain twice: {', '.join(wanted)}")
    return list(wanted)
