"""The terms of the objective as pure functions, and their weighted sum."""

from __future__ import annotations

from hrkd.losses.hrkd import LossTerms, combine_terms, imitation_terms
from hrkd.losses.imitation import attention_error, hidden_error
from hrkd.losses.prediction import soft_cross_entropy

__all__ = ["LossTerms", "attention_error", "combine_terms", "hidden_error", "imitation_terms", "soft_cross_entropy"]
