"""The complete objective: imitation terms weighted by domain ratios, plus those on the logits (method.md section 4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hrkd.recipe import TermWeights


@dataclass(frozen=True, slots=True)
class LossTerms:
    """Every term before weighting; a term that is not computed is zero.

    Attributes:
        hidden: (L+1, K); row 0 is the embedding term.
        attention: (L+1, K); row 0 is zero, the embedding has no attention.
        prediction: (K,), against the teacher.
        label: (K,), against the labels.
    """

    hidden: Tensor
    attention: Tensor
    prediction: Tensor
    label: Tensor

    def imitation(self, weights: TermWeights) -> Tensor:
        """Return what the domain ratios multiply: the weighted hidden and attention terms, (L+1, K)."""
        return weights.hidden * self.hidden + weights.attention * self.attention

    def means(self, weights: TermWeights) -> dict[str, Tensor]:
        """Return each term that has a weight, summed over levels, averaged over domains, detached: what a log shows."""
        means = {
            "hidden": self.hidden.sum(dim=0).mean(),
            "attention": self.attention.sum(dim=0).mean(),
            "prediction": self.prediction.mean(),
            "label": self.label.mean(),
        }
        return {name: value.detach() for name, value in means.items() if getattr(weights, name)}


def combine_terms(terms: LossTerms, domain_ratios: Tensor, weights: TermWeights) -> Tensor:
    """Return ``sum_{l,k} R[l,k] imitation[l,k] + mean_k (prediction_weight * prediction + label_weight * label)[k]``.

    Args:
        terms: All terms of one step.
        domain_ratios: R, (L+1, K).
        weights: Of the terms.

    Returns:
        Scalar.
    """
    on_logits = weights.prediction * terms.prediction + weights.label * terms.label
    return (domain_ratios * terms.imitation(weights)).sum() + on_logits.mean()
