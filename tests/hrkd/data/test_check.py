"""What `hrkd data check` counts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hrkd.data.check import check_dataset
from hrkd.data.dataset import DomainDataset, Examples, Split


def examples(*rows: tuple[str, int, int], pairs: bool = False) -> Examples:
    texts, labels, domains = zip(*rows, strict=True)
    return Examples(texts, texts if pairs else None, np.asarray(labels), np.asarray(domains))


@pytest.fixture
def dataset() -> DomainDataset:
    """One finding of every kind, at a known place."""
    splits = {
        Split.TRAIN: examples(
            ("one two three", 0, 0),
            ("one  two\nthree", 0, 0),  # copy inside the split
            ("four", 1, 0),
            ("five", 1, 1),
            ("four", 0, 1),  # copy with another label, across domains
        ),
        Split.VALIDATION: examples(("one two three", 0, 0), ("six", 1, 1)),  # the first is also trained on
        Split.TEST: examples((" ", 0, 0), ("long " * 3000, 2, 1)),  # empty; over-long, label unseen in its domain
    }
    return DomainDataset(("books", "films"), ("no", "yes", "maybe"), splits, "`made.csv`")


def test_every_finding_is_counted_where_it_stands(dataset: DomainDataset) -> None:
    """Silent failure: leakage or contradictions that the report does not show."""
    report = check_dataset(dataset)
    groups = {(group.domain, group.split): group for group in report.groups}
    assert list(groups) == [(domain, split) for domain in ("books", "films") for split in Split]
    books, films = groups["books", Split.TRAIN], groups["films", Split.TRAIN]
    assert (books.size, dict(books.labels)) == (3, {"no": 2, "yes": 1, "maybe": 0})
    assert (books.duplicates, books.in_train, books.conflicts) == (1, 0, 1)
    assert (films.duplicates, films.conflicts, films.unseen_labels) == (1, 1, 0)
    assert groups["books", Split.VALIDATION].in_train == 1
    assert groups["films", Split.VALIDATION].in_train == 0
    assert groups["books", Split.TEST].empty == 1
    last = groups["films", Split.TEST]
    assert (last.over_long, last.unseen_labels, last.lengths["p100"]) == (1, 1, 15_000)
    assert report.size == 9
    assert report.duplicates == 3
    assert len(report.problems()) == 6


def test_tokens_decide_when_there_is_a_tokenizer(dataset: DomainDataset) -> None:
    """Silent failure: characters compared with a limit in tokens."""
    report = check_dataset(dataset, lambda text: len(text.split()), max_length=2)
    assert report.length_unit == "tokens"
    by_group = {(group.domain, group.split): group.over_long for group in report.groups}
    assert by_group["books", Split.TRAIN] == 2
    assert by_group["films", Split.TRAIN] == 0
    with pytest.raises(ValueError, match="max_length"):
        check_dataset(dataset, len)


def test_pairs_add_their_lengths() -> None:
    """Silent failure: pairs that are cut although the report calls them short."""
    part = examples(("abc", 0, 0), ("defg", 1, 0), pairs=True)
    dataset = DomainDataset(("a",), ("no", "yes"), dict.fromkeys(Split, part), "made")
    assert check_dataset(dataset).groups[0].lengths["p100"] == 8


def test_report_is_json_and_rows_are_flat(dataset: DomainDataset) -> None:
    """Silent failure: `--json` fails on a numpy number, or the table has columns that differ between rows."""
    report = check_dataset(dataset)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["groups"][0]["labels"] == {"no": 2, "yes": 1, "maybe": 0}
    rows = report.to_rows()
    assert len(rows) == 6
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert all(isinstance(value, (str, int)) for row in rows for value in row.values())


def test_clean_dataset_has_no_problems() -> None:
    """Silent failure: a report that always complains is not read."""
    splits = {split: examples((f"{split} a", 0, 0), (f"{split} b", 1, 0)) for split in Split}
    assert check_dataset(DomainDataset(("books",), ("no", "yes"), splits, "made")).problems() == []
