"""The terms of the objective as pure functions, and their weighted sum."""

from __future__ import annotations

from hrkd.losses.hrkd import LossTerms, combine_terms
from hrkd.losses.imitation import attention_error, hidden_error, relation_error
from hrkd.losses.prediction import label_cross_entropy, soft_cross_entropy

__all__ = [
    "LossTerms",
    "attention_error",
    "combine_terms",
    "hidden_error",
    "label_cross_entropy",
    "relation_error",
    "soft_cross_entropy",
]
