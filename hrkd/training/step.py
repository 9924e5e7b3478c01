"""What an objective is, and what it says about one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from hrkd.data.collate import Batch


@dataclass(frozen=True, slots=True)
class StepResult:
    """What an objective says about one batch.

    Attributes:
        loss: Scalar to minimise.
        terms: Detached scalars for the log.
        domain_ratios: R, (L+1, K), detached; None where there is no graph.
        hierarchical_ratios: Per level l >= 1 the compare-aggregate weights (K, l+1); empty without a hierarchy.
    """

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    domain_ratios: Tensor | None = None
    hierarchical_ratios: Sequence[Tensor] = ()


class Objective(Protocol):
    """What is minimised; ``trainable`` holds the model and whatever trains beside it."""

    trainable: nn.Module

    @property
    def model(self) -> nn.Module:
        """What is validated and kept."""
        ...

    def __call__(self, batch: Batch, progress: float) -> StepResult:
        """Run forward on one domain-balanced batch; ``progress`` is the fraction of all steps done.

        Where several processes share a batch, the result is that of the whole one in all of them.
        """
        ...
