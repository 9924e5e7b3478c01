"""A classifier with fewer rows in its word or position table, and the same answers wherever the rows are left."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from transformers import PretrainedConfig

from hrkd.errors import ExportError
from hrkd.models import ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import build_encoder

TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id")
"""Keys of an encoder's configuration that name a row of its word table."""


def needed_rows(classifier: MultiDomainClassifier) -> set[int]:
    """Return the ids that the model itself refers to, whatever its tokenizer says.

    A model that counts positions from behind the padding's id needs all ids up to that one, so that it stays the same.
    """
    encoder = classifier.encoder_config
    named = {getattr(encoder, key, None) for key in TOKEN_IDS} | {_word_table(classifier)[1].padding_idx}
    rows = {row for row in named if row is not None} | {classifier.config.separator_id}
    return rows.union(range(_position_offset(classifier)))


def select_rows(classifier: MultiDomainClassifier, kept: Sequence[int]) -> MultiDomainClassifier:
    """Return a classifier with the rows ``kept`` of the word table, the first of them for id 0.

    Args:
        classifier: Stays as it is.
        kept: Old ids in rising order, with all of :func:`needed_rows`.

    Raises:
        ExportError: An id has no row.
    """
    name, table = _word_table(classifier)
    if kept[-1] >= table.num_embeddings:
        raise ExportError(
            f"the tokenizer has a piece of id {kept[-1]}, the model's word table only {table.num_embeddings} rows",
            hint="the model folder's tokenizer is not the one that the model was trained with",
        )
    new_ids = {old: new for new, old in enumerate(kept)}
    encoder = copy.deepcopy(classifier.encoder_config)
    encoder.vocab_size = len(kept)
    for key in TOKEN_IDS:
        old = getattr(encoder, key, None)
        if old is not None:
            setattr(encoder, key, new_ids[old])
    config = replace(classifier.config, separator_id=new_ids[classifier.config.separator_id])
    return _rebuild(classifier, encoder, config, f"{name}.weight", torch.tensor(kept))


def cut_positions(classifier: MultiDomainClassifier, max_length: int) -> MultiDomainClassifier:
    """Return a classifier whose position table ends behind the last position of a text of ``max_length`` tokens.

    A model with relative positions stays as it is: there, the number of positions shapes the distances themselves.

    Args:
        classifier: Stays as it is; returned itself where there is nothing to cut.
        max_length: Longest input in tokens, special ones included; the new classifier takes no longer ones.
    """
    encoder = classifier.encoder_config
    absolute = getattr(encoder, "position_embedding_type", "absolute") in (None, "absolute")
    named = _position_table(classifier)
    rows = max_length + _position_offset(classifier)
    if named is None or not absolute or getattr(encoder, "relative_attention", False):
        return classifier
    name, table = named
    if rows >= table.num_embeddings:
        return classifier
    encoder = copy.deepcopy(encoder)
    encoder.max_position_embeddings = rows
    config = replace(classifier.config, max_length=min(max_length, classifier.config.max_length))
    return _rebuild(classifier, encoder, config, f"{name}.weight", torch.arange(rows))


def _rebuild(
    classifier: MultiDomainClassifier,
    encoder: PretrainedConfig,
    config: ClassifierConfig,
    table: str,
    rows: torch.Tensor,
) -> MultiDomainClassifier:
    """Build the classifier anew around a shorter table, so that everything derived from its length is derived anew."""
    attention = classifier.encoder_config._attn_implementation or "eager"
    with torch.random.fork_rng(devices=[]):
        result = MultiDomainClassifier(build_encoder(encoder, attention=attention), config)
    weights = classifier.state_dict()
    result.load_state_dict(weights | {table: weights[table][rows]})
    return result.train(classifier.training)


def _word_table(classifier: MultiDomainClassifier) -> tuple[str, nn.Embedding]:
    table = classifier.encoder.get_input_embeddings()
    return next(
        (name, module)
        for name, module in classifier.named_modules()
        if module is table and isinstance(module, nn.Embedding)
    )


def _position_table(classifier: MultiDomainClassifier) -> tuple[str, nn.Embedding] | None:
    """Return the table of absolute positions with its name; None where the model has none."""
    tables = (
        (name, module)
        for name, module in classifier.named_modules()
        if name.endswith(".position_embeddings") and isinstance(module, nn.Embedding)
    )
    return next(tables, None)


def _position_offset(classifier: MultiDomainClassifier) -> int:
    """Return the number of the first position: models of the RoBERTa kind count from behind the padding's id.

    These, and no others, have a padding row in their position table.
    """
    named = _position_table(classifier)
    return 0 if named is None or named[1].padding_idx is None else int(named[1].padding_idx) + 1
