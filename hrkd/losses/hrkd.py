"""The complete objective: imitation terms weighted by domain ratios, plus the prediction term (method.md section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hrkd.losses.imitation import attention_error, hidden_error


@dataclass(frozen=True, slots=True)
class LossTerms:
    """Every term before weighting.

    Attributes:
        hidden: (L+1, K); row 0 is the embedding term.
        attention: (L+1, K); row 0 is zero, the embedding has no attention.
        prediction: (K,).
    """

    hidden: Tensor
    attention: Tensor
    prediction: Tensor

    def means(self) -> dict[str, Tensor]:
        """Return each kind of term, summed over levels and averaged over domains, detached: what a log shows."""
        return {
            "embedding": self.hidden[0].mean().detach(),
            "hidden": self.hidden[1:].sum(dim=0).mean().detach(),
            "attention": self.attention.sum(dim=0).mean().detach(),
            "prediction": self.prediction.mean().detach(),
        }


def imitation_terms(
    student_states: Sequence[Tensor],
    teacher_states: Sequence[Tensor],
    student_scores: Sequence[Tensor],
    teacher_scores: Sequence[Tensor],
    token_mask: Tensor,
    num_domains: int,
) -> tuple[Tensor, Tensor]:
    """Compare student and teacher level by level.

    Args:
        student_states: L+1 projected hidden states (K*B, T, H), the embedding output first.
        teacher_states: The L+1 mapped levels of the teacher.
        student_scores: L attention scores (K*B, A, T, T).
        teacher_scores: The L mapped layers' scores.
        token_mask: (K*B, T), 1 for real tokens.
        num_domains: K.

    Returns:
        Hidden and attention terms, each (L+1, K), as in :class:`LossTerms`.
    """
    hidden = torch.stack(
        [
            hidden_error(student, teacher, token_mask, num_domains)
            for student, teacher in zip(student_states, teacher_states, strict=True)
        ]
    )
    attention = torch.stack(
        [
            torch.zeros_like(hidden[0]),
            *(
                attention_error(student, teacher, token_mask, num_domains)
                for student, teacher in zip(student_scores, teacher_scores, strict=True)
            ),
        ]
    )
    return hidden, attention


def combine_terms(terms: LossTerms, domain_ratios: Tensor, *, hidden_weight: float, prediction_weight: float) -> Tensor:
    """Return ``hidden_weight * sum_{l,k} R[l,k] (hidden + attention)[l,k] + prediction_weight * mean_k prediction[k]``.

    Args:
        terms: All terms of one step.
        domain_ratios: R, (L+1, K).
        hidden_weight: Weight of the imitation terms.
        prediction_weight: Weight of the prediction term.

    Returns:
        Scalar.
    """
    imitation = (domain_ratios * (terms.hidden + terms.attention)).sum()
    return hidden_weight * imitation + prediction_weight * terms.prediction.mean()
