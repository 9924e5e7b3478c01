"""The optimizer, its parameter groups, and the learning-rate schedule."""

from __future__ import annotations

import torch
from torch import nn

from hrkd.recipe import TrainingConfig


def build_optimizer(trainable: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Put every parameter that requires a gradient into exactly one of two groups: with and without weight decay.

    Biases and layer-norm weights are not decayed (method.md section 4): they are the parameters of less than two
    dimensions.
    """
    parameters = [parameter for parameter in trainable.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate_factor(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Return the fraction of the peak learning rate for 0-based ``step``: linear warm-up, then linear decay to 0.

    A function of the step alone, so a resumed run needs no scheduler state.
    """
    warmup_steps = round(total_steps * warmup_fraction)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (total_steps - step) / max(1, total_steps - warmup_steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give all groups one learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
