"""Queries, keys and values of chosen layers, and the attention scores they give, without anyone's modelling code.

Forward hooks catch the outputs of a layer's projections. The layer itself keeps its fused attention kernel, which never
forms the scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from hrkd.errors import CheckpointError, RecipeError

PROJECTION_NAMES = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
    ("query_proj", "key_proj", "value_proj"),
)
"""How the projections are called: BERT, RoBERTa and ELECTRA; DistilBERT; MPNet; DeBERTa-v2 and v3."""

FUSED_NAME = "in_proj"
"""The one projection of DeBERTa: query, key and value of each head side by side, biases apart from it."""

PLAIN_SCORES = frozenset(
    {"bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie", "roberta", "xlm-roberta"}
)
"""Model types whose attention scores are q.k / sqrt(d) and nothing else."""

POSITION_TERMS = {
    "deberta": "disentangled positions",
    "deberta-v2": "disentangled positions",
    "mpnet": "a relative position bias",
}
"""What other model types add to q.k."""


class AttentionRecord(NamedTuple):
    """What one layer's attention compares and mixes.

    Attributes:
        query: (B, T, A*d), heads side by side.
        key: (B, T, A*d).
        value: (B, T, A*d).
    """

    query: Tensor
    key: Tensor
    value: Tensor


def attention_scores(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Return the unmasked pre-softmax scores ``q.k / sqrt(d)`` of each head.

    Args:
        query: (B, T, A*d).
        key: (B, T, A*d).
        heads: A.

    Returns:
        (B, A, T, T).

    Raises:
        ValueError: The width is not a multiple of ``heads``.
    """
    width = query.shape[-1]
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of {heads} heads")
    split_query, split_key = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key))
    return torch.matmul(split_query, split_key.transpose(-1, -2)) / math.sqrt(width // heads)


def check_attention_scores(config: PretrainedConfig, *, role: str) -> None:
    """Refuse an encoder whose attention scores are more than q.k: compared without the rest they mean nothing.

    Args:
        config: Of the encoder.
        role: ``teacher`` or ``student``, for the message.

    Raises:
        RecipeError: The scores hold a position term, or the architecture is unknown.
    """
    kind = config.model_type
    position = (
        getattr(config, "position_embedding_type", None) or "absolute"
    )  # BERT's relative variants, transformers 4
    if kind in PLAIN_SCORES and position == "absolute":
        return
    term = POSITION_TERMS.get(kind) or (f"`{position}` positions" if kind in PLAIN_SCORES else "an unknown term")
    raise RecipeError(
        f"the attention scores of the {role} (`{kind}`) are not plain products of queries and keys: they hold {term}",
        hint="set `method.attention: relations` to compare queries, keys and values instead, "
        "or `method.attention_weight: 0` to leave the attention out",
    )


def find_attention(encoder: nn.Module) -> list[nn.Module]:
    """Return the module that owns the projections of each layer, in layer order.

    Raises:
        CheckpointError: There is not one set of projections of known names per layer.
    """
    for names in (*PROJECTION_NAMES, (FUSED_NAME, "q_bias", "v_bias")):
        found = [module for module in encoder.modules() if all(hasattr(module, name) for name in names)]
        if found:
            break
    config = cast("PretrainedConfig", encoder.config)
    if len(found) != config.num_hidden_layers:
        raise CheckpointError(
            f"the attention of `{type(encoder).__name__}` cannot be read: {len(found)} sets of projections "
            f"with known names in {config.num_hidden_layers} layers",
            hint="set `method.attention_weight: 0`, or use BERT, RoBERTa, DistilBERT, ELECTRA, MPNet or DeBERTa",
        )
    return found


@contextmanager
def record_attention(encoder: nn.Module, layers: Sequence[int]) -> Iterator[list[AttentionRecord]]:
    """Collect queries, keys and values of ``layers`` while ``encoder`` runs once inside the block.

    Args:
        encoder: Hugging Face encoder.
        layers: 1-based layer numbers; without any, nothing is looked for and nothing is caught.

    Yields:
        A list that holds, when the block ends, one record per layer, in the order of ``layers``.

    Raises:
        CheckpointError: See :func:`find_attention`.
    """
    owners = find_attention(encoder) if layers else []
    chosen = [owners[layer - 1] for layer in layers]
    caught: dict[nn.Module, tuple[Tensor, ...]] = {}

    def catch(owner: nn.Module, module: nn.Module, _inputs: object, output: Tensor) -> None:
        if module not in caught:  # the first counts: DeBERTa sends its positions through them afterwards
            caught[module] = _parts(owner, output)

    handles = [
        part.register_forward_hook(partial(catch, owner)) for owner in set(chosen) for part in _projections(owner)
    ]
    records: list[AttentionRecord] = []
    try:
        yield records
        records += [
            AttentionRecord(*chain.from_iterable(caught[part] for part in _projections(owner))) for owner in chosen
        ]
    finally:
        for handle in handles:
            handle.remove()


def _projections(owner: nn.Module) -> list[nn.Module]:
    """Return the modules whose outputs make up a layer's record: three, or the fused one."""
    for names in PROJECTION_NAMES:
        if hasattr(owner, names[0]):
            return [owner.get_submodule(name) for name in names]
    return [owner.get_submodule(FUSED_NAME)]


def _parts(owner: nn.Module, output: Tensor) -> tuple[Tensor, ...]:
    """Return what a projection gives to a record: its output, or query, key and value of the fused one.

    The biases are read while the layer runs: of a teacher that several processes share, they are whole only then.
    """
    if not hasattr(owner, FUSED_NAME):
        return (output,)
    heads = cast("int", owner.num_attention_heads)
    query, key, value = (part.flatten(2) for part in output.unflatten(-1, (heads, 3, -1)).unbind(dim=3))
    return query + cast("Tensor", owner.q_bias), key, value + cast("Tensor", owner.v_bias)
