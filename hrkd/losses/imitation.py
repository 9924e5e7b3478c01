"""How far the student's inside is from the teacher's, per domain. Padding has no weight in any term."""

from __future__ import annotations

from torch import Tensor

from hrkd.precision import at_least_float32


def hidden_error(student: Tensor, teacher: Tensor, token_mask: Tensor, num_domains: int) -> Tensor:
    """Mean squared error of hidden states over real tokens and features; level 0 is the embedding term.

    Args:
        student: (K*B, T, H), projected to the teacher's width; rows are K equal blocks in domain order.
        teacher: (K*B, T, H).
        token_mask: (K*B, T), 1 for real tokens.
        num_domains: K.

    Returns:
        (K,) float32.

    Raises:
        ValueError: The widths differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ: project first")
    error = (at_least_float32(student) - at_least_float32(teacher)).square().mean(dim=-1)  # (K*B, T)
    return _masked_mean(error, token_mask, num_domains)


def attention_error(student: Tensor, teacher: Tensor, token_mask: Tensor, num_domains: int) -> Tensor:
    """Mean squared error of pre-softmax attention scores over heads and pairs of real tokens (TinyBERT Eq. 7).

    Args:
        student: (K*B, A, T, T) unmasked scores; rows are K equal blocks in domain order.
        teacher: (K*B, A, T, T).
        token_mask: (K*B, T), 1 for real tokens.
        num_domains: K.

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
    pairs = token_mask.unsqueeze(1) * token_mask.unsqueeze(2)
    return _masked_mean(error.flatten(1), pairs.flatten(1), num_domains)


def _masked_mean(error: Tensor, mask: Tensor, num_domains: int) -> Tensor:
    """Mean of (K*B, N) over the entries where ``mask`` is 1, within each domain: (K,)."""
    weights = mask.to(error.dtype)
    total: Tensor = (error * weights).unflatten(0, (num_domains, -1)).sum(dim=(1, 2))
    count: Tensor = weights.unflatten(0, (num_domains, -1)).sum(dim=(1, 2))
    return total / count
