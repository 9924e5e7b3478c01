"""The seeded split and the names of splits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkd.data.dataset import Split
from hrkd.data.rows import Rows, build_dataset, complete_splits
from hrkd.data.splitting import parse_split, seeded_split
from hrkd.errors import DataError
from hrkd.recipe import DataConfig


def config(**values: object) -> DataConfig:
    return DataConfig.model_validate({"source": "files", **values})


def made_rows(per_group: int = 50) -> Rows:
    texts, labels, domains = [], [], []
    for domain in ("films", "books"):
        for label in ("pos", "neg"):
            texts += [f"{domain} {label} {index}" for index in range(per_group)]
            labels += [label] * per_group
            domains += [domain] * per_group
    return Rows(texts, labels, domains)


def split(rows: Rows, seed: int = 0) -> list[Split]:
    return seeded_split(rows.keys(), rows.labels, rows.domains, validation_fraction=0.1, test_fraction=0.2, seed=seed)


def test_every_group_is_split_in_the_same_proportion() -> None:
    """Silent failure: a test split without one label of a domain, whose score then means little."""
    rows = made_rows()
    counts = Counter(zip(rows.domains, rows.labels, split(rows), strict=True))
    assert len(counts) == 12
    for (_, _, part), count in counts.items():
        assert count == {Split.TRAIN: 35, Split.VALIDATION: 5, Split.TEST: 10}[part]


def test_seed_decides_the_split() -> None:
    """Silent failure: an unseeded split makes two runs incomparable; an ignored seed makes all runs one."""
    rows = made_rows()
    assert split(rows, 1) == split(rows, 1)
    assert split(rows, 1) != split(rows, 2)


def test_leaving_out_a_domain_keeps_the_others_split() -> None:
    """Silent failure: test texts of one run are training texts of the next that has fewer domains."""
    rows = made_rows()
    books = rows.select([index for index, domain in enumerate(rows.domains) if domain == "books"])
    assert split(books) == [part for part, domain in zip(split(rows), rows.domains, strict=True) if domain == "books"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.sampled_from("xy")), min_size=1, max_size=60),
    st.floats(0.0, 0.49),
    st.floats(0.0, 0.49),
    st.integers(0, 2**31 - 1),
)
def test_copies_stay_together_and_training_is_never_emptied(
    items: list[tuple[int, str, str]], validation: float, test: float, seed: int
) -> None:
    """Silent failure: a test text that is also trained on; a tiny group that vanishes from training."""
    keys, labels, domains = [[str(value) for value in column] for column in zip(*items, strict=True)]
    parts = seeded_split(keys, labels, domains, validation_fraction=validation, test_fraction=test, seed=seed)
    by_key: dict[str, set[Split]] = {}
    for key, part in zip(keys, parts, strict=True):
        by_key.setdefault(key, set()).add(part)
    assert all(len(found) == 1 for found in by_key.values())
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    groups = {(domains[index], labels[index]) for index in first.values()}
    trained = {(domains[index], labels[index]) for index in first.values() if parts[index] is Split.TRAIN}
    assert trained == groups


def test_rounding_leaves_something_to_train_on() -> None:
    """Silent failure: both shares of three examples are rounded up, and the label is only ever tested."""
    parts = seeded_split(list("abc"), ["x"] * 3, ["d"] * 3, validation_fraction=0.45, test_fraction=0.5, seed=0)
    assert parts.count(Split.TRAIN) == 1


def test_fractions_without_training_are_refused() -> None:
    """Silent failure: an empty training split."""
    with pytest.raises(DataError, match=r"0\.5 and `data.test_fraction` 0\.5"):
        complete_splits(made_rows(), config(validation_fraction=0.5, test_fraction=0.5), "made")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", Split.TRAIN),
        ("dev", Split.VALIDATION),
        ("Valid", Split.VALIDATION),
        ("VAL", Split.VALIDATION),
        (" test ", Split.TEST),
        ("tset", None),
    ],
)
def test_split_names(name: str, expected: Split | None) -> None:
    """Silent failure: `dev` rows that are left out or trained on."""
    assert parse_split(name) is expected


def test_only_the_missing_part_is_taken_from_training() -> None:
    """Silent failure: published test rows reshuffled because the source has no validation part."""
    rows = made_rows()
    given_splits = [Split.TEST if index % 5 == 0 else Split.TRAIN for index in range(len(rows))]
    completed = complete_splits(
        Rows(rows.texts, rows.labels, rows.domains, splits=given_splits), config(validation_fraction=0.1), "made"
    )
    assert completed.splits is not None
    assert [part is Split.TEST for part in completed.splits] == [part is Split.TEST for part in given_splits]
    assert completed.splits.count(Split.VALIDATION) == 16


def test_domains_are_kept_in_the_given_order_and_sorted_without() -> None:
    """Silent failure: heads in another order than the recipe's, so every domain gets another's head."""
    assert build_dataset(made_rows(), config(), "made").domain_names == ("books", "films")
    ordered = build_dataset(made_rows(), config(domains=["films", "books"]), "made")
    assert ordered.domain_names == ("films", "books")
    assert all(text.startswith("films") for text in ordered.train.of_domain(0).texts)
    only = build_dataset(made_rows(), config(domains=["films"]), "made")
    assert all(text.startswith("films") for text in only.train.texts + only.test.texts)


def test_unknown_and_repeated_domains_are_refused() -> None:
    """Silent failure: a misspelt domain is simply not trained."""
    with pytest.raises(DataError, match="no domain `book`") as caught:
        build_dataset(made_rows(), config(domains=["book"]), "made")
    assert "did you mean `books`?" in str(caught.value.hint)
    with pytest.raises(DataError, match="twice: books, books"):
        build_dataset(made_rows(), config(domains=["books", "books"]), "made")


def test_labels_are_sorted_unless_the_source_orders_them() -> None:
    """Silent failure: label ids that change with the order of the rows."""
    assert build_dataset(made_rows(), config(), "made").label_names == ("neg", "pos")
    ordered = build_dataset(made_rows(), config(), "made", ("pos", "unused", "neg"))
    assert ordered.label_names == ("pos", "neg")
    assert {text.split()[1] for text in ordered.train.select((ordered.train.labels == 0).nonzero()[0]).texts} == {"pos"}
