"""The student's encoder configuration: the teacher's, with the recipe's numbers in it."""

from __future__ import annotations

import copy

from transformers import PretrainedConfig

from hrkd.errors import RecipeError
from hrkd.recipe import StudentConfig

DROPOUT_KEYS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "pooler_dropout")
"""What the families call them."""


def student_shape(teacher: PretrainedConfig, config: StudentConfig) -> PretrainedConfig:
    """Return the encoder configuration of a student of the teacher's family.

    Args:
        teacher: Of the teacher's encoder.
        config: Numbers of the student; what it leaves out follows from the teacher.

    Raises:
        RecipeError: The width is not a multiple of the number of heads.
    """
    shape = copy.deepcopy(teacher)
    hidden_size = config.hidden_size or teacher.hidden_size
    heads = config.attention_heads or _default_heads(teacher, hidden_size)
    if hidden_size % heads:
        raise RecipeError(
            f"`student.hidden_size` {hidden_size} is not a multiple of {heads} attention heads",
            hint="set `student.attention_heads` to a divisor of it",
        )
    shape.num_hidden_layers = config.layers
    shape.num_attention_heads = heads
    ratio = intermediate_size(teacher) / teacher.hidden_size
    setattr(shape, _feed_forward_key(shape), config.intermediate_size or round(hidden_size * ratio))
    _set_dependent_widths(shape, teacher, hidden_size)
    shape.hidden_size = hidden_size
    set_dropout(shape, config.dropout)
    return shape


def set_dropout(shape: PretrainedConfig, dropout: float | None) -> None:
    """Set every dropout probability that the family knows; None leaves them as they are."""
    for key in DROPOUT_KEYS:
        if dropout is not None and hasattr(shape, key):
            setattr(shape, key, dropout)


def intermediate_size(config: PretrainedConfig) -> int:
    """Return the width of the feed-forward part, however the family calls it."""
    return int(getattr(config, _feed_forward_key(config)))


def _feed_forward_key(config: PretrainedConfig) -> str:
    return "hidden_dim" if config.model_type == "distilbert" else "intermediate_size"


def _default_heads(teacher: PretrainedConfig, hidden_size: int) -> int:
    """Keep the number of heads, which the score term needs, or else their size."""
    heads = int(teacher.num_attention_heads)
    head_size = int(teacher.hidden_size) // heads
    return hidden_size // head_size if hidden_size % heads and hidden_size % head_size == 0 else heads


def _set_dependent_widths(shape: PretrainedConfig, teacher: PretrainedConfig, hidden_size: int) -> None:
    """Set the widths that some families keep apart from ``hidden_size`` although they follow it."""
    if getattr(teacher, "embedding_size", None) == teacher.hidden_size:  # otherwise a projection lies between
        shape.embedding_size = hidden_size
    if hasattr(teacher, "pooler_hidden_size"):  # DeBERTa
        shape.pooler_hidden_size = hidden_size
    if getattr(teacher, "attention_head_size", None) is not None:  # DeBERTa-v2
        shape.attention_head_size = hidden_size // shape.num_attention_heads
