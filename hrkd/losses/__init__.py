"""The terms of the objective as pure functions, and their weighted sum."""

from __future__ import annotations

from hrkd.losses.hrkd import LossTerms, combine_terms
from hrkd.losses.imitation import attention_error, domain_counts, hidden_error, pair_mask, relation_error
from hrkd.losses.in_parts import Parts, active_parts
from hrkd.losses.over_ranks import mean_over_ranks
from hrkd.losses.prediction import label_cross_entropy, labelled_counts, soft_cross_entropy

__all__ = [
    "LossTerms",
    "Parts",
    "attention_error",
    "combine_terms",
    "domain_counts",
    "hidden_error",
    "label_cross_entropy",
    "labelled_counts",
    "active_parts",
    "mean_over_ranks",
    "pair_mask",
    "relation_error",
    "soft_cross_entropy",
]
