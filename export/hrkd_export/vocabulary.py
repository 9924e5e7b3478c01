"""Only the part of the vocabulary that the domains use: the word table is most of a small student's bytes.

Without a limit nothing changes on the training texts: they keep their pieces, and therefore their logits, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from hrkd.bundle import Vocabulary
from hrkd.data.dataset import Examples
from hrkd.errors import ExportError
from hrkd.models import MultiDomainClassifier
from hrkd_export.embedding_tables import cut_positions, needed_rows, select_rows
from hrkd_export.tokenizer_surgery import (
    WITHOUT_TRIMMING,
    character_ids,
    describe,
    hidden_ids,
    select_pieces,
    special_ids,
    unknown_id,
)

__all__ = ["Trimmed", "cut_positions", "trim_vocabulary"]

_CHUNK = 1024
Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A model with a smaller vocabulary.

    Attributes:
        classifier: With the word table's rows that stay.
        tokenizer: Yields their new ids.
        facts: What the bundle's manifest tells about it.
    """

    classifier: MultiDomainClassifier
    tokenizer: PreTrainedTokenizerFast
    facts: Vocabulary


def trim_vocabulary(
    classifier: MultiDomainClassifier,
    tokenizer: PreTrainedTokenizerFast,
    train: Examples,
    validation: Examples,
    domain_names: Sequence[str],
    *,
    max_pieces: int | None,
) -> Trimmed:
    """Keep the pieces that the training texts use, all single characters, and what the tokenizer itself needs.

    Texts count in full length, also behind the model's maximum: what stands there may stand further ahead elsewhere.

    Args:
        classifier: Stays as it is.
        tokenizer: Its tokenizer, of the WordPiece or Unigram kind; stays as it is.
        train: Texts that decide which pieces stay.
        validation: Texts on which unknown pieces are counted.
        domain_names: Name of each domain id.
        max_pieces: Most pieces to keep; of the used ones the most frequent stay, of equally frequent ones the lower id.

    Raises:
        ExportError: The tokenizer is of another kind or does not fit the model, or ``max_pieces`` is below what always
            stays.
    """
    description = describe(tokenizer)
    texts = tuple(train.all_texts())
    used = _encode(tokenizer, texts)
    always = special_ids(tokenizer, description) | character_ids(description) | needed_rows(classifier)
    unknown = unknown_id(description)
    broken_off = (text for text, ids in zip(texts, used, strict=True) if unknown in ids)
    counts = dict.fromkeys(hidden_ids(tokenizer, description, broken_off), 0)
    numbers, times = np.unique(np.concatenate(used), return_counts=True)
    counts |= zip(numbers.tolist(), times.tolist(), strict=True)
    kept = _choose(always, counts, max_pieces)
    smaller_classifier, smaller = select_rows(classifier, kept), select_pieces(tokenizer, description, kept)
    if len(kept) == len(always | counts.keys()):
        _check_unchanged(smaller, kept, texts, used)
    facts = Vocabulary(
        pieces_before=len(tokenizer),
        pieces=len(smaller),
        unknown_rate_before=_unknown_rates(tokenizer, validation, domain_names),
        unknown_rate=_unknown_rates(smaller, validation, domain_names),
    )
    return Trimmed(smaller_classifier, smaller, facts)


def _choose(always: set[int], counts: Mapping[int, int], max_pieces: int | None) -> list[int]:
    """Return the ids that stay, in rising order."""
    if max_pieces is not None and len(always) > max_pieces:
        raise ExportError(
            f"{max_pieces} pieces are too few: special tokens and single characters alone are {len(always)}",
            hint=f"set `--max-vocab {len(always)}` or more",
        )
    candidates = sorted(counts.keys() - always, key=lambda number: (-counts[number], number))
    room = len(candidates) if max_pieces is None else max_pieces - len(always)
    return sorted(always.union(candidates[:room]))


def _check_unchanged(
    smaller: PreTrainedTokenizerFast, kept: Sequence[int], texts: Sequence[str], used: Sequence[Ids]
) -> None:
    """Refuse a tokenizer that tokenises by a rule for which the promise of the same pieces does not hold."""
    old_ids = np.asarray(kept, dtype=np.int32)
    for text, before, after in zip(texts, used, _encode(smaller, texts), strict=True):
        if not np.array_equal(old_ids[after], before):
            raise ExportError(
                f"with the smaller vocabulary the training text {text[:40]!r} gets other pieces", hint=WITHOUT_TRIMMING
            )


def _unknown_rates(
    tokenizer: PreTrainedTokenizerFast, examples: Examples, domain_names: Sequence[str]
) -> dict[str, float]:
    """Return by domain which fraction of the pieces is unknown; special tokens that a text spells out do not count."""
    description = describe(tokenizer)
    unknown = unknown_id(description)
    special = [token["id"] for token in description["added_tokens"] if token["special"] and token["id"] != unknown]
    rates = {}
    for domain, name in enumerate(domain_names):
        ids = np.concatenate(
            [np.zeros(0, np.int32), *_encode(tokenizer, tuple(examples.of_domain(domain).all_texts()))]
        )
        pieces = ids[~np.isin(ids, special)]
        rates[name] = float(np.mean(pieces == unknown)) if len(pieces) else 0.0
    return rates


def _encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[Ids]:
    """Return each text's ids in full length, without the special tokens around it."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return [
        np.asarray(encoding.ids, dtype=np.int32)
        for start in range(0, len(texts), _CHUNK)
        for encoding in backend.encode_batch(list(texts[start : start + _CHUNK]), add_special_tokens=False)
    ]
