"""Is the exported model the trained one? Checked on the checkpoint's own texts before anything is shipped.

Two comparisons: the fp32 graph against torch, on texts of several lengths, alone and in padded batches; and the
shipped tokenizer file against the training tokenizer, token for token, on those texts and on hostile ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from hrkd.bundle import UNKNOWN_DOMAIN, EvalExample
from hrkd.errors import ExportError
from hrkd.models import MultiDomainClassifier
from hrkd_export.session import IntArray, open_session, run_session

TOLERANCE = 1e-4
"""Largest accepted difference of a logit, relative to the largest logit where that exceeds 1."""
NUM_PROBES = 12
PROBE_BATCH = 5
NASTY_TEXTS = (
    "",
    " \t\n",
    "\0",
    "nul\0inside",
    "\ufeffbyte order mark",
    "\u200f\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\U0001f600\U0001f469\u200d\U0001f4bb\U0001f1e9\U0001f1ea",
    "e\u0301\u0323 \u1e69 \ufb01 \u2028 \u00a0",
    "\u4e2d\u6587\u3068\u65e5\u672c\u8a9e",
    "[CLS] [SEP] [PAD] [MASK] <s> </s> <pad> <mask>",
    "don't   STOP!!! ...really?",
    "word " * 2000,
    "x" * 10_000,
)
"""Texts on which tokenizers have disagreed: empty, control characters, right-to-left, emoji, very long, ..."""


def check_logits(
    classifier: MultiDomainClassifier, tokenizer: PreTrainedTokenizerFast, model: Path, examples: Sequence[EvalExample]
) -> float:
    """Compare an fp32 graph with torch.

    Args:
        classifier: In evaluation mode, on the CPU.
        tokenizer: The training tokenizer.
        model: The graph.
        examples: Texts to choose from.

    Returns:
        The largest difference of a logit, divided by the largest logit where that exceeds 1.

    Raises:
        ExportError: The difference is above :data:`TOLERANCE`, or is not a number.
    """
    session = open_session(model)
    probes = choose_probes(tokenizer, examples, classifier.config.max_length)
    largest = 0.0
    for input_ids, attention_mask, domain_ids in _batches(probes, classifier.num_domains, tokenizer.pad_token_id or 0):
        actual = run_session(session, input_ids, attention_mask, domain_ids)
        with torch.inference_mode():
            inputs = (torch.from_numpy(array) for array in (input_ids, attention_mask, domain_ids))
            expected = classifier(*inputs).logits.numpy()
        difference = float(np.abs(actual - expected).max()) / max(1.0, float(np.abs(expected).max()))
        if not difference <= TOLERANCE:
            batch, tokens = input_ids.shape
            raise ExportError(
                f"the exported graph differs from the model by {difference:.2e} (accepted: {TOLERANCE:.0e}) "
                f"on {batch} text(s) of up to {tokens} tokens",
                hint="the encoder's architecture is not exported faithfully; use BERT, RoBERTa, ELECTRA or DistilBERT",
            )
        largest = max(largest, difference)
    return largest


def choose_probes(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[EvalExample], max_length: int
) -> list[list[int]]:
    """Return token ids of texts from the shortest to the longest, and of one that fills ``max_length``."""
    texts = [(example.text, example.text_pair) for example in examples]
    token_ids = sorted((encode(tokenizer, text, pair, max_length) for text, pair in texts), key=len)
    chosen = np.unique(np.linspace(0, len(token_ids) - 1, NUM_PROBES).round().astype(int))
    words = " ".join(text for text, _ in texts[:max_length] if text.strip()) or "word"
    pair = words if texts[0][1] is not None else None
    filling = encode(tokenizer, " ".join([words] * max_length)[: 20 * max_length], pair, max_length)
    return [*(token_ids[position] for position in chosen), filling]


def encode(tokenizer: PreTrainedTokenizerFast, text: str, text_pair: str | None, max_length: int) -> list[int]:
    """Return token ids as in training: special tokens added, the longer text cut first.

    The text goes in as a batch of one, because a call with a single text drops an empty second text.
    """
    pairs = None if text_pair is None else [text_pair]
    token_ids: list[int] = tokenizer([text], pairs, truncation=True, max_length=max_length)["input_ids"][0]
    return token_ids


def check_tokenizer(
    tokenizer: PreTrainedTokenizerFast,
    shipped: Tokenizer,
    examples: Sequence[EvalExample],
    max_length: int,
    *,
    text_pairs: bool,
) -> None:
    """Compare the shipped tokenizer with the training tokenizer.

    Args:
        tokenizer: The training tokenizer.
        shipped: Read from the bundle's file; its truncation is set here as a runtime does.
        examples: Texts to compare on, besides :data:`NASTY_TEXTS`.
        max_length: Longest input in tokens.
        text_pairs: Whether an input is two texts.

    Raises:
        ExportError: A text gets other tokens.
    """
    shipped.enable_truncation(max_length)
    texts = [(example.text, example.text_pair) for example in examples]
    texts += zip(NASTY_TEXTS, reversed(NASTY_TEXTS) if text_pairs else repeat(None))
    for text, pair in texts:
        expected = encode(tokenizer, text, pair, max_length)
        actual = shipped.encode(text, pair).ids
        if actual != expected:
            raise ExportError(
                f"the tokenizer file gives other tokens than the training tokenizer for {text[:40]!r}: "
                f"{len(actual)} tokens {actual[:8]}, in training {len(expected)} tokens {expected[:8]}",
                hint="the tokenizer does something outside its tokenizer.json (another truncation side?)",
            )


def _batches(
    probes: Sequence[list[int]], num_domains: int, padding_id: int
) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Yield every probe alone, then padded batches of several; the domains, the unknown one included, take turns."""
    domain_ids = np.arange(len(probes), dtype=np.int64) % (num_domains + 1) + UNKNOWN_DOMAIN
    for size in (1, PROBE_BATCH, len(probes)):
        for start in range(0, len(probes), size):
            yield (*pad(probes[start : start + size], padding_id), domain_ids[start : start + size])


def pad(rows: Sequence[Sequence[int]], padding_id: int) -> tuple[IntArray, IntArray]:
    """Return input ids and attention mask, both (B, T), with T the longest row."""
    shape = (len(rows), max(len(row) for row in rows))
    input_ids, attention_mask = np.full(shape, padding_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    return input_ids, attention_mask
