"""Activation checkpointing: each layer's inner values are computed again on the way back instead of being kept."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn

from hrkd.device import trained_attention
from hrkd.errors import RecipeError
from hrkd.models import MultiDomainClassifier


def recompute_activations(model: nn.Module, device: torch.device) -> None:
    """Keep of every encoder layer only its input, and what the loss compares; gradients stay the same bit for bit.

    Costs about one more forward pass. Dropout draws the same numbers both times (transformers and
    ``torch.utils.checkpoint`` see to that).

    Args:
        model: Holds the classifiers whose encoders are trained.
        device: Where it will run.

    Raises:
        RecipeError: The encoder's architecture does not offer it.
    """

    def both_times() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        """Choose one attention kernel: what another one keeps for its way back is not the same."""
        return trained_attention(device), trained_attention(device)

    for member in model.modules():
        if not isinstance(member, MultiDomainClassifier):
            continue
        if not member.encoder.supports_gradient_checkpointing:
            raise RecipeError(
                f"encoders of type `{member.encoder_config.model_type}` cannot recompute activations",
                hint="set `gradient_checkpointing: false`; `micro_batches` saves memory with every encoder",
            )
        member.encoder.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": both_times})
