"""The optimizer, its parameter groups, and the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Batch
from hrkd.recipe import TrainingConfig

OuterUpdate = Callable[[Batch, Batch, float, float, int], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class OuterSchedule:
    """How a graph is trained beside the student.

    Attributes:
        parameters: Of the graph; the inner loss gives them no gradient.
        learning_rate: Constant.
        every: Steps between two updates.
        batches: Held-out batches, one for each step that updates.
        update: Takes the step's batch, a held-out one, the fraction of all steps done, the step's learning rate and
            into how many parts to divide the batches; leaves gradients on ``parameters`` and nothing else, and returns
            detached scalars for the log.
    """

    parameters: tuple[nn.Parameter, ...]
    learning_rate: float
    every: int
    batches: DomainBatches
    update: OuterUpdate


def build_optimizer(
    trainable: nn.Module, config: TrainingConfig, outer: OuterSchedule | None = None
) -> torch.optim.AdamW:
    """Put every parameter that requires a gradient into exactly one group.

    There is one group with and one without weight decay, and one for the graph where that is trained apart. Biases and
    layer-norm weights are not decayed (method.md section 4): they are the parameters of less than two dimensions.
    """
    apart = set() if outer is None else {id(parameter) for parameter in outer.parameters}
    parameters = [p for p in trainable.parameters() if p.requires_grad and id(p) not in apart]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if outer is not None:
        groups.append({"params": [*outer.parameters], "weight_decay": 0.0, "lr": outer.learning_rate, "constant": True})
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
    """Give one learning rate to all groups but those that keep their own."""
    for group in optimizer.param_groups:
        if not group.get("constant"):
            group["lr"] = learning_rate
