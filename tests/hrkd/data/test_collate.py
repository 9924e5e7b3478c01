"""Tokenising once and padding each batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from hrkd.data.collate import Collator, TokenizedExamples
from hrkd.data.dataset import Examples
from hrkd.errors import DataError

TEXTS = ("good", "a very good film and a story", "bad " * 25_000, "the plot", "sad é ☃ book", "it was fine")
MAX_LENGTH = 16


def make_examples(*, pairs: bool = False) -> Examples:
    labels = np.arange(len(TEXTS)) % 2
    return Examples(TEXTS, tuple(reversed(TEXTS)) if pairs else None, labels, np.arange(len(TEXTS)) % 3)


@pytest.fixture(scope="module")
def collator(tiny_encoder: Path) -> Collator:
    """The tiny tokenizer with a short limit."""
    return Collator(AutoTokenizer.from_pretrained(tiny_encoder), MAX_LENGTH)


@pytest.mark.parametrize("pairs", [False, True])
def test_batches_equal_the_tokenizers_own_padding(collator: Collator, pairs: bool) -> None:
    """Silent failure: offsets that are off by one mix neighbouring texts; wrong pad id; pair dropped; no truncation."""
    examples = make_examples(pairs=pairs)
    tokenized = collator.encode(examples)
    for indices in (np.asarray([0, 1, 2, 3, 4, 5]), np.asarray([5, 0]), np.asarray([3]), np.asarray([1, 1, 4])):
        part = examples.select(indices)
        expected = collator.tokenizer(
            list(part.texts),
            None if part.text_pairs is None else list(part.text_pairs),
            truncation=True,
            max_length=MAX_LENGTH,
            padding=True,
            return_tensors="pt",
        )
        batch = tokenized.batch(indices)
        torch.testing.assert_close(batch.input_ids, expected["input_ids"], rtol=0, atol=0)
        torch.testing.assert_close(batch.attention_mask, expected["attention_mask"], rtol=0, atol=0)
        assert batch.labels.tolist() == (indices % 2).tolist()
        assert batch.domain_ids.tolist() == (indices % 3).tolist()
        assert {tensor.dtype for tensor in (batch.input_ids, batch.attention_mask, batch.labels, batch.domain_ids)} == {
            torch.int64
        }


def test_long_text_is_cut_and_lengths_are_true(collator: Collator) -> None:
    """Silent failure: a text of 100,000 characters reaches the model whole, or lengths count padding."""
    tokenized = collator.encode(make_examples())
    assert tokenized.lengths.tolist() == [len(tokenized.input_ids(index)) for index in range(len(TEXTS))]
    assert tokenized.lengths[2] == MAX_LENGTH
    assert tokenized.lengths[0] == 3
    assert tokenized.batch(np.asarray([0, 3])).input_ids.shape == (2, 4)


def test_padding_comes_from_the_tokenizer(collator: Collator) -> None:
    """Silent failure: 0 is a word in some vocabularies, and attention never masks it in a bundle's own padding."""
    tokenized = collator.encode(make_examples())
    other = TokenizedExamples(tokenized.flat_ids, tokenized.offsets, tokenized.labels, tokenized.domains, pad_id=7)
    batch = other.batch(np.asarray([0, 1]))
    assert batch.input_ids[0, 3:].eq(7).all()
    assert batch.attention_mask[0].tolist() == [1, 1, 1, *[0] * (batch.input_ids.shape[1] - 3)]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_evaluation_yields_every_example_once(collator: Collator, batch_size: int) -> None:
    """Silent failure: scores over a part of the test texts, or predictions in another order than the labels."""
    tokenized = collator.encode(make_examples())
    seen = []
    longest = []
    for indices, batch in tokenized.iterate_in_order(batch_size):
        assert len(batch) == len(indices) <= batch_size
        assert batch.labels.tolist() == tokenized.labels[indices].tolist()
        seen += indices.tolist()
        longest.append(batch.input_ids.shape[1])
    assert sorted(seen) == list(range(len(TEXTS)))
    assert longest == sorted(longest, reverse=True)


def test_more_texts_than_one_chunk(collator: Collator) -> None:
    """Silent failure: everything after the first tokenising chunk is lost or repeated."""
    count = 1030
    texts = tuple("good " * (1 + index % 5) for index in range(count))
    tokenized = collator.encode(Examples(texts, None, np.zeros(count, np.int64), np.zeros(count, np.int64)))
    assert tokenized.lengths.tolist() == [3 + index % 5 for index in range(count)]


def test_no_examples(collator: Collator) -> None:
    """Silent failure: none; an empty part must give an empty result, not an exception of numpy."""
    empty = collator.encode(Examples((), None, np.zeros(0, np.int64), np.zeros(0, np.int64)))
    assert len(empty) == 0
    assert list(empty.iterate_in_order(4)) == []


def test_batch_moves_as_a_whole(collator: Collator) -> None:
    """Silent failure: one tensor is left on another device, found only on a machine with a GPU."""
    moved = collator.encode(make_examples()).batch(np.asarray([0, 1])).to("meta")
    assert {t.device.type for t in (moved.input_ids, moved.attention_mask, moved.domain_ids, moved.labels)} == {"meta"}


def test_tokenizer_without_padding_is_refused(tiny_encoder: Path) -> None:
    """Silent failure: None as a token id."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.pad_token = None
    with pytest.raises(DataError, match="has no padding token"):
        Collator(tokenizer, MAX_LENGTH)
