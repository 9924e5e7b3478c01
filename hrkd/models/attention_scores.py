"""Pre-softmax attention scores of chosen layers, without touching anyone's modelling code.

The scores are rebuilt from the outputs of a layer's query and key projections, which forward hooks catch. The layer
itself keeps its fused attention kernel, which never forms the scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hrkd.errors import CheckpointError

QUERY_KEY_NAMES = (("query", "key"), ("q_lin", "k_lin"))
"""How the query and key projections are called: BERT, RoBERTa and ELECTRA; DistilBERT."""


def find_query_key(encoder: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Return the query and key projections of every layer, in layer order.

    Raises:
        CheckpointError: The encoder has no projections of a known name, so its scores cannot be read.
    """
    for query_name, key_name in QUERY_KEY_NAMES:
        pairs = [
            (module.get_submodule(query_name), module.get_submodule(key_name))
            for module in encoder.modules()
            if hasattr(module, query_name) and hasattr(module, key_name)
        ]
        if pairs:
            return pairs
    raise CheckpointError(
        f"the attention scores of `{type(encoder).__name__}` cannot be read",
        hint="use a BERT, RoBERTa, ELECTRA or DistilBERT encoder",
    )


@contextmanager
def record_attention_scores(encoder: nn.Module, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """Collect the attention scores of ``layers`` while ``encoder`` runs once inside the block.

    Args:
        encoder: Hugging Face encoder; ``encoder.config.num_attention_heads`` gives A.
        layers: 1-based layer numbers.

    Yields:
        A list that holds, when the block ends, one tensor (B, A, T, T) of ``q.k / sqrt(d)`` per layer, unmasked.
    """
    heads: int = encoder.config.num_attention_heads  # type: ignore[union-attr, assignment]
    projections = find_query_key(encoder) if layers else []
    caught: dict[int, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, slot=slot: caught.__setitem__(slot, output))
        for position, layer in enumerate(layers)
        for slot, module in ((2 * position, projections[layer - 1][0]), (2 * position + 1, projections[layer - 1][1]))
    ]
    scores: list[Tensor] = []
    try:
        yield scores
        scores += [_scores(caught[2 * position], caught[2 * position + 1], heads) for position in range(len(layers))]
    finally:
        for handle in handles:
            handle.remove()


def _scores(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Return q.k / sqrt(d) as (B, A, T, T) from two (B, T, A*d)."""
    batch, tokens, width = query.shape
    depth = width // heads
    query = query.view(batch, tokens, heads, depth).transpose(1, 2)
    key = key.view(batch, tokens, heads, depth).transpose(1, 2)
    return torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(depth)
