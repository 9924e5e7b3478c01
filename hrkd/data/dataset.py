"""What every source is turned into: labelled texts of several domains, split for training, validation and test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hrkd.data.stored import StoredTexts, Texts, join_texts, select_texts
from hrkd.errors import DataError
from hrkd.printable import is_printable_name


class Split(StrEnum):
    """What a text is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    """Chooses the best step."""
    TEST = "test"
    """Reported, and never looked at before."""


_WRITTEN_AT_ONCE = 256
NO_LABEL = -1
"""Label id of a text without a label."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts of one split, in memory or on disk.

    Attributes:
        texts: First (or only) text of each example.
        text_pairs: Second text of each example, or None when the task has single texts.
        labels: Index into the label names, or ``NO_LABEL``, shape (n,).
        domains: Index into the domain names, shape (n,).
    """

    texts: Texts
    text_pairs: Texts | None
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]

    def __post_init__(self) -> None:
        pairs = len(self.texts) if self.text_pairs is None else len(self.text_pairs)
        if not len(self.texts) == pairs == len(self.labels) == len(self.domains):
            raise ValueError(
                f"{len(self.texts)} texts, {pairs} text pairs, {len(self.labels)} labels and "
                f"{len(self.domains)} domains do not belong together"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: NDArray[np.int64]) -> Self:
        """Return the examples at ``indices``, shape (m,), in that order."""
        pairs = self.text_pairs
        return type(self)(
            texts=select_texts(self.texts, indices),
            text_pairs=None if pairs is None else select_texts(pairs, indices),
            labels=self.labels[indices],
            domains=self.domains[indices],
        )

    def join(self, other: Self) -> Self:
        """Return these examples and then the others."""
        pairs = None
        if self.text_pairs is not None and other.text_pairs is not None:
            pairs = join_texts(self.text_pairs, other.text_pairs)
        return type(self)(
            join_texts(self.texts, other.texts),
            pairs,
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.domains, other.domains]),
        )

    def of_domain(self, domain: int) -> Self:
        """Return the examples of one domain id."""
        return self.select(np.flatnonzero(self.domains == domain))

    def all_texts(self) -> Iterator[str]:
        """Yield all texts, then all second texts."""
        yield from self.texts
        yield from self.text_pairs or ()

    def keys(self) -> NDArray[np.uint64]:
        """Return what identifies each example as a text, shape (n,); see :func:`text_key`."""
        return text_keys(self.texts, self.text_pairs)

    def text_hash(self) -> str:
        """Return the SHA-256 over the texts alone."""
        digest = hashlib.sha256()
        for column in (self.texts, self.text_pairs):
            for part in _json_in_parts(column):
                digest.update(part.encode())
        return digest.hexdigest()

    @property
    def is_stored(self) -> bool:
        """Whether the texts stay on disk."""
        return isinstance(self.texts, StoredTexts)


def text_key(text: str, text_pair: str = "") -> int:
    """Return 64 bits of a hash over the text with runs of white space made one space.

    Equal keys are the same text to a tokenizer; ten million different texts share one with a probability of 3e-6.
    """
    normalized = " ".join(text.split()) + "\n" + " ".join(text_pair.split())
    return int.from_bytes(hashlib.blake2b(normalized.encode(errors="surrogatepass"), digest_size=8).digest())


def text_keys(texts: Texts, text_pairs: Texts | None) -> NDArray[np.uint64]:
    """Return the key of each text, shape (n,)."""
    pairs = repeat("") if text_pairs is None else text_pairs
    found = (text_key(text, pair) for text, pair in zip(texts, pairs, strict=False))
    return np.fromiter(found, dtype=np.uint64, count=len(texts))


@dataclass(frozen=True)
class DomainDataset:
    """One labelled text set over several domains that share their labels.

    Attributes:
        domain_names: Name of each domain id.
        label_names: Name of each label id.
        splits: The three splits.
        source: Where it came from, in words; not part of the fingerprint.
        unlabelled: Texts without a label, for distillation only.
    """

    domain_names: tuple[str, ...]
    label_names: tuple[str, ...]
    splits: Mapping[Split, Examples]
    source: str
    unlabelled: Examples | None = None

    @property
    def train(self) -> Examples:
        """The examples to learn from."""
        return self.splits[Split.TRAIN]

    @property
    def validation(self) -> Examples:
        """The examples that choose the best step."""
        return self.splits[Split.VALIDATION]

    @property
    def test(self) -> Examples:
        """The examples that are reported."""
        return self.splits[Split.TEST]

    @property
    def has_pairs(self) -> bool:
        """Whether every example is a pair of texts."""
        return self.train.text_pairs is not None

    def fingerprint(self) -> str:
        """Return the SHA-256 over names, texts, labels, domains and splits: equal means the same training input."""
        digest = hashlib.sha256(json.dumps([self.domain_names, self.label_names]).encode())
        parts = [*((split, self.splits[split]) for split in Split), ("unlabelled", self.unlabelled)]
        for split, examples in parts:
            if examples is None:
                continue
            digest.update(f"[{json.dumps(split)}, [".encode())
            columns = (examples.texts, examples.text_pairs, examples.labels, examples.domains)
            for number, column in enumerate(columns):
                digest.update(b", " if number else b"")
                for part in _json_in_parts(column):
                    digest.update(part.encode())
            digest.update(b"]]")
        return digest.hexdigest()


def _json_in_parts(column: Sequence[Any] | NDArray[np.int64] | None) -> Iterator[str]:
    """Yield what `json.dumps` writes of a column, without ever holding all of it."""
    if column is None:
        yield "null"
        return
    yield "["
    for start in range(0, len(column), _WRITTEN_AT_ONCE):
        part = column[start : start + _WRITTEN_AT_ONCE]
        values = part.tolist() if isinstance(part, np.ndarray) else list(part)
        yield (", " if start else "") + json.dumps(values)[1:-1]
    yield "]"


def validate_dataset(dataset: DomainDataset) -> None:
    """Refuse a data set on which training or scores would be meaningless.

    Raises:
        DataError: There is no domain, fewer than two labels, a domain without examples in a split, a domain whose
            training examples all have one label, a label in validation or test that training never shows, or a name
            that no bundle may hold.
    """
    if not dataset.domain_names:
        raise DataError(f"{dataset.source} holds no domain", hint="check that the data set is not empty")
    if len(dataset.label_names) < 2:
        raise DataError(
            f"{dataset.source} has {len(dataset.label_names)} label(s): {', '.join(dataset.label_names)}",
            hint="a classifier needs at least two; check `data.label_column`",
        )
    _refuse_hidden_names(dataset)
    _refuse_empty_domains(dataset)
    _refuse_one_class_domains(dataset)
    _refuse_unseen_labels(dataset)


def _refuse_hidden_names(dataset: DomainDataset) -> None:
    hidden = next((name for name in dataset.domain_names + dataset.label_names if not is_printable_name(name)), None)
    if hidden is not None:
        raise DataError(
            f"{dataset.source} has the label or domain {hidden[:60]!a}, with characters that a terminal would obey",
            hint="give it a name without control characters and line ends",
        )


def _refuse_empty_domains(dataset: DomainDataset) -> None:
    empty = [
        f"`{name}` in {split}"
        for split in Split
        for index, name in enumerate(dataset.domain_names)
        if not np.any(dataset.splits[split].domains == index)
    ]
    if empty:
        raise DataError(
            f"{dataset.source} has domains without examples: {', '.join(empty)}",
            hint="give them examples there, leave them out with `data.domains`, or change "
            "`data.validation_fraction` and `data.test_fraction`",
        )


def _refuse_one_class_domains(dataset: DomainDataset) -> None:
    for index, name in enumerate(dataset.domain_names):
        labels = np.unique(dataset.train.labels[dataset.train.domains == index])
        if len(labels) == 1:
            raise DataError(
                f"{dataset.source}: all training examples of domain `{name}` have the label "
                f"`{dataset.label_names[labels[0]]}`",
                hint="add examples of another label, or leave the domain out with `data.domains`",
            )


def _refuse_unseen_labels(dataset: DomainDataset) -> None:
    for split in (Split.VALIDATION, Split.TEST):
        unseen = np.setdiff1d(dataset.splits[split].labels, dataset.train.labels)
        if len(unseen):
            names = ", ".join(f"`{dataset.label_names[label]}`" for label in unseen)
            raise DataError(
                f"{dataset.source}: label(s) {names} stand in {split} but not in train",
                hint="add training examples of these labels, or correct the labels",
            )
