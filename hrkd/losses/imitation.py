"""How far the student's inside is from the teacher's, per domain. Padding has no weight in any term."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from hrkd.precision import at_least_float32


def hidden_error(
    student: Tensor,
    teacher: Tensor,
    token_mask: Tensor,
    num_domains: int,
    *,
    normalize: bool = False,
    example_weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of hidden states over real tokens and features; level 0 is the embedding term.

    Args:
        student: (K*B, T, H), projected to the teacher's width; rows are K equal blocks in domain order.
        teacher: (K*B, T, H).
        token_mask: (K*B, T), 1 for real tokens.
        num_domains: K.
        normalize: Whether each token is brought to mean 0 and variance 1 first, so that the error does not depend on
            the level's scale: it is then 2 - 2 * correlation.
        example_weights: (K*B,), relative weights within a domain; equal when left out.

    Returns:
        (K,) float32.

    Raises:
        ValueError: The widths differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ: project first")
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    if normalize:
        student, teacher = (F.layer_norm(states, states.shape[-1:]) for states in (student, teacher))
    error = (student - teacher).square().mean(dim=-1)  # (K*B, T)
    return _weighted_mean(error, token_mask, num_domains, example_weights)


def attention_error(
    student: Tensor, teacher: Tensor, token_mask: Tensor, num_domains: int, *, example_weights: Tensor | None = None
) -> Tensor:
    """Mean squared error of pre-softmax attention scores over heads and pairs of real tokens (TinyBERT Eq. 7).

    Args:
        student: (K*B, A, T, T) unmasked scores; rows are K equal blocks in domain order.
        teacher: (K*B, A, T, T).
        token_mask: (K*B, T), 1 for real tokens.
        num_domains: K.
        example_weights: (K*B,), relative weights within a domain; equal when left out.

    Returns:
        (K,) float32.

    Raises:
        ValueError: The numbers of heads differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student scores {tuple(student.shape)} and teacher scores {tuple(teacher.shape)} differ: "
            "the attention term needs the same number of heads"
        )
    error = (at_least_float32(student) - at_least_float32(teacher)).square().mean(dim=1)  # (K*B, T, T)
    return _weighted_mean(error.flatten(1), pair_mask(token_mask), num_domains, example_weights)


def relation_error(
    student: Tensor,
    teacher: Tensor,
    token_mask: Tensor,
    num_domains: int,
    *,
    heads: int,
    example_weights: Tensor | None = None,
) -> Tensor:
    """Divergence of self-attention relations (MiniLMv2 Eq. 5 to 8): ``KL(teacher || student)`` over keys.

    A relation is ``softmax(X X^T / sqrt(d))`` within each relation head, X being the queries, keys or values of one
    layer. Only the number of relation heads must agree, so width and attention heads may differ.

    Args:
        student: Queries, keys or values (K*B, T, W); rows are K equal blocks in domain order.
        teacher: The same of the teacher's layer (K*B, T, V).
        token_mask: (K*B, T), 1 for real tokens.
        num_domains: K.
        heads: Relation heads; must divide W and V.
        example_weights: (K*B,), relative weights within a domain; equal when left out.

    Returns:
        (K,) float32, averaged over heads and real tokens.

    Raises:
        ValueError: A width is not a multiple of ``heads``.
    """
    log_student, log_teacher = (_log_relation(vectors, token_mask, heads) for vectors in (student, teacher))
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1).mean(dim=1)  # (K*B, T)
    return _weighted_mean(divergence, token_mask, num_domains, example_weights)


def _log_relation(vectors: Tensor, token_mask: Tensor, heads: int) -> Tensor:
    """Return log-softmax of (B, T, W) with itself, per relation head: (B, heads, T, T)."""
    width = vectors.shape[-1]
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of {heads} relation heads")
    split = at_least_float32(vectors).unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, T, W / heads)
    scores = split @ split.transpose(-1, -2) / math.sqrt(width // heads)
    # Finite, so that a masked key gives 0 * 0 and not 0 * -inf in the divergence.
    hidden = token_mask[:, None, None, :] == 0
    relation: Tensor = scores.masked_fill(hidden, torch.finfo(scores.dtype).min / 2).log_softmax(dim=-1)
    return relation


def pair_mask(token_mask: Tensor) -> Tensor:
    """Return (K*B, T*T), 1 for pairs of real tokens, for (K*B, T)."""
    return (token_mask.unsqueeze(1) * token_mask.unsqueeze(2)).flatten(1)


def domain_counts(mask: Tensor, num_domains: int, example_weights: Tensor | None = None) -> Tensor:
    """Return what the mean of a domain divides by: its entries where ``mask`` is 1, weighted.

    Args:
        mask: (K*B, N); rows are K equal blocks in domain order.
        num_domains: K.
        example_weights: (K*B,); equal when left out.

    Returns:
        (K,) float32, or wider where the weights are.
    """
    dtype = torch.float32 if example_weights is None else torch.promote_types(example_weights.dtype, torch.float32)
    return _by_domain(_entry_weights(mask, example_weights, dtype), num_domains)


def _weighted_mean(error: Tensor, mask: Tensor, num_domains: int, example_weights: Tensor | None) -> Tensor:
    """Mean of (K*B, N) over the entries where ``mask`` is 1, within each domain: (K,)."""
    weights = _entry_weights(mask, example_weights, error.dtype)
    return _by_domain(error * weights, num_domains) / _by_domain(weights, num_domains)


def _entry_weights(mask: Tensor, example_weights: Tensor | None, dtype: torch.dtype) -> Tensor:
    weights = mask.to(dtype)
    return weights if example_weights is None else weights * example_weights.to(dtype).unsqueeze(1)


def _by_domain(values: Tensor, num_domains: int) -> Tensor:
    """Sum (K*B, N) within each domain: (K,)."""
    total: Tensor = values.unflatten(0, (num_domains, -1)).sum(dim=(1, 2))
    return total
