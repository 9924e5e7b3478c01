"""The data set as an object, and what is refused before any training."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hrkd.data.dataset import DomainDataset, Examples, Split, validate_dataset
from hrkd.errors import DataError


def examples(labels: list[int], domains: list[int], prefix: str = "text") -> Examples:
    texts = tuple(f"{prefix} {index}" for index in range(len(labels)))
    return Examples(texts, None, np.asarray(labels, dtype=np.int64), np.asarray(domains, dtype=np.int64))


def dataset(**splits: Examples) -> DomainDataset:
    full = examples([0, 1, 0, 1], [0, 0, 1, 1])
    chosen = {split: splits.get(split.value, full) for split in Split}
    return DomainDataset(("books", "films"), ("no", "yes"), chosen, "`made.csv`")


def test_valid_dataset_passes() -> None:
    """Silent failure: a validator that refuses everything would make the refusals below vacuous."""
    validate_dataset(dataset())


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (dataset(train=examples([0, 1], [0, 0])), "`films` in train"),
        (dataset(validation=examples([0, 1], [1, 1])), "`books` in validation"),
        (dataset(test=examples([], [])), "`books` in test, `films` in test"),
        (dataset(train=examples([0, 1, 1, 1], [0, 0, 1, 1])), "domain `films` have the label `yes`"),
        (replace(dataset(), label_names=("no",)), r"1 label\(s\): no"),
        (replace(dataset(), domain_names=()), "holds no domain"),
        (replace(dataset(), label_names=("no", "yes\x1b[2J")), r"'yes\\x1b\[2J', with characters"),
        (replace(dataset(), domain_names=("books", "films\n")), "a terminal would obey"),
        (
            replace(dataset(test=examples([2, 1, 0], [0, 1, 1])), label_names=("no", "yes", "maybe")),
            "`maybe` stand in test but not in train",
        ),
        (
            replace(dataset(validation=examples([2, 1, 0], [0, 1, 1])), label_names=("no", "yes", "maybe")),
            "`maybe` stand in validation but not in train",
        ),
    ],
)
def test_meaningless_dataset_is_refused(broken: DomainDataset, words: str) -> None:
    """Silent failure: training on a one-class or empty domain ends with a score that says nothing."""
    with pytest.raises(DataError, match=words) as caught:
        validate_dataset(broken)
    assert caught.value.message.startswith("`made.csv`")


def test_select_and_of_domain_keep_columns_together() -> None:
    """Silent failure: texts selected without their labels train on noise."""
    whole = Examples(("a", "b", "c"), ("x", "y", "z"), np.asarray([0, 1, 2]), np.asarray([1, 0, 1]))
    part = whole.of_domain(1)
    assert (part.texts, part.text_pairs) == (("a", "c"), ("x", "z"))
    assert part.labels.tolist() == [0, 2]
    assert part.domains.tolist() == [1, 1]
    assert whole.select(np.asarray([2, 0])).texts == ("c", "a")


def test_columns_of_different_length_are_refused() -> None:
    """Silent failure: labels shifted against texts."""
    with pytest.raises(ValueError, match="2 texts, 2 text pairs, 1 labels and 2 domains"):
        Examples(("a", "b"), None, np.asarray([0]), np.asarray([0, 0]))


def test_fingerprint_sees_every_part_and_only_content() -> None:
    """Silent failure: a stage is skipped although its texts, labels, names or split changed."""
    base = dataset()
    changed = [
        dataset(train=examples([0, 1, 0, 1], [0, 0, 1, 1], prefix="other")),
        dataset(train=examples([1, 0, 0, 1], [0, 0, 1, 1])),
        dataset(train=examples([0, 1, 0, 1], [0, 1, 0, 1])),
        dataset(test=examples([0, 1, 0, 1], [0, 0, 1, 1], prefix="other")),
        dataset(train=replace(base.train, text_pairs=base.train.texts)),
        replace(base, label_names=("yes", "no")),
        replace(base, domain_names=("films", "books")),
    ]
    prints = {item.fingerprint() for item in [base, *changed]}
    assert len(prints) == len(changed) + 1
    assert replace(base, source="elsewhere").fingerprint() == base.fingerprint()


def test_keys_tell_pairs_apart_and_ignore_white_space() -> None:
    """Silent failure: a copy with another line break counts as a new text, or ("a b", "c") equals ("a", "b c")."""
    made = Examples(("a b", "a", "a\n b"), ("c", "b c", "c "), np.zeros(3, np.int64), np.zeros(3, np.int64))
    first, second, third = made.keys()
    assert first == third != second


def test_loading_needs_neither_torch_nor_datasets() -> None:
    """Silent failure: `hrkd data check` on a CSV file takes seconds, or fails where only the base is installed."""
    code = "import sys, hrkd.data.load, hrkd.data.check; print(sorted({'torch', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
