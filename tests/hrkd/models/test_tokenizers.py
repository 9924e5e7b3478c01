"""Whether two tokenizers are one: what must count, and what must not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors

from hrkd.models import load_tokenizer, same_tokenizer
from tiny import swap_words


@pytest.fixture
def copy(tiny_encoder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_encoder, tmp_path / "copy")


def test_a_copy_is_the_same(tiny_encoder: Path, copy: Path) -> None:
    """A recipe that points at another folder with the same files must not be refused."""
    assert same_tokenizer(load_tokenizer(tiny_encoder), load_tokenizer(copy))


def test_lengths_do_not_count(tiny_encoder: Path, copy: Path) -> None:
    """Files differ after any padded call; texts do not."""
    other = load_tokenizer(copy)
    other(["a", "a a"], padding=True, truncation=True, max_length=8)
    other.model_max_length = 8
    assert same_tokenizer(load_tokenizer(tiny_encoder), other)


def test_the_same_pieces_in_another_order_are_others(tiny_encoder: Path, copy: Path) -> None:
    """Of equal size: only the ids tell."""
    swap_words(copy, "film", "book")
    assert not same_tokenizer(load_tokenizer(tiny_encoder), load_tokenizer(copy))


def _keep_case(pieces: Tokenizer) -> None:
    pieces.normalizer = normalizers.BertNormalizer(lowercase=False)


def _keep_accents(pieces: Tokenizer) -> None:
    pieces.normalizer = normalizers.BertNormalizer(strip_accents=False)


def _keep_words_whole(pieces: Tokenizer) -> None:
    pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


def _no_special_tokens(pieces: Tokenizer) -> None:
    pieces.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])


@pytest.mark.parametrize("change", [_keep_case, _keep_accents, _keep_words_whole, _no_special_tokens])
def test_equal_pieces_used_differently_are_others(
    tiny_encoder: Path, copy: Path, change: Callable[[Tokenizer], None]
) -> None:
    """The vocabularies are equal; the tokens of real texts are not."""
    other = load_tokenizer(copy)
    change(other.backend_tokenizer)
    assert not same_tokenizer(load_tokenizer(tiny_encoder), other)
