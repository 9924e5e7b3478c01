"""What is in a data set and what is wrong with it, for each domain and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkd.data.dataset import DomainDataset, Examples, Split

MAX_CHARACTERS = 10_000
"""Longer texts count as over-long when no tokenizer is given."""
PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True, slots=True)
class GroupCheck:
    """Counts for one domain in one split. Texts are equal when they differ in white space only.

    Attributes:
        domain: Name of the domain.
        split: The split.
        size: Number of examples.
        labels: Number of examples by label name.
        duplicates: Examples whose text already stood in the same split, in any domain.
        in_train: Validation or test examples whose text is also trained on.
        conflicts: Examples whose text has another label somewhere in the data set.
        unseen_labels: Examples whose label this domain never shows in training.
        empty: Examples with an empty text.
        over_long: Examples longer than the limit; they are cut.
        lengths: Length by percentile (``p50``, ...), in the report's unit; ``p100`` is the longest.
    """

    domain: str
    split: Split
    size: int
    labels: Mapping[str, int]
    duplicates: int
    in_train: int
    conflicts: int
    unseen_labels: int
    empty: int
    over_long: int
    lengths: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DataReport:
    """All groups of a data set, and the whole.

    Attributes:
        source: Where the data came from.
        fingerprint: Hash of the content.
        domains: Domain names.
        labels: Label names.
        size: Number of examples.
        duplicates: Examples whose text already stood anywhere in the data set.
        length_unit: ``tokens`` or ``characters``.
        length_limit: What counts as over-long, in that unit.
        groups: One entry per domain and split.
    """

    source: str
    fingerprint: str
    domains: tuple[str, ...]
    labels: tuple[str, ...]
    size: int
    duplicates: int
    length_unit: str
    length_limit: int
    groups: tuple[GroupCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serialisable values."""
        return asdict(self)

    def to_rows(self) -> list[dict[str, str | int]]:
        """Return one flat row per group, columns in display order: ready for a table."""
        return [
            {
                "domain": group.domain,
                "split": group.split.value,
                "size": group.size,
                **{f"label {name}": group.labels[name] for name in self.labels},
                "duplicates": group.duplicates,
                "in train": group.in_train,
                "conflicts": group.conflicts,
                "unseen labels": group.unseen_labels,
                "empty": group.empty,
                "over-long": group.over_long,
                **{f"{self.length_unit} {name}": length for name, length in group.lengths.items()},
            }
            for group in self.groups
        ]

    def problems(self) -> list[str]:
        """Return one sentence per kind of finding that changes what a score means; empty for a clean data set."""
        kinds = {
            "validation or test examples also stand in train": "in_train",
            "examples repeat a text of their split": "duplicates",
            "examples have a text that also has another label": "conflicts",
            "examples have a label that their domain never shows in training": "unseen_labels",
            "examples are empty": "empty",
            f"examples are longer than {self.length_limit} {self.length_unit} and are cut": "over_long",
        }
        totals = {text: sum(getattr(group, name) for group in self.groups) for text, name in kinds.items()}
        return [f"{total} {text}" for text, total in totals.items() if total]


def check_dataset(
    dataset: DomainDataset, tokenizer: Callable[[str], int] | None = None, max_length: int | None = None
) -> DataReport:
    """Count what matters before training: balance, copies inside and across splits, contradictions, lengths.

    Args:
        dataset: What to look at.
        tokenizer: Maps a text to its number of tokens; characters are counted without it. A pair's lengths are added.
        max_length: Longest input in tokens; needed with ``tokenizer``, ignored without.

    Returns:
        The report; nothing is printed or changed.
    """
    if tokenizer is not None and max_length is None:
        raise ValueError("a tokenizer needs max_length beside it")
    limit = max_length if tokenizer is not None and max_length is not None else MAX_CHARACTERS
    keys = {split: dataset.splits[split].keys() for split in Split}
    distinct, contradicted = _contradicted(
        np.concatenate(list(keys.values())), np.concatenate([dataset.splits[split].labels for split in keys])
    )
    groups: dict[tuple[int, Split], GroupCheck] = {}
    for split in Split:
        counts = _Columns.of(dataset, split, keys, contradicted, tokenizer or len)
        for domain in range(len(dataset.domain_names)):
            groups[domain, split] = counts.group(dataset, domain, split, limit)
    size = sum(len(examples) for examples in dataset.splits.values())
    return DataReport(
        source=dataset.source,
        fingerprint=dataset.fingerprint(),
        domains=dataset.domain_names,
        labels=dataset.label_names,
        size=size,
        duplicates=size - distinct,
        length_unit="characters" if tokenizer is None else "tokens",
        length_limit=limit,
        groups=tuple(groups[key] for key in sorted(groups, key=lambda key: (key[0], list(Split).index(key[1])))),
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """One value per example of a split, each of shape (n,)."""

    duplicates: NDArray[np.bool_]
    in_train: NDArray[np.bool_]
    conflicts: NDArray[np.bool_]
    empty: NDArray[np.bool_]
    lengths: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        dataset: DomainDataset,
        split: Split,
        keys: Mapping[Split, NDArray[np.uint64]],
        contradicted: NDArray[np.uint64],
        length: Callable[[str], int],
    ) -> _Columns:
        own = keys[split]
        train = keys[Split.TRAIN][:0] if split is Split.TRAIN else keys[Split.TRAIN]
        examples = dataset.splits[split]
        return cls(
            duplicates=_repeats(own),
            in_train=np.isin(own, train),
            conflicts=np.isin(own, contradicted),
            empty=_empty(examples),
            lengths=_lengths(examples, length),
        )

    def group(self, dataset: DomainDataset, domain: int, split: Split, limit: int) -> GroupCheck:
        examples = dataset.splits[split]
        mask = examples.domains == domain
        train = dataset.train
        seen = np.unique(train.labels[train.domains == domain])
        counts = Counter(examples.labels[mask].tolist())
        lengths = self.lengths[mask]
        percentiles = np.percentile(lengths, PERCENTILES) if len(lengths) else np.zeros(len(PERCENTILES))
        return GroupCheck(
            domain=dataset.domain_names[domain],
            split=split,
            size=int(mask.sum()),
            labels={name: counts[label] for label, name in enumerate(dataset.label_names)},
            duplicates=int(self.duplicates[mask].sum()),
            in_train=int(self.in_train[mask].sum()),
            conflicts=int(self.conflicts[mask].sum()),
            unseen_labels=int((~np.isin(examples.labels[mask], seen)).sum()),
            empty=int(self.empty[mask].sum()),
            over_long=int((lengths > limit).sum()),
            lengths={f"p{at}": round(float(value)) for at, value in zip(PERCENTILES, percentiles, strict=True)},
        )


def _contradicted(keys: NDArray[np.uint64], labels: NDArray[np.int64]) -> tuple[int, NDArray[np.uint64]]:
    """Return how many different texts there are, and the keys of those that stand with more than one label."""
    distinct, members = np.unique(keys, return_inverse=True)
    lowest, highest = np.full(len(distinct), np.iinfo(np.int64).max), np.full(len(distinct), -1)
    np.minimum.at(lowest, members, labels)
    np.maximum.at(highest, members, labels)
    return len(distinct), distinct[lowest != highest]


def _repeats(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    repeated = np.ones(len(keys), dtype=np.bool_)
    repeated[np.unique(keys, return_index=True)[1]] = False
    return repeated


def _empty(examples: Examples) -> NDArray[np.bool_]:
    pairs = examples.text_pairs or ("present",) * len(examples)
    texts = zip(examples.texts, pairs, strict=True)
    return np.asarray([not (text.strip() and pair.strip()) for text, pair in texts], dtype=np.bool_)


def _lengths(examples: Examples, length: Callable[[str], int]) -> NDArray[np.int64]:
    pairs = examples.text_pairs or ("",) * len(examples)
    texts = zip(examples.texts, pairs, strict=True)
    return np.asarray([length(text) + (length(pair) if pair else 0) for text, pair in texts], dtype=np.int64)
